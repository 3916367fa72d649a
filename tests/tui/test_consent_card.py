"""The card that asks before anything leaves."""

import pytest
from msgspec.structs import replace

from nanoide.core.events import ConsentAsked, NoticeGiven, SessionId, TurnId
from nanoide.tui.prose import Line
from nanoide.tui.transcript import consent
from nanoide.wire import GiveConsent
from tests.tui.scripted_hub import NOW
from tests.tui.stage import stage

ASKED = ConsentAsked(
    SessionId("s1"), NOW, TurnId("t1"), "sonnet", "api.example", "a.py", 1_204, ("GitHub token",), 1_100_000
)


def text(lines: list[Line]) -> str:
    """As it stands on the screen."""
    return "\n".join("".join(part for part, _ in line) for line in lines)


@pytest.mark.parametrize("width", [24, 40, 60, 100])
def test_the_card_says_everything_at_any_width(width: int) -> None:
    """Whom, what, how much, what was hidden, the most it can cost, and the keys."""
    said = text(consent(ASKED, width))
    words = " ".join(said.split())
    for each in ("sonnet (api.example)", "a.py,", "tokens", "GitHub token", "at most $0.0011"):
        assert each in words
    for key in ("y once", "s ", "a always", "n stay"):
        assert key in said
    assert all(len(line) <= max(width, 34) for line in said.splitlines())


def test_what_is_not_there_is_said_too() -> None:
    """No secret, no price."""
    said = text(consent(replace(ASKED, hidden=(), cost_nano=None), 80))
    assert "nothing: no secret was found" in said
    assert "no price is known" in said
    assert "budget" not in said


def test_going_over_a_budget_cannot_be_allowed_for_good() -> None:
    """The budget is named, and the key for "always" is not offered."""
    said = text(consent(replace(ASKED, over="today's budget of $1 is used up"), 80))
    assert "today's budget of $1 is used up; a yes allows it" in said
    assert "always" not in said
    assert "s this session" in said


async def test_a_key_answers_the_question_that_is_shown() -> None:
    """The answer names it."""
    async with stage() as on:
        asked = replace(ASKED, session=SessionId("s7"), turn=TurnId("t7"), digest="0123abcd")
        on.hub.tell(asked)
        await on.go(7)
        pane = on.app.deck.pane
        assert pane is not None
        await on.until(lambda: "a.py, " in on.text() and pane.armed)
        await on.press("y")
        await on.until(lambda: on.hub.of(GiveConsent))
        assert on.hub.of(GiveConsent)[-1] == GiveConsent(SessionId("s7"), "once", "0123abcd")


async def test_a_budget_that_is_near_stands_in_the_pane_and_in_the_first_line() -> None:
    """In the turn that brought it there, and above for as long as it holds."""
    notice = "today's budget of $2.00 is at 83 %: $1.66 is spent"
    async with stage(size=(170, 40)) as on:
        on.hub.tell(NoticeGiven(SessionId("s1"), NOW, TurnId("t1"), notice))
        await on.until(lambda: f"! {notice[:40]}" in on.text())
        on.hub.say(replace(on.hub.status, notices=(notice,)))
        await on.until(lambda: "today's budget of $2.00 is at 83 %" in on.text().split("\n")[0])
