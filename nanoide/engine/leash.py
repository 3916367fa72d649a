"""Keeps Python code that a hostile file brought with it within time and memory.

A thread cannot be killed, so the code is interrupted where it stands: between two of its lines, when it
has computed for too long, and by the system, when it wants more memory than there is to be had.
"""

import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

MEMORY = 256 * 1024 * 1024
"""Bytes that may be taken on top of what the process has; large enough that other threads do not notice."""


class LeashError(Exception):
    """The code took too long."""


class Leash:
    """A context in which this thread may compute for `seconds`. Its frames must have begun within it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = 0.0
        self._trace: Any = None
        self._memory: tuple[int, int] | None = None

    def __enter__(self) -> None:
        self._memory = _limit_memory()
        # The time of this thread alone: on a busy machine the code is not to blame for waiting.
        self._end = time.thread_time() + self._seconds
        self._trace = sys.gettrace()
        sys.settrace(self._look)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.settrace(self._trace)
        if self._memory is not None:
            import resource

            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_AS, self._memory)

    def _look(self, frame: FrameType, event: str, argument: Any) -> Any:
        if time.thread_time() > self._end:
            raise LeashError(f"it computes for more than {self._seconds:g} s")
        return self._look


def _limit_memory() -> tuple[int, int] | None:
    """Bound the address space; what held before, or None where that cannot be done."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * resource.getpagesize() + MEMORY
        if before[0] not in (resource.RLIM_INFINITY, -1):
            limit = min(limit, before[0])
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    except (ImportError, OSError, ValueError):  # only Linux tells what a process has
        return None
    return before
