"""`nanoide doctor`: what works, what does not, and the one command that mends it."""

import os
import platform
import sys
from pathlib import Path

import click
import msgspec

from nanoide import __version__
from nanoide.cli import printer
from nanoide.cli.door import connected, here, is_terminal, places, run_async
from nanoide.cli.skills import print_checks
from nanoide.core.errors import NanoideError, UsageError
from nanoide.paths import Paths
from nanoide.wire import Check, Discover, Examine, PlanSetUp, SetUp, SetUpPlan


@click.command()
@click.option(
    "--set-up", "set_up", is_flag=True, help="Show the lines for what was found, and write them if you agree."
)
@click.option("--yes", is_flag=True, help="With --set-up: agree beforehand.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(set_up: bool, yes: bool, as_json: bool) -> int:
    """Look at everything that nanoide needs; exits 1 when something essential does not work."""
    if set_up:
        return _set_up(_folder(), agreed=yes, as_json=as_json)
    if yes:
        raise UsageError("--yes goes with --set-up")
    own = _machine()
    try:
        paths = places()
    except NanoideError as error:
        own.append(_broken("places", error))
        return _print(own, (), as_json=as_json)
    own += _places(paths)
    own.append(_settings(paths))
    told: tuple[Check, ...] = ()
    if all(each.ok for each in own):
        try:
            told = run_async(_examine(_folder()))
            own.append(Check(name="hub", ok=True, detail="answers"))
        except NanoideError as error:
            own.append(_broken("hub", error, mend="nanoide hub log"))
    return _print(own, told, as_json=as_json)


def _print(own: list[Check], told: tuple[Check, ...], *, as_json: bool) -> int:
    """What the hub tells of single rungs and skills is worth knowing, but it works without any one of them."""
    said = {each.name for each in own}
    told = tuple(each for each in told if not (each.ok and each.name in said))
    good = all(each.ok for each in (*own, *told) if _essential(each, own))
    if as_json:
        checks = [msgspec.structs.asdict(each) | {"essential": _essential(each, own)} for each in (*own, *told)]
        printer.json_object({"ok": good, "checks": checks})
    else:
        print_checks((*own, *told))
    return 0 if good else 1


def _essential(check: Check, own: list[Check]) -> bool:
    return check in own or check.name in {"database", "config"}


def _machine() -> list[Check]:
    found = f"{platform.python_version()} at {sys.executable}"
    return [
        Check(name="nanoide", ok=True, detail=f"{__version__} in {Path(__file__).parents[1]}"),
        Check(
            name="python",
            ok=sys.version_info >= (3, 11),
            detail=found,
            mend="" if sys.version_info >= (3, 11) else "uv python install 3.13",
        ),
        Check(
            name="platform",
            ok=os.name == "posix",
            detail=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        ),
    ]


def _places(paths: Paths) -> list[Check]:
    checks: list[Check] = []
    try:
        paths.prepare()
        for folder in dict.fromkeys((paths.database.parent, paths.log, paths.socket.parent)):
            probe = folder / f".doctor-{os.getpid()}"
            probe.touch(mode=0o600)
            probe.unlink()
        checks.append(Check(name="places", ok=True, detail=f"state in {paths.database.parent}"))
    except NanoideError as error:
        checks.append(_broken("places", error))
    except OSError as error:
        checks.append(
            Check(
                name="places",
                ok=False,
                detail=f"{error.filename}: {error.strerror}",
                mend="NANOIDE_HOME=/a/folder/of/yours nanoide",
            )
        )
    checks.append(Check(name="socket", ok=True, detail=f"{paths.socket} ({len(os.fsencode(paths.socket))} bytes)"))
    return checks


def _settings(paths: Paths) -> Check:
    from nanoide.settings import load

    try:
        settings = load(paths.config)
    except NanoideError as error:
        return _broken("config", error, mend=f"${{EDITOR:-vi}} {paths.config}")
    there = "" if paths.config.exists() else " is not there, which is fine"
    names = ", ".join(each.name for each in settings.backends())
    return Check(name="config", ok=True, detail=f"{paths.config}{there}; backends: {names}")


def _broken(name: str, error: NanoideError, *, mend: str = "") -> Check:
    return Check(name=name, ok=False, detail=str(error) if not mend else error.message, mend=mend)


async def _examine(folder: str) -> tuple[Check, ...]:
    async with connected("cli doctor") as connection:
        return await connection.call(Examine(folder=folder))


def _folder() -> str:
    """The current folder, whose models are told too; empty when there is none, which is no reason not to look."""
    try:
        return here()
    except UsageError:
        return ""


def _set_up(folder: str, *, agreed: bool, as_json: bool) -> int:
    plan = run_async(_plan(folder))
    if not as_json:
        _show(plan)
    if plan.text and not (agreed or as_json):
        agreed = _agrees()
    write = bool(plan.text) and agreed
    if write:
        run_async(_write(plan))
    if as_json:
        printer.json_object({"config": plan.config, "text": plan.text, "note": plan.note, "written": write})
        return 0
    if write:
        printer.answer(f"\nwritten to {plan.config}; the hub has taken it up")
    elif plan.text:
        printer.answer("nothing was written")
    return 0 if write or not plan.text else 1


async def _plan(folder: str) -> SetUpPlan:
    async with connected("cli doctor") as connection:
        await connection.call(Discover(folder=folder))
        return await connection.call(PlanSetUp())


async def _write(plan: SetUpPlan) -> None:
    async with connected("cli doctor") as connection:
        await connection.call(SetUp(text=plan.text, before=plan.before))


def _show(plan: SetUpPlan) -> None:
    if not plan.text:
        printer.answer("nothing was found that is not set up already")
        return
    printer.answer(f"appended to {plan.config}:\n")
    printer.answer(plan.text.strip("\n"))
    if plan.note:
        printer.answer(f"\n{plan.note}")


def _agrees() -> bool:
    """The person's answer, on a terminal. Raises UsageError where nobody can be asked."""
    if not (is_terminal(1) and sys.stdin is not None and sys.stdin.isatty()):
        raise UsageError("nothing was written: nobody can be asked here", hint="--yes agrees beforehand")
    return click.confirm("\nwrite this?", default=False)
