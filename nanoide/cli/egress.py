"""`nanoide egress`: what left this machine."""

import click
import msgspec

from nanoide.cli import printer
from nanoide.cli.door import connected, run_async
from nanoide.wire import EgressLine, ReadEgress


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1_000_000),
    default=200,
    show_default=True,
    help="How many, the latest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(limit: int, as_json: bool) -> int:
    """List what left this machine: when, to whom, for which session, how much, what was hidden."""
    lines = run_async(_egress(ReadEgress(limit=limit)))
    if as_json:
        printer.json_object({"egress": [msgspec.to_builtins(each) for each in lines]})
        return 0
    if not lines:
        printer.answer("nothing has left this machine")
        return 0
    rows = [
        (each.at, each.backend, each.host, each.where, each.session, f"{each.bytes:,}", "; ".join(each.hidden) or "–")
        for each in lines
    ]
    printer.table(("AT", "BACKEND", "HOST", "WHERE", "SESSION", "BYTES", "HIDDEN"), rows, right=(5,))
    return 0


async def _egress(request: ReadEgress) -> tuple[EgressLine, ...]:
    async with connected("cli egress") as connection:
        return await connection.call(request)
