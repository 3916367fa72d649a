"""Faults that need more than one turn, or more than one server that fails."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from time import monotonic

from msgspec.structs import replace

from nanoide.backends.llama import LlamaBackend
from nanoide.backends.reflex import ReflexBackend
from nanoide.core.chat import Attempt, Context, Fill, Reflex, Rung, Text
from nanoide.paths import bundled_model
from nanoide.settings import BackendTable
from tests.backends.servers import closed_port
from tests.faults.server import ANSWER, Ear, Kind, Voice, answers, serving
from tests.faults.stage import QUESTION, Seen, backend, booked, steady, tell, tried, watch
from tests.routing.rig import Answer, Rig

CALLERS = 50
"""Who wait for the same backend."""

LEAST = 60
"""Characters that the engine has said when it is killed."""

TURNS = 8
"""One after the other, with a server that is well every second time."""


def plays() -> Mapping[str, Callable[[Kind, Path], Awaitable[Seen]]]:
    """How each of them is played, by its name."""
    return {
        "both backends down": both_down,
        "both backends down, the skill has a reflex": both_down_with_a_reflex,
        f"down, then back again, under {CALLERS} callers": outage,
        f"flapping: fails every second request, {TURNS} turns": flapping,
        "local engine killed before its first token": engine_killed_before_a_word,
        "local engine killed in mid-stream": engine_killed_in_mid_stream,
    }


async def both_down(kind: Kind, folder: Path) -> Seen:
    """Nobody listens at either port."""
    rig = await _down(kind)
    try:
        return await watch(rig, Ear(), folder)
    finally:
        await rig.router.aclose()


async def both_down_with_a_reflex(kind: Kind, folder: Path) -> Seen:
    """Nobody listens at either port, and the skill has a reflex."""
    script = folder / "reflex.py"
    script.write_text('def answer(context):\n    yield "what can be said without a model"\n')
    rig = await _down(kind, ReflexBackend("reflex"))
    try:
        return await watch(rig, Ear(), folder, replace(QUESTION, reflex=Reflex(str(script), Context())))
    finally:
        await rig.router.aclose()


async def flapping(kind: Kind, folder: Path) -> Seen:
    """Turns one after the other with a server that fails every second request."""

    async def fails(voice: Voice) -> None:
        voice.refuse(500)

    turns = [fails if number % 2 else answers for number in range(TURNS)]
    async with serving(kind, *turns) as first, serving(kind, answers) as good:
        rig = _pair(kind, first.url, good.url)
        try:
            said = [await rig.ask(QUESTION) for _ in range(TURNS)]
            ledger = await booked(rig, folder)
        finally:
            await rig.router.aclose()
    exact = sum(each.text == ANSWER for each in said)
    return Seen(
        sees=f"{exact} of {TURNS} answers whole, exact",
        why=steady(said[-1].rungs[-1].reason),
        rung=said[-1].rungs[-1].backend,
        attempts=tried(rig),
        ledger=(f"{len(ledger)} rows",),
    )


async def outage(kind: Kind, folder: Path) -> Seen:
    """The only backend is overloaded for a moment; who asks meanwhile waits, and one of them tries it."""
    down, all_wait = asyncio.Event(), asyncio.Event()
    waiting: set[int] = set()
    probes = 0

    async def refuses(voice: Voice) -> None:
        voice.refuse(503, {}, "retry-after-ms: 700")

    async def comes_back(voice: Voice) -> None:
        nonlocal probes
        await all_wait.wait()
        probes = len(server.book) - 1
        await answers(voice)

    async with serving(kind, refuses, comes_back, answers) as server:
        only, table = backend(kind, "first", server.url)
        rig = Rig(only, tables=[table], clock=monotonic)

        def record(attempt: Attempt) -> None:
            rig.attempts.append(attempt)
            down.set()

        async def call(number: int) -> Answer:
            answer = Answer()
            async with aclosing(rig.router.stream(QUESTION, record=record)) as chunks:
                async for chunk in chunks:
                    answer.add(chunk)
                    if isinstance(chunk, Rung) and "another turn tries" in chunk.reason:
                        waiting.add(number)
                        if len(waiting) == CALLERS - 1:
                            all_wait.set()
            return answer

        try:
            begun = asyncio.create_task(call(0))
            await down.wait()
            said = await asyncio.gather(begun, *(call(number) for number in range(1, CALLERS)))
            ledger = await booked(rig, folder)
        finally:
            await rig.router.aclose()
    exact = sum(each.text == ANSWER for each in said)
    outcomes = Counter(tried(rig))
    reasons = {rung.reason for each in said for rung in each.rungs}
    return Seen(
        sees=f"{exact} of {CALLERS} answers whole, exact",
        why=next((steady(each) for each in reasons if "another turn tries" in each), ""),
        rung="first",
        attempts=tuple(f"{count} × {outcome}" for outcome, count in reversed(outcomes.most_common())),
        ledger=(f"{len(ledger)} rows, {probes} probe",),
    )


async def engine_killed_before_a_word(kind: Kind, folder: Path) -> Seen:
    """The bundled model's process is killed while it works on the question."""
    async with serving(kind, answers) as good:
        rig, local = _with_engine(kind, good.url, folder)
        try:
            await local.warm()
            pid = local.health().pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)  # it takes the question and says nothing
            turn = asyncio.create_task(watch(rig, Ear(), folder, _CODE))
            while not local.health().running:  # noqa: ASYNC110 - a backend tells nobody that it was asked
                await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            return await turn
        finally:
            await rig.router.aclose()


async def engine_killed_in_mid_stream(kind: Kind, folder: Path) -> Seen:
    """The bundled model's process is killed when a part of its answer stands in the pane."""
    async with serving(kind, answers) as good:
        rig, local = _with_engine(kind, good.url, folder)
        answer = Answer()
        killed = ""
        try:
            async with aclosing(rig.router.stream(_CODE, record=rig.attempts.append)) as chunks:
                async for chunk in chunks:
                    answer.add(chunk)
                    if isinstance(chunk, Text) and not killed and len(answer.text) > LEAST:
                        pid = local.health().pid
                        assert pid is not None
                        killed = answer.text
                        os.kill(pid, signal.SIGKILL)
            seen = tell(answer, "")
            stands = answer.text.startswith(killed) and answer.text.endswith(" and so on.")
            return replace(
                seen,
                sees="what the engine had said, and behind it the rest" if stands else answer.text,
                attempts=tried(rig),
                ledger=tuple(re.sub(r"~\d+\+\d+|\d+\+\d+ \$[\d.]+", "…", each) for each in await booked(rig, folder)),
            )
        finally:
            await rig.router.aclose()


_CODE = replace(QUESTION, fill=Fill(prefix="numbers = [1, 2, 3, 4, 5, "), max_output=400, temperature=1.5, seed=7)


def _with_engine(kind: Kind, url: str, folder: Path) -> tuple[Rig, LlamaBackend]:
    table = BackendTable(name="nano", kind="llama", model="nano")
    local = LlamaBackend(table, model=bundled_model(), log=folder / "engine.log", unload_after_s=0.0)
    second, second_table = backend(kind, "second", url)
    return Rig(local, second, tables=[table, second_table]), local


async def _down(kind: Kind, *below: ReflexBackend) -> Rig:
    ports = [f"http://127.0.0.1:{await closed_port()}/v1" for _ in range(2)]
    return _pair(kind, *ports, below=below)


def _pair(kind: Kind, one: str, two: str, *, below: tuple[ReflexBackend, ...] = ()) -> Rig:
    first, first_table = backend(kind, "first", one)
    second, second_table = backend(kind, "second", two)
    return Rig(first, second, *below, tables=[first_table, second_table])
