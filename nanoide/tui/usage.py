"""What was used and what it cost, grouped as the person likes. All figures are the ledger's."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from textual import events, work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from nanoide.core.errors import NanoideError
from nanoide.core.sanitize import clean_line
from nanoide.tui.prose import pad, width_of
from nanoide.tui.wording import Glyphs, count, duration, money, plural
from nanoide.wire import HubStatus, ReadUsage, UsageKey, UsageReport, UsageRow

Period = Literal["today", "block", "week", "month", "all"]

PERIODS: tuple[Period, ...] = ("today", "block", "week", "month", "all")

KEYS: tuple[UsageKey, ...] = ("skill", "backend", "model", "session", "project", "day")


def since(period: Period, now: datetime) -> str | None:
    """Where the period begins, for the ledger; None means from the beginning. `now` is in the person's time zone."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "today":
            return midnight.isoformat()
        case "block":
            return (now - timedelta(hours=5)).isoformat()
        case "week":
            return (midnight - timedelta(days=midnight.weekday())).isoformat()
        case "month":
            return midnight.replace(day=1).isoformat()
        case "all":
            return None


class UsagePanel(ModalScreen[None]):
    """The ledger in one table; `p` changes the period, `tab` what it is grouped by."""

    DEFAULT_CSS = """
    UsagePanel {
        background: $background;
        layout: vertical;
        & > Static { height: auto; color: $muted; padding: 0 1; }
        & > #usage-keys { dock: bottom; height: 1; color: $faint; }
        & > VerticalScroll { height: 1fr; scrollbar-size: 0 0; padding: 0 1; margin-top: 1; }
        & > VerticalScroll > Static { height: auto; color: $foreground; }
    }
    """

    def __init__(
        self,
        ask: Callable[[ReadUsage], Awaitable[UsageReport]],
        *,
        clock: Callable[[], datetime],
        status: Callable[[], HubStatus],
        speeds: Callable[[], Sequence[int]],
        glyphs: Glyphs,
    ) -> None:
        super().__init__()
        self._ask = ask
        self._clock = clock
        self._status = status
        self._speeds = speeds
        self._glyphs = glyphs
        self._period: Period = "today"
        self._by: UsageKey = "skill"
        self._report: UsageReport | None = None
        self._complaint = ""

    def compose(self) -> ComposeResult:
        """Heading, sums, table, keys."""
        yield Static("", id="usage-head", markup=False)
        with VerticalScroll():
            yield Static("", id="usage-table", markup=False)
        yield Static(
            Content("p period   tab grouped by   j k scroll   r read again   esc leave"), id="usage-keys", markup=False
        )

    def on_mount(self) -> None:
        """Read the ledger."""
        self._show()
        self.read()

    @work(exclusive=True, group="usage")
    async def read(self) -> None:
        """Ask for the figures of this period and grouping."""
        now = self._clock().astimezone()
        offset = now.utcoffset() or timedelta()
        ask = ReadUsage(by=self._by, since=since(self._period, now), tz_minutes=int(offset.total_seconds() // 60))
        try:
            self._report = await self._ask(ask)
            self._complaint = ""
        except NanoideError as error:
            self._complaint = str(error)
        self._show()

    def on_key(self, event: events.Key) -> None:
        """Switch, scroll, leave."""
        event.stop()
        box = self.query_one(VerticalScroll)
        match event.key:
            case "p":
                self._period = PERIODS[(PERIODS.index(self._period) + 1) % len(PERIODS)]
                self.read()
            case "tab" | "right":
                self._by = KEYS[(KEYS.index(self._by) + 1) % len(KEYS)]
                self.read()
            case "shift+tab" | "left":
                self._by = KEYS[KEYS.index(self._by) - 1]
                self.read()
            case "r":
                self.read()
            case "j" | "down":
                box.scroll_relative(y=1, animate=False)
            case "k" | "up":
                box.scroll_relative(y=-1, animate=False)
            case "escape" | "q" | "u" | "ctrl+c":
                self.dismiss(None)
            case _:
                pass

    def on_resize(self) -> None:
        """Lay the table out again."""
        self._show()

    def _show(self) -> None:
        width = max(20, self.size.width - 4)
        head = [_switches(self._period, self._by, width, self._glyphs)]
        report = self._report
        if self._complaint:
            head.append(Content.assemble((f"! {clean_line(self._complaint)}", "$accent")))
        elif report is not None:
            head += sums(report, self._status(), self._speeds(), width, self._glyphs)
        self.query_one("#usage-head", Static).update(Content("\n").join(head))
        body = Content("") if report is None else table(report, width, self._glyphs)
        self.query_one("#usage-table", Static).update(body)


def sums(report: UsageReport, status: HubStatus, speeds: Sequence[int], width: int, glyphs: Glyphs) -> list[Content]:
    """What the period came to."""
    total = report.total
    parts = [f"{money(total.cost_nano)} paid", f"{total.turns:,} turns"]
    if total.turns:
        parts.append(f"{100 * total.local_turns // total.turns} % on this device")
    if status.saved_nano:
        parts.append(f"{money(status.saved_nano)} saved today by local")
    if total.unpriced:
        parts.append(f"{total.unpriced:,} without a price")
    if total.failed:
        parts.append(f"{plural(total.failed, 'attempt')} failed")
    if total.ttft_p50_ms is not None:
        parts.append(f"first token p50 {duration(total.ttft_p50_ms)}")
    lines = [Content.assemble(("   ".join(parts), "$strong"))]
    if status.budget_day_nano:
        share = status.today_nano / status.budget_day_nano
        bar = _bar(share, 12, glyphs)
        lines.append(Content(f"budget {money(status.budget_day_nano)}/day  {bar}  {share:.0%}"))
    if any(speeds):
        lines.append(Content(f"tokens/min  {sparkline(speeds, min(40, width - 14), glyphs)}"))
    return lines


def sparkline(values: Sequence[int], width: int, glyphs: Glyphs) -> str:
    """The last `width` values as bars, the highest one full."""
    last = list(values)[-max(1, width) :]
    top = max(last, default=0) or 1
    return "".join(glyphs.bars[min(7, 8 * value // (top + 1))] for value in last)


def table(report: UsageReport, width: int, glyphs: Glyphs) -> Content:
    """One line a group, numbers to the right."""
    heads = ("turns", "in", "out", "cached", "cost", "local", "first token")
    columns = [_cells(row) for row in report.rows]
    wide = [max([len(head), *(len(cells[place]) for cells in columns)]) + 2 for place, head in enumerate(heads)]
    while sum(wide) > width - 14 and len(wide) > 2:
        wide.pop()
    names = [clean_line(row.label or row.key) or "(none)" for row in report.rows]
    first = max(10, min(max([10, *map(width_of, names)]) + 1, width - sum(wide)))
    head = pad(report.by, first) + "".join(f"{text:>{room}}" for text, room in zip(heads, wide, strict=False))
    lines = [Content.assemble((head, "$muted"))]
    for name, cells in zip(names, columns, strict=True):
        told = "".join(f"{text:>{room}}" for text, room in zip(cells, wide, strict=False))
        lines.append(Content(pad(name, first, glyphs.ellipsis) + told))
    if not report.rows:
        lines.append(Content.assemble(("nothing was asked in this time", "$muted")))
    return Content("\n").join(lines)


def _cells(row: UsageRow) -> tuple[str, ...]:
    usage = row.usage
    cached = f"{100 * usage.cache_read // usage.input} %" if usage.input else "–"
    paid = money(row.cost_nano) + (" +?" if row.unpriced else "")
    local = f"{100 * row.local_turns // row.turns} %" if row.turns else "–"
    first = duration(row.ttft_p50_ms) if row.ttft_p50_ms is not None else "–"
    return (f"{row.turns:,}", count(usage.input), count(usage.output), cached, paid, local, first)


def _switches(period: Period, by: UsageKey, width: int, glyphs: Glyphs) -> Content:
    dot = f" {glyphs.dot} "
    left = Content.assemble(("usage   ", "$strong bold"), _among(PERIODS, period, dot))
    right = Content.assemble("by ", _among(KEYS, by, dot))
    gap = width - left.cell_length - right.cell_length
    return Content.assemble(left, " " * gap, right) if gap > 2 else Content.assemble(left, "\n", right)


def _among(names: Sequence[str], chosen: str, dot: str) -> Content:
    parts: list[tuple[str, str]] = []
    for place, name in enumerate(names):
        parts += [(dot, "$faint")] if place else []
        parts.append((name, "$accent bold" if name == chosen else "$muted"))
    return Content.assemble(*parts)


def _bar(share: float, width: int, glyphs: Glyphs) -> str:
    filled = max(0, min(width, round(share * width)))
    return glyphs.full * filled + glyphs.empty * (width - filled)
