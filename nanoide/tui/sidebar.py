"""Every session in one dense line, grouped by whether it needs the person."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, Static

from nanoide.core.events import SessionId
from nanoide.core.sanitize import clean_line
from nanoide.core.session import Session
from nanoide.tui.entry import Entry
from nanoide.tui.prose import pad, width_of
from nanoide.tui.wording import GROUPS, Glyphs, Group, age, group_of, label, money

_WITH_BACKEND = 30
_WITH_COST = 38
"""From these widths on a line also has room for the backend, and for the cost."""

Row = tuple[Group, int] | Session
"""A group with its count, or a session."""


def rows(sessions: dict[SessionId, Session], query: str = "") -> list[Row]:
    """The lines of the sidebar: those whose number, name, skill, backend or state holds every word of `query`."""
    groups: dict[Group, list[Session]] = {group: [] for group in GROUPS}
    words = query.lower().split()
    for session in sessions.values():
        text = f"{session.number} {session.name} {session.skill} {session.backend} {session.state}".lower()
        if all(word in text for word in words):
            groups[group_of(session)].append(session)
    found: list[Row] = []
    for group, members in groups.items():
        if members:
            members.sort(key=lambda each: each.number)
            found.append((group, len(members)))
            found += members
    return found


def over(strip: Strip, style: Style) -> Strip:
    """The strip with `style` laid over it."""
    return Strip(Segment.apply_style(strip, post_style=style), strip.cell_length)


class SessionList(ScrollView, can_focus=True, inherit_bindings=False):
    """The lines, and a cursor on one of them."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "list--group",
        "list--name",
        "list--unread",
        "list--hidden",
        "list--fact",
        "list--alert",
        "list--current",
        "list--cursor",
    }
    DEFAULT_CSS = """
    SessionList {
        height: 1fr;
        scrollbar-size: 0 0;
        background: transparent;
        & .list--group { color: $muted; }
        & .list--name { color: $foreground; }
        & .list--unread { color: $strong; text-style: bold; }
        & .list--hidden { color: $muted; }
        & .list--fact { color: $faint; }
        & .list--alert { color: $accent; text-style: bold; }
        & .list--current { background: $surface; }
        & .list--cursor { background: $line; }
    }
    """

    @dataclass
    class Chosen(Message):
        """The person wants to see this session."""

        session: SessionId

    def __init__(self, glyphs: Glyphs, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self._glyphs = glyphs
        self._clock = clock
        self._rows: list[Row] = []
        self._ages: list[str] = []
        self._digits = 1
        self._cursor: SessionId | None = None
        self._current: SessionId | None = None
        self._palette: dict[str, Style] = {}

    @property
    def cursor(self) -> SessionId | None:
        """The session under the cursor."""
        return self._cursor

    @property
    def found(self) -> list[Session]:
        """The sessions listed, from the top."""
        return [row for row in self._rows if isinstance(row, Session)]

    def show(self, found: list[Row], current: SessionId | None) -> None:
        """List these; `current` is the one that has the focus on the deck."""
        self._rows = found
        self._current = current
        listed = [each.id for each in self.found]
        if not self.has_focus and current in listed:
            self._cursor = current
        if self._cursor not in listed:
            self._cursor = listed[0] if listed else None
        self._digits = max((len(str(each.number)) for each in self.found), default=1)
        self._ages = self._all_ages()
        self.virtual_size = Size(self.size.width, len(found))
        self._reveal()
        self.refresh()

    def tick(self) -> None:
        """Tell the ages again where they changed."""
        ages = self._all_ages()
        if ages != self._ages:
            self._ages = ages
            self.refresh()

    def move(self, by: int) -> None:
        """Move the cursor, staying within the list."""
        listed = [each.id for each in self.found]
        if listed:
            place = listed.index(self._cursor) if self._cursor is not None and self._cursor in listed else 0
            self._cursor = listed[max(0, min(len(listed) - 1, place + by))]
            self._reveal()
            self.refresh()

    def choose(self) -> None:
        """Go to the session under the cursor."""
        if self._cursor is not None:
            self.post_message(self.Chosen(self._cursor))

    def on_click(self, event: events.Click) -> None:
        """Go to the session that was clicked."""
        place = self.scroll_offset.y + event.y
        if 0 <= place < len(self._rows):
            row = self._rows[place]
            if isinstance(row, Session):
                self._cursor = row.id
                self.choose()

    def on_resize(self, event: events.Resize) -> None:
        """Take the new width."""
        self.virtual_size = Size(event.size.width, len(self._rows))

    def notify_style_update(self) -> None:
        """Look the styles up again."""
        super().notify_style_update()
        self._palette.clear()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        place = self.scroll_offset.y + y
        width = self.size.width
        if place >= len(self._rows):
            return Strip.blank(width, self._kind("name"))
        row = self._rows[place]
        if not isinstance(row, Session):
            group, number = row
            kind = "alert" if group == "needs you" else "group"
            told = f"{number} "
            left = Segment(pad(f" {group}", max(0, width - len(told))), self._kind(kind))
            return Strip([left, Segment(told, self._kind("group"))]).adjust_cell_length(width, self._kind("name"))
        strip = Strip(self._session(row, self._ages[place], width)).adjust_cell_length(width, self._kind("name"))
        if row.id == self._cursor and self.has_focus:
            return over(strip, self._kind("cursor"))
        return over(strip, self._kind("current")) if row.id == self._current else strip

    def _session(self, session: Session, told: str, width: int) -> list[Segment]:
        state = session.state
        needy = state == "asking" or (state == "failed" and not session.ambient)
        unread = session.unread and not session.ambient
        name_kind = "unread" if unread else "hidden" if session.hidden or state == "parked" else "name"
        lead = f" {self._glyphs.states[state]} {session.number:<{self._digits}} "
        tail = f" {'wait' if state == 'queued' else told:>4} "
        if width >= _WITH_COST:
            paid = money(session.cost_nano) if session.cost_nano else ""
            tail = f" {paid + '+?' if session.unpriced else paid:>7}{tail}"
        if width >= _WITH_BACKEND:
            tail = f" {pad(clean_line(session.backend), 7, self._glyphs.ellipsis)}{tail}"
        room = max(0, width - width_of(lead) - width_of(tail))
        return [
            Segment(lead, self._kind("alert" if needy else name_kind)),
            Segment(pad(label(session), room, self._glyphs.ellipsis), self._kind(name_kind)),
            Segment(tail, self._kind("fact")),
        ]

    def _kind(self, name: str) -> Style:
        style = self._palette.get(name)
        if style is None:
            partial = name in {"current", "cursor"}
            style = self.get_component_rich_style(f"list--{name}", partial=partial)
            self._palette[name] = style
        return style

    def _all_ages(self) -> list[str]:
        now = self._clock()
        return [age(now, row.since) if isinstance(row, Session) else "" for row in self._rows]

    def _reveal(self) -> None:
        for place, row in enumerate(self._rows):
            if isinstance(row, Session) and row.id == self._cursor:
                self.scroll_to_region(Region(0, max(0, place - 1), 1, 2), animate=False, immediate=True)
                return


class Sidebar(Widget):
    """The list with its heading, its filter and its next keys."""

    DEFAULT_CSS = """
    Sidebar {
        width: 42;
        layout: vertical;
        padding: 0 1 0 0;
        & > Static { height: 1; color: $faint; }
        & > #sessions-title { color: $muted; }
        & > Entry { display: none; background: $surface; }
        &.-filtering > Entry { display: block; }
        &.-filtering > #sessions-keys { display: none; }
    }
    """

    def __init__(self, glyphs: Glyphs, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self.list = SessionList(glyphs, clock)
        self._title = Static(" sessions", id="sessions-title", markup=False)
        self._keys = Static("", id="sessions-keys", markup=False)
        self._input = Entry(placeholder="filter")
        self._sessions: dict[SessionId, Session] = {}
        self._current: SessionId | None = None

    def compose(self) -> ComposeResult:
        """Heading, list, filter, keys."""
        yield self._title
        yield self.list
        yield self._input
        yield self._keys

    @property
    def query_text(self) -> str:
        """The filter in force."""
        return self._input.value

    def say_keys(self, text: str) -> None:
        """The line of next keys below the list."""
        self._keys.update(Content(f" {text}"))

    def show(self, sessions: dict[SessionId, Session], current: SessionId | None) -> None:
        """List the sessions that the filter lets through."""
        self._sessions = sessions
        self._current = current
        found = rows(sessions, self._input.value)
        self.list.show(found, current)
        listed = sum(isinstance(row, Session) for row in found)
        told = str(len(sessions)) if listed == len(sessions) else f"{listed} of {len(sessions)}"
        width = max(0, self.size.width or 41)
        self._title.update(Content(pad(" sessions", max(0, width - len(told) - 1)) + f"{told} "))

    def on_resize(self, event: events.Resize) -> None:
        """Set the heading's count to the right again."""
        self.show(self._sessions, self._current)

    def start_filter(self) -> None:
        """Write a filter."""
        self.add_class("-filtering")
        self._input.focus()

    def stop_filter(self) -> None:
        """Show everything again."""
        self._input.value = ""
        self.remove_class("-filtering")
        self.show(self._sessions, self._current)

    def on_input_changed(self) -> None:
        """Filter as the person writes."""
        self.show(self._sessions, self._current)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the first session found."""
        event.stop()
        found = self.list.found
        if found:
            chosen = self.list.cursor if self.list.cursor in {each.id for each in found} else found[0].id
            self.stop_filter()
            if chosen is not None:
                self.post_message(SessionList.Chosen(chosen))

    def on_key(self, event: events.Key) -> None:
        """While filtering: arrows move the cursor, Esc ends it."""
        if not self._input.has_focus:
            return
        if event.key in {"down", "up"}:
            event.stop()
            self.list.move(1 if event.key == "down" else -1)
        elif event.key == "escape":
            event.stop()
            self.stop_filter()
            self.list.focus()
