"""`nanoide session …`: one session."""

from collections.abc import Callable

import click

from nanoide.cli import printer
from nanoide.cli.door import connected, here, run_async
from nanoide.cli.sessions import session_object
from nanoide.cli.turns import attempt_object, cost, usage_object
from nanoide.core.events import SessionId
from nanoide.core.session import Session, Turn
from nanoide.wire import (
    Done,
    FindSession,
    HideSession,
    OpenSession,
    ParkSession,
    RemoveSession,
    RenameSession,
    Request,
    WakeSession,
)


@click.group()
def command() -> None:
    """One session; NAME is its number, its name or its id."""


@command.command()
@click.argument("skill")
@click.option("--name", default="", help="What it is called; by default the skill and its number.")
@click.option("--route", default="", help="The route it uses.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def new(skill: str, name: str, route: str, as_json: bool) -> int:
    """Open a session bound to SKILL in the current folder."""
    session = run_async(_open(OpenSession(skill=skill, folder=here(), name=name, route=route)))
    if as_json:
        printer.json_object(session_object(session))
    else:
        printer.answer(session.name)
    return 0


@command.command()
@click.argument("name")
@click.option("--turns", type=click.IntRange(min=0), default=50, show_default=True, help="How many of the last turns.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(name: str, turns: int, as_json: bool) -> int:
    """Show the session and its last turns."""
    session = run_async(_find(name, turns))
    if as_json:
        printer.json_object(session_object(session) | {"history": [_turn_object(each) for each in session.turns]})
        return 0
    printer.answer(f"{session.number} {session.name} · {session.skill} · {session.state}: {session.reason}")
    printer.answer(f"{session.folder}{' @ ' + session.branch if session.branch else ''}")
    for turn in session.turns:
        printer.answer(f"\n> {turn.asked or ', '.join(turn.inputs) or '(no text)'}")
        if turn.text:
            printer.answer(turn.text)
        printer.answer(f"  {_verdict(turn)}")
    return 0


@command.command()
@click.argument("name")
@click.argument("to")
def rename(name: str, to: str) -> int:
    """Call the session TO from now on."""
    return run_async(_change(name, lambda session: RenameSession(session=session, name=to)))


@command.command()
@click.argument("name")
@click.option("--show", is_flag=True, help="Show it again.")
def hide(name: str, show: bool) -> int:
    """Hide the session's pane, or show it again."""
    return run_async(_change(name, lambda session: HideSession(session=session, hidden=not show)))


@command.command()
@click.argument("name")
def park(name: str) -> int:
    """Free what the session holds in memory."""
    return run_async(_change(name, lambda session: ParkSession(session=session)))


@command.command()
@click.argument("name")
def wake(name: str) -> int:
    """Bring a parked session back."""
    return run_async(_change(name, lambda session: WakeSession(session=session)))


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
def rm(names: tuple[str, ...]) -> int:
    """Delete sessions and their turns; what they cost stays in the ledger."""
    return run_async(_remove(names))


async def _open(request: OpenSession) -> Session:
    async with connected("cli session") as connection:
        return await connection.call(request)


async def _find(name: str, turns: int) -> Session:
    async with connected("cli session") as connection:
        return await connection.call(FindSession(name=name, turns=turns))


async def _change(name: str, request: Callable[[SessionId], Request[Done]]) -> int:
    async with connected("cli session") as connection:
        session = await connection.call(FindSession(name=name, turns=0))
        await connection.call(request(session.id))
    return 0


async def _remove(names: tuple[str, ...]) -> int:
    async with connected("cli session") as connection:
        # All names are looked up first: a mistyped one must not leave half of the work done.
        found = [await connection.call(FindSession(name=name, turns=0)) for name in names]
        for each in dict.fromkeys(session.id for session in found):
            await connection.call(RemoveSession(session=each))
    return 0


def _verdict(turn: Turn) -> str:
    if turn.state == "failed":
        return f"failed: {turn.message}{f' ({turn.hint})' if turn.hint else ''}"
    if turn.state != "done":
        return turn.state
    return f"{turn.backend} · {printer.millis(turn.total_ms)} · {printer.money(turn.cost_nano)}"


def _turn_object(turn: Turn) -> dict[str, object]:
    return {
        "id": turn.id,
        "asked": turn.asked,
        "inputs": list(turn.inputs),
        "at": turn.at.isoformat(),
        "state": turn.state,
        "text": turn.text,
        "backend": turn.backend,
        "where": turn.where,
        "tier": turn.tier,
        "attempts": [attempt_object(each) for each in turn.attempts],
        "passed": [{"backend": each.backend, "reason": each.reason} for each in turn.passed],
        "usage": usage_object(turn.usage),
        "cost_usd": cost(turn.cost_nano),
        "priced": turn.cost_nano is not None,
        "ttft_ms": turn.ttft_ms,
        "total_ms": turn.total_ms,
        "error": turn.error or None,
        "message": turn.message,
        "hint": turn.hint,
    }
