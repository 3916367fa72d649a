"""The first and the last line: what the whole house does, and which key comes next."""

from pathlib import Path

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from nanoide.core.sanitize import clean_line
from nanoide.tui.prose import fit, width_of
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
    """Rung mode, tokens, money, CPU and memory."""

    DEFAULT_CSS = """
    StatusBar { height: 1; color: $muted; }
    """

    def __init__(self, glyphs: Glyphs, folder: Path) -> None:
        super().__init__()
        self._glyphs = glyphs
        self._place = clean_line(folder.name or str(folder))
        self._branch = branch_of(folder)
        self._status: HubStatus | None = None
        self._trouble = "attaching to the hub"

    def show(self, status: HubStatus) -> None:
        """These figures hold now."""
        if status != self._status or self._trouble:
            self._status, self._trouble = status, ""
            self.refresh()

    def say_lost(self, why: str) -> None:
        """There is no hub; `why` is a phrase."""
        self._trouble = why
        self.refresh()

    def render(self) -> RenderResult:
        """Place on the left, figures on the right; what does not fit is left out from the left of the figures."""
        width = self.size.width
        left = Content.assemble((" nanoide", "$strong bold"), f"  {self._place}")
        if self._branch:
            left = Content.assemble(left, f"  {self._glyphs.branch} {self._branch}")
        figures = self._figures()
        while len(figures) > 1 and width_of(left.plain) + sum(len(each.plain) + 3 for _, each in figures) > width:
            figures.remove(min(figures, key=lambda each: each[0]))
        parts = [each for _, each in figures]
        if width_of(left.plain) + width_of(parts[0].plain) + 2 > width:
            left = Content.assemble((fit(" nanoide", max(0, width - len(parts[0].plain) - 2)), "$strong bold"))
        right = Content("   ").join(parts)
        gap = max(1, width - width_of(left.plain) - width_of(right.plain) - 1)
        return Content.assemble(left, " " * gap, right)

    def _figures(self) -> list[tuple[int, Content]]:
        """From the left, each with how much it is wanted where not all of them fit."""
        status = self._status
        signs = self._glyphs.modes
        if self._trouble or status is None:
            return [(9, Content.assemble((signs[""], "$accent"), (f" {self._trouble}", "$strong")))]
        told = f" {status.mode}"
        if status.mode_reason and status.mode != "full":
            told += f": {fit(clean_line(status.mode_reason), 40)}"
        paid = f"today {money(status.today_nano)}" + (" +?" if status.today_unpriced else "")
        figures = [
            (9, Content.assemble((signs[status.mode], "$accent"), told)),
            (3, Content(f"{status.tokens_per_min:,} tok/min")),
            (8, Content.assemble((paid, "$foreground"))),
            (2, Content(f"cpu {status.cpu_percent:.0f} %")),
            (1, Content(memory(status.memory_bytes))),
        ]
        if status.saved_nano:
            figures.insert(3, (4, Content(f"saved {money(status.saved_nano)}")))
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
