"""The reflex that outlines code."""

from pathlib import Path

import pytest
import textual
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoide.core.chat import Context, Document, Source
from tests.skills.reflexes import reflex

answer = reflex("explain-code")

CODE = '''"""Doors.

More."""
import os
from pathlib import Path


class Door(Base, frozen=True):
    """It opens."""

    width: int

    @property
    def open(self) -> bool:
        """Whether it is."""
        if not self.width:
            raise ValueError("no width")
        return _look(self)


async def _look(door, *, twice=False):
    yield _look(door)


LIMIT = 3
if __name__ == "__main__":
    print(LIMIT)
'''


def explain(text: str, path: str = "door.py", line: int = 1) -> str:
    """The outline of a text."""
    source = Source(kind="file", label=path or "selection", text=text, path=path, line=line)
    return answer(Context(sources=(source,)))


def test_python_is_outlined_with_what_it_says_of_itself() -> None:
    """Signatures, first sentences, decorators, who calls whom, what is raised, and what runs."""
    said = explain(CODE)
    for part in (
        "door.py: Python, 27 lines, 1 class and 1 function.", "Doors.", "Uses os, pathlib.",
        "class Door(Base, frozen=True)  line 8", "It opens.", "fields: width", "open(self) -> bool  line 14",
        "@property; calls _look; raises ValueError", "async _look(door, *, twice=False)  line 21",
        "called by Door.open; recursive; a generator", "Sets LIMIT.",
        "Does `if __name__ == '__main__':` when run as a script (line 26).",
    ):  # fmt: skip
        assert part in said, part


def test_a_selection_is_dedented_and_keeps_its_line_numbers() -> None:
    """A method out of its class, indented as it was, is outlined where it stands."""
    said = explain('    def twice(self, n):\n        """Double."""\n        return n * 2\n', "x.py", 41)
    assert "twice(self, n)  line 41" in said
    assert "Double." in said


def test_python_is_known_without_a_name() -> None:
    """Code on standard input needs no file name."""
    said = answer(Context(sources=(Source(kind="stdin", label="standard input", text=CODE),)))
    assert said.startswith("standard input: Python")


def test_broken_code_is_outlined_and_the_line_named() -> None:
    """A syntax error is said with its line; the rest is still listed."""
    said = explain("def fine():\n    pass\n\ndef broken(:\n    pass\n")
    assert "def fine():  line 1" in said
    assert "Line 4 does not parse" in said
    assert "`def broken(:`" in said


@pytest.mark.parametrize(
    ("path", "text", "parts"),
    [
        ("a.ts", "// Sessions.\nexport class Foo {\n  bar(x) {\n    if (x) {}\n  }\n}\nexport const f = (a) => a;\n",
         ["typescript", "Sessions.", "export class Foo  line 2", "export const f = (a) => a;  line 7"]),
        ("a.go", "package main\n\nfunc (s *Server) Run(ctx context.Context) error {\n\treturn nil\n}\n",
         ["go", "func (s *Server) Run(ctx context.Context) error  line 3"]),
        ("a.rs", "pub struct Foo {\n}\nimpl Foo {\n    pub fn new() -> Self {\n    }\n}\n",
         ["rust", "pub struct Foo  line 1", "pub fn new() -> Self  line 4"]),
        ("a.c", "/* Adds. */\nstatic int add(int a, int b)\n{\n  return a + b;\n}\n",
         ["c", "Adds.", "static int add(int a, int b)  line 2"]),
        ("a.sh", "#!/bin/sh\n# Cleans.\nclean() {\n  rm -rf x\n}\n", ["shellscript", "Cleans.", "clean()  line 3"]),
        ("a.md", "# One\n\n```\n# not this\n```\n\n## Two\n", ["7 lines", "One  line 1", "  Two  line 7"]),
        ("a.rst", "Title\n=====\n\nPart\n----\n", ["Title  line 1", "  Part  line 4"]),
        ("noext", "Just words in a row.\n", ["text, 1 line, 5 words", "It begins: `Just words in a row.`"]),
    ],
)  # fmt: skip
def test_other_texts_are_outlined_by_their_lines(path: str, text: str, parts: list[str]) -> None:
    """Definitions of other languages, headings of prose, and the beginning of what has neither."""
    said = explain(text, path)
    for part in parts:
        assert part in said
    assert "not this" not in said


def test_empty_and_missing_are_said() -> None:
    """An empty file is called empty; nothing at all asks for something."""
    assert explain("  \n") == "door.py is empty."
    assert answer(Context()).startswith("Give a file")


def test_an_open_document_is_enough() -> None:
    """In an editor the document itself is explained."""
    said = answer(Context(document=Document(path="door.py", text=CODE, line=0, character=0)))
    assert "class Door" in said


def test_crlf_and_astral_characters_do_not_matter() -> None:
    """Line numbers and names stay right."""
    said = explain(CODE.replace("\n", "\r\n").replace("It opens.", "It 😀 opens."))
    assert "open(self) -> bool  line 14" in said
    assert "It 😀 opens." in said
    assert "\r" not in said


def test_large_files_are_outlined_in_short() -> None:
    """Three megabytes of functions, or of one line, give a page."""
    said = explain("def f(x):\n    return x\n\n" * 120_000)
    assert said.count("\n") < 80
    assert "more parts" in said
    assert len(explain("x = '" + "a" * 3_000_000 + "'\n")) < 500
    assert len(explain("((((" * 5_000)) < 1000
    methods = "".join(f"    def m{number}(self):\n        pass\n" for number in range(3_000))
    assert "and 2940 more methods" in explain(f"class A:\n{methods}")


@pytest.mark.parametrize(
    "line", [" " * 390 + "x", "static " * 56, "word " * 79, "a " * 10 + "(" + "a (" * 18, "a,*" * 90]
)
def test_no_line_takes_long(line: str) -> None:
    """Lines made to make a pattern try everything are passed over: ten thousand of them are no trouble."""
    assert explain(f"{line}\n" * 10_000, "a.c")


def test_every_file_of_a_real_package_is_outlined() -> None:
    """Nothing in Textual's own source makes it stumble."""
    for path in sorted(Path(textual.__file__).parent.glob("*.py"))[:25]:
        said = explain(path.read_text(encoding="utf-8"), path.name)
        assert "does not parse" not in said
        assert path.name in said.split("\n")[0] or said.endswith("is empty.")


@settings(deadline=None)
@given(st.text(max_size=300), st.sampled_from(["a.py", "a.js", "a.md", "a", "a.go", ""]))
def test_any_text_is_survived(text: str, path: str) -> None:
    """Whatever the text, there is an outline."""
    assert explain(text, path)
