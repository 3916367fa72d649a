"""Text from other open files that a completion may lean on: a ring of chunks, none like another."""

import re
from collections import deque

from nanoide.core.chat import Source

CHUNKS = 16
LINES = 64
ALIKE = 0.9
"""Chunks whose words agree by more than this (Jaccard) are one chunk."""

_WORD = re.compile(r"\w+")


class Neighbours:
    """The chunks that were looked at last. Not shared between threads."""

    def __init__(self, chunks: int = CHUNKS) -> None:
        self._ring: deque[tuple[Source, frozenset[str]]] = deque(maxlen=chunks)

    def add(self, path: str, text: str, line: int) -> None:
        """Keep the chunk of `text` around `line` (zero-based); what was much like it goes."""
        lines = text.splitlines()
        if not lines:
            return
        start = max(0, min(line - LINES // 2, len(lines) - LINES))
        chunk = "\n".join(lines[start : start + LINES])
        words = frozenset(_WORD.findall(chunk))
        if len(words) < 3:
            return
        for kept in [each for each in self._ring if _alike(each[1], words) > ALIKE]:
            self._ring.remove(kept)
        label = f"{path}:{start + 1}-{min(start + LINES, len(lines))}"
        self._ring.append((Source(kind="file", label=label, text=chunk, path=path, line=start + 1), words))

    def drop(self, path: str) -> None:
        """Forget the file."""
        for kept in [each for each in self._ring if each[0].path == path]:
            self._ring.remove(kept)

    def sources(self, path: str) -> tuple[Source, ...]:
        """All chunks that are not of `path` itself, the latest first."""
        return tuple(source for source, _ in reversed(self._ring) if source.path != path)


def _alike(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
