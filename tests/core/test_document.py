"""Places in a text, as LSP counts them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nanoide.core.chat import Document
from nanoide.core.document import AFTER, BEFORE, around, at_end, language_of, line_end, split

TEXTS = st.text(alphabet=st.sampled_from("ab \t(\n\r😀é\u2028\x0b"), max_size=60)


def at(text: str, line: int, character: int) -> tuple[str, str]:
    """The two sides of a place in `text`."""
    return split(Document(path="", text=text, line=line, character=character))


def test_characters_are_utf16_code_units() -> None:
    """An astral character counts as two, and a place inside of it falls before it."""
    assert at("a😀b", 0, 3) == ("a😀", "b")
    assert at("a😀b", 0, 2) == ("a", "😀b")


def test_lines_end_as_in_lsp() -> None:
    """CRLF, LF and a lone CR end a line; a form feed or U+2028 does not."""
    assert at("a\r\nb\rc\x0bd\u2028e\nf", 2, 5) == ("a\r\nb\rc\x0bd\u2028e", "\nf")
    assert at("a\r\nb", 0, 99) == ("a", "\r\nb")


def test_a_place_past_the_end_is_the_end() -> None:
    """A line or character that is not there means the end of the text or of the line."""
    assert at("ab\nc", 9, 0) == ("ab\nc", "")
    assert at("ab\nc", 0, 99) == ("ab", "\nc")
    assert at("", 0, 0) == ("", "")


@settings(deadline=None)
@given(TEXTS, st.integers(0, 20), st.integers(0, 40))
def test_the_two_sides_are_the_whole(text: str, line: int, character: int) -> None:
    """Whatever the place, nothing is lost, and no CRLF is cut in two."""
    before, after = at(text, line, character)
    assert before + after == text
    assert not (before.endswith("\r") and after.startswith("\n"))


@settings(deadline=None)
@given(TEXTS)
def test_the_end_is_found_again(text: str) -> None:
    """The place at the end of a text has all of it before it."""
    document = at_end("x.py", text)
    assert split(document) == (text, "")
    assert document.language == "python"


def test_what_a_model_sees_begins_at_the_same_place_for_the_next_key() -> None:
    """One more key does not move the beginning of what is shown, so that a cache of it stays good."""
    text = "\n".join(f"line {number} of a long file" for number in range(2000))
    first, _ = around(at_end("x.py", text))
    second, _ = around(at_end("x.py", text + "x"))
    assert second == first + "x"
    assert BEFORE - 800 < len(first) <= BEFORE
    assert first.startswith("line ")


def test_what_a_model_sees_has_newlines_alone() -> None:
    """A document with CRLF is shown with LF, and no more than it may be."""
    before, after = around(Document(path="", text="a\r\nb" + "\r\nc" * 2000, line=1, character=1))
    assert before == "a\nb"
    assert after.startswith("\nc")
    assert "\r" not in after
    assert len(after) <= AFTER


def test_languages_and_line_ends_are_read_off() -> None:
    """The path tells the language, the first line end the document's."""
    assert language_of("a/b.PY") == "python"
    assert language_of("src/Makefile") == "makefile"
    assert language_of("noidea") == ""
    assert [line_end(text) for text in ("a\nb\r\n", "a\r\nb", "a\rb", "a")] == ["\n", "\r\n", "\r", "\n"]
