"""Which tokens are in the KV cache, who shares them, and what goes when it is full.

A `Line` is one native sequence. A new prompt takes over an idle line that begins the same way, or
copies the common beginning of any line (copied cells are shared, they cost nothing). Finished lines
stay as long as there is room, one a key, and the least recently used one goes first.
The bookkeeping is pure; the native cache is behind `Memory`.
"""

from typing import Protocol

SHARE_MIN = 16
"""A common beginning shorter than this is not worth a copy."""


class Memory(Protocol):
    """The native side: llama.cpp's memory, or a model of it in a test."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target` begin with the first `length` tokens of `source`."""
        ...

    def cut(self, slot: int, length: int) -> bool:
        """Forget all but the first `length` tokens; False when only the whole can be forgotten."""
        ...

    def drop(self, slot: int) -> None:
        """Forget the sequence."""
        ...

    def length(self, slot: int) -> int:
        """Tokens that are in the cache for the sequence."""
        ...


class Line:
    """One sequence in the cache."""

    __slots__ = ("cells", "key", "seen", "slot", "tokens")

    def __init__(self, slot: int, key: str) -> None:
        self.slot = slot
        """The native sequence id."""
        self.key = key
        self.tokens: list[int] = []
        self.cells: list[int] = []
        """Of each token, in order; lines that share a beginning have the same cells there."""
        self.seen = 0
        """When it was last used, by the cache's own count."""


class KvCache:
    """All lines, busy and idle."""

    def __init__(self, memory: Memory, *, cells: int, slots: int, keep: int, partial: bool = True) -> None:
        """A cache of `cells` cells and `slots` sequences, of which idle lines may hold `keep` cells.

        `partial` is False for models whose state cannot be cut (recurrent and hybrid ones).
        """
        self._memory = memory
        self._partial = partial
        self._keep = keep
        self._free_slots = list(range(slots - 1, -1, -1))
        self._users: dict[int, int] = {}
        self._next_cell = 0
        self._tick = 0
        self._busy: dict[int, Line] = {}
        self._idle: dict[int, Line] = {}
        self.cells = cells

    @property
    def used(self) -> int:
        """Cells in use."""
        return len(self._users)

    @property
    def free(self) -> int:
        """Cells that are not in use."""
        return self.cells - len(self._users)

    @property
    def kept(self) -> int:
        """Idle lines."""
        return len(self._idle)

    def claim(self, key: str, tokens: list[int]) -> Line | None:
        """A busy line that holds as much of the beginning of `tokens` as is known anywhere.

        At least the last token is left out, for something must be computed to go on from. None when
        every sequence is busy.
        """
        donor, common = self._longest(key, tokens[:-1])
        if donor is not None and donor.slot in self._idle and (donor.key == key or not self._free_slots):
            return self._take_over(donor, key, common)
        if not self._free_slots and not self._evict(donor):
            return None
        line = Line(self._free_slots.pop(), key)
        if donor is not None:
            self._memory.copy(donor.slot, line.slot, common)
            line.tokens = donor.tokens[:common]
            line.cells = donor.cells[:common]
            for cell in line.cells:
                self._users[cell] += 1
            self._touch(donor)
        self._busy[line.slot] = line
        self._touch(line)
        return line

    def known(self, key: str, tokens: list[int]) -> int:
        """How many tokens a `claim` would find; their line now counts as used."""
        donor, common = self._longest(key, tokens[:-1])
        if donor is not None:
            self._touch(donor)
        return common

    def extend(self, line: Line, tokens: list[int]) -> None:
        """`tokens` were computed after what the line held."""
        first = self._next_cell
        self._next_cell = first + len(tokens)
        line.tokens += tokens
        for cell in range(first, self._next_cell):
            line.cells.append(cell)
            self._users[cell] = 1

    def settle(self, line: Line, intended: list[int]) -> int:
        """After an aborted or failed step: hold what the native side holds of `intended`. The new length.

        The last token is not held even if it was computed: nothing was sampled from it.
        """
        there = self._memory.length(line.slot)
        if there >= len(intended):
            there = len(intended) - 1
            if not self._memory.cut(line.slot, there):
                self._memory.drop(line.slot)
                there = 0
        known = len(line.tokens)
        if there > known:
            self.extend(line, intended[known:there])
        elif there < known:
            self._forget(line, there)
        return len(line.tokens)

    def room(self, need: int) -> bool:
        """Evict idle lines until `need` cells are free. False when all that is left is busy."""
        while self.free < need:
            if not self._evict(None):
                return False
        return True

    def keep(self, line: Line) -> None:
        """The line's work is done; it stays for whoever begins the same way."""
        del self._busy[line.slot]
        for other in [each for each in self._idle.values() if each.key == line.key and line.key]:
            self._end(other)
        if not line.tokens:
            self._end(line)
            return
        self._idle[line.slot] = line
        self._touch(line)
        while self._idle and sum(len(each.cells) for each in self._idle.values()) > self._keep:
            if not self._evict(None):
                break

    def drop(self, line: Line) -> None:
        """The line is not wanted any more."""
        del self._busy[line.slot]
        self._end(line)

    def release(self, key: str) -> None:
        """Forget the idle lines of `key`."""
        for line in [each for each in self._idle.values() if each.key == key]:
            self._end(line)

    def _touch(self, line: Line) -> None:
        self._tick += 1
        line.seen = self._tick

    def _longest(self, key: str, tokens: list[int]) -> tuple[Line | None, int]:
        """The line with the longest common beginning; an idle one of the same key wins a tie."""
        best: Line | None = None
        rank = (SHARE_MIN - 1, False)
        for lines, idle in ((self._idle, True), (self._busy, False)):
            for line in lines.values():
                common = common_length(line.tokens, tokens)
                if not self._partial and common < len(line.tokens):
                    continue
                if (mine := (common, idle and line.key == key)) > rank:
                    best, rank = line, mine
        return (best, rank[0]) if best is not None else (None, 0)

    def _take_over(self, line: Line, key: str, common: int) -> Line:
        if common < len(line.tokens) and not self._memory.cut(line.slot, common):
            self._memory.drop(line.slot)
            common = 0
        self._forget(line, common)
        del self._idle[line.slot]
        line.key = key
        self._busy[line.slot] = line
        self._touch(line)
        return line

    def _evict(self, spare: Line | None) -> bool:
        """End the idle line that was not used for the longest time."""
        oldest = min(
            (each for each in self._idle.values() if each is not spare), key=lambda each: each.seen, default=None
        )
        if oldest is None:
            return False
        self._end(oldest)
        return True

    def _end(self, line: Line) -> None:
        self._idle.pop(line.slot, None)
        self._memory.drop(line.slot)
        self._forget(line, 0)
        self._free_slots.append(line.slot)

    def _forget(self, line: Line, length: int) -> None:
        for cell in line.cells[length:]:
            self._users[cell] -= 1
            if not self._users[cell]:
                del self._users[cell]
        del line.cells[length:]
        del line.tokens[length:]


def common_length(left: list[int], right: list[int]) -> int:
    """How many tokens two lists have in common from the beginning. Compares in C, by halving."""
    high = min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
