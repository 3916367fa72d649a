"""Where to look: the passages that were found, the lines of each that answer best, as path:line citations."""

import re
from collections.abc import Sequence
from math import log
from typing import NamedTuple

from nanoide.core.chat import Context, Source
from nanoide.store.passages import searchable, words

PLACES = 6
"""Passages that are shown."""

LINES = 3
"""Lines of each."""

WIDTH = 140
"""Characters of a line."""

_DEFINITION = re.compile(
    r"\s*(?:@|(?:async\s+|export\s+|pub\s+)*(?:def|class|fn|func|function|struct|type|interface|trait|enum)\b|#+\s)"
)
_NAME = re.compile(r"(?:def|class|fn|func|function|struct|type|interface|trait|enum)\s+(\w+)")
_TOKEN = re.compile(r"[^\W_]+")


class Hit(NamedTuple):
    """One line that answers."""

    number: int
    text: str
    score: float


def answer(context: Context) -> str:
    """The places, best first, after one line that says where to begin; at the end what there is to know about them."""
    said = _places(context)
    return f"{said}\n\n{context.note}" if context.note else said


def _places(context: Context) -> str:
    asked = sorted(words(context.text))
    if not asked:
        return "Ask where something is or what something does, in a few words that occur in the files."
    passages = [source for source in context.sources if source.text.strip()]
    if not passages:
        where = f" below {context.root}" if context.root else ""
        return f"Nothing found{where} for {_quoted(asked)}. Try words that occur in the files themselves."
    found = _occurring(asked, passages)
    if not found:
        return f"None of {_quoted(asked)} occurs in what was found. Try words that occur in the files themselves."
    weights = _weights(found, passages)
    shown = [(source, hits) for source in passages if (hits := _hits(source, weights))][:PLACES]
    if not shown:
        shown = [
            (source, [Hit(source.line, source.text.split("\n", 1)[0].strip(), 0.0)]) for source in passages[:PLACES]
        ]
    lines = [_summary(shown, asked, found), ""]
    for source, hits in shown:
        lines += [f"{source.path or source.label}:{hit.number}  {_short(hit.text)}" for hit in hits]
    return "\n".join(lines)


def _summary(shown: Sequence[tuple[Source, Sequence[Hit]]], asked: Sequence[str], found: Sequence[str]) -> str:
    source, hits = shown[0]
    best = max(hits, key=lambda hit: hit.score)
    name = _holder(source, best.number)
    others = list(dict.fromkeys(each.path for each, _ in shown if each.path != source.path))
    text = f"Look at {source.path or source.label}:{best.number}" + (f", in {name}" if name else "")
    if others:
        text += f"; then {', '.join(others[:3])}"
    missing = [word for word in asked if word not in found]
    return text + "." + (f" Not found: {_quoted(missing)}." if missing and len(found) < len(asked) / 2 else "")


def _holder(source: Source, number: int) -> str:
    """The function or class of the passage that the line is in, as far as the passage shows it."""
    lines = source.text.split("\n")
    at = min(number - source.line, len(lines) - 1) if source.line else 0
    for line in reversed(lines[: at + 1]):
        if named := _NAME.search(line):
            return named[1]
    return ""


def _occurring(asked: Sequence[str], passages: Sequence[Source]) -> list[str]:
    """Those of the words that are in any passage or its path."""
    everything = {token for source in passages for token in _tokens(f"{source.path} {source.text}")}
    return [word for word in asked if any(_same(word, token) for token in everything)]


def _weights(found: Sequence[str], passages: Sequence[Source]) -> dict[str, float]:
    """A rare word tells more than a frequent one."""
    lines = [_tokens(line) for source in passages for line in source.text.split("\n")]
    counts = {word: sum(any(_same(word, token) for token in line) for line in lines) for word in found}
    return {word: log(1 + len(lines) / (1 + count)) for word, count in counts.items()}


def _hits(source: Source, weights: dict[str, float]) -> list[Hit]:
    """The best lines of a passage, in their order."""
    hits: list[Hit] = []
    for place, line in enumerate(source.text.split("\n")):
        tokens = _tokens(line)
        score = sum(weight for word, weight in weights.items() if any(_same(word, token) for token in tokens))
        if score:
            bonus = 1.5 if _DEFINITION.match(line) else 0.6 if line.lstrip().startswith(("import ", "from ")) else 1.0
            hits.append(Hit(max(source.line, 1) + place, line.strip(), score * bonus))
    best = sorted(hits, key=lambda hit: -hit.score)[:LINES]
    return sorted((hit for hit in best if hit.score >= best[0].score / 2), key=lambda hit: hit.number)


def _tokens(text: str) -> set[str]:
    return {token.lower() for token in _TOKEN.findall(searchable(text))}


def _same(asked: str, token: str) -> bool:
    """True for the same word in another form: "price" and "prices", "store" and "stored"."""
    if asked == token:
        return True
    size = min(len(asked), len(token))
    if size < 4 or abs(len(asked) - len(token)) > 4:
        return False
    stem = max(4, size - 1)
    return asked[:stem] == token[:stem]


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names[:6])
