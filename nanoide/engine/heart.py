"""Where the main thread is, told by the thread beside it: an engine that hangs must not look alive. Pure.

A beat begins whenever something else begins: a step, or whatever lies between two steps. What stands
here is read by another thread, so it is always replaced as a whole.
"""

import time
from collections.abc import Callable

from nanoide.engine.protocol import Pulse


class Heart:
    """Counts beats, and remembers how long those of a size took."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._longest: dict[int, float] = {}
        """Seconds, by how often the rows can be halved."""
        self._count = 0
        self._size = 0
        self._began = 0.0
        self._pulse = Pulse()

    @property
    def pulse(self) -> Pulse:
        """Where it is."""
        return self._pulse

    def beat(self, rows: int = 0) -> None:
        """A step of so many rows begins; 0 is anything that is no step."""
        self.rest()
        self._count += 1
        self._size = rows.bit_length()
        self._began = self._clock()
        # A size that was never seen is judged by the longest one there was.
        usual = self._longest.get(self._size) or max(self._longest.values(), default=0.0)
        self._pulse = Pulse(beat=self._count, usual_s=usual)

    def rest(self) -> None:
        """What began last is over; from now on it waits to be asked."""
        if self._pulse.beat:
            self._pulse = Pulse()
            self._note(self._size, self._clock() - self._began)

    def note(self, rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        self._note(rows.bit_length(), seconds)

    def _note(self, size: int, seconds: float) -> None:
        self._longest[size] = max(seconds, self._longest.get(size, 0.0))
