"""`nanoide egress`: what left this machine, and what may leave it without being asked again."""

from datetime import UTC, datetime, timedelta
from typing import TypeVar

import click
import msgspec

from nanoide.cli import printer
from nanoide.cli.door import connected, run_async
from nanoide.cli.usage import since_when
from nanoide.wire import ForgetGrant, ListGrants, ReadEgress, Request

T = TypeVar("T")


@click.group(invoke_without_command=True)
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1_000_000),
    default=200,
    show_default=True,
    help="How many, the latest first.",
)
@click.option("--since", default="", metavar="D", help="A date, a time, or an age such as 12h, 7d, 4w.")
@click.option("--session", default="", metavar="NAME", help="Of this session alone: its number, name or id.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, limit: int, since: str, session: str, as_json: bool) -> int:
    """List what left this machine: when, to whom, for which session and skill, how much, what was hidden."""
    if context.invoked_subcommand is not None:
        return 0
    now = datetime.now().astimezone()
    start = since_when(since, now)
    request = ReadEgress(
        limit=limit,
        since=None if start is None else start.astimezone(UTC).isoformat(),
        session=session,
        tz_minutes=int((now.utcoffset() or timedelta()).total_seconds() // 60),
    )
    lines = run_async(_ask(request))
    if as_json:
        printer.json_object({"egress": [msgspec.to_builtins(each) for each in lines]})
        return 0
    if not lines:
        what = "since then " if since else ""
        printer.answer(f"nothing has left this machine {what}{'for this session' if session else ''}".rstrip())
        return 0
    rows = [
        (
            each.at,
            each.backend,
            each.host,
            each.where,
            each.label or each.session or "–",
            each.skill or "–",
            f"{each.bytes:,}",
            "; ".join(each.hidden) or "–",
        )
        for each in lines
    ]
    printer.table(("AT", "BACKEND", "HOST", "WHERE", "SESSION", "SKILL", "BYTES", "HIDDEN"), rows, right=(6,))
    return 0


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def grants(as_json: bool) -> int:
    """List what you allowed for good: this skill may send to this backend at this host."""
    lines = run_async(_ask(ListGrants()))
    if as_json:
        printer.json_object({"grants": [msgspec.to_builtins(each) for each in lines]})
    elif lines:
        printer.table(("SKILL", "BACKEND", "HOST", "SINCE"), [(e.skill, e.backend, e.host, e.at) for e in lines])
    else:
        printer.answer("nothing is allowed for good: every prompt that would leave is asked for")
    return 0


@command.command()
@click.argument("skill")
@click.argument("backend")
def forget(skill: str, backend: str) -> int:
    """Take such a yes back: SKILL asks again before it sends anything to BACKEND."""
    run_async(_ask(ForgetGrant(skill=skill, backend=backend)))
    printer.note(f"{skill} asks again before anything goes to {backend}")
    return 0


async def _ask(request: Request[T]) -> T:
    async with connected("cli egress") as connection:
        return await connection.call(request)
