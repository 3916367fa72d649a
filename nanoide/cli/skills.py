"""`nanoide skills …`: what can be asked."""

import json
import re
from pathlib import Path

import click
import msgspec

from nanoide.cli import printer
from nanoide.cli.door import connected, here, places, run_async
from nanoide.core.errors import InputError, UsageError
from nanoide.wire import Check, CheckSkill, ListSkills, ShowSkill, SkillLine, SkillText

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

_SKILL = """\
---
name: {name}
description: Say in one sentence what {name} does and when to use it.
---
Do exactly one thing with what is given. Answer with the result alone: no greeting, no explanation.
"""

_OWN = """\
# What is nanoide's own; docs: see "Skills". Every key may be left out.
context = ["selection", "file"]   # what to gather: selection, file, diff, query
max_output = 256                  # tokens
temperature = 0.2
"""


@click.group()
def command() -> None:
    """Skills: what a session can be asked to do."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_skills(as_json: bool) -> int:
    """List all skills seen from the current folder."""
    lines = run_async(_lines(here()))
    if as_json:
        printer.json_object({"skills": [msgspec.to_builtins(each) for each in lines]})
        return 0
    rows = [
        (
            each.name,
            each.where,
            each.route or "default",
            each.egress or "as the route",
            "yes" if each.reflex else "–",
            f"✗ {each.problem}" if each.problem else each.description,
        )
        for each in lines
    ]
    printer.table(("NAME", "FROM", "ROUTE", "EGRESS", "REFLEX", "WHAT IT DOES"), rows)
    return 0


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(name: str, as_json: bool) -> int:
    """Show one skill, whole."""
    skill = run_async(_text(name, here()))
    if as_json:
        printer.json_object(
            {**msgspec.structs.asdict(skill.line), "instruction": skill.instruction, "settings": skill.settings}
        )
        return 0
    printer.answer(f"{skill.line.name} ({skill.line.where}, {skill.line.folder})\n{skill.line.description}\n")
    for key, value in skill.settings.items():
        printer.answer(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    printer.answer(f"\n{skill.instruction}")
    return 0


@command.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(path: str, as_json: bool) -> int:
    """Check the skill in the folder PATH, or of that name; exits 1 when something is wrong with it."""
    folder = here()
    place = Path(folder, path)
    checks = run_async(_check(path, folder, place.resolve() if place.is_dir() else None))
    good = all(each.ok for each in checks)
    if as_json:
        printer.json_object({"ok": good, "checks": [msgspec.to_builtins(each) for each in checks]})
    else:
        print_checks(checks)
    return 0 if good else 1


@command.command()
@click.argument("name")
@click.option("--here", "local", is_flag=True, help="In the current folder, instead of among your own skills.")
def new(name: str, local: bool) -> int:
    """Make a skill's skeleton, which works as it is."""
    if not _NAME.fullmatch(name) or len(name) > 64:
        raise UsageError(f"{name!r} is no skill name", hint="1 to 64 lowercase letters and digits, single hyphens")
    folder = Path(here()) / name if local else places().skills / name
    if folder.exists():
        raise UsageError(f"{str(folder)!r} is there already", hint="choose another name")
    for each in reversed([folder, *(parent for parent in folder.parents if not parent.exists())]):
        each.mkdir(mode=0o700)
    (folder / "SKILL.md").write_text(_SKILL.format(name=name), encoding="utf-8")
    (folder / "nanoide.toml").write_text(_OWN, encoding="utf-8")
    printer.answer(str(folder))
    return 0


def print_checks(checks: tuple[Check, ...]) -> None:
    """One line each: ok or not, what, and the command that mends it."""
    for each in checks:
        mend = f"\n    {each.mend}" if each.mend else ""
        printer.answer(f"{'ok' if each.ok else '✗ '} {each.name}: {each.detail}{mend}")


async def _lines(folder: str) -> tuple[SkillLine, ...]:
    async with connected("cli skills") as connection:
        return await connection.call(ListSkills(folder=folder))


async def _text(name: str, folder: str) -> SkillText:
    async with connected("cli skills") as connection:
        return await connection.call(ShowSkill(name=name, folder=folder))


async def _check(name: str, folder: str, place: Path | None) -> tuple[Check, ...]:
    async with connected("cli skills") as connection:
        if place is None:
            lines = await connection.call(ListSkills(folder=folder))
            named = [line.folder for line in lines if line.name == name]
            if not named:
                raise InputError(f"{name!r} is neither a folder nor a skill", hint="name the folder with SKILL.md")
            place = Path(named[0])
        return await connection.call(CheckSkill(path=str(place)))
