"""Text that leaves the engine: stop texts, whole characters, parameters in range."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.engine.sampling import Sampling, TextStream, check

small = st.text(alphabet="ab\n€😀", max_size=40)


@st.composite
def cut(draw: st.DrawFn, text: st.SearchStrategy[str] = small) -> tuple[str, list[bytes]]:
    """A text and its bytes, cut anywhere, also within characters."""
    whole = draw(text)
    raw = whole.encode()
    places = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    edges = [0, *places, len(raw)]
    return whole, [raw[a:b] for a, b in pairwise(edges)]


@given(cut(), st.lists(st.text(alphabet="ab\n€", min_size=1, max_size=4), max_size=3))
def test_what_leaves_is_the_text_before_the_first_complete_stop(
    given: tuple[str, list[bytes]], stops: list[str]
) -> None:
    """However the bytes are cut, the text is whole up to the first stop text, and nothing of that leaves."""
    whole, pieces = given
    stream = TextStream(tuple(stops))
    out = "".join(stream.feed(piece) for piece in pieces)
    out += stream.flush()
    ends = [(place + len(each), place) for each in stops if (place := whole.find(each)) >= 0]
    assert out == whole[: min(ends, default=(0, len(whole)))[1]]
    assert stream.stopped == bool(ends)


@given(cut())
def test_no_half_character_leaves(given: tuple[str, list[bytes]]) -> None:
    """Each piece of text is a whole number of characters."""
    whole, pieces = given
    stream = TextStream()
    parts = [stream.feed(piece) for piece in pieces]
    assert "".join(parts) == whole
    assert "\ufffd" not in "".join(parts)


def test_half_a_character_at_the_end_is_dropped() -> None:
    """An answer that ends within a character ends before it."""
    stream = TextStream()
    assert stream.feed(b"a" + "€".encode()[:2]) + stream.flush() == "a"


def test_bytes_that_are_no_text_become_a_mark() -> None:
    """A byte that can begin no character does not stop the text."""
    assert TextStream().feed(b"a\xffb") == "a\ufffdb"


def test_a_possible_stop_is_held_until_it_is_none() -> None:
    """The beginning of a stop text waits; it leaves as soon as it cannot be one."""
    stream = TextStream(("\n\n",))
    assert stream.feed(b"one\n") == "one"
    assert stream.feed(b"two") == "\ntwo"


@pytest.mark.parametrize(
    ("sampling", "output", "stop", "said"),
    [
        (Sampling(temperature=math.nan), 1, (), "temperature"),
        (Sampling(temperature=-0.1), 1, (), "temperature"),
        (Sampling(top_p=0.0), 1, (), "top_p"),
        (Sampling(seed=-1), 1, (), "seed"),
        (Sampling(), 0, (), "max_output"),
        (Sampling(), 1, ("x",) * 17, "stop"),
        (Sampling(temperature=0.7, top_p=0.9, seed=3), 10, ("x",), ""),
    ],
)
def test_parameters_out_of_range_are_named(sampling: Sampling, output: int, stop: tuple[str, ...], said: str) -> None:
    """Each parameter out of its range is named, with what is allowed."""
    fault = check(sampling, output, stop)
    assert said in fault
    assert bool(fault) == bool(said)
