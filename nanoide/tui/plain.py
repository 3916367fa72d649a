"""For terminals without Unicode: whatever is painted, only ASCII goes out."""

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_LIKE = str.maketrans(
    {
        "…": ".",
        "·": "-",
        "•": "*",
        "–": "-",
        "—": "-",
        "−": "-",
        "→": ">",
        "←": "<",
        "×": "x",
        "│": "|",
        "─": "-",
        "╭": "+",
        "╮": "+",
        "╰": "+",
        "╯": "+",
        "“": '"',
        "”": '"',
        "‘": "'",
        "’": "'",
    }
)


class AsciiOnly(LineFilter):
    """Replaces every sign outside ASCII by one that looks like it, or by "?"; no cell moves."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments, in ASCII."""
        return [
            each if each.text.isascii() else Segment(ascii_of(each.text), each.style, each.control) for each in segments
        ]


def ascii_of(text: str) -> str:
    """`text` in as many cells of ASCII."""
    text = text.translate(_LIKE)
    if text.isascii():
        return text
    return "".join(sign if sign.isascii() else "?" * cell_len(sign) for sign in text)
