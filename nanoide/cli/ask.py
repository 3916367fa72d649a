"""`nanoide ask SKILL [TEXT]`: one turn, the answer on standard output as it comes."""

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from nanoide.cli import given, printer
from nanoide.cli.consent import Questioner
from nanoide.cli.door import connected, here, is_terminal, run_async
from nanoide.cli.turns import Telling, describe, failure_object, result_object, shown
from nanoide.core.chat import Document
from nanoide.core.document import language_of
from nanoide.core.errors import ERRORS, InputError, Interrupted, NanoideError
from nanoide.core.events import NoticeGiven, TextArrived, TurnCancelled, TurnFailed, TurnFinished, TurnStarted
from nanoide.core.sanitize import Sanitizer
from nanoide.wire import Ask, Input, ShowSkill

if TYPE_CHECKING:
    from nanoide.client.asking import Asking
    from nanoide.client.connection import Connection


@click.command()
@click.argument("skill")
@click.argument("text", required=False, default="")
@click.option("files", "-f", "--file", multiple=True, metavar="FILE", help="Give this file too; - is standard input.")
@click.option("--session", default="", metavar="NAME", help="Go on with this session, or open it.")
@click.option("--route", default="", metavar="NAME", help="Use this route's ladder.")
@click.option("--backend", default="", metavar="NAME", help="Ask this backend alone.")
@click.option("--local-only", is_flag=True, help="Nothing leaves this machine.")
@click.option(
    "--at", default="", metavar="LINE:CHARACTER", help="A place in the one FILE, zero-based, for a completion."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    skill: str,
    text: str,
    files: tuple[str, ...],
    session: str,
    route: str,
    backend: str,
    local_only: bool,
    at: str,
    as_json: bool,
) -> int:
    """Ask SKILL once; TEXT, files and standard input go with the question."""
    folder = here()
    try:
        inputs, document = _gather(files, at, folder)
        request = Ask(
            text=text,
            skill=skill,
            name=session,
            folder=folder,
            inputs=inputs,
            document=document,
            route=route,
            backend=backend,
            egress="local-only" if local_only else None,
            interactive=not as_json and Questioner.possible(),
            ambient=not session,
        )
        return run_async(_ask(request, as_json=as_json))
    except NanoideError as error:
        if not as_json:
            raise
        printer.json_object(failure_object(error, skill=skill))
        return error.exit_code


def _gather(files: tuple[str, ...], at: str, folder: str) -> tuple[tuple[Input, ...], Document | None]:
    inputs = [given.read_file(name, folder) for name in files if name != "-"]
    if (piped := given.read_stdin(wait="-" in files)) is not None:
        inputs.append(piped)
    if not at:
        return tuple(inputs), None
    line, _, character = at.partition(":")
    if not (line.isdecimal() and character.isdecimal()):
        raise InputError(f"--at {at!r} is no place", hint="write LINE:CHARACTER, both from 0")
    if len(inputs) != 1:
        raise InputError("--at needs exactly one file", hint="give it with -f")
    (only,) = inputs
    path = only.label if only.kind == "file" else ""
    document = Document(
        path=path, text=only.text or "", line=int(line), character=int(character), language=language_of(path)
    )
    return (), document


async def _ask(request: Ask, *, as_json: bool) -> int:
    from nanoide.client.asking import Asking

    async with connected("cli ask") as connection:
        await _check_given(connection, request)
        asking = await Asking.start(connection, request)
        try:
            return await _follow(connection, asking, request, as_json=as_json)
        except asyncio.CancelledError:
            # Ctrl+C: the answer nobody reads any more must not cost anything more.
            await asyncio.shield(asking.cancel())
            raise


async def _check_given(connection: "Connection", request: Ask) -> None:
    """Raise InputError when nothing was given to a skill that gathers nothing by itself."""
    if request.text.strip() or request.document or any((each.text or "").strip() for each in request.inputs):
        return
    skill = await connection.call(ShowSkill(name=request.skill, folder=request.folder))
    gathers = skill.settings.get("context")
    if isinstance(gathers, list) and "diff" in gathers:
        return  # a change is found in the folder
    what = f"{request.inputs[0].label!r} is empty" if request.inputs else f"{request.skill!r} was given nothing"
    raise InputError(what, hint="give a text, a file with -f, or something on standard input")


async def _follow(connection: "Connection", asking: "Asking", request: Ask, *, as_json: bool) -> int:
    told = Telling(asking.asked.session)
    paper = None if as_json else _Paper()
    noted = set[str]()
    waits = False
    questioner = Questioner(connection)
    async for event in asking.events():
        told.hear(event)
        if request.interactive:
            await questioner.hear(event)
        match event:
            case TurnStarted():
                if paper is not None and not event.after:
                    paper.restart()
                reason = f": {event.reason}" if event.reason else ""
                if event.after:
                    went_on = f"went on with {event.backend}{reason}"
                    if went_on not in noted:
                        printer.note(went_on, below=paper is not None and paper.open)
                    noted.add(went_on)
                elif not waits or not event.reason.startswith("waits "):  # said once, not counted down line by line
                    printer.note(f"{event.backend}{reason}")
                waits = event.reason.startswith("waits ")
            case TextArrived() if paper is not None and request.document is None:
                paper.put(event.text, event.offset)
            case NoticeGiven() if paper is not None:
                printer.complain(event.text)
            case TurnFinished():
                if paper is not None:
                    paper.finish(shown(event.text, request.document))
                    printer.note(describe(event))
                else:
                    printer.json_object(result_object(told, event, request.document))
                return 0
            case TurnFailed():
                error = ERRORS.get(event.error, NanoideError)(event.message, hint=event.hint)
                if paper is None:
                    printer.json_object(failure_object(error, skill=request.skill, told=told, text=event.text))
                    return error.exit_code
                paper.close()
                raise error
            case TurnCancelled():
                if paper is None:
                    raise Interrupted("the turn was stopped")
                paper.close()
                return 130
            case _:
                pass
    return 1  # not reached: `events` ends with one of the three above, or raises


class _Paper:
    """The answer as it is printed: every character once and in order, even when Deltas were dropped."""

    def __init__(self) -> None:
        self._printed = ""
        self._clean = Sanitizer() if is_terminal(1) else None

    @property
    def open(self) -> bool:
        """True while a line stands unfinished on a terminal, where notes would be glued to it."""
        return is_terminal(1) and bool(self._printed) and not self._printed.endswith("\n")

    def put(self, text: str, offset: int) -> None:
        if offset == len(self._printed):
            self._write(text)

    def restart(self) -> None:
        """Another rung begins from nothing; what was printed stays, on a line of its own."""
        self.close()
        self._printed = ""

    def finish(self, text: str) -> None:
        if not text.startswith(self._printed):
            self.restart()
        self._write(text[len(self._printed) :])
        self.close()

    def close(self) -> None:
        if self._printed and not self._printed.endswith("\n"):
            sys.stdout.write("\n")
        sys.stdout.flush()

    def _write(self, text: str) -> None:
        self._printed += text
        sys.stdout.write(printer.encodable(text if self._clean is None else self._clean.feed(text)))
        sys.stdout.flush()
