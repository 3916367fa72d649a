"""All keys, read off the registry."""

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from nanoide.core.session import State
from nanoide.tui.keymap import SECTIONS, Action, Keymap, Section, shown
from nanoide.tui.prose import pad
from nanoide.tui.wording import Glyphs

_SCOPES = {"anywhere": "", "pane": "", "composer": "while writing", "consent": "when it asks"}


class Help(ModalScreen[None]):
    """What every key does, and what every glyph means."""

    DEFAULT_CSS = """
    Help {
        align: center middle;
        background: $background 40%;
        & > VerticalScroll {
            width: 108; max-width: 96%; height: auto; max-height: 94%;
            border: round $accent; background: $surface; border-title-color: $strong; padding: 0 2;
            border-subtitle-color: $faint; border-subtitle-align: right; scrollbar-size: 0 0;
        }
        & Static { height: auto; color: $foreground; }
    }
    """

    def __init__(self, keymap: Keymap, glyphs: Glyphs, *, wide: bool) -> None:
        super().__init__()
        self._keymap = keymap
        self._glyphs = glyphs
        self._wide = wide

    def compose(self) -> ComposeResult:
        """One long text that scrolls."""
        with VerticalScroll() as box:
            box.border_title = Content("Keys")
            box.border_subtitle = Content("j k scroll   esc leave")
            yield Static(text(self._keymap, self._glyphs, columns=2 if self._wide else 1), markup=False)

    def on_key(self, event: events.Key) -> None:
        """Scroll, or leave."""
        event.stop()
        box = self.query_one(VerticalScroll)
        match event.key:
            case "j" | "down":
                box.scroll_relative(y=1, animate=False)
            case "k" | "up":
                box.scroll_relative(y=-1, animate=False)
            case "space" | "pagedown":
                box.scroll_page_down(animate=False)
            case "b" | "pageup":
                box.scroll_page_up(animate=False)
            case _:
                self.dismiss(None)


def text(keymap: Keymap, glyphs: Glyphs, *, columns: int) -> Content:
    """The help as one text."""
    blocks = [_section(keymap, section) for section in SECTIONS]
    blocks.append(_writing())
    blocks.append(_states(glyphs))
    if columns == 1:
        return Content("\n\n").join(Content("\n").join(block) for block in blocks)
    half = sum(map(len, blocks)) // 2
    left: list[Content] = []
    right: list[Content] = []
    for block in blocks:
        side = left if len(left) < half else right
        side += [*([Content("")] if side else []), *block]
    width = 52
    lines: list[Content] = []
    for place in range(max(len(left), len(right))):
        one = left[place] if place < len(left) else Content("")
        two = right[place] if place < len(right) else Content("")
        lines.append(Content.assemble(one, " " * max(1, width - one.cell_length), two))
    return Content("\n").join(lines)


def _section(keymap: Keymap, section: Section) -> list[Content]:
    lines = [Content.assemble((section, "$strong bold"))]
    for action in keymap.actions:
        if action.section != section or action.name.startswith("jump-"):
            continue
        lines.append(_line(_keys(keymap, action), _title(action)))
    if section == "Sessions":
        lines.append(_line("alt+1…9", "Go to the session of that number"))
    return lines


def _keys(keymap: Keymap, action: Action) -> str:
    keys = " ".join(shown(key) for key in keymap.keys(action.name)[:2])
    return keys or (f"{keymap.shown('leader')} {action.leader}" if action.leader else "")


def _title(action: Action) -> str:
    note = _SCOPES[action.scope]
    return f"{action.title} ({note})" if note else action.title


def _line(keys: str, title: str) -> Content:
    return Content.assemble((pad(keys, 14), "$accent"), title)


def _writing() -> list[Content]:
    return [
        Content.assemble(("Writing", "$strong bold")),
        _line("enter", "Ask"),
        _line("ctrl+j", "New line (also shift+enter)"),
        _line("esc", "To the turns; letters are keys there"),
    ]


def _states(glyphs: Glyphs) -> list[Content]:
    meanings: dict[State, str] = {
        "queued": "queued",
        "working": "working or streaming",
        "asking": "asks you",
        "failed": "failed",
        "done": "done, not seen yet",
        "idle": "idle",
        "parked": "parked: not in memory",
    }
    signs = [(glyphs.states[state], meaning) for state, meaning in meanings.items()]
    return [Content.assemble(("States", "$strong bold")), *(_line(sign, meaning) for sign, meaning in signs)]
