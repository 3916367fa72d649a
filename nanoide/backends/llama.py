"""A model on this machine: a handle on an engine process that is started when asked and ended when idle.

A crash fails only the turns that were running; the next one starts a new process. Three crashes
within a minute, and it is left alone for a minute.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from nanoide import paths
from nanoide.backends.base import Health
from nanoide.backends.engine_process import Broken, EngineProcess
from nanoide.backends.residency import Residency
from nanoide.core.chat import Chunk, End, Prompt, Text, Waits
from nanoide.core.errors import BackendError
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Usage
from nanoide.engine.parking import file_of
from nanoide.engine.protocol import Done, Facts, Failed, Job, Load, Piece
from nanoide.settings import BackendTable

CRASHES = 3
"""So many crashes within `CRASH_WINDOW_S`, and the engine is left alone for as long."""

CRASH_WINDOW_S = 60.0

FAULT_S = 30.0
"""Seconds for which a file that did not load counts as down; after that it may have been mended."""

TELL_S = 1.0
"""Seconds between two words about a load that a turn waits for."""

BUNDLED = Facts(name="nano-base", window=2048, chats=False, fills=True)
"""What the bundled model is: known without opening it."""


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


class LlamaBackend:
    """One GGUF model, run by llama.cpp in a process of its own."""

    def __init__(
        self,
        table: BackendTable,
        *,
        model: Path,
        log: Path,
        unload_after_s: float,
        parking: Path | None = None,
        residency: Residency | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet. The file is `model`; `unload_after_s` 0 means never.

        What the engine knows of idle sessions rests in the folder `parking`; None means in memory only.
        Models with the same `residency` make room for each other.
        """
        self._table = table
        self._model = model
        self._log = log
        self._parking = parking
        self.residency = residency or Residency()
        self._asked = 0
        """Streams under way, those that wait for a start included."""
        self._used = clock()
        self._unload_after_s = unload_after_s
        self._clock = clock
        self._crashes = Crashes(clock)
        self._process: EngineProcess | None = None
        self._starting: asyncio.Task[EngineProcess] | None = None
        self._ending = set[asyncio.Task[None]]()
        self._removed = set[str]()
        """Sessions that were removed while an engine ended."""
        self._timer: asyncio.TimerHandle | None = None
        self._facts = BUNDLED if model == paths.bundled_model() else None
        self._fault = ""
        self._fault_at = 0.0
        self._broken = ""
        self._percent: int | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """As in config.toml."""
        return self._table.name

    @property
    def kind(self) -> str:
        """Always llama."""
        return "llama"

    @property
    def where(self) -> Where:
        """Always on this device."""
        return "device"

    @property
    def tier(self) -> Tier:
        """Always a model."""
        return "model"

    @property
    def host(self) -> str:
        """Nobody: nothing leaves the machine."""
        return ""

    def objection(self, prompt: Prompt) -> str:
        """See `Backend`. Says nothing of a file that was never loaded: only the engine opens it."""
        facts = self._facts
        if prompt.fill is not None and (facts is None or facts.fills) and self._table.fim != "none":
            return ""
        if not prompt.messages and not prompt.system:
            if prompt.fill is None:
                return "there is nothing to answer"
            return (
                "is set not to fill in the middle" if self._table.fim == "none" else "has no fill-in-the-middle tokens"
            )
        return "completes code only" if facts is not None and not facts.chats else ""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Chunk, None]:
        """See `Backend`."""
        if objection := self.objection(prompt):
            raise BackendError(f"{self.name} {objection}", outcome="unavailable")
        self._asked += 1
        self._stay()
        starting = asyncio.ensure_future(self._engine())
        process, feed, ended = None, None, False
        try:
            while not (await asyncio.wait({starting}, timeout=TELL_S))[0]:
                yield Waits(self.health().reason or "starts")
            process = await starting
            if objection := self.objection(prompt):  # the facts of the file are known only now
                raise BackendError(f"{self.name} {objection}", outcome="unavailable")
            feed = process.submit(_job(prompt))
            while True:
                answer = await feed.get()
                if isinstance(answer, Piece):
                    yield Text(answer.text)
                    continue
                ended = True
                if isinstance(answer, Done):
                    yield _end(answer, process.facts.name)
                    return
                raise self._failure(answer, process)
        finally:
            starting.cancel()  # only the waiting: the start itself is shared
            if process is not None and feed is not None:
                process.forget(feed, cancel=not ended)
            self._asked -= 1
            self._used = self._clock()
            self._rest()

    def health(self) -> Health:
        """See `Backend`."""
        self._note_end()
        model = self._facts.name if self._facts is not None else self._model.stem
        process = self._process
        if self._broken:
            return Health(state="off", reason=self._broken, model=model)
        if process is not None and process.alive:
            vitals = process.vitals
            return Health(
                state="ready",
                reason=process.facts.warning,
                device=process.facts.device,
                model=model,
                pid=process.pid,
                memory_bytes=vitals.memory_bytes,
                running=max(0, process.running - vitals.waiting),
                queued=vitals.waiting,
                tokens_per_s=vitals.tokens_per_s,
                parked=vitals.parked,
                kv_used=vitals.cells,
                kv_size=vitals.cells_max,
                prefix_hits=vitals.prefix_hits,
                disk_bytes=vitals.disk_bytes,
            )
        if self._starting is not None:
            percent = "" if self._percent is None else f", {self._percent} %"
            return Health(state="starting", reason=f"loads the model{percent}", model=model)
        if rest := self._crashes.rest_s:
            return Health(state="down", reason=self._resting(rest), model=model)
        if self._fault and self._clock() - self._fault_at < FAULT_S:
            return Health(state="down", reason=self._fault, model=model)
        last = self._fault or self._crashes.reason
        return Health(state="asleep", reason=f"{last}; starts when asked" if last else "starts when asked", model=model)

    async def probe(self) -> Health:
        """Start it if need be, and say how it is."""
        self._broken = ""
        await self.warm()
        return self.health()

    async def warm(self) -> None:
        """Start the engine and load the model now; never raises. `health` says what came of it."""
        with contextlib.suppress(BackendError):
            await self._engine()
            self._rest()

    def park(self, session: str) -> None:
        """Nobody asks the session for a while: what is known of it leaves the memory, and comes back when asked."""
        if self._process is not None and session:
            self._process.park(session)

    def release(self, session: str) -> None:
        """Drop what is known of the session, in memory and in files, also when no engine runs."""
        if not session:
            return
        if self._process is not None:
            self._process.release(session)
        if self._ending:
            self._removed.add(session)
        self._forget(session)

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

    async def aclose(self) -> None:
        """End the process; streams that still run fail."""
        self._closed = True
        self._stay()
        self.residency.leave(self)
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, BackendError):
                await self._starting
        process, self._process = self._process, None
        if process is not None:
            await process.aclose()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _engine(self) -> EngineProcess:
        """The running engine, or a new one; all who wait for a start wait for the same one."""
        if self._closed:
            raise BackendError(f"{self.name} is closed", outcome="unavailable")
        if self._process is not None and self._process.alive:
            return self._process
        if self._broken:
            raise BackendError(f"{self.name}: {self._broken}", outcome="unavailable")
        self._note_end()
        if rest := self._crashes.rest_s:
            raise BackendError(f"{self.name}: {self._resting(rest)}", outcome="crashed", retry_after=rest)
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name=f"start {self.name}")
            self._starting.add_done_callback(_retrieved)
        # One who stops waiting must not stop the start for the others.
        return await asyncio.shield(self._starting)

    async def _start(self) -> EngineProcess:
        try:
            if self._ending:  # it writes what the next one reads
                await asyncio.wait(self._ending)
            fault, size = await asyncio.to_thread(_check_file, self._model)
            if fault := fault or await self.residency.admit(self, size):
                raise BackendError(fault, outcome="unavailable")
            load = Load(
                path=str(self._model.absolute()),
                threads=self._table.threads,
                gpu_layers=self._table.gpu_layers,
                context=self._table.context,
                fim=self._table.fim,
                parking="" if self._parking is None else str(self._parking.absolute()),
            )
            process = await EngineProcess.start(load, self._log, self._note_progress)
        except Broken as error:
            self._broken = error.message
            raise BackendError(f"{self.name}: {error.message}", outcome="unavailable") from error
        except BackendError as error:
            if error.outcome == "crashed":
                self._crashes.note(error.message)
            else:
                self._fault, self._fault_at = error.message, self._clock()
            raise BackendError(f"{self.name}: {error.message}", outcome=error.outcome) from error
        finally:
            self._starting = None
            self._percent = None
            self.residency.arrived(self)
        self._process = process
        self._facts = process.facts
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

    def _failure(self, answer: Failed | None, process: EngineProcess) -> BackendError:
        if answer is not None:
            return BackendError(answer.message, outcome=answer.outcome, hint=answer.hint)
        if process is self._process:
            self._note_end()
        return BackendError(f"{self.name}: the engine {process.ended} in mid-answer", outcome="crashed")

    def _resting(self, rest: float) -> str:
        return f"crashed {CRASHES} times within a minute, {self._crashes.reason}; it is tried again in {rest:.0f} s"

    def _rest(self) -> None:
        """Nobody asks at the moment: end the process if that lasts."""
        self._stay()
        process = self._process
        if process is not None and not self._asked and self._unload_after_s > 0 and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._unload_after_s, self._unload)

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
        task = asyncio.create_task(self._close(process), name=f"unload {self.name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _close(self, process: EngineProcess) -> None:
        await process.aclose()
        removed, self._removed = self._removed, set[str]()
        for session in removed:  # it may have been written again while the engine put everything away
            self._forget(session)

    def _forget(self, session: str) -> None:
        """Delete the file of a session."""
        if self._parking is not None:
            with contextlib.suppress(OSError):
                file_of(self._parking, session).unlink()


def _job(prompt: Prompt) -> Job:
    return Job(
        id=0,
        key=prompt.session,
        system=prompt.system,
        messages=prompt.messages,
        fill=prompt.fill,
        max_output=prompt.max_output,
        temperature=prompt.temperature,
        top_p=prompt.top_p,
        top_k=prompt.top_k,
        min_p=prompt.min_p,
        repeat_penalty=prompt.repeat_penalty,
        frequency_penalty=prompt.frequency_penalty,
        presence_penalty=prompt.presence_penalty,
        seed=prompt.seed,
        grammar=prompt.grammar,
        json_schema=prompt.json_schema,
        stop=prompt.stop,
        priority=prompt.priority,
    )


def _end(done: Done, model: str) -> End:
    usage = Usage(input=done.input, output=done.output, cache_read=done.reused)
    return End(finish=done.finish, usage=usage, model=model, logprob=done.logprob)


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
    """All who waited for the start may have left; its failure is in `health` then."""
    if not task.cancelled():
        task.exception()
