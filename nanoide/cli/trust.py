"""`nanoide trust [PATH]`: use the skills that a project brings with it."""

from pathlib import Path

import click

from nanoide.cli import printer
from nanoide.cli.door import connected, here, run_async
from nanoide.core.errors import InputError
from nanoide.wire import Trust


@click.command()
@click.argument("path", default=".")
def command(path: str) -> int:
    """Use the skills that the project at PATH brings with it, as they are now."""
    folder = Path(here(), path)
    if not folder.is_dir():
        raise InputError(f"{path!r} is no folder", hint="name the project's folder")
    run_async(_trust(str(folder.resolve())))
    printer.note(f"trusted: {folder}")
    return 0


async def _trust(folder: str) -> None:
    async with connected("cli trust") as connection:
        await connection.call(Trust(folder=folder))
