"""The router's benchmark measures what it says; nothing is judged here by the clock."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.bench import router_server
from tests.bench.router import Client
from tests.bench.router_asking import calls, chunks, streams
from tests.bench.router_ours import alone, router


@pytest.fixture
def port() -> Iterator[int]:
    """Of the real server, in its own process."""
    argv = [sys.executable, str(Path(router_server.__file__))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("away", [False, True])
async def test_every_chunk_comes_with_the_time_at_which_it_was_sent(port: int, away: bool) -> None:
    """As many as were asked for, in order, stamped by the clock that we read too."""
    async with router(port, away=away) as ask:
        stamps = [int(text) async for text in ask(json.dumps({"chunks": 5, "apart": 0.001}))]
        assert len(stamps) == 5
        assert stamps == sorted(set(stamps))
        assert all(late >= 0 for late in await streams(ask, at_once=3, count=4, apart=0.001, spread=0))
        assert len(await calls(ask, 3)) == 3
        assert await chunks(ask, 5, 0.001) >= 0


async def test_an_answer_that_is_short_of_a_chunk_is_not_measured() -> None:
    """A client that loses chunks would look fast."""

    async def short(question: str) -> AsyncIterator[str]:
        wanted = json.loads(question)["chunks"]
        for _ in range(wanted - 1):
            yield "1 "

    with pytest.raises(RuntimeError, match="3 of 4 chunks came"):
        await chunks(short, 4, 0)
    with pytest.raises(RuntimeError, match="3 of 4 chunks came"):
        await streams(short, at_once=1, count=4, apart=0, spread=0)


async def test_the_router_alone_is_measured_over_a_script() -> None:
    """Two figures, of a call and of a chunk."""
    assert len(await alone(5)) == 2


def test_a_client_that_ends_is_told_and_not_waited_for() -> None:
    """By its name and its code."""
    argv = [sys.executable, "-c", "raise SystemExit(3)"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.wait()
        with pytest.raises(RuntimeError, match="ours ended with code 3"):
            Client("ours", process).ask(measure="calls", count=1)
    finally:
        process.communicate()
