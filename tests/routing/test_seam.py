"""Where a stream goes on with an answer that broke off: exactly there, or nowhere."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from nanoide.routing.seam import HELD, LEAST, Seam, anchor_of

PIECES = [
    "The session keeps its token until eighty percent of its lifetime are gone. ",
    "Then it asks again, quietly.\n",
    "- first item\n",
    "\n```python\n",
    "\n```\n",
    "def fold(lines):\n    return ' '.join(lines)\n",
    "    if token is None:\n        raise KeyError(name)\n",
    "会话在令牌过期之前更新它，",
    "トークンは静かに更新される。",
    "👩\u200d💻 ships 🇩🇪 ❤\ufe0f ",
    "Ame\u0301lie cafe\u0301 a\u0308 ",
    '"quoted", `code` and «more» ',
    " \t  ",
    "x = {'a': [1, 2]}\n",
]

WRITTEN = st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=12).map("".join)
"""Answers as models write them, and as nobody does."""


class Went(NamedTuple):
    """What came of a stream."""

    text: str
    lost: bool


def join(said: str, stream: Sequence[str]) -> Went:
    """The answer that stands and what goes on with it; nothing when the seam is lost."""
    seam = Seam(said, anchor_of(said))
    new = "".join([*(seam.feed(piece) for piece in stream), seam.end()])
    return Went("" if seam.lost else said + new, seam.lost)


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    """`text`, cut at these places."""
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[start:end] for start, end in pairwise(places)]


CUTS = st.lists(st.integers(1, 400), max_size=30)

WRAPS = {
    "nothing": ("", ""),
    "space": ("\n\n ", ""),
    "fence": ("```\n", "\n```"),
    "named fence": ("```python\n", "\n```\n"),
    "long fence": ("````text\n", "\n````"),
}


@given(WRITTEN, WRITTEN, CUTS, st.sampled_from(sorted(WRAPS)))
@example("He wrote down the whole of it:", "\n```\nprint(1)\n```\n", [], "fence")
@example("Look at this piece of code:\n\n```python\ndef fold(lines):\n    return", " 1\n```\nDone.", [], "named fence")
@example("A line of text that ends with a fence `", "``python\nx\n```", [41], "nothing")
def test_an_obedient_stream_is_joined_exactly_or_not_at_all(said: str, rest: str, cuts: list[int], wrap: str) -> None:
    """However it arrives, whatever stands around the repetition, every byte of the answer is right."""
    anchor = anchor_of(said)
    assume(anchor)
    assume(not rest.endswith("\n") or wrap in {"nothing", "space"})
    assume(_fences(said + rest) % 2 == 0)
    before, after = WRAPS[wrap]
    went = join(said, pieces(before + anchor + rest + after, cuts))
    assert went.lost or went.text == said + rest
    if wrap == "nothing":
        assert not went.lost


def _fences(text: str) -> int:
    return sum(line.lstrip().startswith("```") for line in text.split("\n"))


@given(WRITTEN, WRITTEN, CUTS, st.integers(LEAST, 400))
def test_more_or_less_that_is_repeated_is_joined_exactly_or_not_at_all(
    said: str, rest: str, cuts: list[int], size: int
) -> None:
    """Where it could be understood in two ways, it is in none."""
    anchor = anchor_of(said)
    assume(anchor)
    size = min(size, len(said))
    assume(size + len(anchor) <= HELD)
    went = join(said, pieces(said[-size:] + rest, cuts))
    assert went.lost or went.text == said + rest


@pytest.mark.parametrize("size", [LEAST, 25, 39, 40, 41, 60])
@pytest.mark.parametrize("wrap", sorted(WRAPS))
def test_more_or_less_may_be_repeated(size: int, wrap: str) -> None:
    """From twelve characters on, with marks around all of it or without."""
    said = "The session keeps its token until eighty percent of its lifetime are gone. Then it asks ag"
    rest = "ain, quietly, and nobody has to wait for it. " * 6 + "That is all."
    before, after = WRAPS[wrap]
    assert join(said, list(before + said[-size:] + rest + after)) == Went(said + rest, lost=False)
    assert join(said, [said[1 - LEAST :] + rest]).lost


@given(WRITTEN, WRITTEN, CUTS, CUTS)
def test_it_does_not_matter_how_the_stream_is_cut(said: str, stream: str, one: list[int], other: list[int]) -> None:
    """Tokens, lines or all at once: the same comes out, also when it is nonsense."""
    assume(anchor_of(said))
    assert join(said, pieces(stream, one)) == join(said, pieces(stream, other))


@given(WRITTEN, CUTS)
def test_a_stream_that_says_something_else_is_lost(said: str, cuts: list[int]) -> None:
    """Nothing of it comes out."""
    assume(anchor_of(said))
    other = "I am sorry, but I have no idea of what you are talking about. " * 5
    seam = Seam(said, anchor_of(said))
    assert [seam.feed(piece) for piece in pieces(other, cuts)] == [""] * len(pieces(other, cuts))
    assert seam.end() == ""
    assert seam.lost


def test_it_gives_up_within_its_limit() -> None:
    """A model that begins anew is not listened to for long, and a stream that ends too soon is lost at its end."""
    said = "The session keeps its token until eighty percent of it are gone."
    seam = Seam(said, anchor_of(said))
    seam.feed("y" * (HELD - 1))
    assert not seam.lost
    seam.feed("y")
    assert seam.lost
    assert join(said, ["I cannot"]).lost
    assert join(said, []).lost


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        ("“{anchor}” and then", " and then"),
        ('"{anchor}" and then', " and then"),
        ("`{anchor}`ly", "ly"),
        ('"{anchor} and then"', None),
        ('"{anchor}"\nand then', None),
        ('"{anchor}" and "then"', None),
        ('"{anchor}', None),
        ("```\n{anchor}\n```\nand then", None),
        ("Sure! Here it is: {anchor} and then", None),
    ],
)
def test_quotes_around_the_anchor_are_dropped_when_that_is_certain(stream: str, rest: str | None) -> None:
    """Where they close right behind it; anything else might be the answer's own."""
    said = "The session keeps its token until eighty percent of it are gone"
    went = join(said, list(stream.format(anchor=anchor_of(said))))
    assert went == (Went("", lost=True) if rest is None else Went(said + rest, lost=False))


def test_an_anchor_stands_at_one_place_only() -> None:
    """What repeats itself gets a longer one or none; it never begins in mid-character."""
    row = "| a | b | c | d | e | f | g | h | i | j |\n"
    assert anchor_of("too short") == ""
    assert anchor_of("-" * 200) == ""
    assert anchor_of(row * 5) == ""
    assert len(anchor_of("one " + row + "two " + row)) > 40
    said = "x" * 30 + "e\u0301" + "y" * 39
    assert anchor_of(said) == "e\u0301" + "y" * 39
