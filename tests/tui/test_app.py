"""The command center as a whole: drafts, sending, focus, sizes, and a hub that comes and goes."""

import json

import pytest
from textual.geometry import Size

from nanoide import wire
from nanoide.core import events
from nanoide.core.errors import NoBackend
from nanoide.core.events import SessionId, TurnId
from nanoide.settings import UiTable
from nanoide.tui.welcome import Welcome
from tests.tui.scenes import cockpit, skills
from tests.tui.scripted_hub import NOW, ScriptedHub
from tests.tui.stage import empty, stage

ONE = SessionId("s1")


async def test_enter_asks_and_the_answer_streams_in() -> None:
    """The text goes to the hub and the composer is empty; what arrives is shown as it arrives."""
    async with stage() as on:
        await on.until(lambda: on.app.deck.pane is not None and on.app.deck.pane.composer.has_focus)
        await on.write("why?")
        await on.press("enter")
        await on.until(lambda: on.hub.of(wire.Ask))
        assert (on.hub.of(wire.Ask)[0].session, on.hub.of(wire.Ask)[0].text) == (ONE, "why?")
        turn = on.hub.sessions[ONE].turns[-1].id
        on.hub.tell(events.TurnStarted(ONE, NOW, turn, "nano", "device", "model"))
        on.hub.tell(events.TextArrived(ONE, NOW, turn, 0, "because "))
        on.hub.tell(events.TextArrived(ONE, NOW, turn, 8, "of that"))
        await on.until(lambda: "because of that▌" in on.text())
        pane = on.app.deck.pane
        assert pane is not None
        assert pane.composer.text == ""


async def test_a_question_that_is_refused_comes_back() -> None:
    """Nothing that was written is lost, and the reason is said."""
    async with stage() as on:
        on.hub.refuse["ask"] = NoBackend("no backend could answer", hint="see nanoide backends")
        pane = on.app.deck.pane
        assert pane is not None
        await on.until(lambda: pane.composer.has_focus)
        await on.write("why?")
        await on.press("enter")
        await on.until(lambda: pane.composer.text == "why?")
        assert "no backend could answer see nanoide backends" in on.app.hints.complaint


async def test_several_lines_are_one_question() -> None:
    """Ctrl+j breaks the line, and the composer grows."""
    async with stage() as on:
        pane = on.app.deck.pane
        assert pane is not None
        await on.until(lambda: pane.composer.has_focus)
        await on.press("a", "ctrl+j", "b")
        await on.until(lambda: pane.composer.size.height == 2)
        await on.press("enter")
        await on.until(lambda: on.hub.of(wire.Ask))
        assert on.hub.of(wire.Ask)[0].text == "a\nb"


async def test_a_draft_is_kept_and_restored() -> None:
    """By the hub, a moment after the last key; another start finds it."""
    hub = ScriptedHub()
    cockpit(hub)
    try:
        async with stage(hub=hub) as on:
            await on.until(lambda: on.app.deck.pane is not None and on.app.deck.pane.composer.has_focus)
            await on.write("half")
            await on.until(lambda: hub.sessions[ONE].draft == "half")
        async with stage(hub=hub) as on:
            await on.until(lambda: on.app.deck.pane is not None and on.app.deck.pane.composer.text == "half")
    finally:
        await hub.close()


async def test_detaching_leaves_everything_for_the_next_time(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Focus, zoom and theme come back; what is hidden is the hub's to know."""
    home = tmp_path_factory.mktemp("h")
    hub = ScriptedHub()
    cockpit(hub)
    try:
        async with stage(hub=hub, home=home) as on:
            await on.go(4)
            await on.press("z", "t", "down", "enter")
            await on.press("ctrl+d")
            await on.until(lambda: on.app.return_code == 0)
        assert json.loads((home / "state" / "tui.json").read_bytes())["theme"] == "ember"
        async with stage(hub=hub, home=home) as on:
            assert on.app.deck.current == "s4"
            assert on.app.deck.visible_sessions == ("s4",)
            assert on.app.theme == "ember"
            assert on.app.deck.members == ("s1", "s2", "s4", "s7")
    finally:
        await hub.close()


async def test_what_is_looked_at_is_seen_and_nothing_else() -> None:
    """Done in the focused pane becomes idle, once; done elsewhere stays unread."""
    async with stage() as on:
        await on.until(lambda: on.hub.of(wire.SeeSession))
        assert {each.session for each in on.hub.of(wire.SeeSession)} == {ONE}
        await on.until(lambda: on.app.feed.sessions[ONE].state == "idle")
        assert on.hub.sessions[SessionId("s5")].state == "done"


async def test_a_question_does_not_take_the_words_of_a_writing_person() -> None:
    """With a text in the composer the focus stays there, and y is a letter."""
    async with stage() as on:
        pane = on.app.deck.pane
        assert pane is not None
        await on.until(lambda: pane.composer.has_focus)
        await on.write("wh")
        turn = on.hub.sessions[ONE].turns[-1].id
        on.hub.tell(events.TurnStarted(ONE, NOW, turn, "sonnet", "remote", "model"))
        on.hub.tell(events.ConsentAsked(ONE, NOW, turn, "sonnet", "api.example", "1 file", 10))
        await on.until(lambda: "This would leave your machine" in on.text())
        await on.press("y")
        assert pane.composer.text == "why"
        assert not on.hub.of(wire.GiveConsent)


async def test_a_question_is_not_answered_by_a_key_that_was_on_its_way() -> None:
    """It has to have been visible for a moment; until then letters do nothing at all."""
    async with stage() as on:
        await on.read_mode()
        pane = on.app.deck.pane
        assert pane is not None
        turn = on.hub.sessions[ONE].turns[-1].id
        on.hub.tell(events.ConsentAsked(ONE, NOW, turn, "sonnet", "api.example", "1 file", 10))
        await on.until(lambda: pane.session.state == "asking")
        pane.arm_s = 3_600
        await on.press("y", "n")
        assert not on.hub.of(wire.GiveConsent)
        assert len(on.app.screen_stack) == 1


async def test_failures_say_what_where_and_what_to_try() -> None:
    """In the pane, and the other panes go on."""
    async with stage(size=(160, 45)) as on:
        turn = on.hub.sessions[SessionId("s2")].turns[-1].id
        on.hub.tell(
            events.TurnFailed(
                SessionId("s2"), NOW, turn, "half", "NoBackend", "every rung failed", "nanoide doctor", 900
            )
        )
        await on.until(lambda: "every rung failed" in on.text())
        assert "try: nanoide doctor" in on.text()
        assert "what had arrived is kept" in on.text()


async def test_ctrl_c_twice_detaches_and_once_only_says_so() -> None:
    """As long as nothing is under way that it could stop."""
    async with stage() as on:
        await on.read_mode()
        await on.press("ctrl+c")
        assert "again detaches" in on.app.hints.complaint
        await on.press("ctrl+c")
        await on.until(lambda: on.app.return_code == 0)


async def test_the_welcome_tells_what_works() -> None:
    """Backends and skills as they are; a rung that is down is not praised."""
    async with stage(scene=empty) as on:
        await on.until(lambda: "nothing has left this machine" in on.text())
        shown = " ".join(on.text().split())
        assert "ready nano · on this device, starts when asked" in shown
        assert "not now sonnet (sonnet-5): 401: no key" in shown
        assert "broken broken: SKILL.md is missing" in shown
        assert on.app.query_one(Welcome).display
        await on.press("n", "enter")
        await on.until(lambda: on.app.deck.current == "s1")
        assert not on.app.query_one(Welcome).display


async def test_with_every_pane_hidden_it_says_how_to_see_one() -> None:
    """The sessions are still in the list."""
    async with stage() as on:
        for number in (1, 2, 4, 7):
            on.hub.tell(events.SessionHidden(SessionId(f"s{number}"), NOW, True))
        await on.until(lambda: "Every pane is hidden" in on.text())
        await on.press("a")
        await on.until(lambda: len(on.app.deck.members) == 14)


async def test_a_hub_that_dies_and_comes_back_is_followed_again() -> None:
    """The status line says so; the composer keeps what is written; the answer goes on."""
    async with stage(starting=True) as on:
        on.app.feed._connect = on.hub.connect
        pane = on.app.deck.pane
        assert pane is not None
        await on.until(lambda: pane.composer.has_focus)
        await on.write("wait")
        await on.hub.die()
        await on.until(lambda: "trying again" in on.text())
        await on.hub.start()
        on.app.feed.retry()
        await on.settled()
        await on.until(lambda: "trying again" not in on.text())
        assert pane.composer.text == "wait"
        two = SessionId("s2")
        answer = on.hub.sessions[two].turns[-1]
        on.hub.tell(events.TextArrived(two, NOW, answer.id, len(answer.text), " END"))
        await on.until(lambda: "END" in on.text())


async def test_a_hub_that_cannot_start_is_told_and_tried_again() -> None:
    """No traceback, no end: the first frame stands and says why."""
    hub = ScriptedHub()
    cockpit(hub)
    skills(hub)
    try:
        async with stage(hub=hub, starting=False) as on:
            await on.until(lambda: "the hub does not run; trying again" in on.text())
            await hub.start()
            on.app.feed.retry()
            await on.settled()
    finally:
        await hub.close()


@pytest.mark.parametrize("size", [(20, 5), (40, 12), pytest.param((500, 200), marks=pytest.mark.long)])
async def test_any_size_will_do(size: tuple[int, int]) -> None:
    """From tiny to huge, there and back, with the focused pane on screen."""
    async with stage() as on:
        await on.pilot.resize_terminal(*size)
        await on.until(lambda: on.app.size == Size(*size))
        await on.settled()
        pane = on.app.deck.pane
        assert pane is not None
        assert pane.display
        for key in ("f1", "escape", "ctrl+p", "escape", "ctrl+x", "escape"):
            await on.press(key)
        await on.pilot.resize_terminal(112, 30)
        await on.until(lambda: len(on.app.deck.visible_sessions) == 4)


async def test_hidden_panes_are_not_watched_nor_painted() -> None:
    """Their words do not even come."""
    async with stage() as on:
        await on.go(2)
        await on.press("z")
        await on.settled()
        assert on.hub.watched() == {SessionId("s2")}
        four = SessionId("s4")
        answer = on.hub.sessions[four].turns[-1]
        on.hub.tell(events.TextArrived(four, NOW, answer.id, len(answer.text), " UNSEEN"))
        await on.press("z")
        await on.until(lambda: "UNSEEN" in on.text())


async def test_ambient_sessions_stay_in_the_list_until_they_are_fetched() -> None:
    """A script's sessions do not crowd the deck."""
    async with stage() as on:
        on.hub.tell(events.SessionOpened(SessionId("s20"), NOW, 20, "tour-20", "tour", "/f", ambient=True))
        await on.until(lambda: SessionId("s20") in on.app.feed.sessions)
        assert SessionId("s20") not in on.app.deck.members
        on.app.visit(SessionId("s20"))
        await on.until(lambda: on.app.deck.current == "s20")


async def test_ascii_means_ascii() -> None:
    """With ui.ascii not one sign that goes out is outside it, whoever wrote it."""
    async with stage(scene=empty, ui=UiTable(ascii=True)) as on:
        await on.press("n", "enter")
        await on.until(lambda: on.app.deck.current == "s1")
        text = TurnId("t")
        on.hub.tell(events.TurnAsked(ONE, NOW, text, "hello 漢🙂ä"))
        await on.until(lambda: "hello ?????" in on.text())
        shown = on.text()
        assert shown.isascii(), {sign for sign in shown if not sign.isascii()}
