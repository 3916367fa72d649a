"""The mirror of the hub: nothing is missed, nothing is shown twice, and it attaches again by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from textual.message import Message

from nanoide import wire
from nanoide.core import events
from nanoide.core.chat import Seam
from nanoide.core.errors import UsageError
from nanoide.core.events import SessionId, TurnId
from nanoide.tui.feed import Feed
from nanoide.tui.messages import Complaint, HubLost, SessionsChanged, SessionsReset
from tests.tui.scenes import session, turn
from tests.tui.scripted_hub import NOW, ScriptedHub

ONE = SessionId("s1")
TURN = TurnId("t1")


class Attached:
    """A feed on a scripted hub, and what it posted."""

    def __init__(self, hub: ScriptedHub) -> None:
        self.hub = hub
        self.posted: list[Message] = []
        self._news = asyncio.Event()
        self.feed = Feed(hub.connect, self._post)

    def _post(self, message: Message) -> None:
        self.posted.append(message)
        self._news.set()

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait until something holds; looks again at each message."""
        async with asyncio.timeout(10):
            while not holds():
                self._news.clear()
                await self._news.wait()

    def of(self, kind: type[Any]) -> list[Any]:
        """What was posted of one kind."""
        return [each for each in self.posted if isinstance(each, kind)]


@pytest.fixture
async def on() -> AsyncIterator[Attached]:
    """An attached feed; one session that streams, with three words so far."""
    hub = ScriptedHub()
    streaming = session(1, "file-query", "streaming", turns=(turn(1, "where?", "one two three", "streaming"),))
    hub.sessions = {each.id: each for each in (streaming, session(2, "regex"))}
    await hub.start()
    it = Attached(hub)
    running = asyncio.create_task(it.feed.run())
    await it.until(lambda: it.of(SessionsReset))
    yield it
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await hub.close()


def text(on: Attached) -> str:
    """The answer as the mirror has it."""
    turns = on.feed.sessions[ONE].turns
    return turns[-1].text if turns else ""


async def watch(on: Attached) -> None:
    """See the whole of the first session."""
    on.feed.watch([ONE])
    await on.until(lambda: text(on) == "one two three")


async def test_attaching_brings_outlines_and_watching_brings_turns(on: Attached) -> None:
    """Turns come only for what is watched, and go when it no longer is."""
    assert on.feed.sessions[ONE].turns == ()
    await watch(on)
    on.feed.watch([])
    await on.hub.until(lambda: on.hub.watched() == frozenset())
    on.hub.tell(events.SessionRenamed(SessionId("s2"), NOW, "other"))
    await on.until(lambda: on.feed.sessions[SessionId("s2")].name == "other")
    assert on.feed.sessions[ONE].turns == ()


async def test_text_is_appended_and_told_at_most_once_a_frame(on: Attached) -> None:
    """A hundred pieces are a few paints."""
    await watch(on)
    before = len(on.of(SessionsChanged))
    said = "one two three"
    for number in range(100):
        on.hub.tell(events.TextArrived(ONE, NOW, TURN, len(said), f" {number}"))
        said += f" {number}"
    await on.until(lambda: text(on) == said and on.of(SessionsChanged)[-1].outlines is False)
    assert len(on.of(SessionsChanged)) - before < 20


async def test_a_gap_is_filled_by_a_snapshot(on: Attached) -> None:
    """When a Delta was dropped the whole is asked for again."""
    await watch(on)
    watches = len(on.hub.of(wire.Watch))
    first = events.TextArrived(ONE, NOW, TURN, len("one two three"), " four")
    silent = on.hub.fold(first)
    on.hub.tell(events.TextArrived(ONE, NOW, TURN, len(silent.turns[-1].text), " five"))
    await on.until(lambda: text(on) == "one two three four five")
    assert len(on.hub.of(wire.Watch)) == watches + 1


async def test_what_the_snapshot_holds_is_not_shown_twice(on: Attached) -> None:
    """A Delta or a Fact that comes again changes nothing."""
    await watch(on)
    on.hub.repeat(events.TextArrived(ONE, NOW, TURN, 4, "two three"))
    on.hub.repeat(events.TurnAsked(ONE, NOW, TURN, "where?"))
    on.hub.tell(events.TextArrived(ONE, NOW, TURN, len("one two three"), "."))
    await on.until(lambda: text(on) == "one two three.")
    assert on.feed.sessions[ONE].turn_count == 1


async def test_a_failover_starts_the_text_again(on: Attached) -> None:
    """The first rung's words are gone, the second's are whole."""
    await watch(on)
    on.hub.tell(events.TurnStarted(ONE, NOW, TURN, "sonnet", "remote", "model", "nano was too slow"))
    on.hub.tell(events.TextArrived(ONE, NOW, TURN, 0, "anew"))
    await on.until(lambda: text(on) == "anew")
    assert on.feed.sessions[ONE].backend == "sonnet"


async def test_sessions_come_and_go(on: Attached) -> None:
    """What is opened is there, what is removed is not."""
    opened = await on.feed.call(wire.OpenSession(skill="regex", folder="/f"))
    await on.until(lambda: opened.id in on.feed.sessions)
    on.feed.send(wire.RemoveSession(session=opened.id))
    await on.until(lambda: opened.id not in on.feed.sessions)


async def test_a_refusal_of_what_nobody_waits_for_is_told(on: Attached) -> None:
    """As a Complaint with the hub's own words."""
    on.hub.refuse["session.rename"] = UsageError("that name is taken", hint="take another")
    on.feed.send(wire.RenameSession(session=ONE, name="x"))
    await on.until(lambda: on.of(Complaint))
    assert str(on.of(Complaint)[0].error) == "that name is taken (take another)"


async def test_a_hub_that_dies_is_found_again_and_nothing_is_missed(on: Attached) -> None:
    """It says that the hub is lost, tries again, and holds what happened meanwhile."""
    await watch(on)
    await on.hub.die()
    await on.until(lambda: len(on.of(HubLost)) >= 2)
    assert not on.feed.attached
    on.hub.fold(events.TextArrived(ONE, NOW, TURN, len("one two three"), " and more"))
    await on.hub.start()
    on.feed.retry()
    await on.until(lambda: len(on.of(SessionsReset)) == 2)
    await on.until(lambda: text(on) == "one two three and more")
    assert on.hub.watched() == {ONE}


async def test_a_rung_that_goes_on_leaves_the_text(on: Attached) -> None:
    """It is told where; what is told late changes nothing, and a gap is asked for."""
    await watch(on)
    goes_on = events.TurnStarted(ONE, NOW, TURN, "sonnet", "remote", "model", "nano: broke", after=len("one two three"))
    on.hub.tell(goes_on)
    on.hub.tell(events.TextArrived(ONE, NOW, TURN, len("one two three"), " four"))
    await on.until(lambda: text(on) == "one two three four")
    on.hub.repeat(goes_on)
    on.hub.tell(events.TextArrived(ONE, NOW, TURN, len("one two three four"), "."))
    await on.until(lambda: text(on) == "one two three four.")
    assert on.feed.sessions[ONE].turns[-1].seams == (Seam(len("one two three"), "sonnet", "nano: broke"),)
