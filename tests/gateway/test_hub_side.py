"""The hub's side of the gateway's requests, over its own socket."""

import asyncio
from pathlib import Path

import pytest

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.client.generating import Generating
from nanoide.client.launch import connect
from nanoide.core.chat import Fill
from nanoide.core.errors import HubError, Interrupted, UnknownName, UsageError
from nanoide.paths import Paths

FILL = Fill(prefix="def add(a, b):\n    return ", suffix="\n")


def slow(url: str) -> str:
    """A config with a backend that never answers."""
    name = '[[backend]]\nname = "slow"\nkind = "openai"\nmodel = "m"\n'
    return f'{name}base_url = "{url}"\ntimeout = {{ headers = 60.0 }}\n'


async def whole(generating: Generating) -> tuple[str, wire.Generated]:
    """The text and the end."""
    text = ""
    while isinstance(piece := await generating.next(), wire.Piece):
        text += piece.text
    return text, piece


async def test_only_the_one_that_asked_hears_the_answer(hub: Connection, paths: Paths) -> None:
    """Two connections may use the same key; each hears its own."""
    async with await connect(paths, client="other") as other:
        heard: list[wire.Piece] = []
        other.hear("k", heard.append)
        text, done = await whole(Generating(hub, wire.Generate(key="k", backend="nano", fill=FILL, temperature=0.0)))
    assert text
    assert (done.backend, done.where, done.cost_nano) == ("nano", "device", 0)
    assert heard == []


async def test_the_ladder_ends_with_a_reflex_for_what_is_to_be_filled_in(hub: Connection) -> None:
    """The reflex of inline completion copies what the text says elsewhere."""
    fill = Fill(prefix="total = compute_the_sum(invoice)\nother = compute_the_", suffix="\n")
    text, done = await whole(Generating(hub, wire.Generate(key="", backend="reflex", fill=fill)))
    assert done.tier == "reflex"
    assert text.startswith("sum(")


async def test_names_that_stand_for_nothing_are_told(hub: Connection) -> None:
    """And so is a question without one."""
    for request in (
        wire.Generate(key="", route="nowhere", fill=FILL),
        wire.Generate(key="", backend="nowhere", fill=FILL),
        wire.Generate(key="", skill="nowhere", fill=FILL),
    ):
        with pytest.raises(UnknownName):
            await whole(Generating(hub, request))
    with pytest.raises(UsageError):
        await whole(Generating(hub, wire.Generate(key="")))


async def test_what_is_stopped_says_so_and_stopping_twice_does_no_harm(
    home: Path, paths: Paths, silent_server: str
) -> None:
    """The ledger has its row when the stop is done."""
    (home / "config.toml").write_text(slow(silent_server))
    async with await connect(paths, client="test") as hub:
        generating = Generating(hub, wire.Generate(key="k", backend="slow", fill=FILL))
        piece = await generating.next()
        assert isinstance(piece, wire.Piece)
        assert piece.rung is not None
        with pytest.raises(UsageError, match="in use"):
            await hub.call(wire.Generate(key="k", backend="slow", fill=FILL))
        (rest,) = await generating.cancel()
        assert rest.attempt is not None
        assert rest.attempt.outcome == "cancelled"
        with pytest.raises(Interrupted):
            await generating.next()
        assert await generating.cancel() == ()
        (row,) = (await hub.call(wire.ReadUsage(recent=1))).recent
        assert row.attempt == rest.attempt


async def test_a_connection_that_closes_stops_its_answers(home: Path, paths: Paths, silent_server: str) -> None:
    """Nothing goes on for nobody."""
    (home / "config.toml").write_text(slow(silent_server))
    async with await connect(paths, client="test") as hub:
        async with await connect(paths, client="goes") as other:
            generating = Generating(other, wire.Generate(key="k", backend="slow", fill=FILL))
            assert isinstance(await generating.next(), wire.Piece)
        with pytest.raises(HubError):
            await whole(generating)
        async with asyncio.timeout(20):
            while not (rows := (await hub.call(wire.ReadUsage(recent=1))).recent):
                pass
        assert rows[0].attempt.outcome == "cancelled"
