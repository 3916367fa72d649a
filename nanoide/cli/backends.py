"""`nanoide backends`: who can answer, how they are, and what happens when one of them is cut off."""

from datetime import UTC, datetime

import click
import msgspec

from nanoide.cli import printer
from nanoide.cli.door import connected, run_async
from nanoide.cli.drill import command as drill
from nanoide.wire import BackendLine, HubStatus, ListBackends, ReadStatus


@click.group(invoke_without_command=True)
@click.option("--probe", is_flag=True, help="Ask each of them now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, probe: bool, as_json: bool) -> int:
    """List the backends with their health; `drill` cuts one off to see what happens."""
    if context.invoked_subcommand is not None:
        return 0
    status, lines = run_async(_backends(ListBackends(probe=probe)))
    if as_json:
        printer.json_object(
            {
                "mode": status.mode,
                "reason": status.mode_reason,
                "backend": status.mode_backend,
                "since": None if status.mode_since is None else status.mode_since.isoformat(),
                "next_probe_s": status.next_probe_s,
                "backends": [msgspec.to_builtins(each) for each in lines],
            }
        )
        return 0
    rows = [
        (
            each.name,
            each.kind,
            each.where,
            each.state,
            each.breaker,
            each.model or "–",
            "–" if each.recovers_in_s is None else f"{each.recovers_in_s:.0f} s",
            each.reason,
        )
        for each in lines
    ]
    printer.answer(standing(status, datetime.now(UTC)) + "\n")
    printer.table(("NAME", "KIND", "WHERE", "STATE", "BREAKER", "MODEL", "BACK IN", "REASON"), rows, right=(6,))
    return 0


command.add_command(drill, "drill")


def standing(status: HubStatus, now: datetime) -> str:
    """How the default ladder stands, since when, why, and when that is tried again, in one line."""
    text = status.mode
    if status.mode_since is not None:
        text += f" since {status.mode_since.astimezone():%H:%M:%S} ({_age((now - status.mode_since).total_seconds())})"
    if status.mode_reason:
        text += f" · {status.mode_reason}"
    if status.next_probe_s is not None:
        text += f" · tried again {_next(status.next_probe_s)}"
    return text


def _next(seconds: float) -> str:
    return f"in {seconds:.0f} s" if seconds >= 0.5 else "by the next question"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


async def _backends(request: ListBackends) -> tuple[HubStatus, tuple[BackendLine, ...]]:
    async with connected("cli backends") as connection:
        lines = await connection.call(request)
        return await connection.call(ReadStatus()), lines
