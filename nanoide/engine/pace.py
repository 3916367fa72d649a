"""How large a step may be. Pure: it learns from how long steps took.

A step is as long as its rows are dear, and whoever decodes in it waits for all of them.
"""

from collections import deque

GROUP = 4
"""The library computes rows by fours; each row that is left over costs as much as four."""

TILE = 64
"""From so many rows on, llama.cpp's attention on a CPU computes them in tiles, for all of which it looks at every
cell that one of them sees: right for prompts, dear for rows of many sessions."""

STEP_S = 0.04
"""A prefill that nobody decodes beside is sliced so that a step takes about this long: what comes waits for its end."""

BESIDE = 1.7
"""Prefill beside decoding sequences makes a step at most so many times as long as without."""

BESIDE_S = 0.01
"""A step may always take as long as this: nobody sees it."""

_KEPT = 5
"""Steps of a size that are remembered; what else runs on the machine only ever slows one, so the fastest counts."""


class Pace:
    """Seconds of a step by its rows, and what follows from them."""

    def __init__(self, rows: int) -> None:
        """Steps have at most so many `rows`."""
        self._rows = rows
        self._seen: dict[int, deque[float]] = {}
        """By fours of rows; 0 is a row alone."""

    def note(self, rows: int, seconds: float) -> None:
        """A step of `rows` rows took `seconds`."""
        self._seen.setdefault(_size(rows), deque(maxlen=_KEPT)).append(seconds)

    def seconds(self, rows: int) -> float:
        """How long a step will take; 0 while nothing is known. Other sizes are judged by the nearest one seen."""
        size = _size(rows)
        if not self._seen:
            return 0.0
        nearest = min(self._seen, key=lambda seen: abs(seen - size))
        return min(self._seen[nearest]) * _rows(size) / _rows(nearest)

    @property
    def alone(self) -> int:
        """Prefill rows of a step in which nobody decodes; whole tiles."""
        each = self.seconds(self._rows) / self._rows
        rows = int(STEP_S / each) if each else self._rows // 4
        return max(TILE, min(self._rows, rows) // TILE * TILE)

    def beside(self, decoding: int) -> int:
        """Prefill rows of a step in which so many sequences decode."""
        limit = max(BESIDE_S, BESIDE * self.seconds(decoding))
        # The rows come to whole groups together with those that decode.
        most = GROUP - decoding % GROUP if decoding % GROUP else GROUP
        while decoding + most + GROUP <= self._rows and self.seconds(decoding + most + GROUP) <= limit:
            most += GROUP
        return most


def _size(rows: int) -> int:
    return 0 if rows <= 1 else (rows + GROUP - 1) // GROUP


def _rows(size: int) -> float:
    """Rows that a step of this size counts as. A row alone costs half as much as four."""
    return size * GROUP if size else GROUP / 2
