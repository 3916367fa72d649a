"""The lives of one model's engine, one after the other: started when asked, ended when idle, left alone after crashes.

All who wait for a start wait for the same one. Three crashes within a minute, and it is left alone for a minute.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from nanoide.backends.engine_process import Broken, EngineProcess
from nanoide.backends.residency import Residency
from nanoide.backends.watchdog import Patience
from nanoide.core.errors import BackendError
from nanoide.engine.parking import file_of
from nanoide.engine.protocol import Facts, Load

CRASHES = 3
"""So many crashes within `CRASH_WINDOW_S`, and the engine is left alone for as long."""

CRASH_WINDOW_S = 60.0

FAULT_S = 30.0
"""Seconds for which a file that did not load counts as down; after that it may have been mended."""


class Crashes:
    """When the engine crashed, and whether it is left alone for that."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times = deque[float](maxlen=CRASHES)
        self.reason = ""
        """How it ended the last time."""

    def note(self, reason: str) -> None:
        """It crashed."""
        self.reason = reason
        self._times.append(self._clock())

    @property
    def rest_s(self) -> float:
        """Seconds for which it is still left alone; 0 when it may be started."""
        if len(self._times) < CRASHES or self._times[-1] - self._times[0] > CRASH_WINDOW_S:
            return 0.0
        return max(0.0, self._times[-1] + CRASH_WINDOW_S - self._clock())


class EngineLife:
    """At most one process at a time, of one model; also the `Resident` that makes room for other models."""

    def __init__(
        self,
        name: str,
        load: Load,
        *,
        log: Path,
        unload_after_s: float,
        residency: Residency,
        patience: Patience,
        facts: Facts | None,
        clock: Callable[[], float],
    ) -> None:
        """Start nothing yet. `name` is the backend's; `facts` are what is known of the model before it was opened."""
        self._name = name
        self._load = load
        self._log = log
        self._unload_after_s = unload_after_s
        self._residency = residency
        self._patience = patience
        self._clock = clock
        self.facts = facts
        """Of the model; None as long as nothing is known of it."""
        self._asked = 0
        """Turns under way, those that wait for a start included."""
        self._used = clock()
        self._crashes = Crashes(clock)
        self._process: EngineProcess | None = None
        self._starting: asyncio.Task[EngineProcess] | None = None
        self._ending = set[asyncio.Task[None]]()
        self._removed = set[str]()
        """Sessions that were removed while an engine ended."""
        self._timer: asyncio.TimerHandle | None = None
        self._fault = ""
        self._fault_at = 0.0
        self._broken = ""
        self._percent: int | None = None
        self._closed = False

    @property
    def process(self) -> EngineProcess | None:
        """The one that takes jobs; None when there is none."""
        self._note_end()
        return self._process if self.loaded else None

    @property
    def loaded(self) -> bool:
        """See `Resident`."""
        return self._process is not None and self._process.alive

    @property
    def idle_s(self) -> float:
        """See `Resident`."""
        return 0.0 if self._asked or self._starting is not None else max(1e-3, self._clock() - self._used)

    @property
    def memory_bytes(self) -> int:
        """See `Resident`."""
        return self._process.vitals.memory_bytes if self._process is not None else 0

    async def unload(self) -> None:
        """See `Resident`."""
        self._unload()
        if self._ending:
            await asyncio.wait(self._ending)

    def condition(self) -> tuple[Literal["ready", "starting", "asleep", "down", "off"], str]:
        """How it is, as `Health` has it, and why."""
        self._note_end()
        if self._broken:
            return "off", self._broken
        if self._process is not None and self._process.alive:
            return "ready", self._process.facts.warning
        if self._starting is not None:
            return "starting", "loads the model" + ("" if self._percent is None else f", {self._percent} %")
        if rest := self._crashes.rest_s:
            return "down", self._resting(rest)
        if self._fault and self._clock() - self._fault_at < FAULT_S:
            return "down", self._fault
        last = self._fault or self._crashes.reason
        return "asleep", f"{last}; starts when asked" if last else "starts when asked"

    def mend(self) -> None:
        """Whatever was missing on this machine may be there by now."""
        self._broken = ""

    def enter(self) -> None:
        """A turn begins: the engine is not ended before it has left."""
        self._asked += 1
        self._stay()

    def leave(self) -> None:
        """A turn is over."""
        self._asked -= 1
        self._used = self._clock()
        self.rest()

    def rest(self) -> None:
        """Nobody may be asking at the moment: end the process if that lasts."""
        self._stay()
        if self._process is not None and not self._asked and self._unload_after_s > 0 and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._unload_after_s, self._unload)

    async def engine(self) -> EngineProcess:
        """The running engine, or a new one; all who wait for a start wait for the same one."""
        if self._closed:
            raise BackendError(f"{self._name} is closed", outcome="unavailable")
        if self._process is not None and self._process.alive:
            return self._process
        if self._broken:
            raise BackendError(f"{self._name}: {self._broken}", outcome="unavailable")
        self._note_end()
        if rest := self._crashes.rest_s:
            raise BackendError(f"{self._name}: {self._resting(rest)}", outcome="crashed", retry_after=rest)
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name=f"start {self._name}")
            self._starting.add_done_callback(_retrieved)
        # One who stops waiting must not stop the start for the others.
        return await asyncio.shield(self._starting)

    def park(self, session: str) -> None:
        """See `EngineProcess.park`."""
        if self._process is not None:
            self._process.park(session)

    def release(self, session: str) -> None:
        """Drop what is known of the session, in memory and in files, also when no engine runs."""
        if self._process is not None:
            self._process.release(session)
        if self._ending:
            self._removed.add(session)
        self._forget(session)

    async def aclose(self) -> None:
        """End the process for good; turns that still run fail."""
        self._closed = True
        self._stay()
        self._residency.leave(self)
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, BackendError):
                await self._starting
        process, self._process = self._process, None
        if process is not None:
            await process.aclose()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _start(self) -> EngineProcess:
        try:
            if self._ending:  # it writes what the next one reads
                await asyncio.wait(self._ending)
            fault, size = await asyncio.to_thread(_check_file, Path(self._load.path))
            if fault := fault or await self._residency.admit(self, size):
                raise BackendError(fault, outcome="unavailable")
            process = await EngineProcess.start(self._load, self._log, self._note_progress, patience=self._patience)
        except Broken as error:
            self._broken = error.message
            raise BackendError(f"{self._name}: {error.message}", outcome="unavailable") from error
        except BackendError as error:
            if error.outcome == "crashed":
                self._crashes.note(error.message)
            else:
                self._fault, self._fault_at = error.message, self._clock()
            raise BackendError(f"{self._name}: {error.message}", outcome=error.outcome) from error
        finally:
            self._starting = None
            self._percent = None
            self._residency.arrived(self)
        self._process = process
        self.facts = process.facts
        self._fault = ""
        return process

    def _note_progress(self, percent: int) -> None:
        self._percent = percent

    def _note_end(self) -> None:
        """Look once at how the last process ended."""
        process = self._process
        if process is not None and process.ended:
            self._process = None
            self._crashes.note(f"the engine {process.ended}")

    def _resting(self, rest: float) -> str:
        return f"crashed {CRASHES} times within a minute, {self._crashes.reason}; it is tried again in {rest:.0f} s"

    def _stay(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unload(self) -> None:
        """End the process, unless it is being asked. Its memory is back when all of `_ending` are done."""
        process = self._process
        if process is None or self._asked:
            return
        self._stay()
        self._note_end()
        self._process = None
        task = asyncio.create_task(self._close(process), name=f"unload {self._name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _close(self, process: EngineProcess) -> None:
        await process.aclose()
        removed, self._removed = self._removed, set[str]()
        for session in removed:  # it may have been written again while the engine put everything away
            self._forget(session)

    def _forget(self, session: str) -> None:
        """Delete the file of a session."""
        if self._load.parking:
            with contextlib.suppress(OSError):
                file_of(Path(self._load.parking), session).unlink()


def _check_file(path: Path) -> tuple[str, int]:
    """Why the file cannot be a model, as far as its first bytes tell (empty when it may be one), and its size."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        return f"the model {str(path)!r} cannot be read: {error.strerror}", 0
    if magic != b"GGUF":
        return f"{str(path)!r} is not a GGUF model", 0
    return "", size


def _retrieved(task: "asyncio.Task[EngineProcess]") -> None:
    """All who waited for the start may have left; its failure is in `condition` then."""
    if not task.cancelled():
        task.exception()
