"""Asking a second rung when the first is slower than it ever is: when that is worth it. Pure."""

from collections import deque

WINDOW = 200
"""Turns that are looked back upon."""

SHARE = 0.05
"""So many more requests at most."""

FASTER = "hedge: "
"""What the reason of an attempt begins with that was left because another one was faster."""


class Allowance:
    """How many second rungs may be asked: one in twenty turns at most, however slow everybody is."""

    def __init__(self) -> None:
        self._turns = 0
        self._taken = deque[int]()
        """How many turns there were each time a second rung was asked."""

    def turn(self) -> None:
        """A turn begins that may come to ask a second rung."""
        self._turns += 1
        while self._taken and self._taken[0] <= self._turns - WINDOW:
            self._taken.popleft()

    def take(self) -> bool:
        """True when one may be asked now; it is then counted."""
        if len(self._taken) + 1 > min(self._turns, WINDOW) * SHARE:
            return False
        self._taken.append(self._turns)
        return True
