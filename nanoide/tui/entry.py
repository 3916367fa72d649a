"""One line to write in: a filter, a search, a name. What is pasted is cleaned first."""

from textual import events
from textual.widgets import Input

from nanoide.core.sanitize import clean_line


class Entry(Input):
    """An input without a frame."""

    DEFAULT_CSS = """
    Entry { height: 1; border: none; padding: 0 1; background: transparent; color: $strong; }
    Entry:focus { border: none; }
    """

    def __init__(self, value: str = "", *, placeholder: str = "") -> None:
        super().__init__(clean_line(value), placeholder=placeholder, compact=True, select_on_focus=False)

    def _on_paste(self, event: events.Paste) -> None:
        event.text = clean_line(event.text)  # Textual calls the base class's handler after this one
