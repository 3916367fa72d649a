"""`nanoide doctor`: what works, what does not, and the one command that mends it."""

import os
import platform
import sys
from pathlib import Path

import click
import msgspec

from nanoide import __version__
from nanoide.cli import printer
from nanoide.cli.door import connected, places, run_async
from nanoide.cli.skills import print_checks
from nanoide.core.errors import NanoideError
from nanoide.paths import Paths
from nanoide.wire import Check, Examine


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> int:
    """Look at everything that nanoide needs; exits 1 when something essential does not work."""
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
            told = run_async(_examine())
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


async def _examine() -> tuple[Check, ...]:
    async with connected("cli doctor") as connection:
        return await connection.call(Examine())
