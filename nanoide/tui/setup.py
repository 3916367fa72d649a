"""What this machine offers, to be set up: chosen, seen as the lines that it becomes, and written with Enter."""

from collections.abc import Sequence

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from nanoide.core.errors import NanoideError
from nanoide.core.sanitize import clean_line
from nanoide.tui.feed import Feed
from nanoide.tui.prose import fit, pad, wrap
from nanoide.tui.wording import Glyphs
from nanoide.wire import Offer, PlanSetUp, SetUp, SetUpPlan


class SetUpScreen(ModalScreen[str | None]):
    """Gives back where the lines were written, None when the person left."""

    DEFAULT_CSS = """
    SetUpScreen {
        align: center middle;
        background: $background 40%;
        & > Vertical {
            width: 108; max-width: 96%; height: auto; max-height: 94%;
            border: round $accent; background: $surface; border-title-color: $strong; padding: 0 1;
            border-subtitle-color: $faint; border-subtitle-align: right;
        }
        & Static { height: auto; color: $foreground; }
        & VerticalScroll { height: auto; scrollbar-size: 0 0; }
        & #setup-offers { max-height: 10; }
        & #setup-lines { color: $muted; }
    }
    """

    def __init__(self, feed: Feed, offers: Sequence[Offer], glyphs: Glyphs) -> None:
        super().__init__()
        self._feed = feed
        self._offers = tuple(offers)
        self._glyphs = glyphs
        self._chosen = {each.id for each in offers if each.usual}
        self._place = 0
        self._plan: SetUpPlan | None = None
        """Of what is chosen now; None while it is on its way."""
        self._complaint = ""

    def compose(self) -> ComposeResult:
        """The offers, and below them exactly what would be appended."""
        with Vertical() as box:
            box.border_title = Content("Set up what this machine offers")
            with VerticalScroll(id="setup-offers"):
                yield Static("", id="setup-choice", markup=False)
            with VerticalScroll(id="setup-preview"):
                yield Static("", id="setup-lines", markup=False)

    def on_mount(self) -> None:
        """See what the usual choice becomes."""
        self._read()

    def on_resize(self) -> None:
        """Cut the lines anew."""
        self._show()

    def on_key(self, event: events.Key) -> None:
        """Move, choose, write, leave."""
        event.stop()
        match event.key:
            case "j" | "down":
                self._move(1)
            case "k" | "up":
                self._move(-1)
            case "space" | "x":
                self._chosen ^= {self._offers[self._place].id}
                self._read()
            case "pagedown":
                self.query_one("#setup-preview", VerticalScroll).scroll_page_down(animate=False)
            case "pageup":
                self.query_one("#setup-preview", VerticalScroll).scroll_page_up(animate=False)
            case "enter":
                if self._plan is not None and self._plan.text:
                    self._write(self._plan)
            case "escape" | "q" | "ctrl+c":
                self.dismiss(None)
            case _:
                pass

    def _move(self, by: int) -> None:
        self._place = (self._place + by) % len(self._offers)
        self._show()
        self.query_one("#setup-offers", VerticalScroll).scroll_to(y=max(0, self._place - 4), animate=False)

    def _read(self) -> None:
        self._plan, self._complaint = None, ""
        self._show()
        self._ask()

    @work(exclusive=True, group="plan")
    async def _ask(self) -> None:
        """See the lines for what is chosen."""
        chosen = tuple(each.id for each in self._offers if each.id in self._chosen)
        try:
            self._plan = await self._feed.call(PlanSetUp(offers=chosen))
        except NanoideError as error:
            self._complaint = str(error)
        self._show()

    @work(exclusive=True, group="write")
    async def _write(self, plan: SetUpPlan) -> None:
        """Have what is on screen written, and nothing else."""
        try:
            await self._feed.call(SetUp(text=plan.text, before=plan.before))
        except NanoideError as error:
            self._read()
            self._complaint = str(error)
            self._show()
        else:
            self.dismiss(plan.config)

    def _show(self) -> None:
        width = max(20, min(108, self.size.width * 96 // 100) - 4)
        self.query_one("#setup-choice", Static).update(self._choice(width))
        lines = self._preview(width)
        self.query_one("#setup-lines", Static).update(Content("\n").join(lines))
        room = max(3, self.size.height * 94 // 100 - 2 - min(10, len(self._offers)))
        self.query_one("#setup-preview", VerticalScroll).styles.max_height = room
        more = "   pgdn more lines" if len(lines) > room else ""
        self.query_one(Vertical).border_subtitle = Content(f"space choose{more}   enter write   esc leave")

    def _choice(self, width: int) -> Content:
        column = min(max(len(clean_line(each.title)) for each in self._offers) + 2, width // 2)
        lines: list[Content] = []
        for place, each in enumerate(self._offers):
            here = place == self._place
            mark = "[x] " if each.id in self._chosen else "[ ] "
            title = pad(fit(clean_line(each.title), column - 1), column)
            lines.append(
                Content.assemble(
                    (self._glyphs.selected if here else " ", "$accent"),
                    (mark + title, "$strong bold" if here else "$foreground"),
                    (fit(clean_line(each.detail), max(0, width - column - 6)), "$muted"),
                )
            )
        return Content("\n").join(lines)

    def _preview(self, width: int) -> list[Content]:
        told = [Content("")]
        if self._complaint:
            told += [
                Content.assemble((line, "$accent bold")) for line in wrap(f"! {clean_line(self._complaint)}", width)
            ]
        if self._plan is None:
            return told
        if not self._plan.text:
            return [*told, Content("nothing is chosen, and nothing will be written")]
        told.append(Content.assemble((f"appended to {clean_line(self._plan.config)}:", "$foreground")))
        told += [Content(f"  {clean_line(line)}") for line in self._plan.text.strip("\n").split("\n")]
        if self._plan.note:
            told += [Content(""), *(Content(line) for line in wrap(clean_line(self._plan.note), width))]
        return told
