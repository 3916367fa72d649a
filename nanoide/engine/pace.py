"""How large a step may be. Pure: it learns from how long steps took.

A step is as long as its rows are dear, and whoever decodes in it waits for all of them.
"""

from bisect import bisect_left
from collections import deque
from statistics import median

GROUP = 4
"""The library computes rows by fours; each row that is left over costs as much as four."""

TILE = 64
"""From so many rows on, llama.cpp's attention on a CPU computes them in tiles, for all of which it looks at every
cell that one of them sees: right for prompts, dear for rows of many sessions."""

STEP_S = 0.04
"""A prefill that nobody decodes beside is sliced so that a step takes about this long: what comes waits for its end."""

BESIDE = 1.6
"""Prefill beside decoding sequences makes a step at most so many times as long as without."""

BESIDE_S = 0.01
"""A step may always take as long as this: nobody sees it."""

_KEPT = 5
"""Steps of a size that are remembered; their median counts."""

_STALE = 256
"""Steps after which a size that did not come again is forgotten: contexts grow and shrink, and with them the cost."""


class _Seen:
    """The last steps of one size."""

    __slots__ = ("at", "cost", "seconds")

    def __init__(self) -> None:
        self.seconds = deque[float](maxlen=_KEPT)
        self.cost = 0.0
        """Seconds: their median."""
        self.at = 0
        """The number of the last one."""


class Pace:
    """Seconds of a step by its rows, and what follows from them."""

    def __init__(self, rows: int) -> None:
        """Steps have at most so many `rows`."""
        self._rows = rows
        self._steps = 0
        self._seen: dict[int, _Seen] = {}

    def note(self, rows: int, seconds: float) -> None:
        """A step of `rows` rows took `seconds`."""
        self._steps += 1
        seen = self._seen.setdefault(_size(rows), _Seen())
        if self._steps - seen.at > _STALE:
            seen.seconds.clear()
        seen.seconds.append(seconds)
        seen.cost = median(seen.seconds)
        seen.at = self._steps

    def seconds(self, rows: int) -> float:
        """How long a step will take; 0 while nothing is known. Other sizes are judged by the nearest one seen."""
        return self._judged(_size(rows), self._known())

    @property
    def alone(self) -> int:
        """Prefill rows of a step in which nobody decodes; whole tiles."""
        each = self.seconds(self._rows) / self._rows
        rows = int(STEP_S / each) if each else self._rows // 4
        return max(TILE, min(self._rows, rows) // TILE * TILE)

    def beside(self, decoding: int) -> int:
        """Prefill rows of a step in which so many sequences decode."""
        known = self._known()
        limit = max(BESIDE_S, BESIDE * self._judged(_size(decoding), known))
        # Together they come to whole groups, as many as the limit bears.
        first = GROUP - decoding % GROUP
        most = 0
        for rows in range(first, self._rows - decoding + 1, GROUP):
            if self._judged(_size(decoding + rows), known) > limit:
                break
            most = rows
        # Beside a long prompt even one group may be too much: its rows look at everything before them.
        return most or next((few for few in (2, 1) if few < first and self.seconds(decoding + few) <= limit), 1)

    def _known(self) -> list[int]:
        """The sizes that came lately, in order."""
        return sorted(each for each, seen in self._seen.items() if self._steps - seen.at <= _STALE)

    def _judged(self, size: int, known: list[int]) -> float:
        """Seconds of a step by the nearest of the `known` sizes."""
        if not known:
            return 0.0
        at = bisect_left(known, size)
        nearest = min(known[max(0, at - 1) : at + 1], key=lambda each: abs(each - size))
        return self._seen[nearest].cost * _weight(size) / _weight(nearest)


def _size(rows: int) -> int:
    """What is learnt apart: each number of rows while they are few, then whole groups."""
    return rows if rows < TILE else -(-rows // GROUP) * GROUP


def _weight(rows: int) -> int:
    """What a step of so many rows costs beside others. A row alone costs half as much as four."""
    return -(-rows // GROUP) * GROUP if rows > 1 else GROUP // 2
