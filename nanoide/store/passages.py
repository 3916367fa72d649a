"""How a text becomes searchable: cut into passages, identifiers split into the words they are made of. Pure."""

import re

LINES = 40
"""About how many lines a passage has."""

_LINE_LIMIT = 2_000
"""Characters of a line that count; the rest of a minified one says nothing to a person."""

_STARTS = re.compile(
    r"(?:@|(?:async\s+)?def\s|class\s|(?:pub\s+)?(?:fn|struct|enum|trait|impl|mod)\b|func\s|type\s|"
    r"(?:export\s+)?(?:default\s+)?(?:async\s+)?(?:function|interface|const\s+\w+\s*=\s*(?:async\s*)?\()|#{1,6}\s|"
    r"(?:public|private|protected|static)\s)"
)
"""What begins something new, at the beginning of a line."""

_WORD = re.compile(r"[^\W_]+")
_HUMPS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")

_STOP = frozenset(
    """a about all an and any are as at be been but by can could do does did for from get gets had has have here how i
    if in into is it its itself me my no nor not of on or our out so some than that the their them then there these
    they this those to up us was we were what when where which while who whose why will with would you your
    show tell find explain please look file files code""".split()  # noqa: SIM905 - a list of words reads best so
)


def passages(text: str) -> list[tuple[int, str]]:
    """Pieces of about LINES lines, each with the number of its first line (from 1).

    Cut where something begins, or at an empty line.
    """
    lines = [line.rstrip("\r")[:_LINE_LIMIT] for line in text.split("\n")]
    out: list[tuple[int, str]] = []
    start = 0
    while start < len(lines):
        end = _cut(lines, start)
        piece = "\n".join(lines[start:end])
        if piece.strip():
            lead = next(place for place, line in enumerate(lines[start:end]) if line.strip())
            out.append((start + lead + 1, piece[sum(len(each) + 1 for each in lines[start : start + lead]) :].rstrip()))
        start = end
    return out


def _cut(lines: list[str], start: int) -> int:
    """Where the passage that begins at `start` ends: best before a definition, else at an empty line."""
    if len(lines) - start <= LINES + LINES // 2:
        return len(lines)
    middle = range(start + LINES // 2, start + LINES + LINES // 4)
    best = max((place for place in middle if _STARTS.match(lines[place])), default=0)
    if not best:
        best = max((place for place in middle if not lines[place].strip()), default=0)
    if not best:
        best = max((place for place in middle if _STARTS.match(lines[place].lstrip())), default=start + LINES)
    while best - 1 > start + 1 and lines[best - 1].lstrip().startswith("@"):
        best -= 1  # a decorator belongs to what it decorates
    return best


def searchable(text: str) -> str:
    """`text` followed by the parts of its identifiers: "getUserName" is also found by "user"."""
    parts: list[str] = []
    for word in set(_WORD.findall(text)):
        humps = _HUMPS.findall(word)
        if len(humps) > 1:
            parts += humps
    return f"{text}\n{' '.join(parts)}" if parts else text


def words(text: str) -> frozenset[str]:
    """The words of a question that say something, in lower case, identifiers split as well."""
    found: set[str] = set()
    for word in _WORD.findall(text[:4_000]):
        for each in (word, *_HUMPS.findall(word)):
            lower = each.lower()
            if (len(lower) > 1 or not lower.isascii()) and lower not in _STOP:
                found.add(lower)
    return frozenset(found)


def query(text: str) -> str:
    """An FTS5 expression for a question: any of its words, also as the beginning of a longer one; empty for none."""
    terms = sorted(words(text), key=lambda word: (-len(word), word))[:32]
    # The words hold letters and digits only, and are quoted: nothing in them is syntax.
    parts = [f'"{word}"' + (f' OR "{word}"*' if len(word) > 2 else "") for word in terms]
    return "{body path}: (" + " OR ".join(parts) + ")" if parts else ""
