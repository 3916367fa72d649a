"""Choosing one of many by writing a few letters: the palette, skills, sessions and themes all use it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.fuzzy import FuzzySearch
from textual.geometry import Region, Size
from textual.message import Message
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input

from nanoide.core.sanitize import clean_line
from nanoide.tui.entry import Entry
from nanoide.tui.prose import pad, width_of


@dataclass(frozen=True)
class Choice:
    """One line of a picker."""

    name: str
    """What the picker gives back."""
    title: str
    detail: str = ""
    key: str = ""
    """At the right: the key that does the same."""
    usable: bool = True


def ranked(choices: Sequence[Choice], query: str, search: FuzzySearch) -> list[Choice]:
    """The choices that `query` fits, the best first; all in their own order for an empty one.

    A title that begins with the query, or a detail that holds it, is found too.
    """
    if not query:
        return list(choices)
    scored: list[tuple[float, int, Choice]] = []
    for place, choice in enumerate(choices):
        score = search.match(query, choice.title)[0]
        if choice.title.lower().startswith(query.lower()):
            score += 10.0
        elif not score and query.lower() in choice.detail.lower():
            score = 0.1
        if score:
            scored.append((-score, place, choice))
    return [choice for _, _, choice in sorted(scored, key=lambda each: each[:2])]


class Choices(ScrollView):
    """The lines of a picker."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "choices--title",
        "choices--detail",
        "choices--key",
        "choices--cursor",
        "choices--off",
    }
    DEFAULT_CSS = """
    Choices {
        height: auto;
        max-height: 16;
        scrollbar-size: 0 0;
        background: transparent;
        & .choices--title { color: $foreground; }
        & .choices--detail { color: $muted; }
        & .choices--key { color: $faint; }
        & .choices--off { color: $faint; }
        & .choices--cursor { color: $strong; background: $line; text-style: bold; }
    }
    """

    class Clicked(Message):
        """A line was clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Choice] = []
        self.place = 0

    def show(self, found: list[Choice]) -> None:
        """List these, the cursor on the first."""
        self.found = found
        self.place = 0
        self.virtual_size = Size(self.size.width, max(1, len(found)))
        self.scroll_home(animate=False, immediate=True)
        self.refresh(layout=True)

    def move(self, by: int) -> None:
        """Move the cursor, around the corner."""
        if self.found:
            self.place = (self.place + by) % len(self.found)
            self.scroll_to_region(Region(0, self.place, 1, 1), animate=False, immediate=True)
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Choose what was clicked."""
        place = self.scroll_offset.y + event.y
        if place < len(self.found):
            self.place = place
            self.post_message(self.Clicked())

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        place = self.scroll_offset.y + y
        width = self.size.width
        if not self.found and place == 0:
            return Strip([Segment(pad(" nothing like this", width), self._kind("off"))])
        if place >= len(self.found):
            return Strip.blank(width, self.rich_style)
        choice = self.found[place]
        title = clean_line(choice.title)
        detail = clean_line(choice.detail)
        key = f" {choice.key} " if choice.key else " "
        column = max((width_of(clean_line(each.title)) for each in self.found), default=0) + 3
        column = min(column, max(12, width // 2)) if detail else width - len(key)
        title_kind = "cursor" if place == self.place else "title" if choice.usable else "off"
        detail_kind = "cursor" if place == self.place else "detail" if choice.usable else "off"
        return Strip(
            [
                Segment(pad(f" {title}", column), self._kind(title_kind)),
                Segment(pad(detail, max(0, width - column - len(key))), self._kind(detail_kind)),
                Segment(key, self._kind("cursor" if place == self.place else "key")),
            ]
        ).adjust_cell_length(width, self.rich_style)

    def _kind(self, name: str) -> Style:
        return self.get_component_rich_style(f"choices--{name}")


class Picker(ModalScreen[str | None]):
    """Gives back the name of what was chosen, None when the person left.

    With `free` True there may be nothing to choose from: the text written is given back.
    """

    DEFAULT_CSS = """
    Picker {
        align: center top;
        background: $background 40%;
        & > Vertical {
            width: 84; max-width: 96%; height: auto; max-height: 90%;
            margin-top: 3; padding: 0 1;
            border: round $accent; background: $surface; border-title-color: $strong;
            border-subtitle-color: $faint; border-subtitle-align: right;
        }
        & Entry { margin-bottom: 1; }
        &.-short > Vertical { margin-top: 0; }
        &.-short Entry { margin-bottom: 0; }
    }
    """

    def __init__(
        self,
        title: str,
        choices: Sequence[Choice],
        *,
        placeholder: str = "",
        start: str = "",
        free: bool = False,
        preview: Callable[[str], None] | None = None,
        first: str = "",
    ) -> None:
        super().__init__()
        self._title = title
        self._choices = choices
        self._placeholder = placeholder
        self._start = start
        self._free = free
        self._preview = preview
        self._first = first
        """The choice that the cursor begins on."""
        self._search = FuzzySearch()
        self._list = Choices()

    def compose(self) -> ComposeResult:
        """What is written, and what it finds."""
        with Vertical() as box:
            box.border_title = Content(self._title)
            box.border_subtitle = Content("enter choose   esc leave")
            yield Entry(self._start, placeholder=self._placeholder)
            if not self._free:
                yield self._list

    def on_mount(self) -> None:
        """List everything."""
        self._list.show(ranked(self._choices, self._start, self._search))
        names = [each.name for each in self._list.found]
        if self._first in names:
            self._list.move(names.index(self._first))

    def on_resize(self, event: events.Resize) -> None:
        """Use all lines of a low terminal."""
        self.set_class(event.size.height < 14, "-short")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search as the person writes."""
        event.stop()
        self._list.show(ranked(self._choices, event.value.strip(), self._search))
        self._show_preview()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give back what the cursor is on."""
        event.stop()
        self._choose()

    def on_choices_clicked(self) -> None:
        """Give back what was clicked."""
        self._choose()

    def on_key(self, event: events.Key) -> None:
        """Arrows move, Esc leaves."""
        match event.key:
            case "down" | "ctrl+n" | "tab":
                self._list.move(1)
            case "up" | "ctrl+p" | "shift+tab":
                self._list.move(-1)
            case "pagedown":
                self._list.move(min(10, len(self._list.found) - 1 - self._list.place))
            case "pageup":
                self._list.move(-min(10, self._list.place))
            case "escape" | "ctrl+c" | "ctrl+d":
                self.dismiss(None)
            case _:
                return
        event.stop()
        event.prevent_default()
        if event.key not in {"escape", "ctrl+c", "ctrl+d"}:
            self._show_preview()

    def _choose(self) -> None:
        if self._free:
            self.dismiss(self.query_one(Entry).value.strip() or None)
        elif self._list.found and self._list.found[self._list.place].usable:
            self.dismiss(self._list.found[self._list.place].name)

    def _show_preview(self) -> None:
        if self._preview is not None and self._list.found:
            self._preview(self._list.found[self._list.place].name)
