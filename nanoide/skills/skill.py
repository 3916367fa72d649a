"""SKILL.md and nanoide.toml → a frozen Skill, checked down to the last key.

SKILL.md follows the Agent Skills standard and loads unchanged in other tools; nanoide.toml beside it
holds what is nanoide's own. A SKILL.md alone works, with defaults.
"""

import re
from pathlib import Path
from typing import Literal, cast

import msgspec

from nanoide.core.errors import SkillError
from nanoide.core.policy import Egress
from nanoide.core.value import Value

Origin = Literal["bundled", "user", "agents", "project"]
"""Where a skill was found, which says how far it is trusted."""

Ingredient = Literal["selection", "file", "diff", "query"]
"""What a skill may ask to have gathered; what the person gives by hand comes in any case."""

Action = Literal["none", "insert", "patch", "write", "commit", "copy", "run"]

MANIFEST = "SKILL.md"
OWN = "nanoide.toml"

_SIZE_LIMIT = 256 * 1024
"""Bytes of either file; more is not a skill but something else under its name."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FRONT = re.compile(
    r"\A\ufeff?---[ \t]*\r?\n(?P<front>.*?)^---[ \t]*(?:\r?\n|\Z)(?P<body>.*)\Z", re.DOTALL | re.MULTILINE
)


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a skill runs by itself."""

    on_save: str = ""
    """A glob over the saved file's path; empty means never."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """nanoide.toml: an unknown key is an error."""

    context: tuple[Ingredient, ...] = ()
    """What to gather; what the person gives by hand (files, a selection, standard input) is always used."""
    route: str = ""
    """Of config.toml; empty means "default"."""
    egress: Egress | None = None
    """May narrow the route's policy, never widen it; None says nothing."""
    max_output: int = 256
    """Tokens."""
    temperature: float = 0.2
    stop: tuple[str, ...] = ()
    session: Literal["fresh", "keep"] = "fresh"
    """fresh: each turn starts clean. keep: earlier turns are part of the prompt, within its window."""
    mode: Literal["chat", "fill"] = "chat"
    """fill: the answer goes in at a place in a document, and a model that completes may give it."""
    trigger: Trigger = Trigger()
    action: Action = "none"
    reflex: str = ""
    """A Python file in the skill's folder with `answer(context) -> str`; empty when there is none."""


class Skill(Value, frozen=True):
    """One micro-task. The fields after `where` are those of `Table`."""

    name: str
    description: str
    instruction: str
    """The body of SKILL.md: the system prompt."""
    folder: str
    """Absolute."""
    where: Origin
    context: tuple[Ingredient, ...] = ()
    route: str = ""
    egress: Egress | None = None
    max_output: int = 256
    temperature: float = 0.2
    stop: tuple[str, ...] = ()
    session: Literal["fresh", "keep"] = "fresh"
    mode: Literal["chat", "fill"] = "chat"
    trigger: Trigger = Trigger()
    action: Action = "none"
    reflex: str = ""
    """Absolute path of the script; empty when there is none."""


def load(folder: Path, where: Origin) -> Skill:
    """The skill in `folder`. Raises SkillError that names the file and what is wrong with it."""
    manifest = folder / MANIFEST
    name, description, instruction = _manifest(manifest, _read(manifest, folder))
    if name != folder.name:
        raise SkillError(
            f"{manifest}: name {name!r} is not the folder's name {folder.name!r}", hint="make the two the same"
        )
    own = folder / OWN
    table = _table(own, _read(own, folder)) if own.is_symlink() or own.exists() else Table()
    return Skill(
        name=name,
        description=description,
        instruction=instruction,
        folder=str(folder),
        where=where,
        context=table.context,
        route=table.route,
        egress=table.egress,
        max_output=table.max_output,
        temperature=table.temperature,
        stop=table.stop,
        session=table.session,
        mode=table.mode,
        trigger=table.trigger,
        action=table.action,
        reflex=_reflex(own, folder, table.reflex, where),
    )


def settings(skill: Skill) -> dict[str, object]:
    """nanoide.toml as it is in force, defaults filled in."""
    out: dict[str, object] = {field: getattr(skill, field) for field in Table.__struct_fields__}
    out["context"] = list(skill.context)
    out["stop"] = list(skill.stop)
    out["trigger"] = {"on_save": skill.trigger.on_save} if skill.trigger.on_save else {}
    out["reflex"] = Path(skill.reflex).name if skill.reflex else ""
    return out


def _read(path: Path, folder: Path) -> str:
    """The text of `path`. It must be a plain file: a link could bring in what was never looked at."""
    try:
        if path.is_symlink() or not path.is_file():
            what = "is a symbolic link" if path.is_symlink() else "is missing"
            raise SkillError(f"{path}: {what}", hint=f"a skill is a folder with a plain file {path.name}")
        if path.stat().st_size > _SIZE_LIMIT:
            raise SkillError(f"{path}: over the limit of {_SIZE_LIMIT:,} bytes")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SkillError(f"{path}: is not UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise SkillError(f"{path}: cannot be read: {error.strerror}", hint=f"look at {folder}") from error


def _manifest(path: Path, text: str) -> tuple[str, str, str]:
    """Name, description and body of a SKILL.md."""
    import yaml

    parts = _FRONT.match(text)
    if parts is None:
        raise SkillError(f"{path}: has no front matter", hint="begin it with ---, name, description, ---")
    try:
        front: object = yaml.safe_load(parts["front"])
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 2})" if mark is not None else ""
        problem: str = getattr(error, "problem", None) or "cannot be parsed"
        raise SkillError(
            f"{path}: front matter{line}: {problem}", hint="put quotes around a value with ': '"
        ) from error
    if not isinstance(front, dict):
        raise SkillError(f"{path}: front matter is no table of keys and values")
    keys = cast("dict[object, object]", front)
    for key in ("license", "compatibility", "allowed-tools"):
        if key in keys and not isinstance(keys[key], str):
            raise SkillError(f"{path}: {key!r} is a text")
    if "metadata" in keys and not isinstance(keys["metadata"], dict):
        raise SkillError(f"{path}: 'metadata' is a table")
    name = keys.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 64:
        raise SkillError(
            f"{path}: name {name!r} does not fit", hint="1 to 64 lowercase letters and digits, single hyphens between"
        )
    description = keys.get("description")
    if not isinstance(description, str) or not 1 <= len(description.strip()) <= 1024:
        raise SkillError(f"{path}: 'description' is a text of 1 to 1024 characters")
    return name, description.strip(), parts["body"].strip()


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`(?: - at `\$\.?(?P<at>[^`]*)`)?")
_AT = re.compile(r"(?P<what>.*?) - at `\$\.?(?P<at>[^`]*)`")


def _table(path: Path, text: str) -> Table:
    try:
        table = msgspec.toml.decode(text, type=Table)
    except msgspec.ValidationError as error:
        raise SkillError(f"{path}: {_explain(str(error))}") from error
    except msgspec.DecodeError as error:
        raise SkillError(f"{path}: is no TOML: {error}") from error
    if not 1 <= table.max_output <= 32_768:
        raise SkillError(f"{path}: key 'max_output' is {table.max_output}; allowed: 1 to 32768")
    if not 0 <= table.temperature <= 2:
        raise SkillError(f"{path}: key 'temperature' is {table.temperature}; allowed: 0 to 2")
    if len(table.stop) > 16 or not all(table.stop):
        raise SkillError(f"{path}: key 'stop' takes at most 16 texts, none of them empty")
    return table


def _explain(text: str) -> str:
    """Say msgspec's complaint with the key and what is allowed there."""
    if unknown := _UNKNOWN.match(text):
        at = unknown["at"] or ""
        allowed = Trigger.__struct_fields__ if at == "trigger" else Table.__struct_fields__
        key = f"{at}.{unknown['field']}" if at else unknown["field"]
        return f"unknown key {key!r}; allowed: {', '.join(allowed)}"
    if at := _AT.match(text):
        return f"key {at['at']!r}: {at['what'][0].lower()}{at['what'][1:]}"
    return text


def _reflex(own: Path, folder: Path, name: str, where: Origin) -> str:
    """The absolute path of the reflex: a plain file in the skill's own folder, of a skill that may run code."""
    if not name:
        return ""
    if where not in {"bundled", "user"}:
        raise SkillError(
            f"{own}: key 'reflex': a {where} skill may not bring code to run",
            hint="remove the key, or make the skill your own by copying it into your skills folder",
        )
    script = folder / name
    if Path(name).name != name or not name.endswith(".py"):
        raise SkillError(f"{own}: key 'reflex': {name!r} is not the name of a .py file in this folder")
    if script.is_symlink():
        raise SkillError(f"{own}: key 'reflex': {name!r} is a symbolic link", hint="put the file itself here")
    if not script.is_file():
        raise SkillError(f"{own}: key 'reflex': there is no file {name!r} in {folder}")
    return str(script)
