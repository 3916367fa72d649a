"""Each action of the registry, pressed as a person presses it."""

from collections.abc import Awaitable, Callable

import pytest
from textual.events import MouseScrollUp

from nanoide import wire
from nanoide.core.errors import UsageError
from nanoide.core.events import SessionId
from nanoide.tui.help import Help
from nanoide.tui.keymap import ACTIONS
from nanoide.tui.leader import Leader
from nanoide.tui.picker import Picker
from nanoide.tui.usage import UsagePanel
from tests.tui.stage import Stage, stage

Play = Callable[[Stage], Awaitable[None]]
PLAYS: dict[str, Play] = {}


def plays(*names: str) -> Callable[[Play], Play]:
    """This is how the named actions are tried."""

    def keep(play: Play) -> Play:
        PLAYS.update(dict.fromkeys(names, play))
        return play

    return keep


@plays("new-session")
async def new_session(on: Stage) -> None:
    """N lists the skills; the chosen one's session gets a pane and the cursor."""
    await on.press("n")
    assert isinstance(on.app.screen, Picker)
    await on.write("commit")
    await on.press("enter")
    await on.until(lambda: on.app.deck.pane is not None and on.app.deck.pane.composer.has_focus)
    (opened,) = on.hub.of(wire.OpenSession)
    assert (opened.skill, opened.folder) == ("commit-message", "/home/ada/acme")
    assert on.app.deck.current == "s15"


@plays("go-to")
async def go_to(on: Stage) -> None:
    """G finds a session by its number and shows it, hidden or not."""
    await on.press("g")
    await on.write("14")
    await on.press("enter")
    await on.until(lambda: on.app.deck.current == "s14")
    assert on.hub.of(wire.HideSession) == [wire.HideSession(session=SessionId("s14"), hidden=False)]


@plays("next-needy")
async def next_needy(on: Stage) -> None:
    """Alt+j goes to the question first, then to the failure, then to what is done."""
    await on.press("alt+j")
    await on.until(lambda: on.app.deck.current == "s7")
    await on.press("alt+j")
    await on.until(lambda: on.app.deck.current == "s9")
    assert not on.hub.sessions[SessionId("s9")].hidden


@plays("rename-session")
async def rename(on: Stage) -> None:
    """R asks for a name, with the old one to start from."""
    await on.press("r")
    await on.write(" two")
    await on.press("enter")
    await on.until(lambda: on.hub.sessions[SessionId("s1")].name == "file-query two")
    await on.until(lambda: "file-query two" in on.text())


@plays("pin-session")
async def pin(on: Stage) -> None:
    """After the leader, i pins the session."""
    await on.press("ctrl+x", "i")
    await on.until(lambda: on.hub.sessions[SessionId("s1")].pinned)


@plays("park-session")
async def park(on: Stage) -> None:
    """After the leader, k parks the session, and the focus wakes it at once when it comes back."""
    await on.press("ctrl+x", "k")
    await on.until(lambda: on.hub.of(wire.ParkSession))
    await on.until(lambda: "parked" in str(on.app.deck.pane and on.app.deck.pane.border_title))
    await on.press("ctrl+x", "k")
    await on.until(lambda: on.hub.of(wire.WakeSession))


@plays("remove-session")
async def remove(on: Stage) -> None:
    """Delete asks first, and the answer that is offered first keeps it."""
    await on.press("delete", "enter")
    assert not on.hub.of(wire.RemoveSession)
    await on.press("delete", "down", "enter")
    await on.until(lambda: SessionId("s1") not in on.app.deck.members)
    assert on.app.deck.current == "s2"


@plays("hide-pane")
async def hide(on: Stage) -> None:
    """Alt+h hides the pane; its neighbour gets the focus."""
    await on.press("alt+h")
    await on.until(lambda: SessionId("s1") not in on.app.deck.members)
    assert on.hub.sessions[SessionId("s1")].hidden
    assert on.app.deck.current == "s2"
    await on.until(lambda: on.app.deck.pane is not None and on.app.deck.pane.transcript.has_focus)


@plays("show-all")
async def show_all(on: Stage) -> None:
    """A shows every pane, and the deck tiles them."""
    await on.press("a")
    await on.until(lambda: len(on.app.deck.members) == 14)
    await on.settled()


@plays("zoom")
async def zoom(on: Stage) -> None:
    """Z shows the pane alone and again with the others; what is not seen is not watched."""
    await on.press("z")
    await on.until(lambda: on.app.deck.visible_sessions == ("s1",))
    await on.settled()
    await on.press("alt+z")
    await on.until(lambda: len(on.app.deck.visible_sessions) == 4)


@plays("next-pane", "previous-pane")
async def step(on: Stage) -> None:
    """Tab goes round the deck, Shift+Tab back."""
    await on.press("shift+tab")
    await on.until(lambda: on.app.deck.current == "s7")
    await on.press("tab")
    await on.until(lambda: on.app.deck.current == "s1")


@plays("write", "leave-composer")
async def write_and_leave(on: Stage) -> None:
    """I goes into the composer, Esc out of it."""
    pane = on.app.deck.pane
    assert pane is not None
    await on.press("i")
    assert pane.composer.has_focus
    await on.press("escape")
    assert pane.transcript.has_focus


@plays("cancel-turn")
async def cancel(on: Stage) -> None:
    """Esc stops the answer that streams, and says whose doing that was."""
    await on.go(2)
    await on.press("escape")
    await on.until(lambda: on.hub.of(wire.CancelTurn))
    await on.until(lambda: "stopped by you" in on.text())


@plays("ask-again")
async def ask_again(on: Stage) -> None:
    """R asks the last question once more."""
    await on.press("R")
    await on.until(lambda: on.hub.of(wire.Ask))
    assert on.hub.of(wire.Ask)[0].text == "where is the token refreshed?"


@plays("copy-answer")
async def copy(on: Stage) -> None:
    """Y copies the last answer."""
    await on.press("y")
    assert on.app.clipboard.startswith("auth/session.py:88")
    assert on.app.hints.complaint == "copied"


@plays("consent-once", "consent-session", "consent-always", "consent-stay")
async def consent(on: Stage) -> None:
    """One key answers the question, once it has been there long enough to be read."""
    await on.go(7)
    pane = on.app.deck.pane
    assert pane is not None
    assert pane.transcript.has_focus
    await on.until(lambda: pane.armed)
    for key, choice in (("y", "once"), ("s", "session"), ("a", "always"), ("n", "stay")):
        await on.press(key)
        await on.until(
            lambda choice=choice: on.hub.of(wire.GiveConsent)[-1:] and on.hub.of(wire.GiveConsent)[-1].choice == choice
        )
        assert len(on.app.screen_stack) == 1
        if choice != "stay":
            asked = on.hub.sessions[SessionId("s7")].turns[-1]
            question = on.hub.questions[SessionId("s7")]
            assert asked.consent is None
            on.hub.tell(question)
            await on.until(lambda: pane.session.state == "asking" and pane.transcript.has_focus and pane.armed)


@plays("down", "up", "page-down", "page-up", "to-top", "to-end")
async def read(on: Stage) -> None:
    """Letters scroll the answer by lines, pages and ends."""
    pane = on.app.deck.pane
    assert pane is not None
    turn = on.hub.sessions[SessionId("s1")].turns[0]
    on.hub.long_answer(SessionId("s1"), turn, 400)
    await on.until(lambda: pane.transcript.virtual_size.height > 400)
    end = pane.transcript.scroll_offset.y
    pane.transcript.post_message(MouseScrollUp(pane.transcript, 1, 1, 0, 0, 0, shift=False, meta=False, ctrl=False))
    await on.until(lambda: pane.transcript.scroll_offset.y < end)
    assert "below" in str(pane.border_subtitle)
    await on.press("end")
    assert pane.transcript.at_end
    for key, there in (
        ("k", end - 1),
        ("j", end),
        ("home", 0),
        ("space", pane.transcript.size.height - 1),
        ("b", 0),
        ("end", end),
    ):
        await on.press(key)
        await on.until(lambda there=there: pane.transcript.scroll_offset.y == there)


@plays("palette")
async def palette(on: Stage) -> None:
    """Ctrl+p finds actions, sessions and themes by a few letters."""
    await on.press("ctrl+p")
    await on.write("zoo")
    await on.press("enter")
    await on.until(lambda: on.app.deck.zoomed)
    await on.press("ctrl+p")
    await on.write("paper")
    await on.until(lambda: on.app.theme == "paper")
    await on.press("escape")
    assert on.app.theme == "dusk"
    await on.press("ctrl+p")
    await on.write("billing")
    await on.press("enter")
    await on.until(lambda: on.app.deck.current == "s14")


@plays("filter")
async def search(on: Stage) -> None:
    """/ narrows the list as the person writes; Enter goes to what it found, Esc shows all again."""
    await on.press("/")
    await on.write("billing")
    assert [each.number for each in on.app.sidebar.list.found] == [14]
    await on.press("enter")
    await on.until(lambda: on.app.deck.current == "s14")
    assert len(on.app.sidebar.list.found) == 14


@plays("focus-sidebar")
async def sidebar(on: Stage) -> None:
    """S goes to the list; j and k move there, Enter goes to the session, Esc back."""
    await on.press("s")
    assert on.app.sidebar.list.has_focus
    before = on.app.sidebar.list.cursor
    await on.press("j")
    assert on.app.sidebar.list.cursor != before
    await on.press("home", "enter")
    await on.until(lambda: on.app.deck.current == "s7")
    await on.press("alt+0", "escape")
    assert not on.app.sidebar.list.has_focus


@plays("toggle-sidebar")
async def toggle(on: Stage) -> None:
    """After the leader, b makes room for the panes, and gives it back."""
    await on.press("ctrl+x", "b")
    await on.until(lambda: not on.app.sidebar.display)
    await on.press("ctrl+x", "b")
    await on.until(lambda: on.app.sidebar.display)


@plays("usage")
async def usage(on: Stage) -> None:
    """U shows the ledger; tab groups it otherwise, p takes another time, Esc leaves."""
    await on.press("u")
    assert isinstance(on.app.screen, UsagePanel)
    await on.until(lambda: "inline-completion" in on.text())
    await on.press("tab", "p")
    await on.until(lambda: len(on.hub.of(wire.ReadUsage)) == 3)
    assert [each.by for each in on.hub.of(wire.ReadUsage)] == ["skill", "backend", "backend"]
    await on.press("escape")
    assert len(on.app.screen_stack) == 1


@plays("set-up")
async def set_up(on: Stage) -> None:
    """O finds, the lines of what is chosen are shown, and Enter has exactly these written; with no find it says so."""
    await on.press("o")
    await on.until(lambda: "nothing was found" in on.app.hints.complaint)
    on.hub.offers = (
        wire.Offer("server:a", "server", "Ollama at 127.0.0.1:11434", "qwen3", "ollama", True),
        wire.Offer("file:b", "file", "b.gguf", "2 MB in /models", "b", False),
    )
    await on.press("o")
    await on.until(lambda: 'name = "server:a"' in on.text())
    await on.press("j", "space")
    await on.until(lambda: 'name = "file:b"' in on.text())
    assert not on.hub.of(wire.SetUp)
    await on.press("escape")
    assert len(on.app.screen_stack) == 1
    assert not on.hub.of(wire.SetUp)
    await on.press("o")
    await on.until(lambda: 'name = "server:a"' in on.text())
    on.hub.refuse["setup"] = UsageError("config.toml has changed meanwhile")
    await on.press("enter")
    await on.until(lambda: "has changed meanwhile" in on.text() and 'name = "server:a"' in on.text())
    del on.hub.refuse["setup"]
    await on.press("enter")
    await on.until(lambda: "config.toml; the hub has taken it up" in on.app.hints.complaint)
    assert len(on.app.screen_stack) == 1
    written = on.hub.of(wire.SetUp)[-1]
    assert (written.text, written.before) == ('[[backend]]\nname = "server:a"\n', "before")


@plays("theme")
async def theme(on: Stage) -> None:
    """T shows each theme under the cursor at once; Esc puts the old one back, Enter keeps the new one."""
    await on.press("t", "down")
    assert on.app.theme == "ember"
    await on.press("escape")
    assert on.app.theme == "dusk"
    await on.press("t", "up", "enter")
    assert on.app.theme == "contrast"


@plays("help")
async def helps(on: Stage) -> None:
    """? shows every key."""
    await on.press("?")
    assert isinstance(on.app.screen, Help)
    assert "Next session that needs me" in on.text()
    await on.press("escape")
    assert len(on.app.screen_stack) == 1


@plays("leader")
async def leader(on: Stage) -> None:
    """Ctrl+x shows what the next key does; a key that means nothing there only closes it."""
    await on.press("ctrl+x")
    assert isinstance(on.app.screen, Leader)
    assert "Go to session" in on.text()
    await on.press("%")
    assert len(on.app.screen_stack) == 1
    await on.press("ctrl+x", "z")
    await on.until(lambda: on.app.deck.zoomed)


@plays("detach")
async def detach(on: Stage) -> None:
    """Ctrl+d keeps the draft that was not saved yet, and leaves with 0."""
    await on.press("i")
    await on.write("half a thought")
    await on.press("ctrl+d")
    await on.hub.until(lambda: on.hub.sessions[SessionId("s1")].draft == "half a thought")
    assert on.app.return_code == 0


@plays(*(f"jump-{number}" for number in range(1, 10)))
async def jump(on: Stage) -> None:
    """Alt and a digit goes to the session of that number, whatever state it is in."""
    for number in (4, 7, 9, 1):
        await on.press(f"alt+{number}")
        await on.until(lambda number=number: on.app.deck.current == f"s{number}")


def test_every_action_is_tried() -> None:
    """An action without a play here is an action that nobody has pressed."""
    assert {action.name for action in ACTIONS} == set(PLAYS)


@pytest.mark.parametrize("play", sorted({play.__name__ for play in PLAYS.values()}))
async def test_action(play: str) -> None:
    """Each action does what its play says."""
    async with stage() as on:
        await on.read_mode()
        await next(each for each in PLAYS.values() if each.__name__ == play)(on)


def test_every_action_has_a_method_and_a_way_to_reach_it() -> None:
    """Keys, leader or palette: there is always one, and none of them needs Alt alone."""
    from nanoide.tui.app import CommandCenter

    for action in ACTIONS:
        name, _, _ = action.method.partition("(")
        assert callable(getattr(CommandCenter, f"action_{name}"))
        without_alt = [key for key in action.keys if "alt+" not in key]
        assert without_alt or action.leader or action.palette, action.name
