"""Who computes next, as pure logic: nobody is lost, no row is used twice, budgets hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoide.core.chat import PRIORITIES, Priority
from nanoide.engine.kvcache import KvCache
from nanoide.engine.scheduler import PATIENCE, Rows, Scheduler, Sequence
from tests.engine.memory import ListMemory

ROWS = 16


def build(cells: int = 200, slots: int = 6, rows: int = ROWS) -> tuple[Scheduler, KvCache, ListMemory]:
    """A scheduler with a small cache."""
    memory = ListMemory()
    cache = KvCache(memory, cells=cells, slots=slots, keep=cells // 2)
    return Scheduler(cache, rows=rows), cache, memory


def sequence(id: int, prompt: int, answer: int, priority: Priority = "focused") -> Sequence:
    """A job with a prompt of its own."""
    return Sequence(id, f"key {id}", [id * 1000 + at for at in range(prompt)], prompt + answer, priority)


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
    scheduler, cache, memory = build()
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
    assert [(each.sequence.id, each.count) for each in step] == [(1, 1), (2, 1), (3, 1), (9, 8)]


def test_a_completion_has_the_step_to_itself() -> None:
    """What a person waits for at the cursor does not share rows with work in the background."""
    scheduler, cache, memory = build()
    scheduler.add(sequence(1, 4, 90, "background"))
    scheduler.admit()
    compute(scheduler.plan(8), scheduler, cache, memory)
    scheduler.add(sequence(2, 4, 90, "completion"))
    scheduler.admit()
    steps = list[set[int]]()
    for _ in range(2 * PATIENCE):
        step = scheduler.plan(8)
        steps.append({each.sequence.id for each in step})
        compute(step, scheduler, cache, memory)
    assert steps[0] == {2}
    assert steps.count({1, 2}) == 2, "lower work never starves"


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
