"""What the tour looks at in a folder: a file, a place in it, a question and a change. The same each time.

Everything is real where there is anything real. A folder without a source file lends a text, and an
empty one gets a small sample, which is labelled as such wherever it shows.
"""

import ast
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from pathlib import Path, PurePosixPath

from nanoide.core.chat import Document
from nanoide.core.document import language_of
from nanoide.core.ignore import is_secret
from nanoide.core.value import Value
from nanoide.wire import Input

_FILES_LIMIT = 20_000
"""Names that are looked at in a huge folder."""

_READ_LIMIT = 12
"""Files that are read in search of a good place."""

_SIZES = range(400, 60_000)
"""Bytes of a file that is worth explaining and quick to read."""

_GIT_TIMEOUT_S = 10.0
_PROSE = frozenset({"markdown", "restructuredtext", "json", "toml", "yaml", "html", "css"})
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "dist", "build", "target", "vendor", "site-packages"})
_NAMED = re.compile(
    r"^\s*(?:export |pub |async |public |static )*(?:def|class|function|func|fn|struct|type) (\w{3,})", re.M
)
_NOT_CUT = ("#", "//", "*", '"', "'", "|", "<!", "import ", "from ", "raise ")
_CUT = re.compile(r"= |\(|return |\.|: |, ")

SAMPLE_NAME = "sample.py (built-in sample: the folder has no text file)"
SAMPLE = '''\
"""Temperatures, as a thermometer reports them."""


def to_celsius(fahrenheit):
    """Convert a reading to degrees Celsius."""
    return (fahrenheit - 32) * 5 / 9


def to_fahrenheit(celsius):
    """Convert a reading to degrees Fahrenheit."""
    return celsius * 9 / 5 + 32


def mean_celsius(readings):
    """The mean of readings in degrees Fahrenheit, in degrees Celsius."""
    values = [to_celsius(reading) for reading in readings]
    return sum(values) / len(values)


def mean_fahrenheit(readings):
    """The mean of readings in degrees Celsius, in degrees Fahrenheit."""
    values = [to_fahrenheit(reading) for reading in readings]
    return sum(values) / len(values)
'''


class Place(Value, frozen=True):
    """Where a completion is asked for: within a line whose rest was cut away."""

    document: Document
    before: str
    """The line up to the cut."""
    expected: str
    """What stood behind the cut."""


class Sights(Value, frozen=True):
    """What the tour shows of one folder."""

    label: str
    """Of the file: its path in the folder, or what it is instead."""
    file: Input
    place: Place
    question: str
    change: Input | None
    """A change to describe where git has none; None when git has one."""
    sample: bool = False
    """True when nothing of it comes from the folder."""


def look(folder: str) -> Sights:
    """Choose in `folder`. Never fails: what cannot be read is passed over."""
    name, text = _choose(folder) or (SAMPLE_NAME, SAMPLE)
    sample = name == SAMPLE_NAME
    path = "sample.py" if sample else name
    # The hub reads a file of the folder itself; the sample is nowhere but here.
    file = Input(kind="file", label=path, text=text)
    return Sights(
        label=name,
        file=file,
        place=find_place(path, text),
        question=_question(path, text),
        change=None if _has_change(folder) else _made_up(path, name, text, sample=sample),
        sample=sample,
    )


def find_place(path: str, text: str) -> Place:
    """The place in `text` to complete: within a function if there is one, about two thirds down."""
    lines = text.splitlines()
    inside = _function_lines(path, text)
    best: tuple[float, int, int] | None = None
    seen: set[str] = set()
    for number, line in enumerate(lines):
        cut = _cut(line) if inside is None or number in inside else None
        if cut is not None:
            following = re.match(r"\w+", line[cut:])
            # A rest that begins with a word the file has used before can be known; any other can only be guessed.
            known = following is not None and following[0] in seen
            score = abs(number - len(lines) * 2 / 3) / (len(lines) + 1) + (0 if known else 1)
            if best is None or score < best[0]:
                best = (score, number, cut)
        seen.update(re.findall(r"\w+", line))
    if best is None:
        # No good line at all: the middle of the longest one that is neither a table's nor a heading.
        number = max(range(len(lines)), key=lambda each: _prose_length(lines[each]), default=0)
        line = lines[number] if lines else ""
        best = (0.0, number, len(line) // 2)
    _, number, cut = best
    line = lines[number] if lines else ""
    open_text = "\n".join([*lines[:number], line[:cut], *lines[number + 1 :]]) + "\n"
    document = Document(
        path=path,
        text=open_text,
        line=number,
        character=len(line[:cut].encode("utf-16-le")) // 2,
        language=language_of(path),
    )
    return Place(document=document, before=line[:cut], expected=line[cut:])


def _choose(folder: str) -> tuple[str, str] | None:
    """The file to show and its text; None when there is no text file at all."""
    ranked: list[tuple[tuple[int, int, int, int, str], str]] = []
    for name in _names(folder):
        try:
            size = Path(folder, name).stat().st_size
        except OSError:
            continue
        if size and not is_secret(name):
            ranked.append((_rank(name, size), name))
    ranked.sort()
    spare: tuple[str, str] | None = None
    for _, name in ranked[:_READ_LIMIT]:
        text = _read(Path(folder, name))
        if text is None:
            continue
        if not name.endswith(".py") or _function_lines(name, text):
            return name, text
        spare = spare or (name, text)
    return spare


def _rank(name: str, size: int) -> tuple[int, int, int, int, str]:
    """Source before prose, Python first, the product before its tests, a moderate size, then by name."""
    path = PurePosixPath(name)
    language = language_of(name)
    readme = path.name.lower().startswith("readme")
    kind = 0 if language == "python" else 1 if language and language not in _PROSE else 2 if readme else 3
    if kind == 3 and not language and path.suffix.lower() not in {".txt", ""}:
        kind = 4
    tested = any(part.lower() in {"test", "tests", "docs", "examples"} for part in path.parts[:-1])
    minor = tested or path.name.startswith(("test_", "conftest", "__", "setup", "."))
    return kind, int(minor), int(size not in _SIZES), abs(size - 8_000) // 4_000, name


def _names(folder: str) -> Iterable[str]:
    """Files below `folder`, relative: those of git where there is any, else what is there."""
    tracked = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if tracked:
        return tracked.split("\0")[:_FILES_LIMIT]
    return sorted(_walk(folder))


def _walk(folder: str) -> Iterator[str]:
    count = 0
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in _SKIPPED)
        for name in sorted(files):
            count += 1
            if count > _FILES_LIMIT:
                return
            if not name.startswith("."):
                yield Path(top, name).relative_to(folder).as_posix()


def _read(path: Path) -> str | None:
    """The text of a plain, moderate file; None for anything else."""
    try:
        if not path.is_file() or path.stat().st_size > 10 * _SIZES.stop:
            return None
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    return None if "\0" in text or not text.strip() else text


def _function_lines(path: str, text: str) -> frozenset[int] | None:
    """Zero-based lines within function bodies of a Python file; None when it is none or has none."""
    if not path.endswith(".py"):
        return None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            # One-line statements only: a cut within a longer one leaves its tail standing.
            found.update(
                each.lineno - 1
                for statement in body
                for each in ast.walk(statement)
                if isinstance(each, ast.Assign | ast.Return | ast.Expr) and each.lineno == each.end_lineno
            )
    return frozenset(found) or None


def _cut(line: str) -> int | None:
    """Where to cut `line`: behind an operator or a bracket in its middle third; None when it has no good place."""
    start = len(line) - len(line.lstrip())
    length = len(line.rstrip()) - start
    if not 16 <= length <= 100 or line.lstrip().startswith(_NOT_CUT):
        return None
    low, high = start + length * 0.25, start + length * 0.75
    places = [each.end() for each in _CUT.finditer(line) if low <= each.end() <= high]
    places = [each for each in places if re.match(r"\w", line[each:])]
    return places[0] if places else None


def _prose_length(line: str) -> int:
    return 0 if line.lstrip().startswith(("|", "#", "<", "=", "-", "!", "[")) else min(len(line), 100)


def _question(path: str, text: str) -> str:
    names = [name for name in _NAMED.findall(text) if not name.startswith("_") and name != "main"]
    if names and language_of(path) not in _PROSE:
        return f"Where is {names[0]} defined, and what uses it?"
    lines = [line.strip("#=*/ \t") for line in text.splitlines() if not line.startswith("#!")]
    heading = next((line for line in lines if len(line) > 3), path)
    return f"What is said about {heading[:80]}?"


def _has_change(folder: str) -> bool:
    """True when git has something to describe: a commit, or something staged."""
    return bool(_git(folder, "log", "-1", "--format=%h") or _git(folder, "diff", "--cached", "--name-only"))


def _made_up(path: str, label: str, text: str, *, sample: bool) -> Input:
    what = label if sample else f"{label} as if it were added (git has no change here)"
    body = unified_diff([], text.splitlines(keepends=True)[:400], "/dev/null", f"b/{path}")
    diff = f"diff --git a/{path} b/{path}\nnew file mode 100644\n" + "".join(
        line if line.endswith("\n") else line + "\n" for line in body
    )
    return Input(kind="stdin", label=f"diff of {what}", text=diff)


def _git(folder: str, *arguments: str) -> str:
    """What git says in `folder`; empty when there is no git, no repository, or no answer in time."""
    try:
        done = subprocess.run(
            # A repository's own config must not run programs here.
            ["git", "-C", folder, "-c", "core.quotepath=off", "-c", "core.fsmonitor=false", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""
