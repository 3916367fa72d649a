"""The panes, tiled by themselves: which sessions are on screen, which has the focus, which is zoomed."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from textual import events
from textual.containers import Container
from textual.geometry import NULL_OFFSET, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.message import Message
from textual.widget import AwaitMount, Widget

from nanoide.core.events import SessionId
from nanoide.core.session import Session
from nanoide.tui.pane import Pane
from nanoide.tui.tiling import page, tiles
from nanoide.tui.wording import Glyphs

_BUDGET_S = 0.012
"""How long painting may take in one frame; what is left over is painted in the next one."""


class _Tiles(Layout):
    """Places the deck's children on the grid of `tiling`."""

    name = "tiles"

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        """A place for each child."""
        parent.pre_layout(self)
        regions = tiles(len(children), size)
        return [
            WidgetPlacement(region, NULL_OFFSET, child.styles.margin, child)
            for region, child in zip(regions, children, strict=True)
        ]


class Deck(Container):
    """All panes. Only those on the current page are displayed, and only those are painted."""

    DEFAULT_CSS = """
    Deck { width: 1fr; height: 1fr; overflow: hidden hidden; }
    """

    @dataclass
    class Turned(Message):
        """Other sessions are on screen now."""

        visible: tuple[SessionId, ...]

    @dataclass
    class Focused(Message):
        """Another pane has the focus."""

        session: SessionId

    def __init__(
        self, glyphs: Glyphs, placeholder: Callable[[Session], str], keep: Callable[[SessionId, str], None]
    ) -> None:
        super().__init__()
        self._glyphs = glyphs
        self._keep = keep
        self._placeholder = placeholder
        self._tiles = _Tiles()
        self._panes: dict[SessionId, Pane] = {}
        self._members: list[SessionId] = []
        self._sessions: dict[SessionId, Session] = {}
        self._owed: set[SessionId] = set()
        self.current: SessionId | None = None
        """The pane that has, or last had, the focus."""
        self._aim: Literal["write", "read"] | None = None
        """What to give the focus to as soon as the current pane is on screen."""
        self.zoomed = False
        self.visible_sessions: tuple[SessionId, ...] = ()
        """On screen, in the order of the grid."""

    @property
    def layout(self) -> Layout:
        """The grid."""
        return self._tiles

    @property
    def pane(self) -> Pane | None:
        """The current pane."""
        return None if self.current is None else self._panes.get(self.current)

    @property
    def members(self) -> tuple[SessionId, ...]:
        """The sessions on the deck, on this page or another."""
        return tuple(self._members)

    def show(self, sessions: dict[SessionId, Session], members: Iterable[SessionId]) -> None:
        """These sessions are on the deck, in this order."""
        self._sessions = sessions
        before, self._members = self._members, list(members)
        if self.current not in self._members:
            self._move_on(before)
        for gone in [each for each in self._panes if each not in self._members]:
            pane = self._panes.pop(gone)
            if gone in sessions:
                pane.keep_draft()
            pane.remove()
        self._turn_page()

    def paint(self, changed: Collection[SessionId]) -> None:
        """Show what changed, the current pane first, within the budget of a frame."""
        self._owed.update(changed)
        due = [each for each in self.visible_sessions if each in self._owed]
        due.sort(key=lambda each: each != self.current)
        started = perf_counter()
        for place, session in enumerate(due):
            if place and perf_counter() - started > _BUDGET_S:
                self.call_after_refresh(self.paint, ())
                return
            self._owed.discard(session)
            if session in self._sessions:
                self._panes[session].show(self._sessions[session])
        self._owed.clear()

    def go_to(self, session: SessionId, *, write: bool | None = None) -> None:
        """Give the session's pane the focus. With `write` None it stays as it was, reading or writing."""
        if session not in self._members:
            return
        before = self.pane
        reading = before is not None and before.transcript.has_focus
        self.current = session
        self._aim = "write" if write or (write is None and not reading) else "read"
        self._turn_page()
        self.post_message(self.Focused(session))

    def step(self, by: int) -> None:
        """Go to the next or the previous pane, around the corner."""
        if self._members and self.current is not None:
            place = self._members.index(self.current) + by
            self.go_to(self._members[place % len(self._members)])

    def zoom(self, on: bool) -> None:
        """Show the current pane alone, or all again."""
        self.zoomed = on
        self._turn_page()

    def keep_drafts(self) -> None:
        """Save what is being written, everywhere."""
        for pane in self._panes.values():
            pane.keep_draft()

    def on_resize(self, event: events.Resize) -> None:
        """Another number of panes may fit."""
        self._turn_page()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Follow the focus, which a mouse may have moved."""
        for node in event.widget.ancestors_with_self:
            if isinstance(node, Pane) and node.session.id != self.current and self._aim is None:
                self.current = node.session.id
                self.post_message(self.Focused(node.session.id))
                return

    def _move_on(self, before: list[SessionId]) -> None:
        """The current pane is gone: its neighbour takes its place, and its focus."""
        place = before.index(self.current) if self.current is not None and self.current in before else 0
        gone = self.pane
        if gone is not None and gone.focused:
            self._aim = "read" if gone.transcript.has_focus else "write"
        self.current = self._members[min(place, len(self._members) - 1)] if self._members else None
        if self.current is not None:
            self.post_message(self.Focused(self.current))

    def _turn_page(self) -> None:
        """Display the panes of the current page, making those that are not there yet."""
        if not self._members or self.current is None or not self.size:
            visible: tuple[SessionId, ...] = ()
        elif self.zoomed:
            visible = (self.current,)
        else:
            shown = page(len(self._members), self._members.index(self.current), self.size)
            visible = tuple(self._members[place] for place in shown)
        fresh = [each for each in visible if each not in self._panes]
        for each in fresh:
            session = self._sessions[each]
            self._panes[each] = Pane(session, self._glyphs, self._placeholder(session), self._keep)
        for session, pane in self._panes.items():
            pane.display = session in visible
            pane.set_class(self.size.height < 5 or self.size.width < 16, "-bare")
        mounted = None
        if fresh:
            mounted = self.mount_all([self._panes[each] for each in fresh])
            self.sort_children(key=self._order)
        if visible != self.visible_sessions:
            self._owed.update(set(visible) - set(self.visible_sessions))
            self.visible_sessions = visible
            self.post_message(self.Turned(visible))
            self.call_later(self.paint, ())
            self.refresh(layout=True)
        if self._aim is not None and self.current in visible:
            self.call_later(self._settle, mounted)

    async def _settle(self, mounted: AwaitMount | None) -> None:
        """Give the current pane the focus once it is there."""
        if mounted is not None:
            await mounted
        pane, aim, self._aim = self.pane, self._aim, None
        if pane is not None and aim is not None:
            (pane.write if aim == "write" else pane.read)()

    def _order(self, widget: Widget) -> int:
        return self._members.index(widget.session.id) if isinstance(widget, Pane) else -1
