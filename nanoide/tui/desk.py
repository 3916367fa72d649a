"""What the verbs of the command center stand on: its parts, and what an action is about."""

from collections.abc import Awaitable, Callable

from textual.app import App

from nanoide.core.errors import NanoideError
from nanoide.core.events import SessionId
from nanoide.core.session import Session
from nanoide.tui.deck import Deck
from nanoide.tui.feed import Feed
from nanoide.tui.keymap import Keymap
from nanoide.tui.pane import Pane
from nanoide.tui.picker import Picker
from nanoide.tui.rest import Rest
from nanoide.tui.sidebar import Sidebar
from nanoide.tui.status import HintBar
from nanoide.tui.wording import Glyphs
from nanoide.wire import (
    BackendLine,
    HideSession,
    Offer,
    SkillLine,
)


class Desk(App[int], inherit_bindings=False):
    """The parts that `app.CommandCenter` joins, and how its actions find, ask and complain."""

    feed: Feed
    keymap: Keymap
    glyphs: Glyphs
    deck: Deck
    sidebar: Sidebar
    hints: HintBar
    folder: str
    rest: Rest
    skills: tuple[SkillLine, ...]
    backends: tuple[BackendLine, ...]
    offers: tuple[Offer, ...]
    """What was found and is not set up."""
    _going_to: SessionId | None = None
    """A session to go to as soon as it is on the deck."""
    pressed: str = ""
    """The last key."""
    theme_names: tuple[str, ...] = ()
    """The themes that the person can choose from."""

    def refresh_all(self) -> None:
        """Show the sessions as they are now."""
        raise NotImplementedError

    def look_around(self) -> None:
        """Find out anew which skills and backends there are."""
        raise NotImplementedError

    def keep_rest(self, **changes: object) -> None:
        """Remember something about the screen."""
        raise NotImplementedError

    # What is meant

    @property
    def pane(self) -> Pane | None:
        """The current pane, when it is on screen."""
        return self.deck.pane

    @property
    def meant(self) -> Session | None:
        """The session that an action is about: under the sidebar's cursor when that has the focus, else the current."""
        session = self.sidebar.list.cursor if self.sidebar.list.has_focus else self.deck.current
        return None if session is None else self.feed.sessions.get(session)

    def visit(self, session: SessionId) -> None:
        """Show the session's pane and go there, now or as soon as the hub has shown it."""
        known = self.feed.sessions.get(session)
        self._going_to = session
        if known is None:
            return
        if known.ambient and session not in self.rest.pulled:
            self.keep_rest(pulled=(*self.rest.pulled, session))
        if known.hidden:
            self.feed.send(HideSession(session=session, hidden=False))
        self.refresh_all()

    def arrive(self) -> None:
        """Go where the person wanted to go, if that is on the deck by now."""
        session = self._going_to
        if session is not None and session in self.deck.members:
            self._going_to = None
            self.deck.go_to(session, write=True)

    def complain(self, error: NanoideError) -> None:
        """Say what was refused, in the last line."""
        self.hints.complain(error.message, error.hint)

    def attempt(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do something that may be refused; say so when it is."""

        async def working() -> None:
            try:
                await work()
            except NanoideError as error:
                self.complain(error)

        self.run_worker(working(), group="attempts", exit_on_error=True)

    def pick(self, picker: Picker, then: Callable[[str], None], *, left: Callable[[], None] | None = None) -> None:
        """Let the person choose; `then` gets what was chosen."""

        def chosen(name: str | None) -> None:
            if name is not None:
                then(name)
            elif left is not None:
                left()

        self.push_screen(picker, chosen)

    def next_keys(self) -> list[tuple[str, str]]:
        """The keys that make sense here, with what they do, for the last line."""
        shown = self.keymap.shown
        pane = self.deck.pane
        everything = [(shown("palette"), "everything")]
        if self.sidebar.list.has_focus:
            return [("j k", "move"), ("enter", "go there"), (shown("filter"), "filter"), ("esc", "back"), *everything]
        if pane is None:
            return [
                (shown("new-session"), "new session"),
                *everything,
                (shown("help"), "keys"),
                (shown("detach"), "detach"),
            ]
        if pane.session.state == "asking" and pane.transcript.has_focus:
            return [("y", "once"), ("s", "this session"), ("a", "always"), ("n", "stay"), *everything]
        moving = [
            ("alt+1…9", "jump"),
            (shown("next-needy"), "next that needs you"),
            (shown("zoom"), "zoom"),
            (shown("hide-pane"), "hide"),
        ]
        if pane.composer.has_focus:
            return [*moving, *everything, ("esc ?", "keys")]
        return [(shown("write"), "write"), (shown("new-session"), "new"), *moving, *everything, (shown("help"), "keys")]
