"""How many tokens a text has, estimated without asking a model and without fetching anything.

A tiktoken encoding made from the bundled model's own vocabulary (models/nano.ranks, made by tests/ranks.py).
For other models it is a proxy: the usage that a backend reports always wins.
"""

from base64 import b64decode
from collections.abc import Callable
from functools import cache
from pathlib import Path

RANKS = Path(__file__).parent / "models" / "nano.ranks"

BYTES_PER_TOKEN = 3.5
"""Of ordinary code and English; used when tiktoken cannot be."""

PIECE = 65_536
"""Characters that are tokenized at once: a cut costs a token at most, endless runs would cost far more."""

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pre-tokenizer "qwen2", which the bundled model was trained with."""


def count(text: str) -> int:
    """About how many tokens `text` has; 0 for an empty one."""
    if not text:
        return 0
    return sum(_counter()(text[start : start + PIECE]) for start in range(0, len(text), PIECE))


def by_length(text: str) -> int:
    """A rougher estimate, from the length in UTF-8 alone; at least 1."""
    return max(1, round(len(text.encode(errors="replace")) / BYTES_PER_TOKEN))


@cache
def _counter() -> Callable[[str], int]:
    """Made once, at first use: tiktoken takes a while to import."""
    try:
        import tiktoken

        # Not tiktoken's own loader: it keeps copies in a folder that every user of the machine can write.
        encoding = tiktoken.Encoding("nano", pat_str=_SPLIT, mergeable_ranks=_ranks(), special_tokens={})
    except (ImportError, OSError, ValueError):
        return by_length

    def counter(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    return counter


def _ranks() -> dict[bytes, int]:
    lines = (line.split() for line in RANKS.read_bytes().splitlines())
    return {b64decode(token): int(rank) for token, rank in lines}
