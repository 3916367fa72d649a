"""What every client of the router's benchmark does alike: orders in on stdin, what was measured out on stdout.

Needs nothing but Python: a peer runs it with an interpreter of its own.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from time import monotonic_ns, perf_counter, process_time

Ask = Callable[[str], AsyncIterator[str]]
"""Asks a question, and yields the answer's texts as they come."""


async def calls(ask: Ask, count: int) -> list[float]:
    """Milliseconds of each of `count` answers of one chunk, one after the other."""
    question = json.dumps({"chunks": 1, "apart": 0})
    took: list[float] = []
    for _ in range(count):
        begun = perf_counter()
        async for _ in ask(question):
            pass
        took.append((perf_counter() - begun) * 1000)
    return took


async def chunks(ask: Ask, count: int, apart: float) -> float:
    """Microseconds of this process's own time for each chunk of an answer whose chunks come one by one.

    From the first to the last of them: what the call itself costs is told by `calls`.
    """
    question = json.dumps({"chunks": count, "apart": apart})
    heard = 0
    begun = ended = 0.0
    async for _ in ask(question):
        heard += 1
        ended = process_time()
        begun = begun or ended
    if heard != count:
        raise RuntimeError(f"{heard} of {count} chunks came")
    return (ended - begun) / (count - 1) * 1e6


async def streams(ask: Ask, at_once: int, count: int, apart: float, spread: float) -> list[float]:
    """Milliseconds that each chunk of so many streams at once was on its way, from the server's write to here.

    The streams begin `spread` seconds apart, as sessions do: not all in one instant.
    """
    question = json.dumps({"chunks": count, "apart": apart})

    async def one(place: int) -> list[float]:
        await asyncio.sleep(spread * place)
        late: list[float] = []
        async for text in ask(question):
            now = monotonic_ns()
            late += [(now - int(stamp)) / 1e6 for stamp in text.split()]
        if len(late) != count:
            raise RuntimeError(f"{len(late)} of {count} chunks came")
        return late

    return [each for late in await asyncio.gather(*(one(place) for place in range(at_once))) for each in late]


async def serve(ask: Ask) -> None:
    """Answer each line of standard input with a line: a list of figures."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        match order.pop("measure"):
            case "calls":
                told = await calls(ask, **order)
            case "chunks":
                told = [await chunks(ask, **order)]
            case _:
                told = await streams(ask, **order)
        print(json.dumps(told), flush=True)
