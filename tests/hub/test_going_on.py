"""An answer that breaks off in the real hub: what the person sees of it."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from nanoide import wire
from nanoide.client.asking import Asking
from nanoide.client.connection import Connection
from nanoide.core.chat import Seam
from nanoide.core.events import SessionEvent, TextArrived, TurnFailed, TurnFinished, TurnStarted
from nanoide.core.session import Session, apply
from nanoide.paths import Paths
from nanoide.tui.transcript import Block
from nanoide.tui.wording import UNICODE
from tests.backends.servers import Close, Script, chat, respond, serve, stream
from tests.hub.test_sessions import reloaded

HALF = "The session keeps its token until eighty percent of its life"
REST = "time are gone."
GOES_ON = stream(*chat(HALF[-40:], REST), "[DONE]")


async def ladder_of_two(hub: Connection, paths: Paths, first: str, second: str) -> None:
    """Two servers in config.toml, taken up by the hub."""
    backend = '[[backend]]\nname = "{}"\nkind = "openai"\nbase_url = "{}"\nmodel = "m"\nwhere = "device"\n'
    ladder = '[route.default]\nladder = ["sonnet", "nano2"]\n'
    paths.config.write_text(backend.format("sonnet", first) + backend.format("nano2", second) + ladder)
    await reloaded(hub, "nano2")


async def _turn(hub: Connection, folder: Path) -> tuple[list[SessionEvent], Session]:
    """The events of one turn, and the session as a pane folds them."""
    given = (wire.Input(kind="stdin", label="standard input", text="def f(): pass"),)
    asking = await Asking.start(hub, wire.Ask(skill="explain-code", folder=str(folder), inputs=given))
    held, events = asking.asked.session, list[SessionEvent]()
    async for event in asking.events():
        events.append(event)
        held = apply(held, event)
    return events, held


async def test_a_pane_keeps_the_text_and_shows_the_switch(hub: Connection, paths: Paths, tmp_path: Path) -> None:
    """The line stands at its place while the answer streams, and is still there when the session is read again."""
    async with serve(stream(*chat(HALF, finish=None), Close)) as bad, serve(GOES_ON) as good:
        await ladder_of_two(hub, paths, bad.url, good.url)
        events, held = await _turn(hub, tmp_path)
    last = events[-1]
    assert isinstance(last, TurnFinished), last
    assert last.text == HALF + REST
    assert (last.backend, last.ttft_ms is not None) == ("nano2", True)
    assert "".join(each.text for each in events if isinstance(each, TextArrived)) == HALF + REST
    started = [each for each in events if isinstance(each, TurnStarted)]
    assert [each.after for each in started] == [0, len(HALF)]
    (turn,) = held.turns
    (seam,) = turn.seams
    assert (seam.after, seam.backend) == (len(HALF), "nano2")
    assert seam.reason.startswith("sonnet: ")
    assert [(each.backend, each.outcome) for each in turn.attempts] == [("sonnet", "cut"), ("nano2", "ok")]
    stored = await hub.call(wire.FindSession(name=held.name))
    assert stored.turns == held.turns
    block = Block(200, UNICODE)
    block.show(turn, "")
    lines = ["".join(text for text, _ in block[place]).strip() for place in range(len(block))]
    at = lines.index(HALF)
    assert lines[at + 1] == f"↷ went on with nano2: {seam.reason}"
    assert lines[at + 2] == REST
    assert sum("sonnet" in line for line in lines) == 1, "it is told once"
    report = await hub.call(wire.ReadUsage(recent=10))
    assert sorted(row.attempt.outcome for row in report.recent) == ["cut", "ok"]


async def test_when_nobody_goes_on_what_had_arrived_is_kept(hub: Connection, paths: Paths, tmp_path: Path) -> None:
    """The turn has failed, and says so."""
    async with serve(stream(*chat(HALF, finish=None), Close), respond(500)) as bad, serve(respond(500)) as down:
        await ladder_of_two(hub, paths, bad.url, down.url)
        events, held = await _turn(hub, tmp_path)
    last = events[-1]
    assert isinstance(last, TurnFailed)
    assert last.text == HALF
    assert re.search("^sonnet: .*; nobody could go on: nano2: ", last.message)
    assert held.turns[-1].text == HALF


@pytest.mark.parametrize(
    "second", [stream(*chat("I would rather begin anew. " * 20), "[DONE]"), respond(400)], ids=["anew", "refuses"]
)
async def test_what_stood_before_it_began_anew_is_kept_when_that_fails(
    hub: Connection, paths: Paths, tmp_path: Path, second: Script
) -> None:
    """Nothing that arrived is lost, and nothing is glued together."""
    async with (
        serve(stream(*chat(HALF, finish=None), Close), respond(500)) as bad,
        serve(second, respond(500)) as worse,
    ):
        await ladder_of_two(hub, paths, bad.url, worse.url)
        events, held = await _turn(hub, tmp_path)
    last = events[-1]
    assert isinstance(last, TurnFailed), last
    assert last.text == held.turns[-1].text == HALF
    assert last.seams == ()


async def test_a_turn_that_is_stopped_behind_the_seam_keeps_both_parts(
    hub: Connection, paths: Paths, tmp_path: Path
) -> None:
    """And where they meet."""
    goes_on = stream(*chat(HALF[-40:], "time", finish=None), asyncio.Event())
    async with serve(stream(*chat(HALF, finish=None), Close)) as bad, serve(goes_on) as good:
        await ladder_of_two(hub, paths, bad.url, good.url)
        given = (wire.Input(kind="stdin", label="standard input", text="def f(): pass"),)
        asking = await Asking.start(hub, wire.Ask(skill="explain-code", folder=str(tmp_path), inputs=given))
        async for event in asking.events():
            if isinstance(event, TextArrived) and event.text.endswith("time"):
                await asking.cancel()
        session = await hub.call(wire.FindSession(name=asking.asked.session.id))
    (turn,) = session.turns
    assert (turn.state, turn.text) == ("cancelled", HALF + "time")
    assert [(each.after, each.backend) for each in turn.seams] == [(len(HALF), "nano2")]
    assert isinstance(turn.seams[0], Seam)


async def test_a_command_prints_the_answer_once_and_tells_the_switch_beside_it(
    hub: Connection, paths: Paths, tmp_path: Path
) -> None:
    """Standard output is the answer, to the byte; a person who looks reads the switch on standard error."""
    bad_scripts = [stream(*chat(HALF, finish=None), Close)] * 2
    async with serve(*bad_scripts) as bad, serve(GOES_ON) as good:
        await ladder_of_two(hub, paths, bad.url, good.url)
        look, terminal = os.openpty()
        out = await _command(tmp_path, terminal, "ask", "explain-code")
        os.close(terminal)
        told = os.read(look, 65536).decode()
        os.close(look)
        assert out == f"{HALF}{REST}\n"
        assert told.count("went on with nano2: sonnet: ") == 1
        found = json.loads(await _command(tmp_path, asyncio.subprocess.DEVNULL, "ask", "explain-code", "--json"))
    assert found["text"] == HALF + REST
    assert [(each["backend"], each["outcome"]) for each in found["attempts"]] == [("sonnet", "cut"), ("nano2", "ok")]
    assert found["usage"]["output"] == sum(each["usage"]["output"] for each in found["attempts"])
    assert found["usage"]["estimated"]


async def _command(folder: Path, errors: int, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nanoide",
        *words,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
    )
    out, _ = await process.communicate(b"def f(): pass")
    assert process.returncode == 0, out
    return out.decode()
