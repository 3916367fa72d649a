"""Which tokens are in the KV cache, who shares them, and what goes when it is full.

A `Line` is one native sequence. A new prompt takes over an idle line that begins the same way, or
copies the common beginning of any line (copied cells are shared, they cost nothing), or wakes what rests
in `parking`. Finished lines stay as long as there is room, one a key; the least recently used one is
parked first. What lines of several keys begin with is a stem: it has a line of its own, and stays longest.
The bookkeeping is pure; the native cache is behind `Memory`.
"""

import hashlib
from array import array
from typing import Protocol

from nanoide.engine.cells import Cells, Line
from nanoide.engine.parking import Parking
from nanoide.engine.prefixes import common_length

SHARE_MIN = 16
"""A common beginning shorter than this is not worth a copy."""

WAKE_MIN = 32
"""So many tokens more than the cache has must rest in parking to be worth waking."""

PARK_MIN = 32
"""A shorter sequence is computed again sooner than it is read."""

STEM_MIN = 64
"""A shorter common beginning of several keys is not worth a line of its own."""

STEM_GAP = 64
"""Two stems of one kind differ by more than this: questions of one skill may begin alike for a few tokens."""


class Memory(Protocol):
    """The native side: llama.cpp's memory, or a model of it in a test."""

    def copy(self, source: int, target: int, length: int, start: int = 0) -> None:
        """Let `target`, which has the first `start` tokens of `source`, have the first `length` of them."""
        ...

    def share(self, source: int, target: int, length: int) -> None:
        """Both have the same first `length` tokens: let `target` use the cells of `source` for them."""
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

    def save(self, slot: int) -> bytes:
        """The state of the sequence."""
        ...

    def restore(self, slot: int, data: bytes, length: int) -> bool:
        """Make an empty sequence what was saved, of `length` tokens; False when that is not what came of it."""
        ...


class KvCache:
    """All lines, busy and idle, and the stems."""

    def __init__(
        self,
        memory: Memory,
        *,
        cells: int,
        slots: int,
        keep: int,
        stems: int = 0,
        partial: bool = True,
        parking: Parking | None = None,
    ) -> None:
        """A cache of `cells` cells and `slots` sequences, of which idle lines may hold `keep` cells.

        `stems` more sequences hold common beginnings, of a quarter of the cells at most. `partial` is
        False for models whose state cannot be cut (recurrent and hybrid ones): they have no stems.
        """
        self._memory = memory
        self._partial = partial
        self._keep = keep
        self._parking = parking
        self._free_slots = list(range(slots - 1, -1, -1))
        self._stem_slots = list(range(slots, slots + stems)) if partial else []
        self._books = Cells()
        self._tick = 0
        self._busy: dict[int, Line] = {}
        self._idle: dict[int, Line] = {}
        self._stems: dict[int, Line] = {}
        self.cells = cells
        self.hits = 0
        """Prompts whose beginning was there already."""

    @property
    def used(self) -> int:
        """Cells in use."""
        return self._books.used

    @property
    def free(self) -> int:
        """Cells that are not in use."""
        return self.cells - self._books.used

    @property
    def kept(self) -> int:
        """Idle lines."""
        return len(self._idle)

    @property
    def stems(self) -> int:
        """Common beginnings that have a line of their own."""
        return len(self._stems)

    def claim(self, key: str, tokens: list[int]) -> Line | None:
        """A busy line that holds as much of the beginning of `tokens` as is known anywhere.

        At least the last token is left out, for something must be computed to go on from. None when
        every sequence is busy.
        """
        wanted = tokens[:-1]
        donor, common = self._longest(key, wanted)
        line = self._wake(key, wanted, donor, common) if self._parking is not None else None
        if line is None:
            line = self._take(key, donor, common)
        if line is not None and line.tokens:
            self.hits += 1
        return line

    def known(self, key: str, tokens: list[int]) -> int:
        """How many tokens a `claim` would find in the cache; their line now counts as used."""
        donor, common = self._longest(key, tokens[:-1])
        if donor is not None:
            self._touch(donor)
        return common

    def adopt(self, line: Line, tokens: list[int]) -> None:
        """Let a busy line have what others have computed meanwhile of the beginning of `tokens`, its own."""
        have = len(line.tokens)
        if not self._partial or len(tokens) - 1 < have + SHARE_MIN:
            return
        donor, common = self._books.longest(tokens[:-1])
        if donor is None or donor is line or common < have + SHARE_MIN:
            return
        self._memory.copy(donor.slot, line.slot, common, have)
        self._books.share(donor, line, common)
        self._remember(donor, line.key, common)

    def extend(self, line: Line, tokens: list[int]) -> None:
        """`tokens` were computed after what the line held."""
        self._books.extend(line, tokens)

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
            self._books.cut(line, there)
        return len(line.tokens)

    def room(self, need: int, spare: Line | None = None) -> bool:
        """Evict idle lines, then stems, until `need` cells are free. False when all that is left is busy or `spare`."""
        while self.free < need:
            if not self._evict(spare) and not self._evict_stem(spare):
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

    def stash(self, line: Line) -> None:
        """A busy line makes way; what it holds rests until it is claimed again."""
        del self._busy[line.slot]
        self._park(line, now=False)
        self._end(line)

    def park(self, key: str) -> None:
        """Nobody works on `key` for a while: its idle line goes to parking, and from there to a file."""
        for line in [each for each in self._idle.values() if each.key == key]:
            self._park(line, now=True)
            self._end(line)
        if self._parking is not None:
            self._parking.settle(key)

    def stow(self) -> None:
        """The process ends: all lines and stems that may last go to files, the last used ones first."""
        if self._parking is None:
            return
        lines = (*self._idle.values(), *self._busy.values(), *self._stems.values())
        for line in sorted(lines, key=lambda each: -each.seen):
            if line.lasting:
                self._park(line, now=True)
                self._parking.flush()
        self._parking.flush()

    def release(self, key: str) -> None:
        """Forget what is kept for `key`, also what rests."""
        for line in [each for each in self._idle.values() if each.key == key]:
            self._end(line)
        if self._parking is not None:
            self._parking.drop(key)

    def _touch(self, line: Line) -> None:
        self._tick += 1
        line.seen = self._tick

    def _longest(self, key: str, wanted: list[int]) -> tuple[Line | None, int]:
        """The line with the longest common beginning; an idle one of the same key wins a tie."""
        donor, common = self._books.longest(wanted, whole=not self._partial)
        if donor is None or common < SHARE_MIN:
            return None, 0
        for line in self._idle.values():
            if line.key == key and (len(line.tokens) == common if not self._partial else len(line.tokens) >= common):
                own = common_length(line.tokens, wanted)
                if own == common:
                    return line, common
        return donor, common

    def _take(self, key: str, donor: Line | None, common: int) -> Line | None:
        """A line made of what the cache has."""
        if donor is not None and donor.slot in self._idle and (donor.key == key or not self._free_slots):
            return self._take_over(donor, key, common)
        if not self._free_slots and not self._evict(donor):
            return None
        line = self._new(self._free_slots.pop(), key)
        if donor is not None:
            self._memory.copy(donor.slot, line.slot, common)
            self._books.share(donor, line, common)
            self._touch(donor)
            self._remember(donor, key, common)
        self._busy[line.slot] = line
        return line

    def _wake(self, key: str, wanted: list[int], donor: Line | None, common: int) -> Line | None:
        """A line made of what rests; None when the cache has nearly as much, or when there is no room to wake it."""
        assert self._parking is not None
        entry, there = self._parking.longest(key, wanted, whole=not self._partial)
        if entry is None or there < common + WAKE_MIN or (data := self._parking.load(entry)) is None:
            return None
        size = len(entry.tokens)
        if not self.room(size, donor) or not (self._free_slots or self._evict(donor)):
            return None
        slot = self._free_slots.pop()
        if not self._memory.restore(slot, data, size) or not (there == size or self._memory.cut(slot, there)):
            self._memory.drop(slot)
            self._free_slots.append(slot)
            self._parking.drop(entry.key)
            return None
        line = self._new(slot, key)
        if donor is not None and self._partial:
            self._memory.share(donor.slot, slot, common)
            self._books.share(donor, line, common)
            self._touch(donor)
        self.extend(line, wanted[len(line.tokens) : there])
        self._busy[slot] = line
        if entry.key == key:
            self._parking.woken(entry)
        return line

    def _take_over(self, line: Line, key: str, common: int) -> Line:
        if line.key != key and line.lasting:
            self._park(line, now=False)
        if common < len(line.tokens) and not self._memory.cut(line.slot, common):
            self._memory.drop(line.slot)
            common = 0
        self._books.cut(line, common)
        del self._idle[line.slot]
        line.key = key
        line.lasting = False
        self._busy[line.slot] = line
        self._touch(line)
        return line

    def _new(self, slot: int, key: str) -> Line:
        line = self._books.open(slot, key)
        self._touch(line)
        return line

    def _remember(self, donor: Line, key: str, common: int) -> None:
        """Another key begins like `donor`: hold that beginning when it is long enough to be worth it."""
        if common < STEM_MIN or (donor.key == key and donor.slot not in self._stems):
            return
        beginning = donor.tokens[:common]
        for stem in self._stems.values():
            size = len(stem.tokens)
            if abs(size - common) < STEM_GAP and common_length(stem.tokens, beginning) == min(size, common):
                stem.hits += 1
                self._touch(stem)
                if common < size and self._memory.cut(stem.slot, common):
                    self._books.cut(stem, common)
                return
        budget = self.cells // 4 - common
        while self._stems and (not self._stem_slots or sum(len(each.tokens) for each in self._stems.values()) > budget):
            self._evict_stem(donor)
            if donor.slot in self._stems and len(self._stems) == 1:
                return
        if not self._stem_slots or budget < 0:
            return
        stem = self._new(self._stem_slots.pop(), "stem " + _digest(beginning))
        stem.lasting = True
        stem.hits = 1
        self._memory.copy(donor.slot, stem.slot, common)
        self._books.share(donor, stem, common)
        self._stems[stem.slot] = stem

    def _evict(self, spare: Line | None) -> bool:
        """End the idle line that was not used for the longest time."""
        oldest = min(
            (each for each in self._idle.values() if each is not spare), key=lambda each: each.seen, default=None
        )
        if oldest is None:
            return False
        if oldest.lasting:
            self._park(oldest, now=False)
        self._end(oldest)
        return True

    def _evict_stem(self, spare: Line | None) -> bool:
        """End the stem that was shared least, and not lately; the others' fame fades."""
        coldest = min(
            (each for each in self._stems.values() if each is not spare),
            key=lambda each: (each.hits, each.seen),
            default=None,
        )
        if coldest is None:
            return False
        self._park(coldest, now=False)
        self._end(coldest)
        for stem in self._stems.values():
            stem.hits = (stem.hits + 1) // 2
        return True

    def _park(self, line: Line, *, now: bool) -> None:
        if self._parking is None or len(line.tokens) < PARK_MIN:
            return
        self._parking.put(line.key, line.tokens, self._memory.save(line.slot), lasting=line.lasting, now=now)

    def _end(self, line: Line) -> None:
        self._idle.pop(line.slot, None)
        self._memory.drop(line.slot)
        self._books.close(line)
        if self._stems.pop(line.slot, None) is not None:
            self._stem_slots.append(line.slot)
        else:
            self._free_slots.append(line.slot)


def _digest(tokens: list[int]) -> str:
    return hashlib.sha256(array("i", tokens).tobytes()).hexdigest()[:32]
