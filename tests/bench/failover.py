"""What failover costs a person who waits: a primary that is silent, one that is dead, one that comes back."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from statistics import median

from msgspec.structs import replace

from nanoide.core.chat import Text
from nanoide.settings import Timeout
from tests.backends.servers import closed_port
from tests.bench.figure import Figure
from tests.faults.scenes import PATIENT
from tests.faults.server import Kind, Voice, answers, serving
from tests.faults.stage import QUESTION, backend
from tests.routing.rig import Rig

FIRST_TOKEN = 1.0
"""Seconds: the limit of a silent primary."""

TIMES = 21
CALLERS = 8
KINDS: tuple[Kind, ...] = ("openai", "anthropic")


def figures(*, quick: bool = False) -> Iterator[Figure]:
    """All figures, each as soon as it is known; `quick` asks less often."""
    with asyncio.Runner() as runner:
        living = _living(5 if quick else TIMES)
        while True:
            try:
                yield runner.run(anext(living))
            except StopAsyncIteration:
                return


async def _living(times: int) -> AsyncIterator[Figure]:
    for kind in KINDS:
        async with serving(kind, _silent) as silent:
            limits = replace(PATIENT, first_token=FIRST_TOKEN)
            late = [await _first_token(kind, silent.url, limits) - FIRST_TOKEN * 1000 for _ in range(min(times, 5))]
        told = f"after the limit of {FIRST_TOKEN:g} s, worst of {len(late)}"
        yield Figure(f"silent primary, fallback's first token, {kind}", max(late), "ms", 500.0, told)
        dead = f"http://127.0.0.1:{await closed_port()}/v1"
        pairs = [
            (await _first_token(kind, dead, PATIENT), await _first_token(kind, None, PATIENT)) for _ in range(times)
        ]
        alone = median(other for _, other in pairs)
        told = f"more than the fallback alone, {alone:.1f} ms; median of {times} pairs"
        yield Figure(f"dead primary, fallback's first token, {kind}", median(a - b for a, b in pairs), "ms", 50.0, told)

        back = [await _regained(kind) for _ in range(min(times, 5))]
        told = f"from the probe's arrival to another turn's answer, {CALLERS} asking all the time; worst of {len(back)}"
        yield Figure(f"primary regained after its rest, {kind}", max(back), "s", 2.0, told)


async def _regained(kind: Kind) -> float:
    """Seconds from the arrival of the probe to the end of the first other answer by the same server."""
    probed: list[float] = []

    async def rests(voice: Voice) -> None:
        voice.refuse(503, {}, "retry-after-ms: 200")

    async def well(voice: Voice) -> None:
        probed.append(time.perf_counter())
        await answers(voice)

    async with serving(kind, rests, well) as one, serving(kind, answers) as good:
        first, first_table = backend(kind, "first", one.url)
        second, second_table = backend(kind, "second", good.url)
        rig = Rig(first, second, tables=[first_table, second_table], clock=time.monotonic)
        answered: list[float] = []

        async def caller() -> None:
            while len(answered) < 2:
                if (await rig.ask(QUESTION)).rungs[-1].backend == "first":
                    answered.append(time.perf_counter())

        try:
            await rig.ask(QUESTION)
            await asyncio.gather(*(caller() for _ in range(CALLERS)))
        finally:
            await rig.router.aclose()
    return answered[1] - probed[0]


async def _first_token(kind: Kind, primary: str | None, limits: Timeout) -> float:
    """Milliseconds from asking to the first text, by a router that has just been made."""
    async with serving(kind, answers) as good:
        ladder = [backend(kind, "second", good.url)]
        if primary is not None:
            ladder.insert(0, backend(kind, "first", primary, limits))
        rig = Rig(*(each for each, _ in ladder), tables=[table for _, table in ladder])
        try:
            start = time.perf_counter()
            async with aclosing(rig.router.stream(QUESTION, record=rig.attempts.append)) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Text):
                        return (time.perf_counter() - start) * 1000
        finally:
            await rig.router.aclose()
    raise AssertionError("nobody answered")


async def _silent(voice: Voice) -> None:
    voice.begin()
    await voice.hold()
