"""`nanoide backends`: who can answer, and how they are."""

import click
import msgspec

from nanoide.cli import printer
from nanoide.cli.door import connected, run_async
from nanoide.wire import BackendLine, ListBackends


@click.command()
@click.option("--probe", is_flag=True, help="Ask each of them now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(probe: bool, as_json: bool) -> int:
    """List the backends with their health."""
    lines = run_async(_backends(ListBackends(probe=probe)))
    if as_json:
        printer.json_object({"backends": [msgspec.to_builtins(each) for each in lines]})
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
    printer.table(("NAME", "KIND", "WHERE", "STATE", "BREAKER", "MODEL", "BACK IN", "REASON"), rows, right=(6,))
    return 0


async def _backends(request: ListBackends) -> tuple[BackendLine, ...]:
    async with connected("cli backends") as connection:
        return await connection.call(request)
