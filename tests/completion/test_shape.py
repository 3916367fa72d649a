"""What of a completion may be shown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoide.completion.shape import multiline, shape
from nanoide.core.chat import Document
from nanoide.core.document import split

CODE = st.text(alphabet=st.sampled_from("ab(){}[]:\"' \n\r\t#,😀"), max_size=50)


def cursor(marked: str) -> Document:
    """The document in `marked`, its position where the | stands."""
    before, _, after = marked.partition("|")
    line = before.count("\n")
    last = before.rpartition("\n")[2]
    return Document(path="x.py", text=before + after, line=line, character=len(last.encode("utf-16-le")) // 2)


@pytest.mark.parametrize(
    ("marked", "answer", "shown"),
    [
        ("x = |", "1\ny = 2", "1"),
        ("x = |", "1   ", "1"),
        ("x = |", "\ny = 2", ""),
        ("x = |", "  \t", ""),
        ("x = |", "", ""),
        ("print(|)", "a)", "a"),
        ("print(|", "a)", "a)"),
        ("print(|", "a))", "a)"),
        ("print(|\n)", "a)", "a"),
        ("foo(a|, b)", ".x, b)", ".x"),
        ("x = [|]", "1, 2]", "1, 2"),
        ("d = {|", '"a)": 1}', '"a)": 1}'),
        ("return total|", "return total + 1", " + 1"),
        ("a = 1\n|\nb = 2", "b = 2", ""),
        ("a = 1\n|", "a = 1", ""),
        ("if x:\n    |", "    return 1", "return 1"),
        ("say('😀|')", " done')", " done"),
    ],
)  # fmt: skip
def test_a_completion_is_cut_where_it_would_hurt(marked: str, answer: str, shown: str) -> None:
    """At the line's end, at a closer that nothing opened, before what stands behind the cursor."""
    assert shape(answer, cursor(marked)) == shown


def test_several_lines_only_in_a_block_just_opened() -> None:
    """An empty line below a block's head takes several lines; any other place takes one."""
    assert multiline(cursor("def f():\n    |\n"))
    assert multiline(cursor("const f = () => {  // say\n    |"))
    assert not multiline(cursor("def f():\n    x|"))
    assert not multiline(cursor("x = 1\n|"))
    assert not multiline(cursor("def f():\n    | pass"))


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("a = 1\n    return a\nprint()", "a = 1\n    return a"),
        ("a = 1\n\n    return a", "a = 1"),
        ("a = 1\n    a = 1\n    b", "a = 1"),
        ("a = 1\n    after()\n    b", "a = 1"),
        ("\n    a = 1\n    b", "a = 1\n    b"),
    ],
)  # fmt: skip
def test_a_block_ends_where_it_ends(answer: str, shown: str) -> None:
    """At a dedent, at an empty line, at a repetition, or where it meets what follows."""
    assert shape(answer, cursor("def f():\n    |\n    after()")) == shown


def test_line_ends_are_the_documents() -> None:
    """In a document with CRLF a block is shown with CRLF."""
    assert shape("a\n    b", cursor("def f():\r\n    |")) == "a\r\n    b"


def test_nothing_hidden_comes_through() -> None:
    """Escape sequences and direction marks never reach the document."""
    assert shape("a\x1b[31mb\u202e", cursor("x = |")) == "ab"


@settings(deadline=None)
@given(CODE, st.integers(0, 60), CODE)
def test_what_is_shown_keeps_its_promises(text: str, place: int, answer: str) -> None:
    """No end in white space, one line unless in a block, and no closer that unbalances a balanced line."""
    before = text[:place].replace("\r", "")
    document = cursor(f"{before}|{text[place:]}".replace("\r", ""))
    shown = shape(answer, document)
    assert shown == shown.rstrip()
    assert "\n" not in shown or multiline(document)
    assert split(document)[0] == before


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_answer_can_be_shaped(data: bytes) -> None:
    """Whatever a model says, shaping it raises nothing."""
    shape(data.decode("utf-8", errors="replace"), cursor("f(|)\n"))
