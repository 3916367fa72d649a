"""Sessions and turns through the real hub, answered by reflexes and the bundled model."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from nanoide import wire
from nanoide.client.asking import Asking, ask
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.core.chat import Document
from nanoide.core.errors import InputError, UnknownName, UsageError
from nanoide.core.events import (
    SessionEvent,
    TextArrived,
    TurnAsked,
    TurnCancelled,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from nanoide.core.session import apply
from nanoide.paths import Paths
from tests.backends.servers import chat, serve, stream

SOURCE = '''"""A tiny module."""


def fold(lines: list[str]) -> str:
    """Join the lines."""
    return " ".join(lines)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one Python file."""
    (tmp_path / "fold.py").write_text(SOURCE)
    return tmp_path


def explain(folder: Path, **fields: object) -> wire.Ask:
    """A question that the reflex of explain-code answers."""
    given = (wire.Input(kind="file", label=str(folder / "fold.py")),)
    return wire.Ask(skill="explain-code", folder=str(folder), inputs=given, **fields)  # type: ignore[arg-type]


async def events_of(connection: Connection, request: wire.Ask) -> list[SessionEvent]:
    """All events of one turn."""
    return [event async for event in ask(connection, request)]


async def test_a_turn_is_asked_streamed_and_finished(hub: Connection, folder: Path) -> None:
    """The text that arrives in pieces is the text of the finished turn."""
    events = await events_of(hub, explain(folder))
    finished = events[-1]
    assert isinstance(events[0], TurnAsked)
    assert isinstance(finished, TurnFinished), finished
    assert "fold" in finished.text
    assert finished.tier == "reflex"
    assert finished.cost_nano == 0
    assert "".join(event.text for event in events if isinstance(event, TextArrived)) == finished.text


async def test_a_pane_that_folds_the_events_holds_what_the_hub_holds(hub: Connection, folder: Path) -> None:
    """Applying the events to the session as it was asked gives the hub's own session."""
    held = await hub.call(wire.OpenSession(skill="explain-code", folder=str(folder)))
    await hub.call(wire.Watch(sessions=(held.id,)))
    notices = hub.notices()
    await hub.call(explain(folder, session=held.id))
    async for notice in notices:
        assert isinstance(notice, wire.Published)
        held = apply(held, notice.event)
        if isinstance(notice.event, TurnFinished):
            break
    assert held == await hub.call(wire.FindSession(name=held.name))


async def test_a_session_is_found_by_number_name_and_id(hub: Connection, folder: Path) -> None:
    """All three stand for the same session."""
    session = await hub.call(wire.OpenSession(skill="file-query", folder=str(folder), name="where"))
    for name in (str(session.number), "where", session.id, session.id[:6]):
        assert (await hub.call(wire.FindSession(name=name))).id == session.id
    with pytest.raises(UnknownName, match="unknown session 'nowhere'"):
        await hub.call(wire.FindSession(name="nowhere"))


async def test_names_are_unique_and_plain(hub: Connection, folder: Path) -> None:
    """A name in use, one of digits and one with a control character are refused."""
    await hub.call(wire.OpenSession(skill="file-query", folder=str(folder), name="where"))
    for name in ("where", "12", "a\x1bb", " x", "x" * 65):
        with pytest.raises(UsageError):
            await hub.call(wire.OpenSession(skill="file-query", folder=str(folder), name=name))


async def test_unknown_names_are_refused_before_anything_is_stored(hub: Connection, folder: Path) -> None:
    """A wrong skill, route or backend leaves no session behind."""
    for request in (
        wire.Ask(skill="no-such", folder=str(folder)),
        explain(folder, route="no-such"),
        explain(folder, backend="no-such"),
    ):
        with pytest.raises(UnknownName):
            await hub.call(request)
    assert (await hub.call(wire.Attach())).sessions == ()


async def test_hidden_drafts_and_names_survive_the_hub(hub: Connection, paths: Paths, folder: Path) -> None:
    """What was acknowledged is there after a restart."""
    session = await hub.call(wire.OpenSession(skill="file-query", folder=str(folder)))
    await hub.call(wire.HideSession(session=session.id))
    await hub.call(wire.SaveDraft(session=session.id, text="half a quest"))
    await hub.call(wire.RenameSession(session=session.id, name="later"))
    await hub.call(wire.StopHub())
    async for _ in hub.notices():
        pass
    async with await connect(paths, client="test") as again:
        (kept,) = (await again.call(wire.Attach())).sessions
    assert (kept.name, kept.hidden, kept.draft) == ("later", True, "half a quest")


async def test_a_removed_session_is_gone_and_its_number_not_used_again(hub: Connection, folder: Path) -> None:
    """Numbers only rise; the ledger keeps its rows."""
    asking = await Asking.start(hub, explain(folder))
    async for _ in asking.events():
        pass
    await hub.call(wire.RemoveSession(session=asking.asked.session.id))
    with pytest.raises(UnknownName):
        await hub.call(wire.FindSession(name=asking.asked.session.id))
    assert (await hub.call(wire.ReadUsage())).total.attempts >= 1
    second = await hub.call(wire.OpenSession(skill="file-query", folder=str(folder)))
    assert second.number > asking.asked.session.number


async def test_a_file_that_is_missing_fails_the_turn_with_a_reason(hub: Connection, folder: Path) -> None:
    """The failure is a Fact in its own session."""
    request = wire.Ask(
        skill="explain-code", folder=str(folder), inputs=(wire.Input(kind="file", label=str(folder / "none.py")),)
    )
    last = (await events_of(hub, request))[-1]
    assert isinstance(last, TurnFailed)
    assert last.error == "InputError"
    assert "none.py" in last.message


async def test_eight_streams_killed_with_the_hub_are_told_as_interrupted(
    hub: Connection, paths: Paths, folder: Path
) -> None:
    """After kill -9 in mid-stream every acknowledged question is there, and says that it was interrupted."""
    async with serve(stream(*chat("half an ", "answer", finish=None), asyncio.Event())) as server:
        paths.config.write_text(
            f'[[backend]]\nname = "slow"\nkind = "openai"\nbase_url = "{server.url}"\nmodel = "m"\n'
            '[route.default]\nladder = ["slow"]\n'
        )
        await reloaded(hub, "slow")
        asked = [await Asking.start(hub, explain(folder, text=f"question {n}")) for n in range(8)]
        for asking in asked:
            async for event in asking.events():
                if isinstance(event, TextArrived):
                    break
        os.kill((await hub.call(wire.ReadStatus())).pid, signal.SIGKILL)
        async for _ in hub.notices():
            pass
    async with await connect(paths, client="test") as again:
        for number, asking in enumerate(asked):
            session = await again.call(wire.FindSession(name=asking.asked.session.id))
            (turn,) = session.turns
            assert turn.asked == f"question {number}"
            assert (session.state, turn.error) == ("failed", "Interrupted")
            assert "interrupted" in turn.message


async def test_a_stopped_turn_is_cancelled_and_the_next_one_goes_on(
    hub: Connection, paths: Paths, folder: Path, silent_server: str
) -> None:
    """Cancel ends the turn at once, leaves one ledger row, and frees the session."""
    paths.config.write_text(
        f'[[backend]]\nname = "slow"\nkind = "openai"\nbase_url = "{silent_server}"\nmodel = "m"\n'
        '[route.default]\nladder = ["slow", "reflex"]\n'
    )
    await reloaded(hub, "slow")
    asking = await Asking.start(hub, explain(folder))
    id = asking.asked.session.id
    with pytest.raises(UsageError, match="is still"):
        await hub.call(wire.Ask(session=id, text="again"))
    events: list[SessionEvent] = []
    async for event in asking.events():
        events.append(event)
        if isinstance(event, TurnStarted):
            await asking.cancel()
    assert isinstance(events[-1], TurnCancelled)
    report = await hub.call(wire.ReadUsage(recent=10))
    assert [row.attempt.outcome for row in report.recent] == ["cancelled"]
    again = await hub.call(explain(folder, session=id, backend="reflex"))
    assert again.session.id == id


async def test_a_completion_outside_the_text_is_refused(hub: Connection, folder: Path) -> None:
    """The error says which lines and characters there are."""
    for line, character in ((99, 0), (0, 999), (-1, 0)):
        document = Document(path="fold.py", text=SOURCE, line=line, character=character)
        with pytest.raises(InputError, match=r"fold\.py"):
            await hub.call(wire.Complete(document=document, folder=str(folder)))


async def reloaded(hub: Connection, backend: str) -> None:
    """Wait until the hub has taken up a config.toml with `backend`; nothing tells it but asking again."""
    async with asyncio.timeout(10):
        while backend not in {line.name for line in await hub.call(wire.ListBackends())}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
