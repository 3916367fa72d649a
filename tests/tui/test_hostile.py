"""Text from models, files, skills and backends does nothing to the screen but stand there."""

import pytest
from msgspec.structs import replace

from nanoide import wire
from nanoide.core import events
from nanoide.core.chat import Attempt
from nanoide.core.errors import UsageError
from nanoide.core.events import ConsentAsked, SessionId, TurnId
from nanoide.core.usage import Usage
from tests.tui.scenes import ledger, session, turn
from tests.tui.scripted_hub import NOW, ScriptedHub
from tests.tui.stage import Stage, stage

EVIL = "[/bold][@click=app.bell]x[/]\x1b[31m\x1b]52;c;aGk=\x07\x9b2J\x07\u202egnp\u2066\u200b\r\n\tend [$accent"

FORBIDDEN = {
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b",
}


def hostile(hub: ScriptedHub) -> None:
    """Every field that somebody else fills is filled with the worst."""
    failed = Attempt(backend=EVIL, where="remote", tier="model", outcome="timeout", ms=1, reason=EVIL)
    question = ConsentAsked(SessionId("s3"), NOW, TurnId("t3"), EVIL, EVIL, EVIL, 5, (EVIL,), 1)
    sessions = [
        session(
            1,
            EVIL,
            "streaming",
            turns=(turn(1, EVIL, EVIL * 3 + f"\n```{EVIL}\n{EVIL}", "streaming", backend=EVIL, attempts=(failed,)),),
            name=EVIL,
            backend=EVIL,
            reason=EVIL,
            draft=EVIL,
        ),
        session(2, EVIL, "failed", turns=(turn(2, EVIL, EVIL, "failed", message=EVIL, hint=EVIL, inputs=(EVIL,)),)),
        session(3, EVIL, "asking", turns=(turn(3, EVIL, "", "asking", consent=question),)),
        session(4, EVIL, "queued", turns=(turn(4, EVIL, "", "queued", backend=""),), reason=EVIL),
        session(5, EVIL, "done", turns=(turn(5, EVIL, EVIL, backend=EVIL),), name=EVIL),
    ]
    hub.sessions = {each.id: each for each in sessions}
    hub.status = wire.HubStatus(mode="degraded", mode_reason=EVIL)
    hub.skills = (
        wire.SkillLine("one", EVIL, "user", EVIL, "", None, "none", reflex=True),
        wire.SkillLine(EVIL, EVIL, "user", EVIL, "", None, "none", reflex=True, problem=EVIL),
    )
    hub.backends = (wire.BackendLine(EVIL, "openai", "remote", "model", model=EVIL, state="down", reason=EVIL),)
    row = wire.UsageRow(EVIL, 1, 1, 0, Usage(), 0, 0, 0)
    ledger(hub)
    hub.report = wire.UsageReport("skill", None, (row,), row)


def harmless(on: Stage) -> None:
    """Nothing on screen can do anything."""
    assert not FORBIDDEN & set(on.text().replace("\n", ""))


@pytest.mark.parametrize("size", [(120, 36), pytest.param((60, 16), marks=pytest.mark.long)])
async def test_hostile_text_is_harmless_everywhere(size: tuple[int, int]) -> None:
    """Panes, titles, sidebar, status, palette, skills, usage, complaints, composer."""
    async with stage(scene=hostile, size=size) as on:
        on.hub.tell(
            events.TextArrived(
                SessionId("s1"), NOW, TurnId("t1"), len(on.hub.sessions[SessionId("s1")].turns[0].text), EVIL
            )
        )
        for number in range(1, 6):
            await on.go(number)
            harmless(on)
            assert "[/bo" in on.text()
        for keys in (("ctrl+p",), ("n",), ("g",), ("u",), ("?",), ("ctrl+x",), ("r",)):
            await on.press(*keys)
            harmless(on)
            await on.press("escape")
            assert len(on.app.screen_stack) == 1
        on.app.complain(UsageError(EVIL, hint=EVIL))
        await on.pilot.pause()
        harmless(on)
        await on.press("y")
        assert not FORBIDDEN - {"\n", "\t"} & set(on.app.clipboard)


async def test_hostile_text_is_harmless_in_the_welcome() -> None:
    """A server that was found has a name, too."""

    def nothing_open(hub: ScriptedHub) -> None:
        hostile(hub)
        hub.sessions = {}
        hub.offers = (wire.Offer(EVIL, "server", EVIL, EVIL, EVIL, True),)

    async with stage(scene=nothing_open) as on:
        await on.until(lambda: "what was found" in on.text())
        harmless(on)
        await on.press("o")
        await on.until(lambda: "appended to" in on.text())
        harmless(on)


async def test_what_is_pasted_is_cleaned() -> None:
    """A composer takes the text of a paste and none of its controls."""
    from textual import events as inputs

    async with stage() as on:
        pane = on.app.deck.pane
        assert pane is not None
        await on.until(lambda: pane.composer.has_focus)
        on.app.post_message(inputs.Paste(EVIL))
        await on.until(lambda: "end" in pane.composer.text)
        assert not FORBIDDEN - {"\n", "\t"} & set(pane.composer.text)
        assert pane.composer.text.count("end") == 1


async def test_a_renamed_session_is_shown_as_it_was_written() -> None:
    """Markup is text."""
    async with stage() as on:
        on.hub.tell(events.SessionRenamed(SessionId("s1"), NOW, "[b]bold[/b] [/]"))
        await on.until(lambda: "[b]bold[/b] [/]" in on.text())
        assert replace(on.app.feed.sessions[SessionId("s1")]).name == "[b]bold[/b] [/]"
