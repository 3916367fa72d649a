"""What the breakers of a real hub know: kept over its end, taken up by the next one, and seen in a pane."""

from pathlib import Path

import msgspec

from nanoide import wire
from nanoide.client.asking import ask
from nanoide.client.launch import connect
from nanoide.core.events import TurnFailed, TurnFinished, TurnStarted
from nanoide.paths import Paths
from tests.backends.servers import chat, respond, serve, stream


def _config(paths: Paths, url: str, more: str = "") -> None:
    paths.prepare()
    paths.config.write_text(
        f'[[backend]]\nname = "far"\nkind = "openai"\nbase_url = "{url}"\nmodel = "m"\n{more}\n'
        '[route.default]\nladder = ["far"]\n'
    )


def _question(folder: Path) -> wire.Ask:
    given = (wire.Input(kind="stdin", label="standard input", text="x = 1"),)
    return wire.Ask(skill="explain-code", folder=str(folder), text="why?", inputs=given, interactive=False)


async def test_a_backend_that_asked_for_a_rest_is_left_alone_by_the_next_hub(paths: Paths, tmp_path: Path) -> None:
    """One request in two lives of the hub; the file says nothing to others; another address is asked at once."""
    async with serve(respond(429, {}, ["retry-after: 600"])) as busy, serve(stream(*chat("well"), "[DONE]")) as other:
        _config(paths, busy.url)
        for _ in range(2):
            async with await connect(paths, client="test") as connection:
                ended = [event async for event in ask(connection, _question(tmp_path))][-1]
                assert isinstance(ended, TurnFailed)
                line = next(each for each in await connection.call(wire.ListBackends()) if each.name == "far")
                assert (line.state, line.breaker, line.reason) == (
                    "cooling",
                    "open",
                    "overloaded (429), again in 600 s",
                )
                await connection.call(wire.StopHub())
                async for _ in connection.notices():
                    pass
        assert len(busy.requests) == 1
        kept = paths.database.with_name("breakers.json")
        assert kept.stat().st_mode & 0o777 == 0o600
        assert set(msgspec.json.decode(kept.read_bytes())["notes"]) == {"far"}
        _config(paths, other.url)
        async with await connect(paths, client="test") as connection:
            ended = [event async for event in ask(connection, _question(tmp_path))][-1]
            assert isinstance(ended, TurnFinished)
            assert ended.text == "well"


async def test_a_pane_reads_whom_its_turn_waits_for(paths: Paths, tmp_path: Path) -> None:
    """The turn that met a busy server waits for it, says so as it starts, and is answered; two attempts, one wait."""
    async with serve(respond(429, {}, ["retry-after-ms: 300"]), stream(*chat("well"), "[DONE]")) as server:
        _config(paths, server.url)
        async with await connect(paths, client="test") as connection:
            events = [event async for event in ask(connection, _question(tmp_path))]
    reasons = [event.reason for event in events if isinstance(event, TurnStarted)]
    assert "waits 1 s for far: overloaded (429)" in reasons
    ended = events[-1]
    assert isinstance(ended, TurnFinished)
    assert ended.text == "well"
    assert len(server.requests) == 2
