"""The editor's open texts, kept up to date edit by edit, and positions in them in any encoding.

pygls has documents of its own; they split lines where LSP does not (form feeds, U+2028) and rebuild
the whole text for each key, so they are not used.
"""

import re
from typing import Literal, cast
from urllib.parse import unquote, urlsplit

from nanoide.core.chat import Document
from nanoide.core.document import language_of
from nanoide.core.value import Value

Encoding = Literal["utf-8", "utf-16", "utf-32"]

_BREAK = re.compile(r"\r\n|\n|\r")


class Spot(Value, frozen=True):
    """A position as the client counts."""

    line: int
    character: int


class Text:
    """One open text, as lines with their ends; the last line has none."""

    def __init__(self, uri: str, text: str, *, language: str = "", version: int = 0) -> None:
        self.uri = uri
        self.path = path_of(uri)
        self.language = language or language_of(self.path)
        self.version = version
        self._lines = _split(text)
        self._whole: str | None = text

    @property
    def whole(self) -> str:
        """All of it."""
        if self._whole is None:
            self._whole = "".join(self._lines)
        return self._whole

    def replace(self, start: Spot, end: Spot, text: str, encoding: Encoding) -> None:
        """Put `text` in place of what stands from `start` to `end`. Positions outside are moved inside."""
        first, at = self.place(start, encoding)
        last, until = self.place(end, encoding)
        if (last, until) < (first, at):
            first, at, last, until = last, until, first, at
        piece = self._lines[first][:at] + text + self._lines[last][until:]
        # A "\r" and a "\n" that come to stand together are one line end.
        if first > 0 and piece.startswith("\n") and self._lines[first - 1].endswith("\r"):
            first -= 1
            piece = self._lines[first] + piece
        if piece.endswith("\r") and last + 1 < len(self._lines) and self._lines[last + 1].startswith("\n"):
            last += 1
            piece += self._lines[last]
        new = _split(piece)
        if last + 1 < len(self._lines):
            new.pop()  # the piece ends with a line end, so what follows it is the next line
        self._lines[first : last + 1] = new
        self._whole = None

    def place(self, spot: Spot, encoding: Encoding) -> tuple[int, int]:
        """The line, and the index in it in characters. A position outside is moved to the nearest one inside."""
        if spot.line < 0:
            return 0, 0
        if spot.line >= len(self._lines):
            return len(self._lines) - 1, len(self._lines[-1])
        return spot.line, index_of(self.line(spot.line), spot.character, encoding)

    def line(self, number: int) -> str:
        """One line without its end."""
        return self._lines[number].rstrip("\r\n")

    def document(self, spot: Spot, encoding: Encoding) -> Document:
        """What the hub is asked about: the text as it is now and the position in UTF-16."""
        line, index = self.place(spot, encoding)
        character = units(self.line(line)[:index], "utf-16")
        return Document(path=self.path, text=self.whole, line=line, character=character, language=self.language)


class Documents:
    """The open texts by URI."""

    def __init__(self) -> None:
        self.encoding: Encoding = "utf-16"
        """As negotiated with the client."""
        self._open: dict[str, Text] = {}

    def open(self, text: Text) -> None:
        """Take `text`, in place of what was open under its URI."""
        self._open[text.uri] = text

    def close(self, uri: str) -> None:
        """Forget the text; an unknown one is no matter."""
        self._open.pop(uri, None)

    def get(self, uri: str) -> Text | None:
        """The open text; None when it is not open."""
        return self._open.get(uri)


def negotiated(name: object) -> Encoding:
    """The encoding that `name` stands for; UTF-16 when it is unknown, as the protocol has it."""
    text = str(getattr(name, "value", name))
    return cast("Encoding", text) if text in {"utf-8", "utf-16", "utf-32"} else "utf-16"


def units(text: str, encoding: Encoding) -> int:
    """The length of `text` in the encoding's units."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    return len(text.encode("utf-8", "surrogatepass")) if encoding == "utf-8" else len(text) + _astral(text)


def index_of(line: str, character: int, encoding: Encoding) -> int:
    """Where `character` falls in `line`, in characters: never past its end, never inside a character."""
    if encoding == "utf-32" or line.isascii():
        return min(max(character, 0), len(line))
    passed = 0
    for index, char in enumerate(line):
        passed += units(char, encoding)
        if passed > character:
            return index
    return len(line)


def path_of(uri: str) -> str:
    """The file that a file: URI names; the URI itself for any other, such as an unsaved text."""
    parts = urlsplit(uri)
    return unquote(parts.path) if parts.scheme == "file" else uri


def _astral(text: str) -> int:
    return sum(ord(char) > 0xFFFF for char in text)


def _split(text: str) -> list[str]:
    """Lines with their ends; there is always a last one without, which may be empty."""
    lines: list[str] = []
    start = 0
    for found in _BREAK.finditer(text):
        lines.append(text[start : found.end()])
        start = found.end()
    lines.append(text[start:])
    return lines
