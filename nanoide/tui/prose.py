"""Text cut into lines of a width: an answer that grows is wrapped once, not again for every token."""

from typing import Literal

from rich.cells import cell_len, get_character_cell_size

from nanoide.core.sanitize import Sanitizer

Kind = Literal["asked", "answer", "heading", "code", "fact", "faint", "strong", "alert"]
"""What a piece of text is; the theme says how it looks."""

Span = tuple[str, Kind]

Line = tuple[Span, ...]


Mark = tuple[int, str]
"""A place in a text, in code points, and what is said there."""


def line_of(*spans: Span) -> Line:
    """A line of these pieces."""
    return spans


_INDENT = 2
"""Cells that an answer stands to the right of its question."""


def width_of(text: str) -> int:
    """Cells that `text` takes."""
    return len(text) if text.isascii() else cell_len(text)


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` cut to at most `width` cells."""
    if width_of(text) <= width:
        return text
    room = width - len(ellipsis)
    return text[: _cells_to_place(text, 0, room)] + ellipsis if room > 0 else text[: _cells_to_place(text, 0, width)]


def pad(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in exactly `width` cells, from the left."""
    text = fit(text, width, ellipsis)
    return text + " " * (width - width_of(text))


def wrap(text: str, width: int, *, words: bool = True) -> list[str]:
    """One line of text as lines of at most `width` cells; continuations keep its indentation.

    With `words` False it is cut anywhere, as code has to be.
    """
    text = text.expandtabs(4)
    width = max(width, 2)
    if width_of(text) <= width:
        return [text]
    indent = " " * min(len(text) - len(text.lstrip(" ")), width // 2)
    lines: list[str] = []
    start = 0
    lead = ""
    while start < len(text):
        end = _cells_to_place(text, start, width - len(lead))
        if end < len(text) and words and text[end] != " ":
            space = text.rfind(" ", start, end)
            if space > start and text[start:space].strip():
                end = space
        end = max(end, start + 1)
        lines.append(lead + text[start:end].rstrip(" ") if words else lead + text[start:end])
        start = end
        if words:
            while start < len(text) and text[start] == " ":
                start += 1
        lead = indent if words else ""
    return lines


def wrapped(text: str, width: int, kind: Kind, indent: int = 0) -> list[Line]:
    """Clean text of several lines, all of one kind."""
    lead = " " * indent
    return [((lead + line, kind),) for raw in text.split("\n") for line in wrap(raw, width - indent)]


def _cells_to_place(text: str, start: int, width: int) -> int:
    """The index up to which text from `start` fits into `width` cells."""
    if text.isascii():
        return min(len(text), start + max(0, width))
    used = 0
    for place in range(start, len(text)):
        used += get_character_cell_size(text[place])
        if used > width:
            return place
    return len(text)


class Answer:
    """The lines of one answer while it grows: what stands is never wrapped again."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._restart()

    def update(self, text: str, marks: tuple[Mark, ...] = ()) -> int:
        """Show `text`, which usually begins with what was shown before. The first line that may have changed.

        `marks` are shown in the text's own places, each on a line of its own.
        """
        first = self._standing
        new = marks[len(self._marks) :]
        if not text.startswith(self._seen) or marks[: len(self._marks)] != self._marks or _before(new, self._seen):
            self._restart()
            first, new = 0, marks
        self._marks = marks
        for place, said in new:
            self._add(text[len(self._seen) : place])
            self._seen = text[:place]
            self._break(said)
        self._add(text[len(self._seen) :])
        self._seen = text
        return min(first, len(self._lines))

    def _add(self, text: str) -> None:
        """More text."""
        new = self._sanitizer.feed(text)
        if not new:
            return
        *whole, rest = (self._rest + new).split("\n")
        del self._lines[self._standing :]
        for raw in whole:
            if raw or not self._lead:
                self._lines += self._line(raw)
            self._lead = ""
        self._standing = len(self._lines)
        self._rest = rest
        if rest:
            code = self._code
            self._lines += self._line(rest)
            self._code = code  # an unfinished line decides nothing yet

    def _break(self, said: str) -> None:
        """A mark, in the middle of a line perhaps: what the line began with still decides what the rest of it is."""
        self._lead, self._rest = self._lead + self._rest, ""
        first, *more = wrap(said, self._width - _INDENT)
        self._lines += [line_of((first, "fact")), *(line_of((" " * _INDENT + line, "fact")) for line in more)]
        self._standing = len(self._lines)

    @property
    def lines(self) -> list[Line]:
        """All lines. Not to be changed by the reader."""
        return self._lines

    def _restart(self) -> None:
        self._sanitizer = Sanitizer()
        self._seen = ""
        self._rest = ""
        self._lead = ""
        """What of the unfinished line stands before a mark."""
        self._marks: tuple[Mark, ...] = ()
        self._code = False
        self._lines: list[Line] = []
        self._standing = 0

    def _line(self, raw: str) -> list[Line]:
        lead = " " * _INDENT
        room = self._width - _INDENT
        stripped = (self._lead + raw).strip()
        if stripped.startswith("```"):
            self._code = not self._code
            name = stripped.strip("`").strip()
            if self._lead:
                return [((lead + raw, "faint"),)]
            return [((lead + name, "faint"),)] if name and self._code else [((lead, "faint"),)]
        if self._code:
            return [((lead, "answer"), (line, "code")) for line in wrap(raw, room, words=False)]
        if not self._lead and raw.startswith("#") and raw.lstrip("#").startswith(" "):
            return [((lead + line, "heading"),) for line in wrap(raw.lstrip("#").strip(), room)]
        return [self._inline(lead, line) for line in wrap(raw, room)]

    def _inline(self, lead: str, line: str) -> Line:
        """Set off `code` and **strong** where both marks stand on this line."""
        if "`" not in line and "**" not in line:
            return ((lead + line, "answer"),)
        mark: str = "`" if "`" in line else "**"
        parts = line.split(mark)
        if len(parts) % 2 == 0 or any(not part for part in parts[1::2]):
            return ((lead + line, "answer"),)
        kind: Kind = "code" if mark == "`" else "strong"
        spans: list[Span] = [(lead, "answer")]
        for place, part in enumerate(parts):
            if part:
                spans.append((part, kind if place % 2 else "answer"))
        return tuple(spans)


def _before(marks: tuple[Mark, ...], seen: str) -> bool:
    """True when one of the marks stands in text that was shown without it."""
    return any(place < len(seen) for place, _ in marks)
