"""Holes cut from real code: the rest of a line is taken away and has to be found again."""

import random
import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from nanoide.core.chat import Document

_TOKEN = re.compile(r"\w+|[^\w\s]")


class Hole(NamedTuple):
    """A document without the rest of one line, and that rest."""

    document: Document
    missing: str


def holes(folder: Path, count: int, *, seed: int = 1) -> Iterator[Hole]:
    """`count` end-of-line holes from the Python files below `folder`, the same for the same seed."""
    chance = random.Random(seed)
    files = sorted(each for each in folder.rglob("*.py") if 2_000 < each.stat().st_size < 200_000)
    made = 0
    while made < count:
        path = chance.choice(files)
        lines = path.read_text(encoding="utf-8").split("\n")
        number = chance.randrange(10, len(lines))
        line = lines[number]
        places = [found.start() for found in _TOKEN.finditer(line)][1:]
        if not places or line.lstrip().startswith(("#", '"""')):
            continue
        at = chance.choice(places)
        text = "\n".join([*lines[:number], line[:at], *lines[number + 1 :]])
        yield Hole(Document(path=path.name, text=text, line=number, character=len(line[:at])), line[at:].rstrip())
        made += 1


def similarity(one: str, other: str) -> float:
    """How alike two texts are, from 0 to 1."""
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
