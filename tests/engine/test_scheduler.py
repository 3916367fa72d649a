"""Who computes next, as pure logic: nobody is lost, no row is used twice, budgets hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoide.core.chat import PRIORITIES, Priority
from nanoide.engine.kvcache import KvCache
from nanoide.engine.pace import GROUP, TILE
from nanoide.engine.parking import Parking
from nanoide.engine.scheduler import AGEING, CROWD, DECODING, FILLS, PATIENCE, Rows, Scheduler, Sequence
from tests.engine.memory import ListMemory

ROWS = 16


def build(
    cells: int = 200, slots: int = 6, rows: int = ROWS, parking: Parking | None = None
) -> tuple[Scheduler, KvCache, ListMemory]:
    """A scheduler with a small cache."""
    memory = ListMemory()
    cache = KvCache(memory, cells=cells, slots=slots, keep=cells // 2, stems=2, parking=parking)
    return Scheduler(cache, rows=rows), cache, memory


def sequence(id: int, prompt: int, answer: int, priority: Priority = "focused") -> Sequence:
    """A job with a prompt of its own."""
    return Sequence(id, f"key {id}", [id * 1000 + at for at in range(prompt)], prompt + answer, priority, lasting=True)


def compute(step: list[Rows], scheduler: Scheduler, cache: KvCache, memory: ListMemory) -> list[Sequence]:
    """Do what the plan says, sample token 7, and end who is done; those that sampled."""
    sampled = list[Sequence]()
    for rows in step:
        line = rows.sequence.line
        assert line is not None
        piece = rows.sequence.tokens[rows.start : rows.start + rows.count]
        memory.computed(line.slot, rows.start, piece)
        cache.extend(line, piece)
        if rows.samples:
            sampled.append(rows.sequence)
            rows.sequence.tokens.append(7)
            if len(rows.sequence.tokens) >= rows.sequence.limit:
                scheduler.end(rows.sequence, keep=True)
    return sampled


jobs = st.tuples(st.integers(1, 90), st.integers(1, 60), st.sampled_from(PRIORITIES))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(jobs, st.integers(0, 12)), min_size=1, max_size=12), st.data())
def test_everyone_comes_to_an_end_within_the_budgets(
    plan: list[tuple[tuple[int, int, Priority], int]], data: st.DataObject
) -> None:
    """Jobs of any size and priority, arriving at any time, some cancelled: each ends with all its tokens."""
    parking = Parking("", folder=None, disk_bytes=0, log=print, ram_bytes=500)
    scheduler, cache, memory = build(parking=parking)
    live = dict[int, Sequence]()
    arriving = sorted(((when, id, job) for id, (job, when) in enumerate(plan, 1)), key=lambda each: each[:2])
    for clock in range(4000):
        while arriving and arriving[0][0] <= clock:
            _, id, (prompt, answer, priority) = arriving.pop(0)
            live[id] = sequence(id, prompt, answer, priority)
            scheduler.add(live[id])
        if live and data.draw(st.integers(0, 30)) == 0:
            gone = live.pop(data.draw(st.sampled_from(sorted(live))))
            scheduler.end(gone, keep=True)
        scheduler.admit()
        step = scheduler.plan(4)
        rows = sum(each.count for each in step)
        assert rows <= ROWS
        assert rows <= cache.free
        assert len({each.sequence.id for each in step}) == len(step)
        assert bool(step) == scheduler.busy
        decoding = {each.sequence.id for each in step if each.sequence.ahead == 1}
        if decoding:
            assert sum(each.count for each in step if each.sequence.id not in decoding) <= 4
        compute(step, scheduler, cache, memory)
        assert cache.used <= cache.cells
        for id in [id for id, each in live.items() if len(each.tokens) >= each.limit]:
            del live[id]
        if not live and not arriving:
            break
    assert not live
    assert not scheduler.busy


def test_prefill_never_takes_the_rows_of_decoding_sequences() -> None:
    """A long prompt beside running answers gets what they leave, and at most its slice."""
    scheduler, cache, memory = build(cells=400)
    for id in range(1, 4):
        scheduler.add(sequence(id, 2, 50))
    scheduler.admit()
    compute(scheduler.plan(8), scheduler, cache, memory)
    scheduler.add(sequence(9, 100, 10))
    scheduler.admit()
    step = scheduler.plan(8)
    # Eleven rows at most, and by fours: beside three that decode there is place for five.
    assert [(each.sequence.id, each.count) for each in step] == [(1, 1), (2, 1), (3, 1), (9, 5)]


def test_a_completion_has_the_step_to_itself() -> None:
    """What a person waits for at the cursor does not share rows with work in the background."""
    scheduler, cache, memory = build()
    scheduler.add(sequence(1, 4, 90, "background"))
    scheduler.admit()
    compute(scheduler.plan(8), scheduler, cache, memory)
    scheduler.add(sequence(2, 4, 90, "completion"))
    scheduler.admit()
    steps = list[set[int]]()
    for _ in range(7 * PATIENCE):
        step = scheduler.plan(8)
        steps.append({each.sequence.id for each in step})
        compute(step, scheduler, cache, memory)
    assert steps[0] == {2}
    assert steps.count({1, 2}) == 2, "lower work never starves"


def test_the_five_levels_are_strictly_ordered() -> None:
    """Each level goes before the next, and is passed over the longer the lower it is, but never for good."""
    scheduler, cache, memory = build(cells=2000)
    for id, priority in enumerate(reversed(PRIORITIES), 1):
        scheduler.add(sequence(id, 1, 300, priority))
    scheduler.admit()
    taken = dict[Priority, int]()
    for step in range(4 * PATIENCE * 4):
        rows = scheduler.plan(8)
        if step == 0:
            assert [each.sequence.priority for each in rows] == ["completion"]
        for each in rows:
            taken[each.sequence.priority] = taken.get(each.sequence.priority, 0) + 1
        compute(rows, scheduler, cache, memory)
    assert sorted(taken, key=lambda each: -taken[each]) == list(PRIORITIES)
    assert min(taken.values()) >= 3


def test_a_beginning_that_many_wait_for_is_computed_once() -> None:
    """Ten jobs that begin the same way and come at once compute the common part once."""
    scheduler, cache, memory = build(cells=800, slots=12)
    stem = list(range(48))
    jobs = [Sequence(id, f"key {id}", [*stem, *range(id * 100, id * 100 + 5)], 55, "focused") for id in range(1, 11)]
    for each in jobs:
        scheduler.add(each)
    computed = 0
    while scheduler.busy:
        scheduler.admit()
        step = scheduler.plan(16)
        computed += sum(each.count for each in step)
        compute(step, scheduler, cache, memory)
    assert computed == 48 + 10 * (5 + 1)
    assert all(each.tokens[:48] == stem and len(each.tokens) == 55 for each in jobs)


def test_one_that_waits_for_long_moves_up() -> None:
    """Focused work that keeps coming does not keep background work from a line for ever."""
    scheduler, cache, memory = build(cells=100, slots=2)
    low = sequence(1, 30, 10, "ambient")
    scheduler.add(sequence(2, 40, 10))
    scheduler.admit()
    scheduler.add(low)
    for clock in range(3, 8 * AGEING):
        scheduler.add(sequence(clock, 40, 10))
        scheduler.admit()
        compute(scheduler.plan(16), scheduler, cache, memory)
        if len(low.tokens) == low.limit:
            break
    assert len(low.tokens) == low.limit


def test_higher_work_takes_the_line_of_lower_work_without_losing_it() -> None:
    """When the cache is full, background work makes way and goes on later where it was."""
    scheduler, cache, memory = build(cells=100, slots=4)
    low = sequence(1, 60, 10, "background")
    scheduler.add(low)
    scheduler.admit()
    while len(low.tokens) < 65:
        compute(scheduler.plan(16), scheduler, cache, memory)
    before = list(low.tokens)
    high = sequence(2, 60, 4, "completion")
    scheduler.add(high)
    scheduler.admit()
    assert high.line is not None
    assert low.line is None
    assert low.tokens == before
    while scheduler.busy:
        compute(scheduler.plan(16), scheduler, cache, memory)
        scheduler.admit()
    assert len(low.tokens) == 70


def test_one_that_does_not_fit_waits() -> None:
    """Among equals the later one waits until the first is done."""
    scheduler, cache, memory = build(cells=100)
    first, second = sequence(1, 70, 5), sequence(2, 70, 5)
    scheduler.add(first)
    scheduler.add(second)
    scheduler.admit()
    assert (scheduler.running, scheduler.waiting) == (1, 1)
    while first.line is not None:
        compute(scheduler.plan(16), scheduler, cache, memory)
    scheduler.admit()
    assert second.line is not None


@pytest.mark.parametrize("running", [True, False])
def test_cancelling_frees_at_once(running: bool) -> None:
    """A cancelled job is not in the next step, whether it ran or waited."""
    scheduler, _, _ = build()
    job = sequence(1, 10, 10)
    scheduler.add(job)
    if running:
        scheduler.admit()
    scheduler.end(job, keep=False)
    assert not scheduler.busy
    assert scheduler.plan(8) == []


def decoding(count: int, answer: int = 500, **more: int) -> tuple[Scheduler, KvCache, ListMemory, list[Sequence]]:
    """A scheduler with so many streams under way."""
    scheduler, cache, memory = build(cells=40_000, slots=80, rows=512, **more)
    streams = [sequence(id, 2, answer) for id in range(1, count + 1)]
    for each in streams:
        scheduler.add(each)
    scheduler.admit()
    while any(each.ahead > 1 for each in streams):
        compute(scheduler.plan(TILE), scheduler, cache, memory)
    return scheduler, cache, memory, streams


def test_a_crowd_goes_first_in_whole_tiles_and_streams_have_one_step_in_four() -> None:
    """Many short prompts are not cut into slices beside streams; those slow down, and never stand still."""
    scheduler, cache, memory, streams = decoding(8)
    crowd = [sequence(100 + id, 200, 300) for id in range(8)]
    for each in crowd:
        scheduler.add(each)
    scheduler.admit()
    told = list[tuple[int, int]]()
    while sum(each.ahead > 1 for each in crowd) >= CROWD:
        step = scheduler.plan(2 * TILE, lambda decoding: GROUP)
        told.append((sum(each.sequence in streams for each in step), sum(each.count for each in step)))
        compute(step, scheduler, cache, memory)
    fills = [rows for streaming, rows in told if not streaming]
    assert fills == [2 * TILE] * len(fills)
    assert [streaming for streaming, _ in told][: FILLS + 1] == [0] * FILLS + [8]
    assert sum(streaming > 0 for streaming, _ in told) == len(told) // (FILLS + 1)


def test_a_single_long_prompt_beside_streams_stays_sliced() -> None:
    """One that waits is no crowd: every step has all streams in it, and as much prefill as they bear."""
    scheduler, cache, memory, streams = decoding(8)
    long = sequence(100, 4000, 1)
    scheduler.add(long)
    scheduler.admit()
    for _ in range(300):
        step = scheduler.plan(2 * TILE, lambda decoding: 2 * GROUP)
        assert [each.sequence for each in step if each.sequence is not long] == streams
        assert sum(each.count for each in step) == 8 + 2 * GROUP
        compute(step, scheduler, cache, memory)


def test_few_that_wait_beside_many_streams_are_no_crowd() -> None:
    """Less than a quarter of those who decode do not hold them up."""
    scheduler, cache, memory, streams = decoding(4 * CROWD + 4)
    for id in range(CROWD):
        scheduler.add(sequence(100 + id, 300, 1))
    scheduler.admit()
    for _ in range(20):
        step = scheduler.plan(TILE, lambda decoding: GROUP)
        assert sum(each.sequence in streams for each in step) == len(streams)
        compute(step, scheduler, cache, memory)


@pytest.mark.parametrize("count", [DECODING, TILE, 75])
def test_more_streams_than_a_tile_take_turns(count: int) -> None:
    """A step stays below the tile, and nobody is passed over twice in a row."""
    scheduler, cache, memory, streams = decoding(count)
    had = {each.id: 0 for each in streams}
    for _ in range(40):
        step = scheduler.plan(TILE, lambda decoding: GROUP)
        assert len(step) <= DECODING
        assert all(each.count == 1 for each in step)
        compute(step, scheduler, cache, memory)
        for each in step:
            had[each.sequence.id] += 1
        assert all(each.passed <= 1 for each in streams)
    assert max(had.values()) - min(had.values()) <= 1


short = st.tuples(st.integers(2, 150), st.integers(1, 40), st.integers(0, 60))
"""Prompt, answer, and the step in which it comes."""


@settings(max_examples=60, deadline=None)
@given(st.lists(short, min_size=1, max_size=100), st.integers(1, 3), st.integers(1, 20))
def test_whoever_comes_is_answered_and_no_stream_stands_still(
    plan: list[tuple[int, int, int]], tiles: int, beside: int
) -> None:
    """Crowds of any size, at any time, beside streams: all end, and one that decodes waits for no more than a crowd."""
    scheduler, cache, memory = build(cells=40_000, slots=80, rows=512)
    arriving = sorted(((when, id, prompt, answer) for id, (prompt, answer, when) in enumerate(plan, 1)), reverse=True)
    live = list[Sequence]()
    for clock in range(20_000):
        while arriving and arriving[-1][0] <= clock:
            _, id, prompt, answer = arriving.pop()
            live.append(sequence(id, prompt, answer))
            scheduler.add(live[-1])
        scheduler.admit()
        step = scheduler.plan(tiles * TILE, lambda decoding: beside)
        assert bool(step) == scheduler.busy
        assert sum(each.count for each in step) <= 512
        rows = {each.sequence.id for each in step if each.sequence.ahead == 1}
        if rows:
            assert sum(each.count for each in step) <= len(rows) + beside
            assert len(rows) <= DECODING
        # Three steps for the crowd; beyond a tile of streams, as many again until its turn comes.
        assert all(each.passed <= 2 * (FILLS + 1) for each in live if each.line is not None and each.ahead == 1)
        compute(step, scheduler, cache, memory)
        live = [each for each in live if len(each.tokens) < each.limit]
        if not live and not arriving:
            break
    assert not scheduler.busy
