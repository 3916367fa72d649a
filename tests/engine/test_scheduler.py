"""Who computes next, as pure logic: nobody is lost, no row is used twice, budgets hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoide.core.chat import PRIORITIES, Priority
from nanoide.engine.kvcache import KvCache
from nanoide.engine.parking import Parking
from nanoide.engine.scheduler import AGEING, PATIENCE, Rows, Scheduler, Sequence
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
