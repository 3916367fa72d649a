"""Completions already made. Typing what a completion says costs nothing: the rest of it is still right."""

from collections import OrderedDict
from typing import NamedTuple

from nanoide.core.chat import Document
from nanoide.core.document import split

LOOK_BACK = 128
"""Characters that may have been typed into a completion since it was made."""


class _Entry(NamedTuple):
    size: int
    """Characters before the position."""
    prefix: int
    """Hash of them."""
    text: str


class Cache:
    """The last completions, by what stands before and behind the position. Not shared between threads."""

    def __init__(self, limit: int = 512) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[str, int, int], OrderedDict[int, _Entry]] = OrderedDict()
        """By path and suffix, then by hash of the prefix; each the latest last."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, document: Document) -> str | None:
        """What may be shown now: a whole completion, or the rest of one that is being typed.

        None means nothing is known; an empty text means it is known that there is nothing to show.
        """
        prefix, suffix = split(document)
        key = _key(document.path, suffix)
        entries = self._entries.get(key)
        if entries is None:
            return None
        hashes: dict[int, int] = {}
        for entry in reversed(entries.values()):
            typed = len(prefix) - entry.size
            if not 0 <= typed <= LOOK_BACK:
                continue
            if typed and (typed >= len(entry.text) or not prefix.endswith(entry.text[:typed])):
                continue
            if entry.size not in hashes:
                hashes[entry.size] = hash(prefix[: entry.size])
            if hashes[entry.size] == entry.prefix:
                self._entries.move_to_end(key)
                return entry.text[typed:]
        return None

    def put(self, document: Document, text: str) -> None:
        """Keep `text` as the completion at the document's position; the oldest give way."""
        prefix, suffix = split(document)
        key = _key(document.path, suffix)
        entries = self._entries.setdefault(key, OrderedDict())
        mark = hash(prefix)
        self._count += mark not in entries
        entries[mark] = _Entry(len(prefix), mark, text)
        entries.move_to_end(mark)
        self._entries.move_to_end(key)
        while self._count > self._limit:
            oldest = next(iter(self._entries))
            self._entries[oldest].popitem(last=False)
            self._count -= 1
            if not self._entries[oldest]:
                del self._entries[oldest]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._count = 0


def _key(path: str, suffix: str) -> tuple[str, int, int]:
    return path, len(suffix), hash(suffix)
