"""One session on the deck: its title in the border, its turns, its composer."""

from collections.abc import Callable
from time import monotonic

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from nanoide.core.events import SessionId
from nanoide.core.sanitize import clean_line
from nanoide.core.session import Session
from nanoide.tui.composer import Composer
from nanoide.tui.prose import fit, width_of
from nanoide.tui.transcript import Transcript
from nanoide.tui.wording import Glyphs, label, state_word

DRAFT_S = 0.6
"""A draft is saved this long after the last key."""

ARM_S = 0.5
"""A question is answered by a key only after it has been on screen this long: nobody answers it by accident."""


class Pane(Widget):
    """What a person sees of one session."""

    DEFAULT_CSS = """
    Pane {
        layout: vertical;
        border: round $line;
        border-title-color: $muted;
        border-title-background: $background;
        border-subtitle-color: $faint;
        border-subtitle-align: right;
        padding: 0 1;
        background: $background;
        &:focus-within { border: round $accent; border-title-color: $strong; }
        &.-plain { border: ascii $line; }
        &.-plain:focus-within { border: ascii $accent; border-title-style: bold; }
        &:nocolor:focus-within { border: heavy $accent; border-title-style: bold; }
        &.-bare { border: none; padding: 0; }
        &.-bare:focus-within { border: none; }
    }
    """

    def __init__(
        self, session: Session, glyphs: Glyphs, placeholder: str, keep: Callable[[SessionId, str], None]
    ) -> None:
        super().__init__()
        self.session = session
        """As last shown."""
        self._glyphs = glyphs
        self._keep = keep
        """Saves a draft."""
        self.transcript = Transcript(glyphs, lambda: self._said_when_empty())
        self.composer = Composer(placeholder)
        self._kept = session.draft
        """The draft as the hub has it."""
        self._saving: Timer | None = None
        self._asked_at: float | None = None
        self._titled = ""
        self._below = 0
        if glyphs.dash == "-":
            self.add_class("-plain")
            self.composer.add_class("-ascii")

    def compose(self) -> ComposeResult:
        """Turns above, composer below."""
        yield self.transcript
        yield self.composer

    def on_mount(self) -> None:
        """Restore the draft."""
        if self.session.draft:
            self.composer.put(self.session.draft)
        self.show(self.session)

    def on_resize(self, event: events.Resize) -> None:
        """Fill the border again; a very small pane loses its padding only after this."""
        self._title()
        self.call_after_refresh(self._title)

    def show(self, session: Session) -> None:
        """Follow the session."""
        before, self.session = self.session, session
        self.transcript.show(session)
        asks = session.state == "asking"
        if asks != (self._asked_at is not None):
            self._asked_at = monotonic() if asks else None
            self._place_composer()
        if session.draft != before.draft and session.draft != self.composer.text:
            if self.composer.text == self._kept and not self.composer.has_focus:
                self.composer.put(session.draft)
            self._kept = session.draft
        self._title()

    def write(self) -> None:
        """Put the cursor into the composer, or onto the question that is open."""
        (self.composer if self.composer.display else self.transcript).focus()

    def read(self) -> None:
        """Put the focus on the turns."""
        self.transcript.focus()

    @property
    def focused(self) -> bool:
        """True when a key pressed now goes to this pane."""
        return self.transcript.has_focus or self.composer.has_focus

    @property
    def armed(self) -> bool:
        """True when the open question has been visible long enough to be answered by a key."""
        return self._asked_at is not None and monotonic() - self._asked_at >= ARM_S

    def take(self) -> str:
        """The composer's text, which is then empty."""
        text = self.composer.text
        self.composer.put("")
        self._kept = ""
        self._stop_saving()
        return text

    def give_back(self, text: str) -> None:
        """Put a text that could not be sent back, unless something new was written."""
        if not self.composer.text:
            self.composer.put(text)

    def keep_draft(self) -> None:
        """Save now what has changed."""
        self._stop_saving()
        if self.composer.text != self._kept:
            self._kept = self.composer.text
            self._keep(self.session.id, self._kept)

    def on_text_area_changed(self) -> None:
        """Save soon."""
        self._stop_saving()
        if self.composer.text != self._kept:
            self._saving = self.set_timer(DRAFT_S, self.keep_draft)

    def on_transcript_moved(self) -> None:
        """Say how much is below."""
        below = self.transcript.below
        if below != self._below:
            self._below = below
            self.border_subtitle = Content(f"{below} more below") if below else None

    def _place_composer(self) -> None:
        """An open question takes the composer's place, unless a text is being written there."""
        asks = self._asked_at is not None
        if asks and not self.composer.text:
            had_focus = self.composer.has_focus
            self.composer.display = False
            if had_focus:
                self.transcript.focus()
        elif not asks and not self.composer.display:
            self.composer.display = True
            if self.transcript.has_focus:
                self.composer.focus()

    def _stop_saving(self) -> None:
        if self._saving is not None:
            self._saving.stop()
            self._saving = None

    def _title(self) -> None:
        session = self.session
        room = self.size.width + 2 * self.styles.padding.left - 4
        if room < 6:
            return
        dash = self._glyphs.dash
        state = state_word(session.state)
        name = f"{session.number} {label(session)}"
        backend = clean_line(session.backend)
        left = f"{name} {dash} {backend}" if backend and room > width_of(name + backend + state) + 8 else name
        left = fit(left, max(1, room - len(state) - 3), self._glyphs.ellipsis)
        fill = room - width_of(left) - len(state) - 2
        bare = Content(left) if fill < 1 else Content(f"{left} {dash * fill} {state}")
        if session.state in {"asking", "failed"}:
            bare = bare.stylize("$accent bold", len(bare) - len(state))
        if bare.plain != self._titled:  # setting it paints the whole pane
            self._titled = bare.plain
            self.border_title = bare

    def _said_when_empty(self) -> list[str]:
        return [clean_line(self.session.skill), "", "Ask below. Esc, then ? for the keys."]
