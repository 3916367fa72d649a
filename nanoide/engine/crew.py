"""How many threads compute the next step. Pure: it learns from how long steps took.

Threads of a step wait for each other a hundred times. On idle cores more of them are faster; when
something else wants the cores, a step with all of them takes many times as long as one with fewer.
"""

from collections import defaultdict

SMALL_STEP = 250_000_000
"""Parameters times rows below which one thread computes a step. Waiting for a second one would cost more
than it brings (0.6 against 0.4 ms on idle cores), and far more when the cores are busy (0.6 against 6 ms)."""

SLOW = 1.5
"""A step so many times slower a row than the best one seen: the cores are wanted elsewhere."""

RETRY = 16
"""Steps after which all threads are tried again."""


class _Cost:
    """Seconds a row, of steps of about one size: a row alone costs twice what it costs among sixteen."""

    __slots__ = ("all", "best", "few", "since")

    def __init__(self) -> None:
        self.all = 0.0
        """With all threads; 0 is unknown, here and below."""
        self.few = 0.0
        self.best = 0.0
        self.since = 0
        """Steps since all threads were tried."""


class Crew:
    """Chooses between all threads and half of them, apart for each doubling of the rows."""

    def __init__(self, threads: int, parameters: int) -> None:
        """`threads` at most, for a model of so many `parameters`."""
        self._all = max(1, threads)
        self._few = max(1, threads // 2)
        self._small = SMALL_STEP // max(1, parameters)
        self._costs: defaultdict[int, _Cost] = defaultdict(_Cost)
        """By how often the rows can be halved."""

    def choose(self, rows: int) -> int:
        """Threads for a step of `rows` rows."""
        if rows <= self._small:
            return 1
        cost = self._costs[rows.bit_length()]
        if cost.all <= SLOW * cost.best or cost.since >= RETRY or (cost.few and cost.few >= cost.all):
            return self._all
        return self._few

    def note(self, rows: int, threads: int, seconds: float) -> None:
        """A step of `rows` rows took `seconds`."""
        if rows <= self._small or seconds <= 0:
            return
        cost = self._costs[rows.bit_length()]
        each = seconds / rows
        if threads == self._all:
            cost.since = 0
            cost.all = _mean(cost.all, each)
            cost.best = min(cost.best, each) if cost.best else each
        else:
            cost.since += 1
            cost.few = _mean(cost.few, each)


def _mean(known: float, seen: float) -> float:
    """The running mean. A fast step is believed more than a slow one: others only ever slow it."""
    if not known:
        return seen
    weight = 0.6 if seen < known else 0.3
    return (1 - weight) * known + weight * seen
