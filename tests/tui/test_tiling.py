"""The grid: every cell of the deck belongs to exactly one pane."""

from hypothesis import given
from hypothesis import strategies as st
from textual.geometry import Size

from nanoide.tui.tiling import MIN_HEIGHT, MIN_WIDTH, capacity, page, tiles

SIZES = st.builds(Size, st.integers(1, 500), st.integers(1, 200))


@given(st.integers(1, 64), SIZES)
def test_panes_cover_the_deck_and_do_not_overlap(number: int, size: Size) -> None:
    """There is a place for each, and the areas add up."""
    regions = tiles(number, size)
    assert len(regions) == number
    assert sum(region.area for region in regions) == size.area
    assert all(Size(region.right, region.bottom) <= size for region in regions if region.area)


@given(st.integers(1, 64), st.integers(0, 63), SIZES)
def test_the_page_holds_the_focused_pane_and_fits(number: int, focused: int, size: Size) -> None:
    """No more panes than there is room for, and the focused one is among them."""
    focused %= number
    shown = page(number, focused, size)
    assert focused in shown
    assert len(shown) <= capacity(size)
    if len(shown) > 1:
        for region in tiles(len(shown), size):
            assert region.width >= MIN_WIDTH - 1 or region.height >= MIN_HEIGHT - 1


def test_the_grids_that_a_person_expects() -> None:
    """Two side by side, four in a square, nine in three rows."""

    def rows(number: int) -> list[int]:
        regions = tiles(number, Size(118, 43))
        return [sum(region.y == y for region in regions) for y in sorted({region.y for region in regions})]

    assert [rows(number) for number in (1, 2, 4, 6, 9)] == [[1], [2], [2, 2], [3, 3], [3, 3, 3]]
