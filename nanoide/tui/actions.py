"""What each action of the registry does: look at what is on screen, then send a request to the hub."""

from collections.abc import Callable
from time import monotonic

from nanoide.core.errors import NanoideError
from nanoide.core.events import ConsentChoice, SessionId
from nanoide.core.sanitize import clean
from nanoide.tui.desk import Desk
from nanoide.tui.given import files
from nanoide.tui.picker import Choice, Picker
from nanoide.tui.wording import by_need, label, plural, state_word
from nanoide.wire import (
    Ask,
    CancelTurn,
    Discover,
    GiveConsent,
    HideSession,
    OpenSession,
    ParkSession,
    PinSession,
    RemoveSession,
    RenameSession,
    WakeSession,
)

_TWICE_S = 2.0
"""Within this time a second ctrl+c detaches."""


class Actions(Desk):
    """The verbs; `app.CommandCenter` adds the widgets and what the hub tells."""

    _interrupted_at: float = -_TWICE_S

    # Sessions

    def action_new_session(self) -> None:
        """Choose a skill and open a session for it."""
        choices = [
            Choice(each.name, each.name, each.problem or each.description, usable=not each.problem)
            for each in self.skills
        ]
        self.pick(Picker("New session with", choices, placeholder="skill"), self.open_session)

    def open_session(self, skill: str) -> None:
        """Open a session in the folder that the command center was started in."""

        async def opening() -> None:
            session = await self.feed.call(OpenSession(skill=skill, folder=self.folder))
            self.visit(session.id)

        self.attempt(opening)

    def action_go_to(self) -> None:
        """Choose a session by its number or name."""
        sessions = sorted(self.feed.sessions.values(), key=lambda each: each.number)
        choices = [
            Choice(each.id, f"{each.number} {label(each)}", f"{state_word(each.state)}  {each.backend}")
            for each in sessions
        ]
        self.pick(Picker("Go to", choices, placeholder="number or name"), lambda name: self.visit(SessionId(name)))

    def action_jump(self, number: int) -> None:
        """Go to the session of that number."""
        for session in self.feed.sessions.values():
            if session.number == number:
                self.visit(session.id)
                return
        self.hints.say(f"there is no session {number}")

    def action_next_needy(self) -> None:
        """Go to the one that needs the person most; from there to the next."""
        needy = [each.id for each in by_need(self.feed.sessions)]
        if not needy:
            self.hints.say("nothing needs you")
            return
        here = self.deck.current
        place = needy.index(here) + 1 if here is not None and here in needy else 0
        self.visit(needy[place % len(needy)])

    def action_rename_session(self) -> None:
        """Ask for another name."""
        session = self.meant
        if session is not None:
            self.pick(
                Picker(f"Name of session {session.number}", [], start=session.name, free=True),
                lambda name: self.feed.send(RenameSession(session=session.id, name=name)),
            )

    def action_pin_session(self) -> None:
        """Exempt it from parking, or no longer."""
        session = self.meant
        if session is not None:
            self.feed.send(PinSession(session=session.id, pinned=not session.pinned))
            self.hints.say(f"session {session.number} {'may be parked again' if session.pinned else 'is never parked'}")

    def action_park_session(self) -> None:
        """Park it, or wake it."""
        session = self.meant
        if session is not None:
            parked = session.state == "parked"
            self.feed.send(WakeSession(session=session.id) if parked else ParkSession(session=session.id))

    def action_remove_session(self) -> None:
        """Remove it, after a question."""
        session = self.meant
        if session is None:
            return
        choices = [
            Choice("keep", "Keep it"),
            Choice("remove", "Remove it", f"and its {plural(session.turn_count, 'turn')}; the ledger stays"),
        ]

        def decided(name: str) -> None:
            if name == "remove":
                self.feed.send(RemoveSession(session=session.id))

        self.pick(Picker(f"Remove {session.number} {label(session)}?", choices), decided)

    # Panes

    def action_hide_pane(self) -> None:
        """Hide the pane; in the sidebar also show it again."""
        session = self.meant
        if session is None:
            return
        on_deck = session.id in self.deck.members
        if session.ambient:
            pulled = set(self.rest.pulled) ^ {session.id}
            self.keep_rest(pulled=tuple(sorted(pulled)))
            self.refresh_all()
        elif self.sidebar.list.has_focus or on_deck:
            self.feed.send(HideSession(session=session.id, hidden=on_deck))

    def action_show_all(self) -> None:
        """Show every hidden pane."""
        for session in self.feed.sessions.values():
            if session.hidden:
                self.feed.send(HideSession(session=session.id, hidden=False))

    def action_zoom(self) -> None:
        """Show the current pane alone, or all again."""
        self.deck.zoom(not self.deck.zoomed)
        self.keep_rest(zoomed=self.deck.zoomed)

    def action_next_pane(self) -> None:
        """Go on by one."""
        self.deck.step(1)

    def action_previous_pane(self) -> None:
        """Go back by one."""
        self.deck.step(-1)

    def action_write(self) -> None:
        """Into the composer; in the sidebar: go to the session."""
        if self.sidebar.list.has_focus:
            self.sidebar.list.choose()
        elif self.pane is not None:
            self.pane.write()

    def action_leave_composer(self) -> None:
        """To the turns."""
        if self.pane is not None:
            self.pane.read()

    # Answers

    def action_cancel_turn(self) -> None:
        """Stop the answer; else leave the sidebar; else ctrl+c copies, and twice it detaches."""
        session = None if self.deck.current is None else self.feed.sessions.get(self.deck.current)
        if self.sidebar.list.has_focus and self.pane is not None:
            self.pane.read()
            return
        if session is not None and session.active:
            self.feed.send(CancelTurn(session=session.id))
            return
        selected = self.screen.get_selected_text()
        if self.pane is not None and self.pane.composer.has_focus and self.pane.composer.selected_text:
            selected = self.pane.composer.selected_text
        if selected:
            self.copy_to_clipboard(clean(selected))
            self.hints.say("copied")
            return
        if self.pane is not None and self.pane.transcript.has_focus and self.pressed == "escape":
            return
        if monotonic() - self._interrupted_at < _TWICE_S:
            self.call_later(self.action_detach)
            return
        self._interrupted_at = monotonic()
        self.hints.say("ctrl+c again detaches; the hub and its sessions go on")

    def action_ask_again(self) -> None:
        """Ask the current session's last question once more."""
        session = self.meant
        if session is not None and session.turns:
            self.ask(session.id, session.turns[-1].asked)

    def ask(self, session: SessionId, text: str, *, back: Callable[[str], None] | None = None) -> None:
        """Ask; when that is refused, `back` gets the text again."""
        known = self.feed.sessions.get(session)
        given = files(text, self.folder if known is None else known.folder)

        async def asking() -> None:
            try:
                await self.feed.call(Ask(session=session, text=text, folder=self.folder, inputs=given))
            except NanoideError:
                if back is not None:
                    back(text)
                raise

        self.attempt(asking)

    def action_copy_answer(self) -> None:
        """Copy the last answer that there is, as the terminal does it (OSC 52)."""
        session = self.meant
        for turn in reversed(session.turns if session is not None else ()):
            if turn.text:
                self.copy_to_clipboard(clean(turn.text))
                self.hints.say("copied")
                return

    def _consent(self, choice: ConsentChoice) -> None:
        if self.pane is None or not self.pane.armed:
            return
        session = self.pane.session
        asked = session.turns[-1].consent if session.turns else None
        if asked is not None:
            self.feed.send(GiveConsent(session=session.id, choice=choice, question=asked.digest))

    def action_consent_once(self) -> None:
        """Let it leave this once."""
        self._consent("once")

    def action_consent_session(self) -> None:
        """Let this session's prompts leave."""
        self._consent("session")

    def action_consent_always(self) -> None:
        """Let this skill's prompts leave to this backend."""
        self._consent("always")

    def action_consent_stay(self) -> None:
        """Keep it here."""
        self._consent("stay")

    # Reading

    def action_down(self) -> None:
        """Down by one."""
        self._move(1)

    def action_up(self) -> None:
        """Up by one."""
        self._move(-1)

    def action_page_down(self) -> None:
        """Down by a page."""
        self._move(self._page())

    def action_page_up(self) -> None:
        """Up by a page."""
        self._move(-self._page())

    def action_to_top(self) -> None:
        """To the first line."""
        self._end(-1)

    def action_to_end(self) -> None:
        """To the last line."""
        self._end(1)

    def _page(self) -> int:
        widget = (
            self.sidebar.list if self.sidebar.list.has_focus else None if self.pane is None else self.pane.transcript
        )
        return max(1, widget.size.height - 1) if widget is not None else 1

    def _move(self, by: int) -> None:
        if self.sidebar.list.has_focus:
            self.sidebar.list.move(by)
        elif self.pane is not None:
            self.pane.transcript.scroll_by(by)

    def _end(self, direction: int) -> None:
        if self.sidebar.list.has_focus:
            self.sidebar.list.move(direction * len(self.feed.sessions))
        elif self.pane is not None:
            self.pane.transcript.jump(direction)

    # View

    def action_focus_sidebar(self) -> None:
        """To the list of sessions."""
        self.keep_rest(sidebar=True)
        self.sidebar.list.focus()

    def action_filter(self) -> None:
        """Write a filter for the list."""
        self.keep_rest(sidebar=True)
        self.sidebar.start_filter()

    def action_toggle_sidebar(self) -> None:
        """Make room for panes, or show the list again."""
        self.keep_rest(sidebar=not self.rest.sidebar)

    def action_palette(self) -> None:
        """Everything, by a few letters."""
        from nanoide.tui.palette import choices

        found = choices(self.keymap, self.feed.sessions, self.skills, self.theme_names)
        before = self.theme

        def preview(name: str) -> None:
            self._preview(name.removeprefix("theme:") if name.startswith("theme:") else before)

        picker = Picker("Everything", found, placeholder="what do you want to do?", preview=preview)
        self.pick(picker, self._do, left=lambda: self._preview(before))

    def _do(self, name: str) -> None:
        kind, _, rest = name.partition(":")
        match kind:
            case "session":
                self.visit(SessionId(rest))
            case "skill":
                self.open_session(rest)
            case "theme":
                self.put_on(rest)
            case _:
                self.call_later(self.run_action, self.keymap.find(rest).method)

    def action_theme(self) -> None:
        """Choose a theme, seeing each one at once."""
        before = self.theme
        themes = [Choice(name, name) for name in sorted(self.theme_names)]
        picker = Picker("Theme", themes, preview=self._preview, first=before)
        self.pick(picker, self.put_on, left=lambda: self._preview(before))

    def _preview(self, theme: str) -> None:
        if theme != self.theme:
            self.theme = theme

    def put_on(self, theme: str) -> None:
        """Use the theme from now on."""
        self.theme = theme
        self.keep_rest(theme=theme)

    def action_usage(self) -> None:
        """The ledger."""
        raise NotImplementedError

    def action_set_up(self) -> None:
        """Look for what could be used, and let the person see and confirm the lines for it."""
        from nanoide.tui.setup import SetUpScreen

        def done(written: str | None) -> None:
            if written is not None:
                self.hints.say(f"written to {written}; the hub has taken it up")
                self.offers = ()
                self.look_around()

        async def looking() -> None:
            self.offers = (await self.feed.call(Discover(folder=self.folder))).offers
            if self.offers:
                self.push_screen(SetUpScreen(self.feed, self.offers, self.glyphs), done)
            else:
                self.hints.say("nothing was found that config.toml does not name yet")

        self.attempt(looking)

    def action_help(self) -> None:
        """All keys."""
        from nanoide.tui.help import Help

        self.push_screen(Help(self.keymap, self.glyphs, wide=self.size.width >= 112))

    def action_leader(self) -> None:
        """The popup of keys that need no Alt."""
        from nanoide.tui.leader import Leader

        def chosen(name: str | None) -> None:
            if name is not None:
                self.call_later(self.run_action, self.keymap.find(name).method)

        self.push_screen(Leader(self.keymap, self.size.width), chosen)

    async def action_detach(self) -> None:
        """Leave; drafts are kept and the hub goes on."""
        raise NotImplementedError
