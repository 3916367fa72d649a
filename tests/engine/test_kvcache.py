"""The KV bookkeeping against a model of the native memory."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nanoide.engine.cells import Line
from nanoide.engine.kvcache import KvCache
from nanoide.engine.parking import Parking
from nanoide.engine.prefixes import common_length
from tests.engine.memory import ListMemory

tokens = st.lists(st.integers(0, 1), max_size=60)


@given(tokens, tokens)
def test_the_common_beginning_is_as_counted(left: list[int], right: list[int]) -> None:
    """Halving finds what counting one by one finds."""
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    assert common_length(left, right) == count


def filled(cache: KvCache, memory: ListMemory, key: str, prompt: list[int]) -> Line:
    """A busy line that holds all of `prompt`."""
    line = cache.claim(key, prompt)
    assert line is not None
    start = len(line.tokens)
    memory.computed(line.slot, start, prompt[start:])
    cache.extend(line, prompt[start:])
    return line


def test_the_next_of_a_key_takes_over_what_is_common() -> None:
    """A follow-up claims the idle line of its key and keeps the common beginning."""
    memory = ListMemory()
    cache = KvCache(memory, cells=1000, slots=4, keep=500)
    first = filled(cache, memory, "a", list(range(100)))
    cache.keep(first)
    second = cache.claim("a", [*range(80), 7, 7, 7])
    assert second is first
    assert second.tokens == list(range(80))
    assert memory.sequences[second.slot] == list(range(80))
    assert cache.used == 80


def test_another_key_shares_without_taking() -> None:
    """A common beginning is shared: no cell is used twice, and the first line stays whole."""
    memory = ListMemory()
    cache = KvCache(memory, cells=1000, slots=4, keep=500)
    first = filled(cache, memory, "a", list(range(100)))
    second = cache.claim("b", [*range(60), 1, 1, 1])
    assert second is not None
    assert second is not first
    assert second.tokens == list(range(60))
    assert cache.used == 100
    cache.drop(first)
    assert cache.used == 60


def test_the_last_token_is_always_computed() -> None:
    """The same prompt again leaves one token to compute, for something must be sampled from."""
    memory = ListMemory()
    cache = KvCache(memory, cells=1000, slots=4, keep=500)
    cache.keep(filled(cache, memory, "a", list(range(100))))
    again = cache.claim("a", list(range(100)))
    assert again is not None
    assert len(again.tokens) == 99


def test_a_state_that_cannot_be_cut_is_shared_whole_or_not() -> None:
    """For recurrent models only a line that is a beginning in full helps."""
    memory = ListMemory(partial=False)
    cache = KvCache(memory, cells=1000, slots=4, keep=500, partial=False)
    cache.keep(filled(cache, memory, "a", list(range(50))))
    other = cache.claim("b", [*range(40), 9, 9])
    assert other is not None
    assert other.tokens == []
    follow = cache.claim("a", list(range(60)))
    assert follow is not None
    assert follow.tokens == list(range(50))


def test_the_least_recently_used_goes_first() -> None:
    """Room is made by the idle line that was not used for the longest time."""
    memory = ListMemory()
    cache = KvCache(memory, cells=100, slots=4, keep=100)
    for key, first in (("a", 0), ("b", 1000)):
        cache.keep(filled(cache, memory, key, list(range(first, first + 40))))
    assert cache.known("a", [*range(40), 1]) == 40
    assert cache.room(50)
    assert cache.known("a", [*range(40), 1]) == 40
    assert cache.known("b", [*range(1000, 1040), 1]) == 0


def test_busy_lines_are_never_evicted() -> None:
    """When all that is left is busy, there is no room, and no slot."""
    memory = ListMemory()
    cache = KvCache(memory, cells=100, slots=1, keep=100)
    filled(cache, memory, "a", list(range(90)))
    assert not cache.room(20)
    assert cache.claim("b", [5, 6, 7]) is None


def test_releasing_a_key_frees_its_cells() -> None:
    """What is kept for a key goes when the key is released."""
    memory = ListMemory()
    cache = KvCache(memory, cells=100, slots=2, keep=100)
    cache.keep(filled(cache, memory, "a", list(range(30))))
    cache.release("a")
    assert cache.used == 0
    assert memory.sequences == {}


def test_what_two_keys_begin_with_outlives_both() -> None:
    """The common beginning of two keys stays when the lines of both have gone."""
    memory = ListMemory()
    cache = KvCache(memory, cells=1000, slots=4, keep=500, stems=2)
    stem = list(range(100))
    for key in ("a", "b"):
        cache.keep(filled(cache, memory, key, [*stem, *range(ord(key) * 1000, ord(key) * 1000 + 50)]))
    cache.release("a")
    cache.release("b")
    assert cache.used == 100
    third = cache.claim("c", [*stem, 7, 7])
    assert third is not None
    assert third.tokens == stem


def test_a_full_cache_parks_and_wakes() -> None:
    """An idle line that must go rests, and comes back when its key asks again."""
    memory = ListMemory()
    parking = Parking("", folder=None, disk_bytes=0, log=print)
    cache = KvCache(memory, cells=100, slots=4, keep=100, parking=parking)
    line = filled(cache, memory, "a", list(range(80)))
    line.lasting = True
    cache.keep(line)
    assert cache.room(90)
    assert (cache.used, parking.count) == (0, 1)
    again = cache.claim("a", [*range(80), 5, 5])
    assert again is not None
    assert again.tokens == list(range(80)) == memory.sequences[again.slot]
    assert parking.count == 0


def test_what_wakes_shares_what_is_there() -> None:
    """A woken line shares the cells of the beginning that another line still has."""
    memory = ListMemory()
    parking = Parking("", folder=None, disk_bytes=0, log=print)
    cache = KvCache(memory, cells=1000, slots=4, keep=500, parking=parking)
    first = filled(cache, memory, "a", list(range(150)))
    first.lasting = True
    cache.keep(first)
    cache.park("a")
    filled(cache, memory, "b", [*range(100), 7])
    again = cache.claim("a", [*range(150), 9])
    assert again is not None
    assert again.tokens == list(range(150))
    assert cache.used == 101 + 50


class Caching(RuleBasedStateMachine):
    """Claims, steps, ends in any order: the books agree with the memory, and cells with both."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = ListMemory()
        self.parking = Parking("", folder=None, disk_bytes=0, log=print, ram_bytes=1000)
        self.cache = KvCache(self.memory, cells=400, slots=4, keep=150, stems=2, parking=self.parking)
        self.busy = list[tuple[Line, list[int]]]()

    @rule(key=st.sampled_from(["", "a", "b", "c"]), stem=st.integers(0, 2), size=st.integers(1, 100), end=tokens)
    def claim(self, key: str, stem: int, size: int, end: list[int]) -> None:
        """A prompt of a known stem and an end of its own."""
        prompt = [10 + stem] * size + end
        if not self.cache.room(len(prompt)):
            return
        line = self.cache.claim(key, prompt)
        if line is None:
            assert len(self.busy) == 4
            return
        line.lasting = True
        assert line.tokens == prompt[: len(line.tokens)]
        assert len(line.tokens) < len(prompt)
        self.busy.append((line, prompt))

    @precondition(lambda self: self.busy)
    @rule(pick=st.integers(0, 3), count=st.integers(1, 30), there=st.integers(0, 30))
    def compute(self, pick: int, count: int, there: int) -> None:
        """A step for one line; sometimes only a part of it is computed."""
        line, prompt = self.busy[pick % len(self.busy)]
        start = len(line.tokens)
        piece = prompt[start : start + count]
        if not self.cache.room(len(piece)):
            return
        if there < len(piece):
            self.memory.computed(line.slot, start, piece[:there])
            assert self.cache.settle(line, prompt) == min(start + there, len(prompt) - 1)
        else:
            self.memory.computed(line.slot, start, piece)
            self.cache.extend(line, piece)

    @precondition(lambda self: self.busy)
    @rule(pick=st.integers(0, 3), keep=st.booleans())
    def end(self, pick: int, keep: bool) -> None:
        """A line's work is done."""
        line, _ = self.busy.pop(pick % len(self.busy))
        if keep:
            self.cache.keep(line)
        else:
            self.cache.drop(line)

    @rule(key=st.sampled_from(["", "a", "b"]))
    def release(self, key: str) -> None:
        """A key is forgotten."""
        self.cache.release(key)

    @rule(key=st.sampled_from(["a", "b", "c"]))
    def park(self, key: str) -> None:
        """A key is parked."""
        self.cache.park(key)

    @precondition(lambda self: self.busy)
    @rule(pick=st.integers(0, 3))
    def stash(self, pick: int) -> None:
        """One makes way."""
        line, _ = self.busy.pop(pick % len(self.busy))
        self.cache.stash(line)

    @precondition(lambda self: self.busy)
    @rule(pick=st.integers(0, 3))
    def adopt(self, pick: int) -> None:
        """One takes what others have."""
        line, prompt = self.busy[pick % len(self.busy)]
        self.cache.adopt(line, prompt)
        assert line.tokens == prompt[: len(line.tokens)]
        assert len(line.tokens) <= len(prompt)

    @invariant()
    def books_agree_with_memory(self) -> None:
        """Busy lines hold what memory holds; the budget is kept; nothing else is held."""
        for line, _ in self.busy:
            assert self.memory.sequences.get(line.slot, []) == line.tokens
            assert len(line.cells) == len(line.tokens)
        assert self.cache.used <= self.cache.cells
        held = sum(bool(each) for each in self.memory.sequences.values())
        assert held <= len(self.busy) + self.cache.kept + self.cache.stems
        if not self.busy and not self.cache.kept and not self.cache.stems:
            assert self.cache.used == 0
        assert self.parking.ram_bytes <= 1000


TestCaching = Caching.TestCase
TestCaching.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
