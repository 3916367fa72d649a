"""The least that a Textual app can be: what the command center's first frame is compared with."""

from textual.app import App, ComposeResult
from textual.widgets import Static

MARK = "bare frame"
"""Stands on the screen when the first frame is painted."""


class Bare(App[None]):
    """One line of text."""

    def compose(self) -> ComposeResult:
        """The line."""
        yield Static(MARK)


if __name__ == "__main__":
    Bare().run()
