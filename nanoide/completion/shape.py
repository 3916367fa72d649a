"""What of a completion may be shown: cut where it would hurt what already stands in the document."""

import re

from nanoide.core import sanitize
from nanoide.core.chat import Document
from nanoide.core.document import line_end, split, unified

LINES_LIMIT = 12
"""Lines of a completion of several lines; more is not read, only accepted by mistake."""

_OPENERS = {"(": ")", "[": "]", "{": "}"}
_CLOSERS = {closer: opener for opener, closer in _OPENERS.items()}
_BLOCK = re.compile(r"(?:[:{(\[]|=>|->|\b(?:then|do|else|begin|try))$")
_BRACKETS_WITHIN = 2_000
"""Characters on either side of the position in which brackets are matched."""
_LINE_SEEN = 500
"""Characters at the end of the line above that tell whether it opens a block."""
_ECHO = 4
"""Characters of the line that an answer must repeat before that counts as an echo of it."""


def multiline(document: Document) -> bool:
    """True when several lines may be shown: on an empty line right after something that opens a block."""
    prefix, suffix = split(document)
    return _multiline(unified(prefix), unified(suffix))


def shape(text: str, document: Document) -> str:
    """The part of `text` that may be shown at the document's position; empty when nothing is worth it.

    Ends at a line end (or, in a block, at a dedent, an empty line or a repetition), before a closer that
    nothing opened, and before what stands behind the position anyway. Line ends are the document's.
    """
    before, after = split(document)
    prefix, suffix = unified(before), unified(after)
    line, rest = prefix.rpartition("\n")[2], suffix.partition("\n")[0]
    out = sanitize.clean(text)
    if not line.strip():
        out = _without_indent(out.lstrip("\n"), line)
    elif len(line.strip()) >= _ECHO and out.startswith(line):
        out = out[len(line) :]
    out = _block(out, line, suffix) if _multiline(prefix, suffix) else out.partition("\n")[0]
    out = out[: _closer(out, prefix, suffix)]
    out = _without_overlap(out, rest).rstrip()
    if not out.strip() or _repeats(line + out, prefix, suffix, rest):
        return ""
    end = line_end(document.text)
    return out if end == "\n" else out.replace("\n", end)


def _multiline(prefix: str, suffix: str) -> bool:
    head, _, line = prefix.rpartition("\n")
    if line.strip() or suffix.partition("\n")[0].strip():
        return False
    above = head.rstrip().rpartition("\n")[2][-_LINE_SEEN:]
    above = re.sub(r"\s+(?:#|//).*$", "", above).rstrip()
    return bool(_BLOCK.search(above))


def _width(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip(" "))


def _without_indent(text: str, indent: str) -> str:
    """`text` without the indentation that the line has already, if every line of it repeats that."""
    if not indent or not text.startswith(indent):
        return text
    # One more level than the line has is meant; the same level, told again, is an echo.
    first = text.partition("\n")[0]
    return text[len(indent) :] if _width(first) == _width(indent) else text


def _block(text: str, line: str, suffix: str) -> str:
    """The lines of `text` up to a dedent, an empty line, a repetition or what follows in the document."""
    follows = next((each.strip() for each in suffix.split("\n") if each.strip()), "")
    lines = text.split("\n")
    base = _width(line + lines[0])
    kept = [lines[0]]
    for each in lines[1:LINES_LIMIT]:
        bare = each.strip()
        if not bare or _width(each) < base or bare in {kept[-1].strip(), follows}:
            break
        kept.append(each)
    return "\n".join(kept)


def _closer(text: str, prefix: str, suffix: str) -> int:
    """Where in `text` the first closer stands that nothing opened, or that stands behind the position anyway."""
    waiting = _unclosed(prefix[-_BRACKETS_WITHIN:])
    for _ in _unopened(suffix[:_BRACKETS_WITHIN]):
        if waiting:
            waiting.pop(0)  # what closes behind the position closes the outermost; the innermost are free
    inside: list[str] = []
    for at, char in _brackets(text):
        if char in _OPENERS:
            inside.append(char)
        elif inside:
            if inside.pop() != _CLOSERS[char]:
                return at
        elif waiting:
            if waiting.pop() != _CLOSERS[char]:
                return at
        else:
            return at
    return len(text)


_TOKEN = re.compile(
    r"""(?x) (?P<comment>(?:\#|//)\ .*) | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | (?P<bracket>[()\[\]{}])"""
)


def _brackets(text: str) -> list[tuple[int, str]]:
    """Brackets outside of strings and comments, with their places."""
    return [(found.start(), found["bracket"]) for found in _TOKEN.finditer(text) if found["bracket"]]


def _unclosed(text: str) -> list[str]:
    """Openers in `text` that are not closed in it, outermost first."""
    stack: list[str] = []
    for _, char in _brackets(text):
        if char in _OPENERS:
            stack.append(char)
        elif stack and stack[-1] == _CLOSERS[char]:
            stack.pop()
    return stack


def _unopened(text: str) -> list[str]:
    """Closers in `text` that are not opened in it, up to the first empty line."""
    found: list[str] = []
    depth = 0
    for _, char in _brackets(text.partition("\n\n")[0]):
        if char in _OPENERS:
            depth += 1
        elif depth:
            depth -= 1
        else:
            found.append(char)
    return found


def _without_overlap(text: str, rest: str) -> str:
    """`text` without an end that stands behind the position anyway."""
    tail = rest.rstrip()
    if not tail or "\n" in text:
        return text
    for size in range(min(len(text), len(tail)), 0, -1):
        if text.endswith(tail[:size]) and (size > 1 or not tail[0].isalnum()):
            return text[:-size]
    bare = tail.strip()
    return text[: -len(bare)] if len(bare) > 1 and text.endswith(bare) else text


def _repeats(line: str, prefix: str, suffix: str, rest: str) -> bool:
    """True when the completed line would say again what stands right above or below."""
    bare = line.strip()
    if rest.strip() or "\n" in bare or len(bare) < _ECHO:
        return False
    below = suffix.partition("\n")[2].lstrip("\n").partition("\n")[0].strip()
    above = prefix.rpartition("\n")[0].rpartition("\n")[2].strip()
    return bare in {below, above}
