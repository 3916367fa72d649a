"""Where a person writes: one line that grows to a few. Enter sends, Shift+Enter or Ctrl+J breaks the line."""

from dataclasses import dataclass

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widgets import TextArea

from nanoide.core.sanitize import clean
from nanoide.tui.prose import fit


class Composer(TextArea):
    """The text of one session's next question."""

    DEFAULT_CSS = """
    Composer {
        height: auto;
        max-height: 6;
        padding: 0;
        border: none;
        border-left: vkey $line;
        background: transparent;
        color: $strong;
        scrollbar-size: 0 0;
        &:focus { border: none; border-left: vkey $accent; }
        & .text-area--cursor-line { background: transparent; }
        & .text-area--placeholder { color: $faint; }
        &.-ascii { border: none; }
        &.-ascii:focus { border: none; }
    }
    """

    @dataclass
    class Sent(Message):
        """The person wants this asked."""

        composer: "Composer"
        text: str

        @property
        def control(self) -> "Composer":
            """The composer it came from."""
            return self.composer

    def __init__(self, placeholder: str) -> None:
        super().__init__(
            soft_wrap=True,
            highlight_cursor_line=False,
            theme="css",
        )
        self.cursor_blink = False
        self._invitation = placeholder
        """Shown while nothing is written: on one line, cut to the width, however small that is."""

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.content_size.width
        if width < 1:
            return Strip.blank(0)
        strip = super().render_line(y)
        if self.text or y:
            return strip
        first, *_ = [*strip.crop(0, 1), Segment(" ")]
        said = fit(self._invitation, width)
        faint = self.get_component_rich_style("text-area--placeholder")
        written = Strip([Segment(said[:1] or " ", first.style if self.has_focus else faint), Segment(said[1:], faint)])
        return written.adjust_cell_length(width, self.rich_style)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            text = self.text.strip()
            if text:
                self.post_message(self.Sent(self, text))
            return
        if event.key in {"shift+enter", "ctrl+j", "alt+enter"}:
            event.stop()
            event.prevent_default()
            self.insert("\n")
            return
        if event.key.startswith("alt+"):
            event.prevent_default()  # a key that means nothing here; it would write its letter

    async def _on_paste(self, event: events.Paste) -> None:
        event.text = clean(event.text)  # Textual calls the base class's handler after this one

    def put(self, text: str) -> None:
        """Replace what stands here, cursor at the end."""
        self.load_text(clean(text))
        self.move_cursor(self.document.end)
