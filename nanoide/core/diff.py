"""A diff as text → its files, with what came and what went. Pure; nothing of git is asked."""

import re
from typing import Literal, NamedTuple

Status = Literal["changed", "added", "deleted", "renamed"]

SYMBOL = re.compile(
    r"\s*(?:(?:export|default|public|private|protected|static|final|abstract|async|pub(?:\([a-z]+\))?|unsafe|override)\s+)*"
    r"(?:(?:def|class|func(?:\s*\([^)]*\))?|fn|function\*?|struct|enum|trait|interface|type|impl|module|namespace)\s+"
    r"(?P<name>[A-Za-z_]\w*)|(?:const|let|var)\s+(?P<arrow>[A-Za-z_]\w*)\s*=\s*(?:async\s*)?(?:\([^)]*\)|\w+)\s*=>|"
    r"(?P<constant>[A-Z][A-Z0-9_]{2,})\s*(?::[^=]+)?=)"
)
"""The head of a function, class or the like, in the languages that have a word for it."""

_FILE = re.compile(r'diff --(?:git (?P<old>"?a/.*?"?) (?P<new>"?b/.*"?)|(?:cc|combined) (?P<both>.*))')
_HUNK = re.compile(r"@@+ (?:-(?P<a>\d+)(?:,(?P<b>\d+))? )+\+(?P<c>\d+)(?:,(?P<d>\d+))? @@+ ?(?P<around>.*)")


class Change(NamedTuple):
    """One file of the diff."""

    path: str
    old: str
    status: Status
    binary: bool
    added: list[str]
    removed: list[str]
    around: list[str]
    """What git names as the surroundings of each hunk: mostly the head of a function or class."""
    hidden: bool = False
    """The file's content was left out."""


def parse(text: str) -> list[Change]:
    """The files of a diff: git's own, a merge's, or a plain unified one."""
    changes: list[Change] = []
    change: Change | None = None
    minus = plus = 0
    columns = 1
    old = near = ""
    for raw in text.split("\n"):
        line = raw.removesuffix("\r")
        if change is not None and (minus > 0 or plus > 0) and line[:1] in {"+", "-", " ", ""}:
            signs, content = line[:columns], line[columns:]  # a merge has a column of signs for each parent
            sign = "-" if "-" in signs else "+" if "+" in signs else " "
            near = _near(change, near, sign, content)
            if sign == "+":
                change.added.append(content)
                plus -= 1
            elif sign == "-":
                change.removed.append(content)
                minus -= 1
            else:
                minus, plus = minus - 1, plus - 1
        elif header := _FILE.fullmatch(line):
            both = header["both"]
            new = _path(both or header["new"])
            change = Change(new, _path(both or header["old"]), "changed", False, [], [], [])
            changes.append(change)
            minus = plus = 0
        elif line.startswith("--- "):
            old = _path(line[4:].partition("\t")[0])
            if change is not None and (change.added or change.removed):
                change = None  # a plain diff, and its next file
        elif line.startswith("+++ ") and change is None:
            new = _path(line[4:].partition("\t")[0])
            status: Status = "added" if old == "/dev/null" else "deleted" if new == "/dev/null" else "changed"
            change = Change(old if status == "deleted" else new, old, status, False, [], [], [])
            changes.append(change)
        elif change is not None and (hunk := _HUNK.match(line)):
            columns = len(line) - len(line.lstrip("@")) - 1
            minus, plus = int(hunk["b"] or 1) if columns == 1 else 0, int(hunk["d"] or 1)
            near = hunk["around"].strip()
        elif change is not None:
            change = changes[-1] = _noted(change, line)
    return changes


def _near(change: Change, near: str, sign: str, line: str) -> str:
    """The head of what this line is in, as far as the hunk shows; noted in the change when the line is one of it."""
    if sign == "+" and SYMBOL.match(line):
        return ""  # what follows is in something new, which is told as such
    if sign == " ":
        return line if SYMBOL.match(line) else near
    if near and line.strip() and near not in change.around and _indent(line) > _indent(near):
        change.around.append(near)
    return near


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _noted(change: Change, line: str) -> Change:
    """`change` with what one of git's own lines says about it."""
    if line.startswith("new file mode"):
        return change._replace(status="added")
    if line.startswith("deleted file mode"):
        return change._replace(status="deleted")
    if line.startswith("rename to "):
        return change._replace(status="renamed")
    if line.startswith(("Binary files ", "GIT binary patch")):
        return change._replace(binary=True)
    if line.startswith("(a secret file"):
        return change._replace(hidden=True)
    return change


def _path(text: str) -> str:
    """A path as git writes it: without a/ or b/, and without quotes and escapes."""
    path = text.strip()
    if len(path) > 1 and path[0] == path[-1] == '"':
        escaped = path[1:-1].encode("latin-1", errors="replace")
        path = escaped.decode("unicode_escape").encode("latin-1", errors="replace").decode("utf-8", errors="replace")
    return path[2:] if path.startswith(("a/", "b/")) else path
