"""After the leader key: every action that the next key can reach, without Alt."""

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from nanoide.tui.keymap import Action, Keymap
from nanoide.tui.prose import pad


class Leader(ModalScreen[str | None]):
    """Gives back the name of the action, None when the person left or pressed a key that means nothing here."""

    DEFAULT_CSS = """
    Leader {
        align: center bottom;
        background: $background 0%;
        & > Vertical {
            width: auto; max-width: 100%; height: auto; max-height: 90%;
            padding: 0 1; margin-bottom: 1;
            border: round $accent; background: $surface; border-title-color: $strong;
            border-subtitle-color: $faint; border-subtitle-align: right;
        }
        & Static { width: auto; height: auto; color: $foreground; }
    }
    """

    def __init__(self, keymap: Keymap, width: int) -> None:
        super().__init__()
        self._actions = keymap.after_leader()
        self._width = width

    def compose(self) -> ComposeResult:
        """The keys in columns."""
        with Vertical() as box:
            box.border_title = Content("then")
            box.border_subtitle = Content("esc leave")
            yield Static(table(self._actions, max(20, self._width - 8)), markup=False)

    def on_key(self, event: events.Key) -> None:
        """The next key decides."""
        event.stop()
        action = self._actions.get(event.character or event.key)
        self.dismiss(None if action is None else action.name)


def table(actions: dict[str, Action], width: int) -> Content:
    """The keys and what they do, in as many columns as fit; the digits on one line of their own."""
    entries = [(key, action.title) for key, action in actions.items() if not key.isdigit()]
    column = max(len(title) for _, title in entries) + 6
    across = max(1, min(3, width // column))
    down = -(-len(entries) // across)
    lines: list[Content] = []
    for row in range(down):
        parts: list[tuple[str, str]] = []
        for place in range(row, len(entries), down):
            key, title = entries[place]
            parts += [(f"{key} ", "$accent bold"), (pad(title, column - 3), "")]
        lines.append(Content.assemble(*parts))
    lines.append(Content.assemble(("1…9 ", "$accent bold"), "Go to the session of that number"))
    return Content("\n").join(lines)
