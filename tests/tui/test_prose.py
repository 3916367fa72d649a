"""Text in lines of a width, however it arrives."""

from hypothesis import given
from hypothesis import strategies as st

from nanoide.tui.prose import Answer, Line, fit, pad, width_of, wrap

TEXTS = st.text(alphabet=st.sampled_from("ab  \n\t`*#ä漢字🙂\x1b[31m\u202e\u200b"), max_size=120)


def plain(lines: list[Line]) -> list[str]:
    """The lines without their kinds."""
    return ["".join(text for text, _ in line) for line in lines]


@given(st.text(max_size=80).filter(lambda text: text.isprintable()), st.integers(2, 40))
def test_no_line_is_wider_than_asked(text: str, width: int) -> None:
    """Wrapping, fitting and padding keep to the width, wide characters included."""
    assert all(width_of(line) <= width for line in wrap(text, width))
    assert width_of(fit(text, width)) <= width
    assert width_of(pad(text, width)) == width


@given(st.text(alphabet="abc déf漢 ", max_size=80), st.integers(4, 30))
def test_wrapping_loses_only_spaces(text: str, width: int) -> None:
    """Every other character is there, in order."""
    assert "".join("".join(wrap(text, width)).split()) == "".join(text.split())


def test_a_continuation_keeps_the_indentation() -> None:
    """A long item reads as one."""
    assert wrap("  one two three", 9) == ["  one two", "  three"]


@given(TEXTS, st.lists(st.integers(0, 120), max_size=6), st.integers(8, 40))
def test_an_answer_in_pieces_is_the_answer_in_one(text: str, cuts: list[int], width: int) -> None:
    """Wherever the stream is cut, the lines are the same in the end."""
    whole, pieces = Answer(width), Answer(width)
    whole.update(text)
    for cut in sorted(cuts):
        pieces.update(text[:cut])
    pieces.update(text)
    assert pieces.lines == whole.lines


def test_another_answer_starts_afresh() -> None:
    """After a failover the text of the first rung is gone."""
    answer = Answer(40)
    answer.update("the first rung said")
    answer.update("")
    answer.update("the second")
    assert plain(answer.lines) == ["  the second"]


def test_code_keeps_its_spaces_and_is_set_off() -> None:
    """Fences are not shown, their language is; what is in them is cut anywhere, never at words."""
    answer = Answer(12)
    answer.update("See:\n```python\ndef f(a, b):\n    pass\n```\ndone")
    assert plain(answer.lines) == ["  See:", "  python", "  def f(a, b", "  ):", "      pass", "  ", "  done"]
    assert answer.lines[2][1][1] == "code"


def test_marks_of_markdown_are_taken_off_where_they_pair() -> None:
    """`code`, **strong** and headings; a lone mark is text."""
    answer = Answer(60)
    answer.update("# Head\na `b` c\n**d** e\n2 ** 3 `x")
    assert plain(answer.lines) == ["  Head", "  a b c", "  d e", "  2 ** 3 `x"]


@given(TEXTS, st.lists(st.integers(0, 120), max_size=6), st.integers(0, 120), st.integers(8, 40))
def test_a_mark_stands_at_its_place_however_the_answer_arrives(
    text: str, cuts: list[int], place: int, width: int
) -> None:
    """The lines are the same in the end, whether the mark was there before the text behind it or not."""
    marks = ((min(place, len(text)), "on"),)
    whole, pieces = Answer(width), Answer(width)
    whole.update(text, marks)
    for cut in sorted(cuts):
        pieces.update(text[:cut], marks if marks[0][0] <= cut else ())
    pieces.update(text, marks)
    assert pieces.lines == whole.lines
    assert (("on", "fact"),) in whole.lines


def test_a_mark_in_the_middle_of_a_line_changes_nothing_else() -> None:
    """Code stays code, a fence that was cut is one, and a line that ends at the mark is not an empty one."""
    answer = Answer(40)
    text = "See:\n```python\ndef fold():\n    pass\n``" + "`\nDone.\nEnd"
    cut = text.index("old")
    fence = text.index("`\nDone")
    answer.update(text, ((cut, "one"), (fence, "two"), (len(text) - 4, "three")))
    assert plain(answer.lines) == [
        "  See:",
        "  python",
        "  def f",
        "one",
        "  old():",
        "      pass",
        "  ``",
        "two",
        "  `",
        "  Done.",
        "three",
        "  End",
    ]
    assert answer.lines[4][1] == ("old():", "code")
