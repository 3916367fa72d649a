r"""The one sanitizer: what comes out of it can be shown in any terminal and does nothing there.

Model output, files, diffs and skill text are untrusted. Out go escape sequences (whole, not only their
ESC), the other controls, bidirectional overrides and isolates, and what cannot be seen. In stay letters
of every script, emoji with their joiners, newlines and tabs. Line ends become "\n".

A `Sanitizer` keeps its place between chunks: a sequence that is cut anywhere never leaks a part of itself,
and the chunks' outputs joined equal the output of the whole.
"""

import re
from typing import Literal

_INVISIBLE = "\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e01ef"
_JOINERS = "\u200c\u200d"
_SEPARATORS = "\u2028\u2029"
_SURROGATES = "\ud800-\udfff"

_DIRTY = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_INVISIBLE}{_JOINERS}{_SEPARATORS}{_SURROGATES}]")
"""Where the clean run ends."""

_CSI = re.compile(r"[\x20-\x3f]*")
"""Parameters and intermediates; the byte after them ends the sequence."""

_STRING_END = re.compile("[\x07\x18\x1a\x1b\x9c\r\n]")
"""What ends a string such as OSC. A line end does too: no real one holds it, and an answer is not lost for it."""

_SCRIPT = "\u0300"
"""From here on joiners have a meaning; between two letters of Latin text they only hide."""

_State = Literal["ground", "escape", "designate", "csi", "string", "string-escape"]


class Sanitizer:
    """Cleans a text that arrives in chunks, cut anywhere."""

    def __init__(self) -> None:
        self._state: _State = "ground"
        self._after_cr = False
        """A carriage return was just turned into a newline: the newline after it is the same line end."""
        self._joiner = ""
        """A joiner at the end of the last chunk; the next character tells whether it stays."""
        self._last = ""
        """The last character given out."""

    def feed(self, text: str) -> str:
        """What of `text` may be shown. May be empty while a sequence is under way."""
        if self._state == "ground" and not self._after_cr and not self._joiner and _DIRTY.search(text) is None:
            self._last = text[-1:] or self._last
            return text
        text, self._joiner = self._joiner + text, ""
        out: list[str] = []
        place = 0
        while place < len(text):
            place = self._ground(text, place, out) if self._state == "ground" else self._sequence(text, place, out)
        return "".join(out)

    def flush(self) -> str:
        """End the text; what was under way is dropped. The sanitizer is as new afterwards."""
        self._state = "ground"
        self._after_cr = False
        self._joiner = ""
        self._last = ""
        return ""

    def _ground(self, text: str, place: int, out: list[str]) -> int:
        """Take plain text from `place` up to and with the next character that needs a decision."""
        if self._after_cr:
            self._after_cr = False
            if text[place] == "\n":
                return place + 1
        found = _DIRTY.search(text, place)
        end = len(text) if found is None else found.start()
        if end > place:
            self._give(text[place:end], out)
        if found is None:
            return end
        char = found.group()
        following = text[end + 1 : end + 2]
        match char:
            case "\x1b":
                self._state = "escape"
            case "\x9b":
                self._state = "csi"
            case "\x90" | "\x98" | "\x9d" | "\x9e" | "\x9f":
                self._state = "string"
            case "\r":
                self._give("\n", out)
                self._after_cr = True
            case "\u2028" | "\u2029":
                self._give("\n", out)
            case "\u200c" | "\u200d" if not following:
                self._joiner = char
            case "\u200c" | "\u200d":
                if self._last >= _SCRIPT and following >= _SCRIPT and _DIRTY.match(following) is None:
                    self._give(char, out)
            case _ if "\ud800" <= char <= "\udfff":
                self._give("\ufffd", out)
            case _:
                pass  # a control or something that cannot be seen
        return end + 1

    def _sequence(self, text: str, place: int, out: list[str]) -> int:
        """Swallow one step of the sequence under way; a character that is not part of it is left standing."""
        if self._state == "string":
            found = _STRING_END.search(text, place)
            if found is None:
                return len(text)
            if found.group() in "\r\n":
                self._state = "ground"
                return found.start()
            self._state = "string-escape" if found.group() == "\x1b" else "ground"
            return found.end()
        if self._state == "csi":
            found = _CSI.match(text, place)
            place = place if found is None else found.end()
            if place == len(text):
                return place
        char = text[place]
        if char in "\n\t\r":
            # A terminal obeys these in the middle of a sequence, and then goes on with it.
            self._give("\n" if char == "\r" else char, out)
            return place + 1
        if char == "\x1b":
            self._state = "escape"
        elif char in "\x18\x1a":
            self._state = "ground"
        elif char < "\x20" or char == "\x7f":
            pass  # ignored, and the sequence goes on
        elif char > "\x7f":
            self._state = "ground"
            return place
        elif self._state == "csi":
            self._state = "ground"
        elif char < "\x30":
            self._state = "designate"
        elif self._state == "designate":
            self._state = "ground"
        else:
            self._state = "csi" if char == "[" else "string" if char in "]PX^_" else "ground"
        return place + 1

    def _give(self, text: str, out: list[str]) -> None:
        out.append(text)
        self._last = text[-1]


def clean(text: str) -> str:
    """`text` as it may be shown, over as many lines as it has."""
    return Sanitizer().feed(text)


_TO_SPACE = str.maketrans("\n\t", "  ")


def clean_line(text: str) -> str:
    """`text` as it may be shown on one line: newlines and tabs become spaces."""
    return clean(text).translate(_TO_SPACE)
