"""`nanoide complete FILE LINE CHARACTER`: an inline completion at a position, as an editor would ask for it."""

import click

from nanoide.cli import given, printer
from nanoide.cli.door import connected, here, run_async
from nanoide.cli.turns import attempt_object, cost, failure_object, usage_object
from nanoide.core.chat import Document
from nanoide.core.document import language_of
from nanoide.core.errors import NanoideError
from nanoide.wire import Complete, Completed


@click.command()
@click.argument("file")
@click.argument("line", type=click.IntRange(min=0))
@click.argument("character", type=click.IntRange(min=0))
@click.option("--backend", default="", metavar="NAME", help="Ask this backend alone.")
@click.option("--local-only", is_flag=True, help="Nothing leaves this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: str, line: int, character: int, backend: str, local_only: bool, as_json: bool) -> int:
    """Complete FILE at LINE and CHARACTER, both zero-based, as LSP counts (UTF-16)."""
    folder = here()
    try:
        text = given.read_file(file, folder)
        document = Document(
            path=text.label, text=text.text or "", line=line, character=character, language=language_of(text.label)
        )
        request = Complete(
            document=document, folder=folder, backend=backend, egress="local-only" if local_only else None
        )
        done = run_async(_complete(request))
    except NanoideError as error:
        if not as_json:
            raise
        printer.json_object(failure_object(error, skill="inline-completion"))
        return error.exit_code
    if as_json:
        printer.json_object(completed_object(done))
    else:
        printer.answer(done.text)
    return 0


def completed_object(done: Completed) -> dict[str, object]:
    """A completion as `--json` prints it."""
    return {
        "skill": "inline-completion",
        "text": done.text,
        "backend": done.backend,
        "where": done.where,
        "tier": done.tier,
        "attempts": [attempt_object(each) for each in done.attempts],
        "usage": usage_object(done.usage),
        "cost_usd": cost(done.cost_nano),
        "priced": done.cost_nano is not None,
        "ttft_ms": done.ttft_ms,
        "total_ms": done.total_ms,
    }


async def _complete(request: Complete) -> Completed:
    async with connected("cli complete") as connection:
        return await connection.call(request)
