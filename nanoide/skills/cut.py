"""Shares the prompt's tokens among sources and cuts each to its share, saying what was left out. Pure."""

import re
from collections.abc import Sequence

from msgspec.structs import replace

from nanoide import tokens
from nanoide.core.chat import Source

_FILE = re.compile(r"^diff --git ", re.MULTILINE)


def allot(sources: Sequence[Source], budget: int) -> tuple[Source, ...]:
    """`sources` with the tokens that each may take of `budget`; the text itself stays whole.

    What was given or asked for by hand is served before ranked passages; small sources leave what they
    do not need to the large ones. A passage that gets nothing is dropped.
    """
    whole = [tokens.count(source.text) for source in sources]
    ranked = [place for place, source in enumerate(sources) if source.kind == "query"]
    given = [place for place, source in enumerate(sources) if source.kind != "query"]
    shares = [0] * len(sources)
    left = budget
    for number, place in enumerate(sorted(given, key=lambda each: whole[each])):
        shares[place] = min(whole[place], left // (len(given) - number))
        left -= shares[place]
    for place in ranked:
        shares[place] = min(whole[place], left)
        left -= shares[place]
    return tuple(
        replace(source, tokens=share)
        for source, share in zip(sources, shares, strict=True)
        if share or source.kind != "query"
    )


def cut(source: Source) -> str:
    """The text of `source` within its tokens. A diff keeps something of every file, other texts their beginning."""
    whole = tokens.count(source.text)
    if whole <= source.tokens:
        return source.text
    size = len(source.text) * source.tokens // max(1, whole)
    return cut_diff(source.text, size) if source.kind == "diff" else _head(source.text, size)


def cut_diff(text: str, size: int) -> str:
    """A diff in about `size` characters: each file's part gives the same, short ones stay whole."""
    starts = [found.start() for found in _FILE.finditer(text)]
    if not starts:
        return _head(text, size)
    parts = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    left = size - starts[0]
    sizes = [0] * len(parts)
    for number, place in enumerate(sorted(range(len(parts)), key=lambda each: len(parts[each]))):
        sizes[place] = min(len(parts[place]), max(0, left // (len(parts) - number)))
        left -= sizes[place]
    return text[: starts[0]] + "".join(_head(part, share) for part, share in zip(parts, sizes, strict=True))


def _head(text: str, size: int) -> str:
    if len(text) <= size:
        return text
    line = text.rfind("\n", 0, size)
    kept = text[: line + 1 if line > 0 else size]
    return f"{kept}… {text.count(chr(10), len(kept)) + 1} more lines left out\n"
