"""`nanoide gateway --port N`: OpenAI-compatible HTTP on this machine, for programs that speak nothing else."""

import sys
from pathlib import Path

import click

from nanoide.cli import printer
from nanoide.cli.door import Doors, places


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), required=True, metavar="N", help="0 takes any that is free.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Holds the bearer token; made when there is none. By default in the state folder.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Nothing but loopback is accepted.")
@click.pass_obj
def command(doors: Doors, port: int, token_file: Path | None, host: str) -> int:
    """Answer OpenAI's protocol on 127.0.0.1 until stopped: /v1, /infill, /health, /metrics."""
    return doors.gateway(places(), host, port, token_file, _say)


def _say(line: str) -> None:
    printer.answer(line)
    sys.stdout.flush()
