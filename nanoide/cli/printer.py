"""How a command speaks: answers on standard output, everything else on standard error.

A terminal gets sanitised text; a pipe gets what there is. JSON is one object and nothing else.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Literal

import msgspec

from nanoide.cli.door import is_terminal
from nanoide.core.sanitize import clean, clean_line
from nanoide.core.usage import usd

Align = Literal["left", "right"]


def answer(text: str) -> None:
    """Print `text` and a line end on standard output, harmless for a terminal."""
    sys.stdout.write(encodable(clean(text) if is_terminal(1) else text) + "\n")


def json_object(value: object) -> None:
    """Print `value` as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def note(text: str, *, below: bool = False) -> None:
    """A diagnostic: dim, on standard error, and only for a person who looks; `below` a line that is unfinished."""
    if not is_terminal(2):
        return
    text = clean_line(text)
    if below:
        sys.stderr.write("\n")
    sys.stderr.write(f"{text}\n" if os.environ.get("NO_COLOR") else f"\x1b[2m{text}\x1b[0m\n")
    sys.stderr.flush()


def complain(text: str) -> None:
    """One line on standard error that says what went wrong, whoever reads it."""
    sys.stderr.write(encodable(f"nanoide: {clean_line(text)}") + "\n")
    sys.stderr.flush()


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print aligned columns. On a terminal the last one is cut at the edge; in a pipe nothing is cut."""
    cells = [[clean_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(cell_width, column)) for column in zip(*cells, strict=True)]
    edge = shutil.get_terminal_size().columns if is_terminal(1) else 0
    for row in cells:
        parts = [
            _pad(cell, width, "right" if place in right else "left")
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(parts).rstrip()
        sys.stdout.write(encodable(cut(line, edge) if edge else line) + "\n")


def money(nano: int | None, *, unpriced: int = 0) -> str:
    """Dollars for a person: "$0.0021", "unpriced", or "$0.0021 + 2 unpriced"."""
    if nano is None:
        return "unpriced"
    whole = usd(nano)
    short = whole.rstrip("0")
    digits = len(short.partition(".")[2])
    text = "$" + (short if digits >= 2 else short + "0" * (2 - digits))
    return f"{text} + {unpriced} unpriced" if unpriced else text


def millis(value: int | None) -> str:
    """A time for a person: "38 ms", "2.4 s", "–" for none."""
    if value is None:
        return "–"
    return f"{value} ms" if value < 1000 else f"{value / 1000:.1f} s"


def cell_width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def cut(text: str, width: int) -> str:
    """`text`, ending in "…" when it has more than `width` columns."""
    if cell_width(text) <= width:
        return text
    taken = 0
    for place, char in enumerate(text):
        taken += _columns(char)
        if taken > width - 1:
            return text[:place] + "…"
    return text


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _pad(cell: str, width: int, align: Align) -> str:
    space = " " * (width - cell_width(cell))
    return space + cell if align == "right" else cell + space


def encodable(text: str) -> str:
    """`text` as standard output can take it: no lone surrogates, and "?" where its encoding ends."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
