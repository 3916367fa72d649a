"""Where a new stream goes on with an answer that broke off. Pure: text in, text out, no matter how it is cut.

A backend that cannot take up a text in its middle is asked to repeat the end of it, the anchor, and to go on.
The seam holds back what comes until it has found the anchor, and lets through what stands behind it. When it
cannot tell for certain where that is, it is lost: a wrong guess would be a wrong answer.
"""

import re
from typing import Final, NamedTuple

HELD: Final = 240
"""Characters of the new stream within which the anchor has to end."""

LEAST: Final = 12
"""Characters that have to agree."""

_SIZES: Final = (40, 60, 90, 120)
"""Of an anchor: the first of them is enough unless the same text stands elsewhere in the answer too."""

_OPENING = re.compile(r"\s*(?:(?P<fence>`{3,})[^\n`]*\n|(?P<quote>[\"'`“„«‘])|)")
"""What a model puts before a text that it repeats."""

_NOTHING = re.compile("(?P<fence>)(?P<quote>)")

_SPACE = re.compile(r"\s*(?P<fence>)(?P<quote>)")

_CLOSING: Final = {'"': '"', "'": "'", "`": "`", "“": "”", "„": "“", "«": "»", "‘": "’"}

_MAY_CLOSE = re.compile(r"\n[ \t]*`*\s*\Z")
"""An end of the stream that may turn out to be the end of a code fence."""

_JOINERS: Final = "\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
"""They belong to the character before, as combining ones do."""


def anchor_of(said: str) -> str:
    """The end of `said` that is to be repeated; empty when none would do.

    That is so when there is too little of it, and when it repeats itself: where it goes on could not be told.
    """
    if len(said.strip()) < LEAST:
        return ""
    for size in _SIZES:
        start = max(0, len(said) - size)
        while start and _joins(said[start]):
            start -= 1
        if said.find(said[start:]) == start:
            return said[start:]
    return ""


class Seam:
    """One new stream that should repeat `anchor`, the end of `said`, and go on."""

    def __init__(self, said: str, anchor: str) -> None:
        self.lost = False
        """It cannot be told where the stream goes on; nothing more comes out."""
        self._said = said
        self._anchor = anchor
        self._head = ""
        """What came, as long as the seam is not found."""
        self._reading: _Reading | None = None
        """How the head is understood; what follows may still say that it is lost."""
        self._found = False
        self._fence = ""
        """The ticks of a code fence that was opened before the anchor."""
        self._quote = ""
        """The closing mark of quotes that stood around the anchor."""
        self._new: list[str] = []
        """What was let through, when the end of the stream depends on it."""
        self._tail = ""
        """What is held back at the end, as it may be the end of the code fence."""

    def feed(self, text: str) -> str:
        """What of `text` (and of what was held back) goes on with the answer."""
        return self._take(text, over=False)

    def end(self) -> str:
        """The stream is complete: the last that goes on with the answer."""
        rest = self._take("", over=True)
        if self.lost:
            return ""
        tail = self._tail
        if self._fence and tail.strip() == self._fence and self._open(rest + tail):
            tail = ""  # the fence around the repetition; our own are closed
            self.lost = self._reading is not None and not self._reading.sure
        if self._quote and "".join((*self._new, rest, tail)).rstrip().endswith(self._quote):
            self.lost = True  # were the quotes around the anchor, or around all of it?
        return "" if self.lost else rest + tail

    def _take(self, text: str, *, over: bool) -> str:
        if not self._found:
            text = self._begin(text, over=over)
        if not self._found or self.lost:
            return ""
        if not self._fence and not self._quote:
            return text
        if self._fence:
            text = self._tail + text
            found = _MAY_CLOSE.search(text)
            self._tail = "" if found is None else text[found.start() :]
            text = text[: len(text) - len(self._tail)]
        if not over:
            self._new.append(text)
        return text

    def _begin(self, text: str, *, over: bool) -> str:
        """Look for the seam, a character at a time: how the stream is cut must not matter. What is behind it."""
        for place, char in enumerate(text):
            self._head += char
            self._look(over=False)
            if self._found or self.lost:
                return self._rest() + text[place + 1 :]
        if over and not self.lost:
            self._look(over=True)
            self.lost = self.lost or not self._found
        return self._rest()

    def _rest(self) -> str:
        return "" if self._reading is None else self._head[self._reading.end :]

    def _look(self, *, over: bool) -> None:
        if self._reading is None:
            self._reading = self._obeys() or (self._agrees() if over or len(self._head) >= HELD else None)
        if self._reading is not None:
            self._found = self._behind(self._reading, self._rest(), over=over)

    def _obeys(self) -> "_Reading | None":
        """The reading that is complete just now, if it is what was asked for and nothing else is possible."""
        head, size = self._head, len(self._anchor)
        for opening in _openings(head):
            if opening.end() + size == len(head) and head.endswith(self._anchor):
                readings = self._readings()
                if not opening.end() or all(each.end == len(head) for each in readings):
                    return _chosen(readings) if opening.end() else _Reading(size, opening)
        return None

    def _agrees(self) -> "_Reading | None":
        """The only reading that is possible when more was repeated than the anchor, or less; else it is lost."""
        readings = self._readings()
        self.lost = len({each.end for each in readings}) != 1
        return None if self.lost else _chosen(readings)

    def _readings(self) -> "list[_Reading]":
        """Every way in which the head can begin with an end of what was said."""
        head = self._head[:HELD]
        return [
            _Reading(opening.end() + size, opening)
            for opening in _openings(head)
            for size in range(LEAST, min(len(self._said), len(head) - opening.end()) + 1)
            if head.startswith(self._said[-size:], opening.end())
        ]

    def _behind(self, reading: "_Reading", rest: str, *, over: bool) -> bool:
        """True when all is known of the marks around the repetition that the `rest` behind it can tell."""
        if fence := reading.opening["fence"]:
            closing = f"\n{fence}"
            if rest.startswith(closing):  # around the anchor alone, or the answer's own? Who knows
                self.lost = True
            self._fence = fence
            return over or not closing.startswith(rest)
        if quote := reading.opening["quote"]:
            closing = _CLOSING[quote]
            if len(rest) < 2 and not over:
                return False
            if not reading.sure and not rest.startswith(closing):
                return True  # the mark was part of the repetition
            self.lost = not reading.sure or not rest.startswith(closing) or rest[1:2] == "\n"
            self._quote = closing
            self._reading = _Reading(reading.end + 1, reading.opening)
        return True

    def _open(self, rest: str) -> bool:
        """True when the answer, ending in `rest`, would have a code fence that is opened and not closed."""
        lines = "".join((self._said, *self._new, rest)).split("\n")
        return sum(line.lstrip().startswith(self._fence) for line in lines) % 2 == 1


class _Reading(NamedTuple):
    """One way to understand the beginning of a stream."""

    end: int
    """Where the repetition ends."""
    opening: re.Match[str]
    """What stands before it."""
    sure: bool = True
    """False when the marks before it may as well be part of the repetition."""


def _openings(head: str) -> list[re.Match[str]]:
    """What the head may begin with: nothing, space, or a mark as well; each but once."""
    found = [pattern.match(head) for pattern in (_NOTHING, _SPACE, _OPENING)]
    return list({each.end(): each for each in found if each is not None}.values())


def _chosen(readings: list[_Reading]) -> _Reading:
    """Of readings that end at the same place the most careful one: whether marks close is looked at in the end."""
    chosen = max(readings, key=lambda each: each.opening.end())
    return chosen._replace(sure=not any(each.opening.end() < chosen.opening.end() for each in readings))


def _joins(char: str) -> bool:
    """True for a character that belongs to the one before."""
    import unicodedata  # loaded only when an answer broke off

    return char in _JOINERS or unicodedata.category(char).startswith("M")
