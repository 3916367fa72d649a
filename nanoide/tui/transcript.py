"""A session's turns as lines, and the widget that scrolls them. Only what changed is made again."""

from bisect import bisect_right
from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from nanoide.core.chat import Attempt
from nanoide.core.events import ConsentAsked
from nanoide.core.sanitize import clean, clean_line
from nanoide.core.session import ACTIVE, Session, Turn
from nanoide.tui.prose import Answer, Kind, Line, Mark, Span, fit, line_of, wrapped
from nanoide.tui.wording import Glyphs, cost, count, duration, plural, went_on

_LEAD = "  "

_WHEEL = 3
"""Lines that one step of the mouse wheel moves."""


def question(turn: Turn, width: int) -> list[Line]:
    """What the person asked, and what was given with it."""
    lines = wrapped(clean(turn.asked), width, "asked") if turn.asked else []
    if turn.inputs:
        with_it = ", ".join(clean_line(each) for each in turn.inputs)
        lines.append(line_of((fit(f"with {with_it}", width), "fact")))
    if lines:
        lines.append(())
    return lines


def facts(turn: Turn, width: int, glyphs: Glyphs) -> list[Line]:
    """What stands under an answer: changes of rung, the consent asked for, an error, the line of facts."""
    lines: list[Line] = []
    for each, following in _switches(turn):
        lines += _switch(each, following, width, glyphs)
    for text in turn.notices:
        lines += wrapped("! " + clean(text), width, "fact", indent=2)
    match turn.state:
        case "asking":
            lines += consent(turn.consent, width) if turn.consent is not None else []
        case "failed":
            lines += failure(turn, width)
        case "cancelled":
            lines.append(((_LEAD + "stopped by you", "fact"),))
        case "done":
            lines.append(line_of((_LEAD + fit(_facts(turn, glyphs, width - 2), width - 2), "fact")))
        case "queued" | "working" | "streaming":
            pass
    return lines


def consent(asked: ConsentAsked, width: int) -> list[Line]:
    """The question whether something may leave this machine, and its one-key answers."""
    rows = [
        ("to", f"{clean_line(asked.backend)} ({clean_line(asked.host)})"),
        ("what", f"{clean_line(asked.what)}, {count(asked.tokens)} tokens"),
        ("hidden", "; ".join(clean_line(each) for each in asked.hidden) or "nothing: no secret was found"),
        ("price", "no price is known" if asked.cost_nano is None else f"at most {cost(asked.cost_nano)}"),
    ]
    if asked.over:
        rows.append(("budget", f"{clean_line(asked.over)}; a yes allows it"))
    lines: list[Line] = [*wrapped("This would leave your machine", width, "alert"), ()]
    for name, value in rows:
        first, *more = wrapped(value, max(8, width - 10), "strong")
        lines.append(((f"{_LEAD}{name:<8}", "fact"), *first))
        lines += [line_of((" " * 10, "fact"), *line) for line in more]
    keys: list[Span] = [(_LEAD, "answer")]
    choices = [
        ("y", "once"),
        ("s", "session" if width < 50 else "this session"),
        ("a", "always" if width < 70 else "always for this skill"),
        ("n", "stay"),
    ]
    if asked.over:  # going over a budget is never allowed for good
        del choices[2]
    for key, meaning in choices:
        keys.append((key, "alert"))
        keys.append((f" {meaning}   ", "fact"))
    if sum(len(text) for text, _ in keys) <= width:
        return [*lines, (), tuple(keys)]
    return [*lines, (), tuple(keys[:5]), ((_LEAD, "answer"), *keys[5:])]


def failure(turn: Turn, width: int) -> list[Line]:
    """What went wrong, where, and what to try."""
    said = clean(turn.message or turn.error)
    first, *more = wrapped(said, width - 4, "strong")
    lines: list[Line] = [((_LEAD + "! ", "alert"), *first)]
    lines += [line_of((_LEAD + _LEAD, "strong"), *line) for line in more]
    if turn.hint:
        said = wrapped("try: " + clean(turn.hint), width - 4, "fact")
        lines += [line_of((_LEAD + _LEAD, "fact"), *line) for line in said]
    where = [clean_line(turn.backend)] if turn.backend else []
    if turn.total_ms:
        where.append(f"after {duration(turn.total_ms)}")
    if turn.text:
        where.append("what had arrived is kept")
    if where:
        lines += wrapped(", ".join(where), width, "fact", indent=4)
    return lines


def _facts(turn: Turn, glyphs: Glyphs, width: int) -> str:
    """Sources, first token, rung, cost; what fits of it, the rung and the cost in any case."""
    sources = [plural(len(turn.sources), "source")] if turn.sources else []
    first = [duration(turn.ttft_ms if turn.ttft_ms is not None else turn.total_ms)]
    backend = clean_line(turn.backend)
    place = {"device": "on this device", "lan": "on the local network", "remote": "remote"}[turn.where]
    paid = cost(turn.cost_nano)
    sep = f" {glyphs.dot} "
    said = [
        sep.join([*sources, *first, f"{backend}, {place}", paid]),
        sep.join([*sources, *first, backend, paid]),
        sep.join([*first, backend, paid]),
        sep.join([backend, paid]),
    ]
    return next((each for each in said if len(each) <= width), said[-1])


def _switches(turn: Turn) -> list[tuple[Attempt, str]]:
    """Attempts that failed, each with the rung that came after; the last one may have none.

    What stands at its place in the answer is not told again.
    """
    found: list[tuple[Attempt, str]] = []
    told = {each.reason for each in turn.seams}
    for place, attempt in enumerate(turn.attempts):
        if attempt.outcome in {"ok", "cancelled"} or f"{attempt.backend}: {attempt.reason}" in told:
            continue
        after = turn.attempts[place + 1].backend if place + 1 < len(turn.attempts) else turn.backend
        last = place + 1 == len(turn.attempts)
        found.append((attempt, "" if last and (after == attempt.backend or turn.state == "failed") else after))
    return found


def _switch(attempt: Attempt, after: str, width: int, glyphs: Glyphs) -> list[Line]:
    reason = clean_line(attempt.reason) or attempt.outcome.replace("_", " ")
    route = (
        f"{clean_line(attempt.backend)} {glyphs.arrow} {clean_line(after)}" if after else clean_line(attempt.backend)
    )
    return wrapped(f"{glyphs.switch} {route}  {reason}", width, "fact", indent=2)


class Block:
    """The lines of one turn at one width."""

    def __init__(self, width: int, glyphs: Glyphs) -> None:
        self._width = width
        self._glyphs = glyphs
        self._turn: Turn | None = None
        self._head: list[Line] = []
        self._answer = Answer(width)
        self._foot: list[Line] = []

    def show(self, turn: Turn, reason: str) -> int:
        """Follow the turn; `reason` is said while there is no text yet. The first line that may have changed."""
        before = self._turn
        self._turn = turn
        first = max(0, len(self._head) + len(self._answer.lines) - 1)
        if before is None or before.text != turn.text or before.seams != turn.seams:
            first = min(first, len(self._head) + self._answer.update(turn.text, self._marks(turn)))
        if before is None or before.asked != turn.asked or before.inputs != turn.inputs:
            self._head = question(turn, self._width)
            first = 0
        foot = facts(turn, self._width, self._glyphs)
        waiting = turn.state in {"queued", "working"} and not turn.text
        if waiting:
            foot = [line_of((_LEAD + fit(clean_line(reason), self._width - 2), "faint")), *foot]
        gap: list[Line] = [()] if foot and turn.text else []
        self._foot = [*gap, *foot, ()]
        return first

    def _marks(self, turn: Turn) -> tuple[Mark, ...]:
        sign = self._glyphs.goes_on
        return tuple((each.after, f"{sign} {went_on(each)}") for each in turn.seams if each.after <= len(turn.text))

    def __len__(self) -> int:
        return len(self._head) + len(self._answer.lines) + len(self._foot)

    def __getitem__(self, place: int) -> Line:
        """The line at `place`; streaming text ends in a cursor."""
        if place < len(self._head):
            return self._head[place]
        place -= len(self._head)
        answer = self._answer.lines
        if place < len(answer):
            line = answer[place]
            streams = self._turn is not None and self._turn.state == "streaming"
            if streams and place == len(answer) - 1:
                return (*line, (self._glyphs.cursor, "alert"))
            return line
        return self._foot[place - len(answer)]


_KINDS: dict[Kind, str] = {
    kind: f"transcript--{kind}" for kind in ("asked", "answer", "heading", "code", "fact", "faint", "strong", "alert")
}


class Transcript(ScrollView, can_focus=True, inherit_bindings=False):
    """A session's turns, the newest at the bottom; follows the end unless the person scrolled away."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(_KINDS.values())
    DEFAULT_CSS = """
    Transcript {
        height: 1fr;
        scrollbar-size: 0 0;
        background: transparent;
        & .transcript--asked { color: $strong; text-style: bold; }
        & .transcript--answer { color: $foreground; }
        & .transcript--heading { color: $strong; text-style: bold; }
        & .transcript--code { color: $strong; }
        & .transcript--fact { color: $muted; }
        & .transcript--faint { color: $faint; }
        & .transcript--strong { color: $strong; }
        & .transcript--alert { color: $accent; text-style: bold; }
    }
    """

    class Moved(Message):
        """The person scrolled, or the text grew: more or less stands below."""

    def __init__(self, glyphs: Glyphs, empty: Callable[[], list[str]]) -> None:
        super().__init__()
        self._glyphs = glyphs
        self._empty = empty
        self._session: Session | None = None
        self._blocks: list[Block] = []
        self._turns: tuple[Turn, ...] = ()
        self._starts: list[int] = [0]
        self._width = 0
        self._styles: dict[str, Style] = {}
        self._follow = True
        self._placing = False
        """True while this widget itself scrolls to the end."""

    @property
    def below(self) -> int:
        """Lines below the last one on screen."""
        return max(0, self._starts[-1] - self.scroll_offset.y - self.size.height)

    @property
    def at_end(self) -> bool:
        """True when the newest line is on screen."""
        return self.below == 0

    def show(self, session: Session) -> None:
        """Follow the session."""
        self._session = session
        if self._width:
            self._update()

    def on_resize(self, event: events.Resize) -> None:
        """Wrap again when the width changed."""
        if event.size.width != self._width:
            self._width = event.size.width
            self._forget()
        self._update()
        self.call_after_refresh(self._stay)

    def notify_style_update(self) -> None:
        """Look the styles up again."""
        super().notify_style_update()
        self._styles.clear()

    def jump(self, direction: int) -> None:
        """To the beginning or the end."""
        if direction > 0:
            self._to_end()
        else:
            self.scroll_to(y=0, animate=False, force=True)

    def scroll_by(self, lines: int) -> None:
        """Down by so many lines, up when negative."""
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False, force=True)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Down by a few lines; Textual would look at the scrollbar, which is not there."""
        event.stop()
        event.prevent_default()
        self.scroll_by(_WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Up by a few lines."""
        event.stop()
        event.prevent_default()
        self.scroll_by(-_WHEEL)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Remember whether the end is followed."""
        super().watch_scroll_y(old_value, new_value)
        if not self._placing:
            self._follow = self.at_end
        self.post_message(self.Moved())

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text."""
        text = "\n".join("".join(part for part, _ in self._line(place)) for place in range(self._starts[-1]))
        return selection.extract(text), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Show it."""
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        place = self.scroll_offset.y + y
        width = self.size.width
        base = self._style("answer")
        if self._starts[-1] == 0:
            said = self._empty() if self._session is not None and not self._session.turn_count else []
            if y >= len(said):
                return Strip.blank(width, base)
            return Strip([Segment(fit(said[y], width), self._style("faint"))]).adjust_cell_length(width, base)
        if place >= self._starts[-1]:
            return Strip.blank(width, base)
        strip = Strip([Segment(text, self._style(kind)) for text, kind in self._line(place) if text])
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(place)) is not None:
            start, end = span
            end = strip.cell_length if end == -1 else end
            marked = self.screen.get_component_rich_style("screen--selection")
            strip = Strip.join(
                [strip.crop(0, start), strip.crop(start, end).apply_style(marked), strip.crop(end, strip.cell_length)]
            )
        return strip.adjust_cell_length(width, base).apply_offsets(0, place)

    def _line(self, place: int) -> Line:
        block = bisect_right(self._starts, place) - 1
        return self._blocks[block][place - self._starts[block]]

    def _style(self, kind: Kind) -> Style:
        name = _KINDS[kind]
        style = self._styles.get(name)
        if style is None:
            style = self._styles[name] = self.get_component_rich_style(name)
        return style

    def _forget(self) -> None:
        """Make every line again, and paint all of them."""
        self._blocks.clear()
        self._turns = ()
        self._starts = [0]

    def _update(self) -> None:
        session = self._session
        if session is None or not self._width:
            return
        turns = session.turns
        if [each.id for each in turns[: len(self._turns)]] != [each.id for each in self._turns]:
            self._forget()
        old_end, first = self._starts[-1], self._starts[-1]
        for place, turn in enumerate(turns):
            if place >= len(self._blocks):
                self._blocks.append(Block(self._width, self._glyphs))
            elif turn is self._turns[place] and turn.state not in ACTIVE:
                continue
            changed = self._blocks[place].show(turn, session.reason)
            first = min(first, changed + self._starts[place]) if place < len(self._starts) else first
        del self._blocks[len(turns) :]
        self._turns = turns
        starts = [0]
        for block in self._blocks:
            starts.append(starts[-1] + len(block))
        self._starts = starts
        # Nothing but the scroll offset depends on the height: a layout of the whole screen is not wanted.
        size = Size(self._width, starts[-1])
        self.set_reactive(ScrollView.virtual_size, size)  # pyright: ignore[reportArgumentType] - on the class it is the descriptor
        offset = self.scroll_offset.y
        if self._follow:
            self._to_end()
        if self.scroll_offset.y == offset and old_end:
            height = max(old_end, starts[-1]) - first
            self.refresh(Region(0, first - offset, self._width, height))
        else:
            self.refresh()
        self.post_message(self.Moved())

    def _stay(self) -> None:
        """A new size is known to the scrolling only after the layout."""
        if self._follow:
            self._to_end()

    def _to_end(self) -> None:
        self._follow = True
        self._placing = True
        self.scroll_to(y=max(0, self._starts[-1] - self.size.height), animate=False, force=True)
        self._placing = False
