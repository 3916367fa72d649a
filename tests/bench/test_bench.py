"""The benchmark's own arithmetic and answers; nothing is timed here."""

import subprocess
import sys

import pytest

from tests.bench.__main__ import NAMES
from tests.bench.figure import Figure, p90


@pytest.mark.parametrize(
    ("value", "bound", "short"), [(80.0, 80.0, False), (80.01, 80.0, True), (None, 80.0, True), (9.0, None, False)]
)
def test_a_figure_knows_when_it_is_short(value: float | None, bound: float | None, short: bool) -> None:
    """Over its bound, or not measured at all; one without a bound never is."""
    figure = Figure("name", value, "ms", bound)
    assert figure.short is short
    assert ("short" in figure.line()) is short


def test_a_line_says_everything() -> None:
    """Name, value, unit, bound, verdict, and what it was compared with."""
    assert Figure("start", 12.345, "ms", 80.0, "bare 9 ms").line().split() == [
        "start",
        "12.35",
        "ms",
        "≤",
        "80",
        "ok",
        "bare",
        "9",
        "ms",
    ]


def test_nine_in_ten() -> None:
    """Of a hundred values the ninetieth, about."""
    assert p90([float(value) for value in range(1, 101)]) == pytest.approx(90.1)


def test_an_unknown_name_lists_those_there_are() -> None:
    """On standard error, with exit code 2."""
    done = subprocess.run([sys.executable, "-m", "tests.bench", "nope"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert all(name in done.stderr for name in NAMES)
