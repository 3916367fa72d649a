"""The reflex that continues a line."""

from pathlib import Path

import textual

from nanoide.core.chat import Context, Document, Source
from nanoide.core.document import at_end, language_of
from tests.skills.holes import holes, similarity
from tests.skills.reflexes import reflex

answer = reflex("inline-completion")


def complete(marked: str, *others: str) -> str:
    """What goes in where the | stands."""
    before, _, after = marked.partition("|")
    last = before.rpartition("\n")[2]
    document = Document(
        path="x.py", text=before + after, line=before.count("\n"), character=len(last.encode("utf-16-le")) // 2
    )
    sources = tuple(Source(kind="file", label="o", text=other) for other in others)
    return answer(Context(document=document, sources=sources))


def test_the_longest_earlier_match_is_continued() -> None:
    """What came before in the same words comes again, also from below the cursor and from a neighbour."""
    assert complete("self.pool.acquire(timeout=3)\nself.pool.release()\nself.pool.ac|") == "quire(timeout=3)"
    assert complete("log.war|\n\nlog.warning('x')\n") == "ning('x')"
    assert complete("value = settings.lo|", "value = settings.load(path)\n") == "ad(path)"


def test_the_more_frequent_then_the_nearer_continuation_wins() -> None:
    """Of equal matches the one that occurs most is taken, and of those the last."""
    assert complete("1\nreturn self.a\n2\nreturn self.a\n3\nreturn self.b\n4\nreturn self.|") == "a"
    assert complete("1\nreturn self.a\n2\nreturn self.b\n3\nreturn self.|") == "b"


def test_a_word_is_finished_when_no_line_is_known() -> None:
    """The file's own words complete the one at the cursor."""
    assert complete("x = [calc|]", "") == ""
    assert complete("y = recalculate(total)\nx = [recal|]") == "culate(total)"
    assert complete("a = (recalculate)\nb = (\n    tot|", "total_of = 1").startswith("al_of")


def test_the_rest_of_the_line_is_not_said_twice() -> None:
    """A closer or an argument that stands behind the cursor stays the only one."""
    assert complete("print(name, end='')\nprint(na|, end='')") == "me"
    assert complete("print(name)\nprint(na|)") == "me"


def test_nothing_is_made_up() -> None:
    """Where nothing earlier tells, nothing is said; an empty text has no rest."""
    assert complete("|") == ""
    assert complete("zq|") == ""
    assert answer(Context()) == ""


def test_crlf_and_astral_characters_do_not_shift_the_cursor() -> None:
    """The place is found in UTF-16 units, and a match spans line ends of either kind."""
    assert complete("say('😀😀', loud)\r\nsay('😀😀', |") == "loud)"
    assert "\r" not in complete("a = first\r\nb = 2\r\na = |\r\n")


def test_without_a_cursor_the_end_of_the_file_goes_on() -> None:
    """Asked with a file alone, it continues the last line."""
    text = "import os\nimport sys\nprint(os.environ)\nprint(os.en"
    assert answer(Context(sources=(Source(kind="file", label="a.py", text=text, path="a.py"),))) == "viron)"


def test_a_huge_or_strange_text_is_answered_all_the_same() -> None:
    """Ten megabytes, one endless line, NULs and white space alone are no trouble."""
    assert complete("value = compute(x)\n" * 600_000 + "value = comp|") == "ute(x)"
    complete("a " * 500_000 + "|")
    complete("\0\0\0|\0")
    complete(" " * 100_000 + "|")
    assert language_of(at_end("a.py", "").path) == "python"


def test_holes_in_code_it_has_never_seen() -> None:
    """Of 400 end-of-line holes in Textual's own source it fills at least a fifth exactly."""
    exact, alike = 0, 0.0
    for hole in holes(Path(textual.__file__).parent, 400):
        said = answer(Context(document=hole.document)).strip()
        exact += said == hole.missing.strip()
        alike += similarity(said, hole.missing.strip())
    assert exact >= 80
    assert alike >= 0.40 * 400
