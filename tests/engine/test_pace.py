"""How large a step may be: learnt from steps, in groups and tiles, within what those who decode bear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.engine.pace import BESIDE, BESIDE_S, GROUP, STEP_S, TILE, Pace

ROWS = 512

steps = st.lists(st.tuples(st.integers(1, ROWS), st.floats(1e-5, 20.0)), max_size=40)
"""Rows and seconds of steps that were taken."""


def learnt(seen: list[tuple[int, float]], rows: int = ROWS) -> Pace:
    """What is known after these steps."""
    pace = Pace(rows)
    for each, seconds in seen:
        pace.note(each, seconds)
    return pace


def test_nothing_is_known_at_first() -> None:
    """No step is judged before one was taken, and a first one is neither tiny nor whole."""
    pace = Pace(ROWS)
    assert pace.seconds(1) == pace.seconds(ROWS) == 0.0
    assert TILE <= pace.alone < ROWS
    assert 1 <= pace.beside(8) <= ROWS - 8


def test_what_was_seen_is_told_again() -> None:
    """A size is judged by its own steps, another one by the nearest, row for row."""
    pace = learnt([(1, 0.5), (64, 8.0)])
    assert pace.seconds(1) == 0.5
    assert pace.seconds(64) == 8.0
    assert pace.seconds(128) == 16.0
    assert pace.seconds(4) == 1.0, "a row alone costs half of four"
    assert pace.seconds(61) == pace.seconds(64)


def test_one_slow_step_says_nothing() -> None:
    """What else runs on the machine slows a step now and then: the median counts."""
    pace = learnt([(8, 1.0), (8, 1.0), (8, 90.0), (8, 1.0), (8, 1.0)])
    assert pace.seconds(8) == 1.0


def test_what_is_long_ago_is_forgotten() -> None:
    """A size that looked dear once, and was avoided since, is judged by others after a while."""
    pace = learnt([(24, 100.0)] + [(16, 1.0)] * 200)
    assert pace.seconds(24) == 100.0
    assert pace.beside(16) == 4
    pace = learnt([(24, 100.0)] + [(16, 1.0)] * 300)
    assert pace.seconds(24) == 1.5
    assert pace.beside(16) == 8


@given(steps)
def test_alone_is_whole_tiles_of_about_one_step(seen: list[tuple[int, float]]) -> None:
    """At least a tile, at most all rows, and no more of them than the time of a step holds."""
    pace = learnt(seen)
    assert pace.alone % TILE == 0
    assert TILE <= pace.alone <= ROWS
    each = pace.seconds(ROWS) / ROWS
    assert pace.alone == TILE or pace.alone * each <= STEP_S * 1.01 or not each


@given(steps, st.integers(1, TILE))
def test_beside_is_bounded_by_what_those_who_decode_bear(seen: list[tuple[int, float]], decoding: int) -> None:
    """Something is always computed; more than the least only within the limit, in whole groups with the others."""
    pace = learnt(seen)
    rows = pace.beside(decoding)
    limit = max(BESIDE_S, BESIDE * pace.seconds(decoding))
    assert 1 <= rows <= max(1, ROWS - decoding)
    if rows > 2:
        assert (decoding + rows) % GROUP == 0
        assert pace.seconds(decoding + rows) <= limit
    elif rows == 2:
        assert pace.seconds(decoding + rows) <= limit or (decoding + rows) % GROUP == 0


@pytest.mark.parametrize("each", [0.0001, 0.001, 0.01])
def test_beside_is_as_much_as_fits(each: float) -> None:
    """Where rows cost the same each, a step grows to its limit and no further."""
    pace = learnt([(rows, rows * each) for rows in range(GROUP, ROWS + 1, GROUP)])
    rows = pace.beside(16)
    limit = max(BESIDE_S, BESIDE * 16 * each)
    assert (16 + rows) * each <= limit * 1.0001 < (16 + rows + GROUP) * each


def test_a_tile_that_is_dear_is_not_begun() -> None:
    """Where the attention of a whole tile costs a jump, the rows beside decoding ones stay below it."""
    pace = learnt([(rows, rows * 0.001) for rows in range(GROUP, TILE, GROUP)] + [(TILE, 1.0)])
    assert 40 + pace.beside(40) == TILE - GROUP
