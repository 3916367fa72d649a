"""What comes out of the sanitizer does nothing to a terminal, however the text was cut."""

from itertools import pairwise

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.core.sanitize import Sanitizer, clean, clean_line

SEQUENCES = [
    "\x1b[31m",
    "\x1b[2J",
    "\x1b[?1049h",
    "\x1b[1;2;3 q",
    "\x1b]0;title\x07",
    "\x1b]52;c;c2VjcmV0\x1b\\",
    "\x1b]8;;http://x\x1b\\",
    "\x1bP1$r0m\x1b\\",
    "\x1b_Gf=24;AAAA\x1b\\",
    "\x1b^pm\x1b\\",
    "\x1bXsos\x9c",
    "\x1b(0",
    "\x1b%G",
    "\x1bc",
    "\x1b7",
    "\x9b31m",
    "\x9d0;title\x9c",
    "\x90q\x9c",
    "\x1b\x1b[1m",
    "\x1b[\x1b[1m",
]

PIECES = [
    *SEQUENCES,
    "plain",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\x07",
    "\x08",
    "\x7f",
    "\x85",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u200d",
    "\u200c",
    "👩\u200d💻",
    "می\u200cخواهم",
    "𝔘nicode",
    "\ufeff",
    "\U000e0041",
    "\u2028",
    "\ud800",
    "\x1b",
    "\x1b[",
    "\x1b]",
    "\x18",
    "[0m",
    "é",
]

TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=12).map("".join)


def split(text: str, cuts: list[int]) -> list[str]:
    """The text in pieces, cut at the places named."""
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


@given(TEXTS, st.lists(st.integers(0, 60), max_size=8))
def test_the_cut_makes_no_difference(text: str, cuts: list[int]) -> None:
    """Chunks cut anywhere give, joined, what the whole gives."""
    sanitizer = Sanitizer()
    parts = [sanitizer.feed(part) for part in split(text, cuts)]
    assert "".join(parts) + sanitizer.flush() == clean(text)


@given(TEXTS)
def test_cut_into_single_characters(text: str) -> None:
    """Even one character at a time gives what the whole gives."""
    sanitizer = Sanitizer()
    assert "".join(sanitizer.feed(char) for char in text) + sanitizer.flush() == clean(text)


@given(TEXTS)
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    """Only newline and tab remain of the controls, no override, no lone surrogate; and it is stable."""
    shown = clean(text)
    assert not [char for char in shown if (char < " " or "\x7f" <= char <= "\x9f") and char not in "\n\t"]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u2060\ufeff")
    shown.encode()
    assert clean(shown) == shown


@given(st.lists(st.sampled_from([*SEQUENCES, "word", " ", "Z"]), max_size=10))
def test_a_terminal_shows_the_words_and_nothing_of_the_sequences(pieces: list[str]) -> None:
    """On a real screen the cleaned text looks as if the sequences had never been there."""
    words = "".join(piece for piece in pieces if piece not in SEQUENCES)
    screen, plain = pyte.Screen(80, 4), pyte.Screen(80, 4)
    pyte.Stream(screen).feed(clean("".join(pieces)))
    pyte.Stream(plain).feed(words)
    assert screen.display == plain.display
    assert screen.title == plain.title == ""
    assert screen.cursor.attrs == plain.cursor.attrs
    assert screen.mode == plain.mode
    assert [dict(row) for row in screen.buffer.values()] == [dict(row) for row in plain.buffer.values()]


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_sequence_goes_whole(sequence: str) -> None:
    """Not its ESC alone: its parameters go too."""
    assert clean(f"a{sequence}b") == "ab"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\tb", "a\tb"),
        ("👩\u200d💻 ❤\ufe0f\u200d🔥 𝔘", "👩\u200d💻 ❤\ufe0f\u200d🔥 𝔘"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("pass\u200dword", "password"),
        ("if x\u202e // \u2066admin\u2069", "if x // admin"),
        ("a\x1b]0;never ended\nnext line", "a\nnext line"),
        ("a\x1b[31\nmb", "a\nb"),
        ("a\x1béb", "aéb"),
        ("one\u2028two", "one\ntwo"),
        ("\ud800", "\ufffd"),
        ("", ""),
    ],
)
def test_what_stays_and_what_goes(text: str, shown: str) -> None:
    """Line ends become one kind, scripts and emoji keep their joiners, an unended string costs one line."""
    assert clean(text) == shown


def test_one_line() -> None:
    """On one line newlines and tabs are spaces."""
    assert clean_line("a\r\nb\tc\x1b[2Jd") == "a b cd"


def test_clean_text_is_given_back_as_it_is() -> None:
    """Nothing is copied where nothing is to be cleaned."""
    text = "def clean():\n\treturn 'grün 𝔘'\n" * 100
    assert Sanitizer().feed(text) is text
