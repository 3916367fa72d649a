"""A model on this machine: a handle on an engine process that is started when asked and ended when idle.

A crash fails only the turns that were running; the next one starts a new process (`engine_life`).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from nanoide import paths
from nanoide.backends.base import Health
from nanoide.backends.engine_life import EngineLife
from nanoide.backends.engine_process import EngineProcess
from nanoide.backends.residency import Residency
from nanoide.backends.watchdog import Patience
from nanoide.core.chat import Chunk, End, Prompt, Text, Waits
from nanoide.core.errors import BackendError
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Usage
from nanoide.engine.protocol import Done, Facts, Failed, Job, Load, Piece
from nanoide.settings import BackendTable

TELL_S = 1.0
"""Seconds between two words about a load that a turn waits for."""

BUNDLED = Facts(name="nano-base", window=2048, chats=False, fills=True)
"""What the bundled model is: known without opening it."""


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
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet. The file is `model`; `unload_after_s` 0 means never.

        What the engine knows of idle sessions rests in the folder `parking`; None means in memory only.
        Models with the same `residency` make room for each other. An engine that is silent for longer
        than `patience` has it is ended.
        """
        self._table = table
        self._model = model
        self.residency = residency or Residency()
        load = Load(
            path=str(model.absolute()),
            threads=table.threads,
            gpu_layers=table.gpu_layers,
            context=table.context,
            fim=table.fim,
            parking="" if parking is None else str(parking.absolute()),
        )
        self._life = EngineLife(
            table.name,
            load,
            log=log,
            unload_after_s=unload_after_s,
            residency=self.residency,
            patience=patience or Patience(),
            facts=BUNDLED if model == paths.bundled_model() else None,
            clock=clock,
        )

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
        facts = self._life.facts
        if prompt.fill is not None and (facts is None or facts.fills) and self._table.fim != "none":
            return ""
        if not prompt.messages and not prompt.system:
            if prompt.fill is None:
                return "there is nothing to answer"
            return (
                "is set not to fill in the middle" if self._table.fim == "none" else "has no fill-in-the-middle tokens"
            )
        return "completes code only" if facts is not None and not facts.chats else ""

    def resumes(self, prompt: Prompt) -> bool:
        """Always, but where the answer is held to a grammar: that begins at the answer's beginning."""
        return not (prompt.grammar or prompt.json_schema)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Chunk, None]:
        """See `Backend`."""
        if objection := self.objection(prompt):
            raise BackendError(f"{self.name} {objection}", outcome="unavailable")
        self._life.enter()
        starting = asyncio.ensure_future(self._life.engine())
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
            self._life.leave()

    def health(self) -> Health:
        """See `Backend`."""
        life = self._life
        state, reason = life.condition()
        model = life.facts.name if life.facts is not None else self._model.stem
        process = life.process
        if process is None or state != "ready":
            return Health(state=state, reason=reason, model=model)
        vitals = process.vitals
        return Health(
            state=state,
            reason=reason,
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

    async def probe(self) -> Health:
        """Start it if need be, and say how it is."""
        self._life.mend()
        await self.warm()
        return self.health()

    async def warm(self) -> None:
        """Start the engine and load the model now; never raises. `health` says what came of it."""
        with contextlib.suppress(BackendError):
            await self._life.engine()
            self._life.rest()

    def park(self, session: str) -> None:
        """Nobody asks the session for a while: what is known of it leaves the memory, and comes back when asked."""
        if session:
            self._life.park(session)

    def release(self, session: str) -> None:
        """Drop what is known of the session, in memory and in files, also when no engine runs."""
        if session:
            self._life.release(session)

    @property
    def loaded(self) -> bool:
        """True while the model is in memory."""
        return self._life.loaded

    async def aclose(self) -> None:
        """End the process; streams that still run fail."""
        await self._life.aclose()

    def _failure(self, answer: Failed | None, process: EngineProcess) -> BackendError:
        if answer is not None:
            return BackendError(answer.message, outcome=answer.outcome, hint=answer.hint)
        self._life.condition()  # looks at how it ended, whoever asks first
        return BackendError(f"{self.name}: the engine {process.ended} in mid-answer", outcome="crashed")


def _job(prompt: Prompt) -> Job:
    return Job(
        id=0,
        key=prompt.session,
        system=prompt.system,
        messages=prompt.messages,
        fill=prompt.fill,
        partial=prompt.partial,
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
