"""The primary dies in mid-stream under twelve sessions, in a real terminal."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.core.events import TurnFinished
from nanoide.paths import Paths
from tests.backends.servers import Close, chat, serve, stream
from tests.e2e.terminal import Terminal
from tests.hub.test_going_on import GOES_ON, HALF, REST, ladder_of_two

CENTER = [sys.executable, "-m", "nanoide"]
SESSIONS = 12


@pytest.mark.long
async def test_twelve_sessions_go_on_when_the_primary_dies(hub: Connection, paths: Paths, tmp_path: Path) -> None:
    """Every answer is whole, every pane says who went on at the place where it did, and nobody is asked anything."""
    dies = asyncio.Event()
    async with serve(stream(*chat(HALF, finish=None), dies, Close)) as bad, serve(GOES_ON) as good:
        await ladder_of_two(hub, paths, bad.url, good.url)
        await hub.call(wire.Attach())
        notices = hub.notices()
        given = (wire.Input(kind="stdin", label="standard input", text="def f(): pass"),)
        async with Terminal(CENTER, os.environ, tmp_path, columns=200, lines=50) as center:
            await center.shows("? keys")
            for number in range(1, SESSIONS + 1):
                await hub.call(wire.Ask(skill="explain-code", text=f"n{number}", folder=str(tmp_path), inputs=given))
            half = "of its life▌"
            await center.until(lambda: center.text.count(half) == SESSIONS, "every pane shows the first half")
            dies.set()
            finished: list[TurnFinished] = []
            async for notice in notices:
                if isinstance(notice, wire.Published) and isinstance(notice.event, TurnFinished):
                    finished.append(notice.event)
                    if len(finished) == SESSIONS:
                        break
            assert {each.text for each in finished} == {HALF + REST}
            assert {each.backend for each in finished} == {"nano2"}
            await center.until(lambda: center.text.count("↷ went on with nano2") == SESSIONS, "every pane says it")
            await center.until(lambda: center.text.count(REST) == SESSIONS, "every pane shows the whole answer")
    report = await hub.call(wire.ReadUsage(recent=50))
    outcomes = sorted(row.attempt.outcome for row in report.recent)
    assert outcomes == ["cut"] * SESSIONS + ["ok"] * SESSIONS
