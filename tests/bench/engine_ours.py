"""Our engine as a contender: the backend with its engine process, as the hub has it, without the hub."""

import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from nanoide.backends.llama import LlamaBackend
from nanoide.core.chat import End, Message, Prompt
from nanoide.settings import BackendTable
from tests.bench.questions import Answer, Question


class Ours:
    """The engine under measurement."""

    name = "nanoide"

    def __init__(self, backend: LlamaBackend) -> None:
        self.backend = backend

    async def ask(self, question: Question, heard: list[float] | None = None) -> Answer:
        """Ask, and take the time of every piece; `heard` gets them as they come, as the clock tells."""
        prompt = Prompt(
            session=question.session,
            system=question.system,
            messages=tuple(
                Message("assistant" if role == "assistant" else "user", text) for role, text in question.turns
            ),
            max_output=question.max_output,
            temperature=0.0,
            top_p=1.0,
            priority=question.priority,
        )
        begun = time.perf_counter()
        stamps, texts = list[float](), list[str]()
        async with aclosing(self.backend.stream(prompt)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, End):
                    computed = chunk.usage.input - chunk.usage.cache_read
                    seconds = time.perf_counter() - begun
                    return Answer("".join(texts), tuple(stamps), seconds, chunk.usage.output, computed)
                now = time.perf_counter()
                stamps.append(now - begun)
                texts.append(chunk.text)
                if heard is not None:
                    heard.append(now)
        raise RuntimeError("the stream ended without its End")

    async def park(self, keys: Sequence[str]) -> bool:
        """Let the sessions rest; False when the engine cannot."""
        park = getattr(self.backend, "park", None)
        if park is None:
            return False
        for key in keys:
            park(key)
        return True


@asynccontextmanager
async def ours(model: Path, threads: int, *, parking: Path | None = None) -> AsyncIterator[Ours]:
    """The engine with the model loaded; ended when done."""
    table = BackendTable(name="dice", kind="llama", model=str(model), threads=threads)
    more: dict[str, Any] = {}
    if parking is not None and "parking" in signature(LlamaBackend).parameters:
        more["parking"] = parking
    with tempfile.TemporaryDirectory(prefix="nano-bench-") as folder:
        backend = LlamaBackend(table, model=model, log=Path(folder) / "engine.log", unload_after_s=0.0, **more)
        try:
            await backend.warm()
            health = backend.health()
            if health.state != "ready":
                raise RuntimeError(f"our engine is {health.state}: {health.reason}")
            await Ours(backend).ask(Question(system="", turns=(("user", " babe"),), max_output=2))
            yield Ours(backend)
        finally:
            await backend.aclose()
