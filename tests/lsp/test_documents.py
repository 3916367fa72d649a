"""Documents kept up to date edit by edit, and positions in three encodings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.core.document import offset
from nanoide.lsp.documents import Documents, Encoding, Spot, Text, index_of, negotiated, path_of, units

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")

ALPHABET = st.sampled_from(list("ab \t\n\r\fé漢😀\u2028\x85"))


def spot_at(text: str, at: int, encoding: Encoding) -> Spot:
    """The position of the character `at`, counted the slow way."""
    before = text[:at]
    if at < len(text) and before.endswith("\r") and text[at] == "\n":
        before = before[:-1]  # no position lies between the two
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return Spot(len(lines) - 1, units(lines[-1], encoding))


@given(
    text=st.text(ALPHABET, max_size=40),
    edits=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 60), st.text(ALPHABET, max_size=6)), min_size=1, max_size=8
    ),
    encoding=st.sampled_from(ENCODINGS),
)
def test_edits_give_what_the_editor_has(text: str, edits: list[tuple[int, int, str]], encoding: Encoding) -> None:
    """After any edits the text is the one that plain string surgery gives, line ends and astral letters included."""
    held = Text("file:///a.py", text)
    for first, second, new in edits:
        start, end = sorted((min(first, len(text)), min(second, len(text))))
        # An editor never points between "\r" and "\n".
        start -= text[start - 1 : start + 1] == "\r\n"
        end -= text[end - 1 : end + 1] == "\r\n"
        held.replace(spot_at(text, start, encoding), spot_at(text, end, encoding), new, encoding)
        text = text[:start] + new + text[end:]
        assert held.whole == text
        fresh = Text("file:///a.py", text)
        end_of = Spot(10_000, 0)
        assert held.place(end_of, encoding) == fresh.place(end_of, encoding)


@given(text=st.text(ALPHABET, max_size=40), at=st.integers(0, 40), encoding=st.sampled_from(ENCODINGS))
def test_a_position_means_the_same_to_the_hub(text: str, at: int, encoding: Encoding) -> None:
    """The UTF-16 position that the hub gets falls on the character that the editor meant."""
    at = min(at, len(text))
    at -= text[at - 1 : at + 1] == "\r\n"
    document = Text("file:///a.py", text).document(spot_at(text, at, encoding), encoding)
    assert offset(document) == at


@pytest.mark.parametrize(
    ("encoding", "character", "index"),
    [("utf-8", 4, 1), ("utf-8", 3, 0), ("utf-16", 2, 1), ("utf-16", 1, 0), ("utf-32", 1, 1), ("utf-8", 99, 2)],
)
def test_a_position_is_never_inside_a_character(encoding: Encoding, character: int, index: int) -> None:
    """A position in the middle of an astral letter falls before it, one past the end on the end."""
    assert index_of("😀x", character, encoding) == index


def test_positions_outside_are_moved_inside() -> None:
    """Lines and characters past the end never raise."""
    text = Text("file:///a.py", "ab\ncd")
    text.replace(Spot(9, 9), Spot(99, 0), "!", "utf-16")
    assert text.whole == "ab\ncd!"
    text.replace(Spot(0, 99), Spot(0, 99), "?", "utf-16")
    assert text.whole == "ab?\ncd!"


def test_uris_are_files_where_they_name_one() -> None:
    """Escapes are undone; another scheme stays as it is."""
    assert path_of("file:///tmp/a%20b/%C3%BC.py") == "/tmp/a b/ü.py"
    assert path_of("untitled:Untitled-1") == "untitled:Untitled-1"


def test_an_unknown_encoding_means_utf_16() -> None:
    """As the protocol has it."""
    assert [negotiated(each) for each in ("utf-8", "utf-32", "utf-7", None)] == ["utf-8", "utf-32", "utf-16", "utf-16"]


def test_closed_texts_are_forgotten() -> None:
    """And closing what was never open is no matter."""
    documents = Documents()
    documents.open(Text("a:b", "x"))
    documents.close("a:b")
    documents.close("a:b")
    assert documents.get("a:b") is None
