"""`nanoide sessions`: every session in one line each."""

from datetime import UTC, datetime
from typing import get_args

import click

from nanoide.cli import printer
from nanoide.cli.door import connected, run_async
from nanoide.core.session import GLYPHS, Session, State
from nanoide.core.usage import usd
from nanoide.wire import Attach


@click.command()
@click.option("--state", type=click.Choice(get_args(State)), help="Only those in this state.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(state: State | None, as_json: bool) -> int:
    """List all sessions."""
    found = [each for each in run_async(_sessions()) if state is None or each.state == state]
    found.sort(key=lambda each: each.number)
    if as_json:
        printer.json_object({"sessions": [session_object(each) for each in found]})
        return 0
    if not found:
        printer.note("no session" if state is None else f"no session is {state}")
        return 0
    now = datetime.now(UTC)
    rows = [
        (
            str(each.number),
            f"{GLYPHS[each.state]} {each.state}",
            each.name,
            each.skill,
            each.backend or "–",
            str(each.turn_count),
            printer.money(each.cost_nano, unpriced=each.unpriced),
            age(now, each.since),
            each.reason,
        )
        for each in found
    ]
    head = ("#", "STATE", "NAME", "SKILL", "BACKEND", "TURNS", "COST", "FOR", "REASON")
    printer.table(head, rows, right=(0, 5, 6, 7))
    return 0


def session_object(session: Session) -> dict[str, object]:
    """A session's outline, with stable keys."""
    return {
        "id": session.id,
        "number": session.number,
        "name": session.name,
        "skill": session.skill,
        "state": session.state,
        "reason": session.reason,
        "since": session.since.isoformat(),
        "created": session.created.isoformat(),
        "folder": session.folder,
        "branch": session.branch,
        "route": session.route,
        "backend": session.backend,
        "hidden": session.hidden,
        "pinned": session.pinned,
        "ambient": session.ambient,
        "turns": session.turn_count,
        "tokens": session.tokens,
        "cost_usd": usd(session.cost_nano),
        "unpriced": session.unpriced,
    }


def age(now: datetime, since: datetime) -> str:
    """How long ago, in the largest unit: "12s", "5m", "3h", "2d"."""
    seconds = max(0, int((now - since).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


async def _sessions() -> tuple[Session, ...]:
    async with connected("cli sessions") as connection:
        return (await connection.call(Attach())).sessions
