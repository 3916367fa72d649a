"""The books of the KV cache: which line has which tokens in which cells. Pure; what stays and goes is `kvcache`'s."""

from collections.abc import Sequence

from nanoide.engine.prefixes import PrefixTree


class Line:
    """One sequence in the cache."""

    __slots__ = ("cells", "hits", "key", "lasting", "seen", "slot", "tokens")

    def __init__(self, slot: int, key: str) -> None:
        self.slot = slot
        """The native sequence id."""
        self.key = key
        self.tokens: list[int] = []
        self.cells: list[int] = []
        """Of each token, in order; lines that share a beginning have the same cells there."""
        self.seen = 0
        """When it was last used, by the cache's own count."""
        self.lasting = False
        """Is parked when it must go; others are only forgotten."""
        self.hits = 0
        """Of a stem: how often it was shared."""


class Cells:
    """All lines and their cells. A cell is free again when no line has it any more."""

    def __init__(self) -> None:
        self._users: dict[int, int] = {}
        self._next = 0
        self._tree = PrefixTree[Line]()

    @property
    def used(self) -> int:
        """Cells in use, shared ones once."""
        return len(self._users)

    def open(self, slot: int, key: str) -> Line:
        """A new line, without a token."""
        line = Line(slot, key)
        self._tree.add(line, ())
        return line

    def close(self, line: Line) -> None:
        """The line is no more."""
        self.cut(line, 0)
        self._tree.remove(line)

    def extend(self, line: Line, tokens: Sequence[int]) -> None:
        """`tokens` stand in new cells after what the line held."""
        first = self._next
        self._next = first + len(tokens)
        line.tokens += tokens
        self._tree.extend(line, tokens)
        for cell in range(first, self._next):
            line.cells.append(cell)
            self._users[cell] = 1

    def share(self, donor: Line, line: Line, length: int) -> None:
        """`line`, which holds the beginning of `donor`, has its first `length` tokens now, in its cells."""
        start = len(line.tokens)
        tokens, cells = donor.tokens[start:length], donor.cells[start:length]
        line.tokens += tokens
        line.cells += cells
        self._tree.extend(line, tokens)
        for cell in cells:
            self._users[cell] += 1

    def cut(self, line: Line, length: int) -> None:
        """The line holds only its first `length` tokens."""
        for cell in line.cells[length:]:
            self._users[cell] -= 1
            if not self._users[cell]:
                del self._users[cell]
        del line.cells[length:]
        del line.tokens[length:]
        self._tree.cut(line, length)

    def longest(self, tokens: list[int], *, whole: bool = False) -> tuple[Line | None, int]:
        """The line with the longest common beginning; with `whole` only lines that are a beginning of `tokens`."""
        return self._tree.longest(tokens, whole=whole)
