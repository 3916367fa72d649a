"""A conventional commit message, read off the diff: kind of files, symbols that came, went and changed.

It says what changed, never why: that it cannot know.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from nanoide.core.chat import Context
from nanoide.core.diff import SYMBOL, Change, parse

SUBJECT = 72
"""Characters of the first line."""

BODY_LINES = 14

Kind = Literal["code", "test", "docs", "build", "ci", "chore", "asset"]


class Symbols(NamedTuple):
    """Names in one file, each in the order they occur."""

    added: list[str]
    removed: list[str]
    changed: list[str]


def answer(context: Context) -> str:
    """The message for the diff in the context."""
    text = next((source.text for source in context.sources if source.kind == "diff"), "")
    if not text:
        text = "\n".join(source.text for source in context.sources)
    changes = parse(text)
    if not changes:
        return "Nothing to commit: there is no change to describe."
    conflicts = [each.path for each in changes if any(line.startswith("<<<<<<< ") for line in each.added)]
    if conflicts:
        return f"Not ready to commit: conflict markers in {_list(conflicts)}."
    kind = commit_type(changes)
    scope = _scope(changes, context.root)
    head = f"{kind}({scope}): " if scope else f"{kind}: "
    if len(head) > SUBJECT // 2:
        head = f"{kind}: "
    subject = head + _subject(kind, changes, SUBJECT - len(head))
    body = _body(changes)
    return f"{subject}\n\n{body}" if body else subject


# What sort of change it is

_BUILD = re.compile(
    r"(?i)(?:pyproject\.toml|setup\.(?:py|cfg)|requirements.*\.txt|package(?:-lock)?\.json|.*\.lock|go\.(?:mod|sum)|"
    r"Cargo\.toml|Makefile|CMakeLists\.txt|Dockerfile.*|build\.gradle.*|pom\.xml|meson\.build|flake\.nix|yarn\.lock|pnpm-lock\.yaml)"
)
_CHORE = re.compile(
    r"(?i)\.(?:git|docker|prettier|eslint|npm)ignore|\.gitattributes|\.editorconfig|licen[cs]e.*|codeowners|\..*rc"
)
_ASSET = {"png", "jpg", "jpeg", "gif", "svg", "ico", "webp", "woff", "woff2", "ttf", "mp3", "mp4", "pdf", "gguf", "bin"}
_GENERIC = {"src", "lib", "app", "pkg", "packages", "internal", "source", "tests", "test", "docs", "doc"}


def _kind(path: str) -> Kind:
    pure = PurePosixPath(path)
    folders = {part.lower() for part in pure.parts[:-1]}
    name = pure.name
    ending = pure.suffix.lower().lstrip(".")
    if folders & {".github", ".gitlab", ".circleci", ".ci"} or name in {".gitlab-ci.yml", ".travis.yml"}:
        return "ci"
    if _BUILD.fullmatch(name):
        return "build"
    if folders & {"test", "tests", "__tests__", "spec", "testing"} or re.match(
        r"test_|.*(?:_test|\.test|\.spec|_spec)\.", name
    ):
        return "test"
    if ending in {"md", "rst", "adoc"} or (ending in {"txt", "html"} and folders & {"docs", "doc"}):
        return "docs"
    if _CHORE.fullmatch(name):
        return "chore"
    return "asset" if ending in _ASSET else "code"


def commit_type(changes: Sequence[Change]) -> str:
    """The conventional type: by the files, and among code by what came and went."""
    kinds = {_kind(change.path) for change in changes}
    main = kinds - {"asset", "chore"} or kinds
    if "code" not in main:
        for kind in ("build", "ci", "docs", "test"):
            if main <= {kind, "docs", "test"} and kind in main:
                return kind
        return "build" if "build" in main else "chore"
    code = [change for change in changes if _kind(change.path) == "code"]
    if all(change.status == "renamed" and not change.added and not change.removed for change in code):
        return "refactor"
    if all(change.status == "deleted" for change in code):
        return "refactor"
    if all(_only_comments(change) for change in code):
        return "docs"
    symbols = [symbols_of(change) for change in code]
    came = [name for each in symbols for name in each.added]
    went = [name for each in symbols for name in each.removed]
    added, removed = sum(len(each.added) for each in code), sum(len(each.removed) for each in code)
    if any(each.status == "added" for each in code) or len(came) > len(went):
        return "feat"
    if went and (len(came) == len(went) or removed > added):
        return "refactor"
    small = added + removed <= 60
    guards = small and any(_GUARD.match(line.strip()) for each in code for line in each.added)
    if guards or (small and any(_kind(change.path) == "test" for change in changes)) or added + removed <= 12:
        return "fix"
    return "refactor"


_GUARD = re.compile(
    r"(?:if\b.*\b(?:not|None|null|nil|empty|isinstance|len)\b|except\b|catch\b|raise\b|throw\b|assert\b|.*\.get\()"
)
_RAISED = re.compile(r"\b(?:raise|throw new)\s+(\w+)")
_CAUGHT = re.compile(r"\b(?:except|catch)\s*\(?\s*(\w+)")
_COMMENT = re.compile(r"\s*(?:#|//|/\*|\*|\"\"\"|''').*|\s*")


def _only_comments(change: Change) -> bool:
    lines = change.added + change.removed
    return bool(lines) and change.status == "changed" and all(_COMMENT.fullmatch(line) for line in lines)


# Names

_HEADING = re.compile(r"#{1,6}\s+(?P<name>.+?)\s*#*$")
_SETTING = re.compile(r"\[+(?P<table>[\w.\-\"]+)\]+$|(?P<key>[A-Za-z][\w-]*)\s*[=:]")
_PACKAGE = re.compile(
    r"""\s*["']?(?P<name>[A-Za-z][\w.@/-]*)(?:\[[\w,]+\])?["']?\s*(?::\s*["']|[~=<>!^]=?\s*["']?|\s+v)\s*[~^]?=?v?(?P<version>\d[\w.+*-]*)"""
)


def symbols_of(change: Change) -> Symbols:
    """Names that the change adds, removes and touches; of code, of headings in prose, of settings."""
    came, went = _names(change, change.added), _names(change, change.removed)
    touched = [name for name in came if name in went]
    touched += [name for line in change.around for name in _names(change, [line])]
    if (
        not touched
        and not came
        and change.status == "changed"
        and change.path.endswith((".toml", ".yaml", ".yml", ".ini", ".cfg"))
    ):
        keys = (found["table"] or found["key"] for line in change.added if (found := _SETTING.match(line.strip())))
        touched = list(dict.fromkeys(keys))
    return Symbols(
        added=[name for name in came if name not in went],
        removed=[name for name in went if name not in came],
        changed=[name for name in dict.fromkeys(touched) if name not in set(came) ^ set(went)],
    )


def _names(change: Change, lines: Iterable[str]) -> list[str]:
    if _kind(change.path) == "docs":
        found = [match["name"] for line in lines if (match := _HEADING.match(line))]
    else:
        matches = (match for line in lines if (match := SYMBOL.match(line)))
        # What stands at the margin first, constants last: the order in which they tell most.
        ranked = sorted(matches, key=lambda match: (bool(match["constant"]), match[0][:1].isspace()))
        found = [match["name"] or match["arrow"] or match["constant"] for match in ranked]
        public = [name for name in found if not name.startswith("_")]
        found = public or found
    return list(dict.fromkeys(found))


def _packages(lines: Iterable[str]) -> dict[str, str]:
    found = (match for line in lines if (match := _PACKAGE.match(line)))
    return {match["name"]: match["version"] for match in found if match["name"] not in {"version", "python", "go"}}


# Words


def _scope(changes: Sequence[Change], root: str) -> str:
    """The module or folder that most of the code is in; empty when there is none."""
    about = [change for change in changes if _kind(change.path) == "code"] or list(changes)
    if _kind(about[0].path) in {"build", "ci", "chore"}:
        return ""
    if len(about) == 1:
        pure = PurePosixPath(about[0].path)
        plain = pure.stem in {"__init__", "__main__", "index", "mod", "main", "lib", "README", "reflex", "SKILL"}
        name = (pure.parent.name if plain else pure.stem) if _kind(about[0].path) == "code" else ""
    else:
        weights: Counter[tuple[str, ...]] = Counter()
        for change in about:
            parts = PurePosixPath(change.path).parts[:-1]
            for depth in range(1, len(parts) + 1):
                weights[parts[:depth]] += len(change.added) + len(change.removed) + 1
        enough = 0.75 * sum(len(change.added) + len(change.removed) + 1 for change in about)
        deepest = max((each for each, weight in weights.items() if weight >= enough), key=len, default=())
        top = len(deepest) == 1 and len({PurePosixPath(change.path).parts[:-1] for change in about}) > 1
        name = "" if not deepest or top else deepest[-1]
    name = re.sub(r"[^\w.-]+", "-", name.lower()).strip("-._")
    return "" if name in _GENERIC or name == PurePosixPath(root).name.lower() else name


def _subject(kind: str, changes: Sequence[Change], room: int) -> str:
    """The imperative part in at most `room` characters."""
    main = [change for change in changes if _kind(change.path) == "code"] or list(changes)
    options: list[str] = []
    if kind == "build":
        options += _about_packages(changes, room)
    if kind == "test" and (
        cases := [name for each in main for name in symbols_of(each).added if name.startswith("test")]
    ):
        options.append(f"cover {cases[0].removeprefix('test').strip('_').replace('_', ' ')}" + _more(cases))
    options += _about_files(main, room)
    symbols = [symbols_of(each) for each in main]
    came = [name for each in symbols for name in each.added]
    went = [name for each in symbols for name in each.removed]
    touched = [name for each in symbols for name in each.changed]
    if len(came) == len(went) == 1 and not options:
        options.append(f"rename {went[0]} to {came[0]}")
    fresh = sorted((each for each in main if each.status == "added"), key=lambda each: -len(each.added))
    if len(fresh) > 1:  # several new files: their names say more than what is in them
        stems = [PurePosixPath(change.path).stem for change in fresh]
        options.append(_fit("add", [stem for stem in stems if stem not in {"__init__", "__main__"}], room))
    elif not fresh and len(main) > 4 and len(touched) > 6:
        options.append(f"{'correct' if kind == 'fix' else 'rework'} {len(main)} files")
    place = f" in {touched[0]}" if len(touched) == 1 else ""
    if kind == "fix" and place and (guarded := _guarded(main)):
        options.append(guarded + place)
    if kind == "docs" and came and len(main) == 1 and not fresh:
        options.append(_fit("describe", came, room - 20) + f" in {PurePosixPath(main[0].path).name}")
    if came:
        options.append(_fit("add", came, room))
    if went and not came:
        options.append(_fit("remove", went, room))
    if touched:
        options.append(_fit("correct" if kind == "fix" else "change", touched, room))
    verb = {"fix": "correct", "docs": "update", "refactor": "rework"}.get(kind, "update")
    if all(change.status == "added" for change in main):
        verb = "add"
    options.append(_fit(verb, [PurePosixPath(change.path).name for change in main], room))
    options.append(f"{verb} {len(main)} files" if len(main) > 1 else f"{verb} a file")
    return next((each for each in options if 0 < len(each) <= room), options[-1][:room])


def _guarded(changes: Sequence[Change]) -> str:
    """Which errors are raised or handled that were not before."""
    for verb, pattern in (("raise", _RAISED), ("handle", _CAUGHT)):
        came = [name for each in changes for line in each.added for name in pattern.findall(line)]
        went = {name for each in changes for line in each.removed for name in pattern.findall(line)}
        if new := [name for name in dict.fromkeys(came) if name not in went]:
            return f"{verb} {_list(new, 2)}"
    return ""


def _about_packages(changes: Sequence[Change], room: int) -> list[str]:
    files = [change for change in changes if _kind(change.path) == "build"]
    now = _packages(line for each in files for line in each.added)
    before = _packages(line for each in files for line in each.removed)
    bumped = [f"{name} to {now[name]}" for name in now if name in before and before[name] != now[name]]
    came, went = [name for name in now if name not in before], [name for name in before if name not in now]
    out: list[str] = []
    if came:
        out.append(_fit("depend on", came, room))
    if bumped:
        out.append(_fit("bump", bumped, room))
    if went:
        out.append(_fit("drop", went, room))
    return out


def _about_files(changes: Sequence[Change], room: int) -> list[str]:
    """Where whole files were renamed or deleted and nothing else happened."""
    names = [PurePosixPath(change.path).name for change in changes]
    if all(change.status == "deleted" for change in changes):
        return [_fit("remove", names, room)]
    if all(change.status == "renamed" for change in changes):
        first = changes[0]
        old, new = PurePosixPath(first.old), PurePosixPath(first.path)
        if len(changes) > 1:
            return [_fit("move" if old.name == new.name else "rename", names, room)]
        if old.name == new.name:
            return [f"move {new.name} to {new.parent}"]
        return [f"rename {old.name} to {new.name}"]
    return []


def _fit(verb: str, names: Sequence[str], room: int) -> str:
    """`verb` and as many of the names as there is room for; empty when not even one fits."""
    unique = list(dict.fromkeys(names))
    for count in range(min(len(unique), 4), 0, -1):
        text = f"{verb} {_list(unique, count)}"
        if len(text) <= room:
            return text
    return ""


def _list(names: Sequence[str], count: int = 4) -> str:
    shown, rest = list(names[:count]), len(names) - count
    if rest > 0:
        return ", ".join(shown) + f" and {rest} more"
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _body(changes: Sequence[Change]) -> str:
    """A line for each file; empty when the subject says it all."""
    if len(changes) == 1:
        symbols = symbols_of(changes[0])
        if changes[0].status == "deleted" or len(symbols.added) + len(symbols.removed) + len(symbols.changed) <= 1:
            return ""
    lines = [_line(change) for change in changes[:BODY_LINES]]
    if len(changes) > BODY_LINES:
        lines.append(f"- and {len(changes) - BODY_LINES} more files")
    return "\n".join(lines)


def _line(change: Change) -> str:
    if change.hidden:
        return f"- {change.path}: not shown, it may hold secrets"
    said: list[str] = []
    if change.status == "renamed":
        said.append(f"renamed from {change.old}")
    elif change.status != "changed":
        said.append({"added": "new", "deleted": "removed"}[change.status])
    if change.binary:
        said.append("binary")
    if change.status != "deleted":
        symbols = symbols_of(change)
        for verb, names in (("add", symbols.added), ("remove", symbols.removed), ("change", symbols.changed)):
            if names:
                said.append(f"{verb} {_list(names, 5)}")
    numbers = f" (+{len(change.added)} −{len(change.removed)})" if change.added or change.removed else ""
    return f"- {change.path}: {'; '.join(said) or 'changed'}{numbers}"
