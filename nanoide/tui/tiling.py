"""How panes share a rectangle: the grid whose panes are nearest to a good shape, the last row filled."""

from math import ceil, log

from textual.geometry import Region, Size

MIN_WIDTH = 26
MIN_HEIGHT = 7

_SHAPE = 2.6
"""Cells of width for each of height that read best."""

_EMPTY = 0.15
"""How much a grid with empty places counts as worse."""


def capacity(size: Size) -> int:
    """How many panes there is room for; at least one."""
    return max(1, (size.width // MIN_WIDTH) * (size.height // MIN_HEIGHT))


def tiles(number: int, size: Size) -> list[Region]:
    """`number` rectangles that fill `size`, row by row."""
    if number < 1 or size.width < 1 or size.height < 1:
        return [Region(0, 0, max(0, size.width), max(0, size.height))] * max(0, number)
    columns = min(range(1, number + 1), key=lambda each: _score(number, each, size))
    rows = ceil(number / columns)
    regions: list[Region] = []
    short, longer = divmod(number, rows)
    for row in range(rows):
        top, bottom = size.height * row // rows, size.height * (row + 1) // rows
        across = short + (row < longer)
        for column in range(across):
            left, right = size.width * column // across, size.width * (column + 1) // across
            regions.append(Region(left, top, right - left, bottom - top))
    return regions


def page(number: int, focused: int, size: Size) -> range:
    """Which of `number` panes are shown when only some fit: the page that the focused one is on."""
    room = capacity(size)
    if number <= room:
        return range(number)
    first = max(0, focused) // room * room
    return range(first, min(number, first + room))


def _score(number: int, columns: int, size: Size) -> float:
    rows = ceil(number / columns)
    width, height = size.width / columns, size.height / rows
    crowded = 10.0 * ((columns > 1 and width < MIN_WIDTH) + (rows > 1 and height < MIN_HEIGHT))
    return crowded + abs(log(width / height / _SHAPE)) + _EMPTY * (columns * rows - number) / number
