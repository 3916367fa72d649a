"""A text and a place in it: where a `Document`'s position falls. Pure counting, nothing else."""

import re
from typing import Literal

from nanoide.core.chat import Document

LINE_BREAK = re.compile(r"\r\n|\n|\r")
"""The line ends that LSP knows. `str.splitlines` knows more and would count differently."""

BEFORE = 1_500
"""Characters before the position that a model is shown. Twice as many cost twice the time; over 80 holes `nano`
filled one more with them, which is within chance."""

AFTER = 400
"""Characters behind the position that a model is shown."""

_STEP = 500
"""What is shown begins at a multiple of this, so that one more key leaves its beginning as it was and a
backend can use its cache of it again."""

LANGUAGES: dict[str, str] = {
    "bash": "shellscript",
    "c": "c",
    "cc": "cpp",
    "cpp": "cpp",
    "cs": "csharp",
    "css": "css",
    "go": "go",
    "h": "c",
    "hpp": "cpp",
    "html": "html",
    "java": "java",
    "js": "javascript",
    "json": "json",
    "jsx": "javascriptreact",
    "kt": "kotlin",
    "lua": "lua",
    "md": "markdown",
    "php": "php",
    "py": "python",
    "pyi": "python",
    "rb": "ruby",
    "rs": "rust",
    "rst": "restructuredtext",
    "sh": "shellscript",
    "sql": "sql",
    "swift": "swift",
    "tcss": "css",
    "toml": "toml",
    "ts": "typescript",
    "tsx": "typescriptreact",
    "yaml": "yaml",
    "yml": "yaml",
}
"""LSP language ids by file ending."""


def language_of(path: str) -> str:
    """The LSP language id that the ending of `path` stands for; empty when it is not known."""
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    if name in {"Makefile", "Dockerfile"}:
        return name.lower()
    return LANGUAGES.get(name.rsplit(".", 1)[-1].lower(), "") if "." in name else ""


def offset(document: Document) -> int:
    """Where the position falls in `document.text`, in characters.

    A line past the end means the end of the text, a character past the end of its line that end; a
    position in the middle of an astral character (two UTF-16 units) falls before it.
    """
    text = document.text
    start = 0
    if document.line > 0:
        for number, found in enumerate(LINE_BREAK.finditer(text), 1):
            if number == document.line:
                start = found.end()
                break
        else:
            return len(text)
    found = LINE_BREAK.search(text, start)
    end = found.start() if found else len(text)
    line = text[start:end]
    if line.isascii():
        return start + min(max(document.character, 0), len(line))
    units = 0
    for index, char in enumerate(line):
        units += 2 if ord(char) > 0xFFFF else 1
        if units > document.character:
            return start + index
    return end


def split(document: Document) -> tuple[str, str]:
    """What stands before the position and what stands behind it."""
    at = offset(document)
    return document.text[:at], document.text[at:]


def around(document: Document) -> tuple[str, str]:
    """The text before and behind the position that a model is shown: near it, cut at lines, newlines alone.

    Models learned from newlines; the document's own line ends come back when the answer is shaped.
    """
    before, after = split(document)
    if len(before) > BEFORE:
        cut = -(-(len(before) - BEFORE) // _STEP) * _STEP
        line = before.find("\n", cut - 1, cut + _STEP // 2)
        before = before[line + 1 if line >= 0 else cut :]
    if len(after) > AFTER:
        line = after.rfind("\n", AFTER // 2, AFTER)
        after = after[: line + 1 if line >= 0 else AFTER]
    return unified(before), unified(after)


def unified(text: str) -> str:
    """`text` with newlines as its only line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def at_end(path: str, text: str, *, language: str = "") -> Document:
    """A document whose position is the end of `text`."""
    breaks = list(LINE_BREAK.finditer(text))
    last = text[breaks[-1].end() :] if breaks else text
    return Document(
        path=path,
        text=text,
        line=len(breaks),
        character=len(last) + sum(ord(char) > 0xFFFF for char in last),
        language=language or language_of(path),
    )


def line_end(text: str) -> Literal["\n", "\r\n", "\r"]:
    """The line end that `text` uses; a newline when it has none."""
    found = LINE_BREAK.search(text)
    if found is None or found.group() == "\n":
        return "\n"
    return "\r\n" if found.group() == "\r\n" else "\r"
