"""How many threads compute a step, on idle and on busy cores."""

from nanoide.engine.crew import RETRY, Crew

BIG = 500_000_000


def run(crew: Crew, steps: int, seconds: dict[int, float], rows: int = 100) -> list[int]:
    """Steps that take `seconds` a row by the number of threads; the threads that were chosen."""
    chosen = list[int]()
    for _ in range(steps):
        chosen.append(crew.choose(rows))
        crew.note(rows, chosen[-1], seconds[chosen[-1]] * rows)
    return chosen


def test_idle_cores_are_all_used() -> None:
    """As long as steps take what they took at best, all threads compute."""
    assert set(run(Crew(4, BIG), 50, {4: 0.1, 2: 0.2})) == {4}


def test_busy_cores_get_fewer_threads_until_they_are_idle_again() -> None:
    """When steps become slow, half of the threads are tried and kept if faster; all come back later."""
    crew = Crew(4, BIG)
    run(crew, 5, {4: 0.1, 2: 0.2})
    busy = run(crew, 40, {4: 1.0, 2: 0.25})
    assert busy.count(2) > 30
    assert 1 < busy.count(4) <= 2 + 40 // RETRY
    assert run(crew, 4 * RETRY, {4: 0.1, 2: 0.2})[-RETRY:] == [4] * RETRY


def test_fewer_threads_are_not_kept_when_they_do_not_help() -> None:
    """A step that is slow for its own reasons goes back to all threads."""
    crew = Crew(4, BIG)
    run(crew, 5, {4: 0.1, 2: 0.2})
    assert run(crew, 40, {4: 0.3, 2: 0.6}).count(2) == 1


def test_a_small_step_is_for_one_thread() -> None:
    """A row of a small model is computed faster than a second thread is woken."""
    assert Crew(4, 7_000_000).choose(1) == 1
    assert Crew(4, 7_000_000).choose(200) == 4
    assert Crew(1, BIG).choose(200) == 1
