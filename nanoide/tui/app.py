"""The command center: joins the widgets, the feed and the keymap. The verbs are in `actions`."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingsMap
from textual.containers import Horizontal
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import Theme
from textual.timer import Timer
from textual.worker import Worker, WorkerCancelled, WorkerFailed

from nanoide import wire
from nanoide.core.errors import NanoideError, SettingsError
from nanoide.core.events import SessionId
from nanoide.core.sanitize import clean_line
from nanoide.core.session import Session
from nanoide.paths import Paths, bundled_themes
from nanoide.settings import Settings, UiTable
from nanoide.tui import keymap as keys
from nanoide.tui import rest as rests
from nanoide.tui import themes as looks
from nanoide.tui.actions import Actions
from nanoide.tui.composer import Composer
from nanoide.tui.deck import Deck
from nanoide.tui.feed import Feed, Link
from nanoide.tui.keymap import Keymap
from nanoide.tui.messages import Complaint, HubLost, SessionsChanged, SessionsReset, StatusArrived
from nanoide.tui.plain import AsciiOnly
from nanoide.tui.rest import Rest
from nanoide.tui.sidebar import SessionList, Sidebar
from nanoide.tui.standing import turned
from nanoide.tui.status import HintBar, StatusBar
from nanoide.tui.terminal import teach_alt
from nanoide.tui.welcome import Welcome
from nanoide.tui.wording import ASCII, UNICODE, group_of

_TICK_S = 1.0
"""How often ages are told again."""

_WELCOME_KEYS = ("new-session", "palette", "help", "show-all", "go-to", "set-up")

_REST_S = 1.0
"""The state of the screen is written down this long after its last change."""


def now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)


class Main(Screen[None], inherit_bindings=False):
    """The one screen; Textual's own keys for moving the focus are not wanted here."""

    AUTO_FOCUS = ""


class CommandCenter(Actions):
    """The whole window onto the hub."""

    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    TITLE = "nanoide"

    def __init__(
        self,
        connect: Callable[[], Awaitable[Link]],
        *,
        ui: UiTable,
        keymap: Keymap,
        themes: Mapping[str, Theme],
        theme: str,
        folder: str,
        rest_file: Path,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__()
        self.keymap = keymap
        self.glyphs = ASCII if ui.ascii else UNICODE
        self.folder = folder
        self.rest = rests.load(rest_file)
        self.skills: tuple[wire.SkillLine, ...] = ()
        self.backends: tuple[wire.BackendLine, ...] = ()
        self.offers: tuple[wire.Offer, ...] = ()
        self._left: bool | None = None
        self._status: wire.HubStatus | None = None
        """As it was told last."""
        self._rest_file = rest_file
        self._rest_timer: Timer | None = None
        self._clock = clock
        self._following: Worker[None] | None = None
        self._restored = False
        self._seen: dict[SessionId, datetime] = {}
        self._speeds: deque[int] = deque(maxlen=240)
        for each in themes.values():
            self.register_theme(each)
        self.theme_names = tuple(sorted(themes))
        self.theme = theme
        self._bindings = BindingsMap(keymap.bindings())
        self.feed = Feed(connect, self.post_message)
        self.status = StatusBar(self.glyphs, Path(folder), clock)
        self.sidebar = Sidebar(self.glyphs, clock)
        self.deck = Deck(
            self.glyphs, lambda session: f"ask {clean_line(session.skill)}   @ adds a file", self._save_draft
        )
        self.deck.id = "deck"
        self.welcome = Welcome(self.glyphs)
        self.welcome.id = "welcome"
        self.hints = HintBar()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Where there is no Unicode, nothing outside ASCII goes out, whoever wrote it."""
        filters = super().get_line_filters()
        return [*filters, AsciiOnly()] if self.glyphs is ASCII else filters

    def get_default_screen(self) -> Screen[None]:
        """The screen without Textual's own keys."""
        return Main(id="_default")

    def compose(self) -> ComposeResult:
        """Status on top, sessions on the left, panes, next keys at the bottom."""
        yield self.status
        with Horizontal(id="middle"):
            yield self.sidebar
            yield self.deck
            yield self.welcome
        yield self.hints

    def on_mount(self) -> None:
        """Attach, once the first frame is painted."""
        self._fit(self.size.width, self.size.height)
        self.sidebar.say_keys(f"{self.keymap.shown('filter')} filter  {self.keymap.shown('new-session')} new")
        self._say_next()
        self.set_interval(_TICK_S, self.sidebar.list.tick)
        self.set_interval(_TICK_S, self.status.tick)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._following = self.run_worker(self.feed.run(), group="feed", exit_on_error=True)

    async def on_unmount(self) -> None:
        """Close the connection before the loop ends."""
        if self._following is not None:
            self._following.cancel()
            with suppress(WorkerCancelled, WorkerFailed):
                await self._following.wait()

    # What the hub tells

    def look_around(self) -> None:
        """Find out anew which skills and backends there are."""
        self.run_worker(self._look_around(), group="look around", exclusive=True)

    def on_sessions_reset(self, message: SessionsReset) -> None:
        """Attached: show everything as it is."""
        self.look_around()
        if not self._restored:
            self._restored = True
            self.deck.zoomed = self.rest.zoomed
            self.deck.current = SessionId(self.rest.focused) if self.rest.focused in self.feed.sessions else None
            self.refresh_all()
            if self.deck.current is not None and self._going_to is None:
                self.deck.go_to(self.deck.current, write=True)
        else:
            self.refresh_all()
        self.deck.paint(self.deck.visible_sessions)
        self._see()

    def on_sessions_changed(self, message: SessionsChanged) -> None:
        """Show what changed."""
        if message.outlines:
            self.refresh_all()
        self.deck.paint(message.changed)
        self._see()

    def on_status_arrived(self, message: StatusArrived) -> None:
        """Show the figures."""
        self._speeds.append(message.status.tokens_per_min)
        told = "" if self._status is None else turned(self._status, message.status)
        self._status = message.status
        self.status.show(message.status)
        if told:
            self.hints.say(told)

    def on_hub_lost(self, message: HubLost) -> None:
        """Say so; the feed tries again."""
        error = message.error
        tries = f"{error.message}; trying again" + (f" in {message.retry_s:.0f} s" if message.retry_s >= 1 else "")
        self.status.say_lost(tries)
        if error.hint and message.retry_s >= 1:
            self.complain(error)

    def on_complaint(self, message: Complaint) -> None:
        """Say it."""
        self.complain(message.error)

    async def _look_around(self) -> None:
        try:
            self.skills = await self.feed.call(wire.ListSkills(folder=self.folder))
            self.backends = await self.feed.call(wire.ListBackends())
            self._left = any(each.where != "device" for each in await self.feed.call(wire.ReadEgress(limit=50)))
            self._show_middle()
            if self.welcome.display and not self.feed.sessions:
                self.offers = (await self.feed.call(wire.Discover(folder=self.folder))).offers
        except NanoideError as error:
            self.complain(error)
        self._show_middle()

    # What is on screen

    def refresh_all(self) -> None:
        """Show the sessions as they are now."""
        sessions = self.feed.sessions
        self.deck.show(sessions, [each.id for each in self._members()])
        self.sidebar.show(sessions, self.deck.current)
        self._show_middle()
        self._say_next()
        self.arrive()

    def _members(self) -> list[Session]:
        shown = [
            each
            for each in self.feed.sessions.values()
            if not each.hidden and (not each.ambient or each.id in self.rest.pulled)
        ]
        return sorted(shown, key=lambda each: each.number)

    def _show_middle(self) -> None:
        panes = bool(self.deck.members)
        self.deck.display = panes or not self.feed.attached
        self.welcome.display = not panes and self.feed.attached
        if panes or not self.feed.attached:
            return
        shown = {name: self.keymap.shown(name) for name in _WELCOME_KEYS}
        if self.feed.sessions and any(each.hidden for each in self.feed.sessions.values()):
            self.welcome.say_hidden(shown)
        else:
            self.welcome.show(self.backends, self.skills, self._left, shown, self.offers)

    def on_deck_turned(self, message: Deck.Turned) -> None:
        """Hear from those that are on screen, and from no others."""
        self.feed.watch(message.visible)

    def on_deck_focused(self, message: Deck.Focused) -> None:
        """Mark what the person looks at."""
        session = self.feed.sessions.get(message.session)
        if session is not None and session.state == "parked":
            self.feed.send(wire.WakeSession(session=session.id))
        self.sidebar.show(self.feed.sessions, self.deck.current)
        self.keep_rest(focused=message.session)
        self._see()

    def on_session_list_chosen(self, message: SessionList.Chosen) -> None:
        """Go to what was chosen in the sidebar."""
        self.visit(message.session)

    def on_composer_sent(self, message: Composer.Sent) -> None:
        """Ask."""
        pane = self.deck.pane
        if pane is not None and message.composer is pane.composer:
            pane.take()
            self.ask(pane.session.id, message.text, back=pane.give_back)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Other keys come next."""
        self._say_next()

    def on_app_focus(self) -> None:
        """The person is back at the terminal."""
        self._see()

    def on_resize(self, event: events.Resize) -> None:
        """Leave out what there is no room for."""
        self._fit(event.size.width, event.size.height)

    def on_key(self, event: events.Key) -> None:
        """A key ends what was being said."""
        self.pressed = event.key
        self.hints.hush()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Which actions make sense here; a popup has keys of its own."""
        if len(self.screen_stack) > 1:
            return False
        pane = self.deck.pane
        if action.startswith("consent_"):
            return pane is not None and pane.session.state == "asking" and pane.transcript.has_focus
        if action == "leave_composer":
            return pane is not None and pane.composer.has_focus
        return True

    def _fit(self, width: int, height: int) -> None:
        root = self.screen
        for columns, name in ((150, "-medium"), (112, "-narrow"), (72, "-slim")):
            root.set_class(width < columns, name)
        root.set_class(height < 10, "-low")
        root.set_class(height < 6, "-flat")
        root.set_class(not self.rest.sidebar, "-no-sidebar")

    def _say_next(self) -> None:
        needy = sum(group_of(each) == "needs you" for each in self.feed.sessions.values())
        self.hints.show(self.next_keys(), needy)

    def _see(self) -> None:
        """The person sees the end of the current answer: tell the hub, once."""
        pane = self.deck.pane
        if pane is None or not self.app_focus or len(self.screen_stack) > 1:
            return
        session = self.feed.sessions.get(pane.session.id)
        if session is None or session.state not in {"done", "failed"} or session.id not in self.deck.visible_sessions:
            return
        if self._seen.get(session.id) != session.since:
            self._seen[session.id] = session.since
            self.feed.send(wire.SeeSession(session=session.id))

    # What is kept

    def keep_rest(self, **changes: object) -> None:
        """Remember something about the screen, and write it down soon."""
        self.rest = replace(self.rest, **changes)
        self._fit(self.size.width, self.size.height)
        if self._rest_timer is not None:
            self._rest_timer.stop()
        self._rest_timer = self.set_timer(_REST_S, self._write_rest)

    def _write_rest(self) -> None:
        rests.save(self._rest_file, self.rest)

    def _save_draft(self, session: SessionId, text: str) -> None:
        self.feed.send(wire.SaveDraft(session=session, text=text))

    def action_usage(self) -> None:
        """The ledger."""
        from nanoide.tui.usage import UsagePanel

        panel = UsagePanel(
            self.feed.call,
            clock=self._clock,
            status=lambda: self.feed.status,
            speeds=lambda: self._speeds,
            glyphs=self.glyphs,
        )
        self.push_screen(panel)

    async def action_detach(self) -> None:
        """Leave; drafts are kept and the hub goes on."""
        self.deck.keep_drafts()
        await self.feed.drain()
        self._write_rest()
        self.exit(0)


def make(
    connect: Callable[[], Awaitable[Link]],
    paths: Paths,
    settings: Settings,
    *,
    folder: str,
    clock: Callable[[], datetime] = now,
) -> CommandCenter:
    """The app for these settings. Raises SettingsError for an unknown theme, action or key."""
    origin = str(paths.config)
    themes = looks.load((bundled_themes(), paths.themes))
    try:
        looks.choose(themes, settings.ui.theme)
    except SettingsError as error:
        raise SettingsError(f"{origin}: ui.theme: {error.message}", hint=error.hint) from error
    rest_file = paths.database.with_name("tui.json")
    kept: Rest = rests.load(rest_file)
    return CommandCenter(
        connect,
        ui=settings.ui,
        keymap=keys.build(settings.ui.keys, origin),
        themes=themes,
        theme=kept.theme if kept.theme in themes else settings.ui.theme,
        folder=folder,
        rest_file=rest_file,
        clock=clock,
    )


def run(paths: Paths, settings: Settings, *, folder: str) -> int:
    """Show the command center until the person detaches; the exit code. Raises SettingsError before it shows."""

    async def connect() -> Link:
        from nanoide.client.launch import connect

        return await connect(paths, client="tui")

    app = make(connect, paths, settings, folder=folder)
    teach_alt()
    code = app.run(mouse=settings.ui.mouse)
    return app.return_code or code or 0
