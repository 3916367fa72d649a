"""What every later room relies on: start-up, the first frame, memory at rest, the first token."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median

from nanoide import tokens, wire
from nanoide.client.asking import Asking
from nanoide.core.chat import Document
from nanoide.core.errors import NanoideError
from nanoide.core.events import AttemptEnded, TextArrived, TurnFailed, TurnFinished
from tests.bench import bare
from tests.bench.figure import Figure, p90
from tests.bench.running import Running, environ, running
from tests.bench.screen import painted

PAIRS = 15
FRAMES = 9
SESSIONS = 200
AT_ONCE = 10
ASKS = 21
WARMING = 3
PROMPT_TOKENS = 200
REPOSITORY = Path(__file__).parents[2]


def figures(*, quick: bool = False) -> Iterator[Figure]:
    """All figures of the house, each as soon as it is known. It is quick as it is."""
    cores = os.cpu_count()
    yield Figure(
        "load before measuring", os.getloadavg()[0], "", None, f"{cores} cores; the bounds are for a quiet machine"
    )
    yield from _starting()
    with asyncio.Runner() as runner:
        living = _living()
        while True:
            try:
                yield runner.run(anext(living))
            except StopAsyncIteration:
                return


def _starting() -> Iterator[Figure]:
    """What a command pays before it does anything, beside a Python that does nothing."""
    pairs = (
        ("nanoide --version", [sys.executable, "-m", "nanoide", "--version"], 80.0),
        ("import nanoide.hub.bootstrap", [sys.executable, "-c", "import nanoide.hub.bootstrap"], 150.0),
    )
    with tempfile.TemporaryDirectory() as home:
        for name, argv, bound in pairs:
            more, nothing = _paired(argv, [sys.executable, "-c", "pass"], Path(home))
            yield Figure(
                name,
                more,
                "ms",
                bound,
                f"more than python -c pass, {nothing:.0f} ms; {PAIRS} pairs",
            )


def _paired(argv: list[str], other: list[str], home: Path) -> tuple[float, float]:
    """The median of how many milliseconds more `argv` takes than `other`, run in turns; and `other`'s median."""
    more: list[float] = []
    nothing: list[float] = []
    for number in range(PAIRS + 1):
        long, short = _timed(argv, home), _timed(other, home)
        if number:  # the first pair fills the caches
            more.append(long - short)
            nothing.append(short)
    return median(more), median(nothing)


def _timed(argv: list[str], home: Path) -> float:
    start = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=environ(home), cwd=REPOSITORY)
    return (time.perf_counter() - start) * 1000


async def _living() -> AsyncIterator[Figure]:
    async with running() as hub:
        # The first turns of all compile what is imported late; the measured hub below finds it compiled.
        await _reflex(hub, 0)
        await _ask(hub, 0)
        for figure in _frames(hub):
            yield figure
    async with running() as hub:
        async for figure in _memory(hub):
            yield figure
        async for figure in _first_token(hub):
            yield figure


def _frames(hub: Running) -> Iterator[Figure]:
    """The command center's first frame, and when it knows the hub's state, beside a bare Textual app."""
    command = [sys.executable, "-m", "nanoide"]
    least = [sys.executable, str(Path(bare.__file__))]
    firsts: list[float] = []
    attached: list[float] = []
    bares: list[float] = []
    for number in range(FRAMES + 1):
        first, whole = painted(command, hub.environ, REPOSITORY, [" nanoide ", "today $"])
        (nothing,) = painted(least, hub.environ, REPOSITORY, [bare.MARK])
        if first is None or whole is None or nothing is None:
            yield Figure("command center, first frame / bare app", None, "×", 2.2, "a frame never came")
            return
        if number:
            firsts.append(first * 1000)
            attached.append(whole * 1000)
            bares.append(nothing * 1000)
    ratio = median(firsts) / median(bares)
    told = f"{median(firsts):.0f} ms beside {median(bares):.0f} ms bare Textual app, {FRAMES} pairs, hub running"
    yield Figure("command center, first frame / bare app", ratio, "×", 2.2, told)
    yield Figure("command center, attached", median(attached), "ms", None, "the hub's figures stand in the status bar")


async def _memory(hub: Running) -> AsyncIterator[Figure]:
    yield Figure("hub, just started", hub.hub_mb(), "MB", 60.0, "resident, no engine, no session")
    await _reflex(hub, 0)
    before = hub.hub_mb()
    yield Figure("hub, after a turn", before, "MB", 60.0, "resident, no engine, one reflex turn")
    for start in range(1, SESSIONS + 1, AT_ONCE):
        await asyncio.gather(*(_reflex(hub, start + each) for each in range(AT_ONCE)))
    told = f"each with an answered turn; hub before them {before:.1f} MB"
    yield Figure(f"{SESSIONS} idle sessions", hub.hub_mb() - before, "MB", 10.0, told)


async def _reflex(hub: Running, number: int) -> None:
    request = wire.Ask(
        text="where is the ledger?",
        skill="file-query",
        name=f"reflex-{number}",
        folder=str(REPOSITORY),
        backend="reflex",
    )
    asking = await Asking.start(hub.connection, request)
    async for _ in asking.events():
        pass


async def _first_token(hub: Running) -> AsyncIterator[Figure]:
    """From sending Ask to the first text at the client; each prompt is new to the model's cache."""
    name = "first token of a local turn"
    try:
        for number in range(WARMING):
            await _ask(hub, number)
        pairs = [await _ask(hub, number) for number in range(WARMING, ASKS + WARMING)]
    except NanoideError as error:
        yield Figure(name, None, "ms", 100.0, str(error))
        return
    took = [whole for whole, _ in pairs]
    size = tokens.count(_document(WARMING).text)
    told = f"{ASKS} asks of {size} tokens, bundled model, warm, nothing cached"
    yield Figure(f"{name}, median", median(took), "ms", 100.0, told)
    yield Figure(f"{name}, p90", p90(took), "ms", 100.0, told)
    rest = median(whole - inside for whole, inside in pairs)
    yield Figure(
        f"{name}, outside the attempt", rest, "ms", None, "hub, store and wire: all but the backend's own time"
    )
    yield Figure("engine with the bundled model", hub.engine_mb(), "MB", 150.0, "resident, after these turns")


async def _ask(hub: Running, number: int) -> tuple[float, float]:
    """Milliseconds to the first text of a turn of its own, and how many of them were the backend's.

    Raises when the turn fails or the model stays silent.
    """
    request = wire.Ask(skill="inline-completion", backend="nano", ambient=True, document=_document(number))
    start = time.perf_counter()
    asking = await Asking.start(hub.connection, request)
    first: float | None = None
    inside = 0
    async for event in asking.events():
        if isinstance(event, TextArrived) and first is None:
            first = (time.perf_counter() - start) * 1000
        if isinstance(event, AttemptEnded):
            inside = event.attempt.ttft_ms or 0
        if isinstance(event, TurnFailed):
            raise NanoideError(event.message, hint=event.hint)
        if isinstance(event, TurnFinished) and first is None:
            if not event.text:
                raise NanoideError(f"the model had nothing to say to document {number}")
            first = (time.perf_counter() - start) * 1000
    assert first is not None
    return first, inside


def _document(number: int) -> Document:
    """Python of about the prompt's length, unlike any other number's from its first token on."""
    lines = [f"{number} # page {number}", "import os", "", ""]
    place = 0
    while tokens.count("\n".join(lines)) < PROMPT_TOKENS - 12:
        place += 1
        lines += [f"def read_{number}_{place}(path):", f"    return os.stat(path).st_size * {place}", ""]
    lines += [f"def total_{number}(paths):", "    total = 0", "    for path in paths:", "        total += os."]
    text = "\n".join(lines)
    return Document(
        path=f"/bench/page{number}.py", text=text, line=len(lines) - 1, character=len(lines[-1]), language="python"
    )


if __name__ == "__main__":
    for each in figures():
        print(each.line(), flush=True)
