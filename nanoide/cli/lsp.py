"""`nanoide lsp`: the language server on standard input and output."""

import click

from nanoide.cli.door import Doors, places


@click.command()
@click.option("--stdio", is_flag=True, help="Accepted for editors that add it; there is no other way.")
@click.pass_obj
def command(doors: Doors, stdio: bool) -> int:
    """Serve inline completion to an editor."""
    return doors.lsp(places())
