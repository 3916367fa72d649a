"""Where a new stream goes on with an answer that broke off. Pure: text in, text out, no matter how it is cut.

A backend that cannot take up a text in its middle is asked to repeat the end of it, the anchor, and to go on.
The seam holds back what comes until it has found the anchor, and lets through what stands behind it. When it
cannot tell for certain where that is, it is lost: a wrong guess would be a wrong answer.
"""

import re
from typing import Final

HELD: Final = 240
"""Characters of the new stream within which the anchor has to end."""

LEAST: Final = 12
"""Characters that have to agree."""

_SIZES: Final = (40, 60, 90, 120)
"""Of an anchor: the first of them is enough unless the same text stands elsewhere in the answer too."""

_OPENING = re.compile(r"\s*(?:(?P<fence>`{3,})[^\n`]*\n|(?P<quote>[\"'`“„«‘])|)")
"""What a model puts before a text that it repeats."""

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
        tail, self._tail = self._tail, ""
        if self._fence and tail.strip() == self._fence and self._open(rest + tail):
            tail = ""  # the fence around the repetition; our own are closed
        if self._quote and "".join((*self._new, rest, tail)).rstrip().endswith(self._quote):
            self.lost = True  # were the quotes around the anchor, or around all of it?
            return ""
        return rest + tail

    def _take(self, text: str, *, over: bool) -> str:
        if self.lost:
            return ""
        if not self._found:
            self._head += text
            start = self._seek(over=over)
            if self.lost or start is None:
                self.lost = self.lost or over
                return ""
            self._found = True
            text, self._head = self._head[start:], ""
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

    def _seek(self, *, over: bool) -> int | None:
        """Where in the head the new text begins; None while that is not known."""
        window = self._head[:HELD]
        place = window.find(self._anchor)
        if place >= 0 and (found := self._opened(window[:place], self._anchor)) is not None:
            return self._after(found, place + len(self._anchor), over=over)
        if len(self._head) < HELD and not over:
            return None
        # Not the whole anchor, then; the end of it, at the very beginning?
        for begin in dict.fromkeys((0, len(window) - len(window.lstrip()), _begin(window))):
            for size in range(len(self._anchor) - 1, LEAST - 1, -1):
                end = self._anchor[-size:]
                if window.startswith(end, begin) and self._said.find(end) == len(self._said) - size:
                    found = self._opened(window[:begin], end)
                    if found is not None:
                        return self._after(found, begin + size, over=over)
        self.lost = True
        return None

    def _opened(self, before: str, repeated: str) -> re.Match[str] | None:
        """What stands around the text that is `repeated`, told from what comes `before` it; None when it is more."""
        found = _OPENING.match(before)
        assert found is not None
        if self._said.endswith(before + repeated):  # it repeats more than it was asked to
            return _OPENING.match("")
        if found.end() < len(before) and not self._said.endswith(before[found.end() :] + repeated):
            return None
        return found

    def _after(self, opening: re.Match[str], place: int, *, over: bool) -> int | None:
        """Where the new text begins, `place` being behind the anchor; None while that is not known."""
        rest = self._head[place:]
        if fence := opening["fence"]:
            closing = f"\n{fence}"
            if rest.startswith(closing):  # around the anchor alone, or the answer's own? Who knows
                self.lost = True
                return None
            if closing.startswith(rest) and not over:
                return None
            self._fence = fence
        if quote := opening["quote"]:
            closing = _CLOSING[quote]
            if len(rest) < 2 and not over:
                return None
            if not rest.startswith(closing) or rest[1:2] == "\n":
                self.lost = True
                return None
            self._quote = closing
            return place + 1
        return place

    def _open(self, rest: str) -> bool:
        """True when the answer, ending in `rest`, would have a code fence that is opened and not closed."""
        lines = "".join((self._said, *self._new, rest)).split("\n")
        return sum(line.lstrip().startswith(self._fence) for line in lines) % 2 == 1


def _begin(window: str) -> int:
    found = _OPENING.match(window)
    return 0 if found is None else found.end()


def _joins(char: str) -> bool:
    """True for a character that belongs to the one before."""
    import unicodedata  # loaded only when an answer broke off

    return char in _JOINERS or unicodedata.category(char).startswith("M")
