"""Dozens of sessions on one model: our engine beside llama.cpp's own server and llama-cpp-python's.

All in one run: the same file, the same prompts token for token, the same threads, greedy, one contender at a time.
"""

import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Protocol

import psutil

from tests.bench import engine_drafts, engine_inside, peers
from tests.bench.engine_ours import Ours, ours
from tests.bench.figure import Figure, p95
from tests.bench.gguf import HALF_BILLION, TOY, made, text
from tests.bench.questions import Answer, Question, alone, sessions

REPOSITORY = Path(__file__).parents[2]
CONTEXT = 32_768
"""Cells of llama.cpp's server: enough for 32 second turns, none of which shares a cell with another."""


class Contender(Protocol):
    """Whoever answers."""

    name: str

    async def ask(self, question: Question, heard: list[float] | None = None) -> Answer:
        """Ask, and take the time of every piece."""
        ...


class Size:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.sessions = 4 if quick else 32
        self.interactive = 4 if quick else 20
        self.background = 4 if quick else 16
        self.cold = 1 if quick else 3
        self.long = 800 if quick else 4_000
        self.quiet_s = 2.0 if quick else 8.0
        self.prompts = 20 if quick else 200
        self.copies = 1 if quick else 3


def figures(*, quick: bool = False) -> Iterator[Figure]:
    """All rows, each as soon as it is known."""
    size = Size(quick)
    threads = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        threads = min(threads, len(os.sched_getaffinity(0)))
    model = made(REPOSITORY / ".cache" / "bench", TOY if quick else HALF_BILLION)
    program = peers.python(REPOSITORY)
    told = f"{os.cpu_count()} cores, {threads} threads each, {model.name}"
    yield Figure("load before measuring", os.getloadavg()[0], "", None, told + (", QUICK: no verdict on speed" * quick))
    with asyncio.Runner() as runner:
        living = _living(model, program, threads, size)
        while True:
            try:
                yield runner.run(anext(living))
            except StopAsyncIteration:
                break
    yield from engine_inside.figures(model, size.prompts)
    yield from engine_drafts.figures(model.parent, TOY if quick else HALF_BILLION, size.copies)


async def _living(model: Path, program: Path, threads: int, size: Size) -> AsyncIterator[Figure]:
    async for figure in _many(model, program, threads, size):
        yield figure
    async with ours(model, threads) as engine:
        yield await _known_skill(engine, size)
    async for figure in _waking(model, threads, size):
        yield figure
    async for figure in _interactive(model, program, threads, size):
        yield figure
    async for figure in _gaps(model, program, threads, size):
        yield figure


async def _many(model: Path, program: Path, threads: int, size: Size) -> AsyncIterator[Figure]:
    """All sessions at once, their first and their second turn, on each contender."""
    async with ours(model, threads) as engine:
        mine = await _turns(engine, size.sessions)
    async with peers.llama_cpp(program, model, slots=size.sessions, context=CONTEXT, threads=threads) as server:
        theirs = await _turns(server, size.sessions)
    async with peers.llama_cpp_python(program, model, context=2048, threads=threads) as server:
        # It answers one at a time: a quarter of the sessions has the same speed.
        others = await _turns(server, size.sessions // 4)
    for at, (turn, least) in enumerate((("cold", 8.0), ("second turn", 1.8))):
        a, b, c = mine[at], theirs[at], others[at]
        name = f"{size.sessions} sessions, {turn}"
        told = f"{a:.0f} tokens/s beside {b:.1f}"
        yield Figure(f"{name} / llama.cpp server", a / b, "×", None, told, least=least)
        told = f"{a:.0f} tokens/s beside {c:.1f}"
        yield Figure(f"{name} / llama-cpp-python server", a / c, "×", None, told, least=1.0)


async def _turns(contender: Contender, count: int) -> tuple[float, float]:
    """Output tokens a second of all sessions together: first turns, then second turns."""
    questions = sessions(count)
    speeds = list[float]()
    for turn in range(2):
        begun = time.perf_counter()
        answers = await asyncio.gather(*(contender.ask(each) for each in questions))
        seconds = time.perf_counter() - begun
        output = sum(each.output for each in answers)
        speeds.append(output / seconds)
        computed = sum(each.computed for each in answers)
        _note(
            f"{contender.name}, turn {turn + 1}: {output} tokens in {seconds:.1f} s, {computed} of the prompts computed"
        )
        questions = [
            each.again(answer.text, text(40, 5_000 + number))
            for number, (each, answer) in enumerate(zip(questions, answers, strict=True))
        ]
    return speeds[0], speeds[1]


async def _known_skill(engine: Ours, size: Size) -> Figure:
    """The first token of each further session of a skill, beside the first one's, which computes the instruction."""
    colds = [await engine.ask(_brief(sessions(1, skill=skill)[0])) for skill in range(2, 2 + size.cold)]
    first, *others = sessions(size.sessions)
    colds.append(await engine.ask(_brief(first)))
    known = [(await engine.ask(_brief(each))).first for each in others]
    cold = median(each.first for each in colds)
    told = f"{median(known) * 1000:.0f} ms beside {cold * 1000:.0f} ms cold; the slowest {max(known) / cold:.2f}"
    return Figure(f"first token, sessions 2 to {size.sessions} / cold", median(known) / cold, "×", 0.15, told)


async def _waking(model: Path, threads: int, size: Size) -> AsyncIterator[Figure]:
    """The first token of a session of 1,500 tokens that rests, beside computing as much."""
    with contextlib.ExitStack() as stack:
        folder = engine_folder(stack)
        async with ours(model, threads, parking=folder) as engine:
            firsts = [
                alone(300 + number, 1_480, 8, "focused", session=f"parked{number}") for number in range(size.cold + 1)
            ]
            answers = [await engine.ask(each) for each in firsts]
            cold = median(each.first for each in answers)
            seconds = [each.again(answer.text, text(4, 900)) for each, answer in zip(firsts, answers, strict=True)]
            if not await engine.park([each.session for each in firsts]):
                yield Figure("wake of 1,500 parked tokens / prefill", None, "×", 0.05, "parking is not built")
                return
            woken = [await engine.ask(_brief(each)) for each in seconds[:-1]]
            yield _woken("wake of 1,500 parked tokens / prefill", woken, cold)
        # The last session's rest outlives the process.
        async with ours(model, threads, parking=folder) as engine:
            yield _woken("the same after a restart / prefill", [await engine.ask(_brief(seconds[-1]))], cold)


def engine_folder(stack: contextlib.ExitStack) -> Path:
    """A folder for what is parked, gone at the end."""
    import tempfile

    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nano-parked-")))


def _woken(name: str, woken: list[Answer], cold: float) -> Figure:
    first = median(each.first for each in woken)
    computed = max(each.computed for each in woken)
    told = f"{first * 1000:.0f} ms beside {cold * 1000:.0f} ms; {computed} tokens computed"
    return Figure(name, first / cold, "×", 0.05, told)


async def _interactive(model: Path, program: Path, threads: int, size: Size) -> AsyncIterator[Figure]:
    """A completion of 200 tokens in and 16 out, on an idle engine and beside background streams."""
    async with ours(model, threads) as engine:
        idle, beside = await _completions(engine, size, size.interactive)
    told = f"{beside * 1000:.0f} ms beside {idle * 1000:.0f} ms idle"
    yield Figure(f"completion beside {size.background} streams, p95 / idle", beside / idle, "×", 1.5, told)
    async with peers.llama_cpp(program, model, slots=size.background + 1, context=CONTEXT, threads=threads) as server:
        idle, beside = await _completions(server, size, size.interactive // 2)
    told = f"{beside * 1000:.0f} ms beside {idle * 1000:.0f} ms idle"
    yield Figure("the same on llama.cpp's server", beside / idle, "×", None, told)


async def _completions(contender: Contender, size: Size, count: int) -> tuple[float, float]:
    """The 95th percentile of their seconds, idle and beside streams."""
    whole = list[float]()
    for run in range(2):
        async with _streams(contender, size.background if run else 0):
            # One that warms, uncounted.
            numbers = range(1_000 * (run + 1), 1_000 * (run + 1) + count + 1)
            took = [
                (await contender.ask(alone(number, 184, 16, "completion", session=f"editor{run}"))).seconds
                for number in numbers
            ]
        whole.append(p95(took[1:]))
    return whole[0], whole[1]


async def _gaps(model: Path, program: Path, threads: int, size: Size) -> AsyncIterator[Figure]:
    """How long a stream of eight waits for its next token while a long prompt is computed beside it."""
    async with ours(model, threads) as engine:
        quiet, busy, took = await _prefilled(engine, size)
    told = f"{busy * 1000:.0f} ms beside {quiet * 1000:.0f} ms; the prompt took {took:.0f} s"
    yield Figure(f"gap p95 of 8 streams in a {size.long:,}-token prefill", busy / quiet, "×", 2.0, told)
    async with peers.llama_cpp(program, model, slots=9, context=CONTEXT, threads=threads) as server:
        quiet, busy, took = await _prefilled(server, size)
    told = f"{busy * 1000:.0f} ms beside {quiet * 1000:.0f} ms; the prompt took {took:.0f} s"
    yield Figure("the same on llama.cpp's server", busy / quiet, "×", None, told)


async def _prefilled(contender: Contender, size: Size) -> tuple[float, float, float]:
    """Seconds: the 95th percentile of the gaps without and with the long prompt, and until its first token."""
    async with _streams(contender, 8) as heard:
        begun = time.perf_counter()
        await asyncio.sleep(size.quiet_s)
        quiet = _between(heard, begun, time.perf_counter())
        begun = time.perf_counter()
        # Of the same rank as the streams: nobody makes way for anybody.
        long = await contender.ask(alone(77, size.long - 20, 1, "background", session="long"))
        busy = _between(heard, begun, begun + long.first)
    return p95(quiet), p95(busy), long.first


def _between(heard: list[list[float]], start: float, end: float) -> list[float]:
    """The gaps of all streams that ended between two times."""
    return [
        after - before
        for each in heard
        for before, after in itertools.pairwise(each)
        if start <= after <= end and before > 0
    ]


@asynccontextmanager
async def _streams(contender: Contender, count: int) -> AsyncIterator[list[list[float]]]:
    """So many background streams that never end, all under way; when each of their pieces came."""
    heard = [list[float]() for _ in range(count)]

    async def stream(number: int) -> None:
        for turn in range(1_000):
            # A stream's own next question is no gap between tokens.
            heard[number].append(0.0)
            question = alone(3_000 + 100 * turn + number, 60, 400, "background", session=f"stream{number}")
            await contender.ask(question, heard[number])

    tasks = [asyncio.create_task(stream(number)) for number in range(count)]
    try:
        while not all(len(each) > 2 for each in heard):
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.05)
        yield heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _brief(question: Question) -> Question:
    """The same, of whose answer only the first token is wanted."""
    from dataclasses import replace

    return replace(question, max_output=1)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
