"""The first and the last line: what the whole house does, and which key comes next."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from nanoide.core.sanitize import clean_line
from nanoide.tui.prose import fit, width_of
from nanoide.tui.standing import room, standing
from nanoide.tui.wording import Glyphs, memory, money
from nanoide.wire import HubStatus


def branch_of(folder: Path) -> str:
    """The git branch checked out in `folder`; empty when there is none to tell."""
    for place in (folder, *folder.parents):
        git = place / ".git"
        try:
            if git.is_file():
                git = place / git.read_text().removeprefix("gitdir:").strip()
            head = (git / "HEAD").read_text(errors="replace").strip()
        except OSError:
            continue
        return clean_line(head.removeprefix("ref: refs/heads/")) if head.startswith("ref:") else head[:8]
    return ""


class StatusBar(Widget):
    """How the ladder stands, at a place of its own; tokens, money, CPU and memory on the right."""

    DEFAULT_CSS = """
    StatusBar { height: 1; color: $muted; }
    """

    def __init__(self, glyphs: Glyphs, folder: Path, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self._glyphs = glyphs
        self._clock = clock
        self._heard = clock()
        """When the present figures came."""
        self._place = clean_line(folder.name or str(folder))
        self._branch = branch_of(folder)
        self._status: HubStatus | None = None
        self._trouble = "attaching to the hub"

    def show(self, status: HubStatus) -> None:
        """These figures hold now."""
        self._heard = self._clock()
        if status != self._status or self._trouble:
            self._status, self._trouble = status, ""
            self.refresh()

    def tick(self) -> None:
        """Count down."""
        if self._status is not None and self._status.next_probe_s:
            self.refresh()

    def say_lost(self, why: str) -> None:
        """There is no hub; `why` is a phrase."""
        self._trouble = why
        self.refresh()

    def render(self) -> RenderResult:
        """Place and mode on the left, figures on the right; figures that do not fit are left out, the least first."""
        width = self.size.width
        left = Content.assemble(self._where(width - room(width)), self._mode(width))
        figures = self._figures()
        while figures and width_of(left.plain) + sum(width_of(each.plain) + 3 for _, each in figures) > width:
            figures.remove(min(figures, key=lambda each: each[0]))
        right = Content("   ").join([each for _, each in figures])
        gap = max(1, width - width_of(left.plain) - width_of(right.plain) - 1)
        return Content.assemble(left, " " * gap, right)

    def _where(self, width: int) -> Content:
        """Name, folder and branch, as much of it as goes into `width`: that is the same whatever the mode is."""
        name, place = (" nanoide", "$strong bold"), f"  {self._place}"
        branch = f"  {self._glyphs.branch} {self._branch}" if self._branch else ""
        for parts in ((name, place, branch, "   "), (name, place, "   "), (name, "  ")):
            whole = Content.assemble(*parts)
            if width_of(whole.plain) <= width:
                return whole
        return Content(" ")

    def _mode(self, width: int) -> Content:
        """How the ladder stands, or what is wrong with the hub."""
        status = self._status
        if self._trouble or status is None:
            return Content.assemble((self._glyphs.modes[""], "$accent"), (f" {self._trouble}", "$strong"))
        left = status.next_probe_s
        if left is not None:
            left = max(0.0, left - (self._clock() - self._heard).total_seconds())
        return standing(status, left, width, self._glyphs)

    def _figures(self) -> list[tuple[int, Content]]:
        """From the left, each with how much it is wanted where not all of them fit."""
        status = self._status
        if self._trouble or status is None:
            return []
        paid = f"today {money(status.today_nano)}" + (" +?" if status.today_unpriced else "")
        figures = [
            (3, Content(f"{status.tokens_per_min:,} tok/min")),
            (8, Content.assemble((paid, "$foreground"))),
            (2, Content(f"cpu {status.cpu_percent:.0f} %")),
            (1, Content(memory(status.memory_bytes))),
        ]
        if status.notices:
            near = clean_line(status.notices[0]).partition(":")[0]
            figures.insert(1, (7, Content.assemble((near, "$accent"))))
        if status.saved_nano:
            figures.insert(2, (4, Content(f"saved {money(status.saved_nano)}")))
        return figures


class HintBar(Widget):
    """The next keys on the left, how many sessions need the person on the right; a complaint takes their place."""

    DEFAULT_CSS = """
    HintBar { height: 1; color: $faint; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._hints: list[tuple[str, str]] = []
        self._needy = 0
        self._complaint: tuple[str, str, str] | None = None

    @property
    def complaint(self) -> str:
        """What is being said in place of the keys; empty when nothing is."""
        return "" if self._complaint is None else " ".join(self._complaint[1:]).strip()

    def show(self, hints: list[tuple[str, str]], needy: int) -> None:
        """Keys with what they do."""
        if (hints, needy) != (self._hints, self._needy):
            self._hints, self._needy = hints, needy
            self.refresh()

    def complain(self, what: str, hint: str) -> None:
        """Say what was refused and what to try, until `hush`."""
        self._complaint = ("! ", clean_line(what), clean_line(hint))
        self.refresh()

    def say(self, what: str) -> None:
        """Say that something was done, until `hush`."""
        self._complaint = ("", clean_line(what), "")
        self.refresh()

    def hush(self) -> None:
        """Back to the keys."""
        if self._complaint is not None:
            self._complaint = None
            self.refresh()

    def render(self) -> RenderResult:
        """What fits."""
        width = self.size.width
        if self._complaint is not None:
            sign, what, hint = self._complaint
            style = "$accent bold" if sign else "$foreground"
            return Content.assemble((fit(f" {sign}{what}", width - 1), style), (f"   {hint}" if hint else "", "$muted"))
        needs = f"{self._needy} need{'s' if self._needy == 1 else ''} you " if self._needy else ""
        room = width - len(needs) - 3
        spans: list[tuple[str, str]] = []
        used = 1
        for key, meaning in self._hints:
            between = "   " if spans else ""
            used += len(between) + width_of(key) + 1 + width_of(meaning)
            if used > room:
                break
            spans += [(between + key, "$muted"), (f" {meaning}", "$faint")]
        left = Content.assemble(" ", *spans)
        gap = max(0, width - width_of(left.plain) - len(needs))
        return Content.assemble(left, " " * gap, (needs, "$accent bold"))
