"""The benchmark's own arithmetic and answers; nothing is timed here."""

import subprocess
import sys
from pathlib import Path

import pytest

from nanoide.engine.context import Library
from nanoide.engine.model import Model
from tests.bench.__main__ import NAMES
from tests.bench.figure import Figure, p90
from tests.bench.gguf import Shape, made, text


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


def test_more_may_be_better() -> None:
    """A figure with a least is short below it."""
    assert Figure("speed", 7.9, "×", least=8.0).short
    assert not Figure("speed", 8.0, "×", least=8.0).short
    assert "≥ 8" in Figure("speed", 8.0, "×", least=8.0).line()


def test_a_text_has_as_many_words_as_wanted_and_its_own_first() -> None:
    """A word is a token; two texts share no beginning, and the same number makes the same text."""
    assert len(text(40, 3).split()) == 40
    assert text(40, 3) == text(40, 3)
    assert len({text(5, number).split()[0] for number in range(1_000)}) == 1_000


def test_the_model_of_dice_is_the_same_each_time_and_loads(tmp_path: Path) -> None:
    """Made twice it has the same bytes; its words are one token each, and a prompt is as long as we say."""
    small = Shape(width=64, heads=2, heads_kv=1, layers=1, hidden=64)
    path = made(tmp_path / "one", small)
    assert path.read_bytes() == made(tmp_path / "two", small).read_bytes()
    model = Model(Library(lambda line: None), str(path), gpu_layers=0, fim="auto")
    words = text(200, 1)
    assert len(model.tokens(words)) == 200
    assert b"".join(map(model.piece, model.tokens(words))).decode() == words
