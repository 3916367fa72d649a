"""Choose the command, run it, and turn whatever goes wrong into one line and an exit code."""

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module

import click

from nanoide import __version__
from nanoide.cli import door, printer
from nanoide.cli.door import Doors
from nanoide.core.errors import NanoideError, UnknownName, UsageError

COMMANDS: dict[str, str] = {
    "ask": "One question to one skill; the answer streams to standard output.",
    "backends": "Who can answer, and how they are.",
    "complete": "Complete the line at a position of a file.",
    "doctor": "What works, what does not, and what mends it.",
    "egress": "What left this machine.",
    "gateway": "OpenAI-compatible HTTP on this machine, for other programs.",
    "hub": "The hub: run, status, stop, log.",
    "lsp": "Language server on standard input and output.",
    "session": "One session: new, show, rename, hide, park, wake, rm.",
    "sessions": "All sessions.",
    "skills": "Skills: list, show, check, new.",
    "tour": "The main job, once, over the current folder.",
    "trust": "Use the skills that a project brings with it.",
    "usage": "Tokens, money and time, from the ledger.",
    "wait": "Block until sessions are idle, asking, done or failed.",
}
"""Command → what it does. Each is `command` in `nanoide.cli.<name>`, imported only when it is used."""


class LazyGroup(click.Group):
    """The commands of COMMANDS; none of them is imported before it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"nanoide.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but an unknown command comes with the nearest names."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise UnknownName.among("command", name, COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="nanoide", message="%(prog)s %(version)s")
@click.pass_context
def nanoide(context: click.Context) -> int:
    """Many small AI sessions, each doing one micro-task well.

    Alone, on a terminal, it opens the command center; without a terminal it runs the tour.
    """
    if context.invoked_subcommand is not None:
        return 0
    if not (door.is_terminal(1) and sys.stdin is not None and sys.stdin.isatty()):
        from nanoide.cli.tour import run_tour

        return run_tour(as_json=False)
    from nanoide.settings import load

    doors: Doors = context.obj
    paths = door.places()
    return doors.tui(paths, load(paths.config), door.here())


def run(argv: list[str], doors: Doors) -> int:
    """Run one command. Returns the exit code of contract.md; never raises but SystemExit."""
    _open_closed()
    try:
        return _guarded(argv, doors)
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def _open_closed() -> None:
    """Let a standard stream that came closed lead to nowhere, before a file of ours gets its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - lives as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - lives as long as the process


def _guarded(argv: list[str], doors: Doors) -> int:
    as_json = "--json" in argv and "--csv" not in argv  # a command that wants both wants neither for sure
    try:
        code = _dispatch(argv, doors)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help(), err=True)
        return 2
    except click.ClickException as error:
        _tell(UsageError(_click_line(error)), as_json=as_json)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except NanoideError as error:
        _tell(error, as_json=as_json)
        return error.exit_code
    except UnicodeEncodeError:
        # Odd bytes in an argument come in as lone surrogates, and nothing that leaves this process may hold them.
        error = UsageError("a word of the command is not UTF-8", hint="check the terminal's encoding")
        _tell(error, as_json=as_json)
        return error.exit_code
    except BrokenPipeError:
        _silence()
        return 1
    except OSError as error:
        where = f": {error.filename!r}" if error.filename is not None else ""
        if not where and error.errno == errno.ENOSPC:
            where = " behind standard output"
        _tell(NanoideError(f"{(error.strerror or str(error)).lower()}{where}"), as_json=as_json)
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence: told in one line, kept whole in the log
        fault = NanoideError(f"internal error: {type(error).__name__}: {error}", hint=_keep(error))
        _tell(fault, as_json=as_json)
        return 1
    return code


def _tell(error: NanoideError, *, as_json: bool) -> None:
    """What went wrong: one line for a person, one object for a script that asked for JSON."""
    try:
        if as_json:
            printer.json_object({"error": type(error).__name__, "message": error.message, "hint": error.hint})
        else:
            printer.complain(str(error))
    except OSError:  # nobody reads it; the exit code still tells
        _silence()
        if as_json:
            _tell(error, as_json=False)


def _dispatch(argv: list[str], doors: Doors) -> int:
    with nanoide.make_context("nanoide", list(argv), obj=doors) as context:
        result = nanoide.invoke(context)
    return result if isinstance(result, int) else 0


def _click_line(error: click.ClickException) -> str:
    """What click says, as one line in our manner."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    if isinstance(error, click.UsageError) and error.ctx is not None and "Did you mean" not in text:
        text += f" (try {error.ctx.command_path} --help)"
    return text


def _silence() -> None:
    """Standard output's reader has gone: write what is left in the buffer to nowhere, so that exit is quiet."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _keep(error: Exception) -> str:
    """Write the traceback to the log; say where it is."""
    import traceback
    from datetime import UTC, datetime

    try:
        paths = door.places()
        paths.prepare()
        log = paths.log / "cli.log"
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "a") as file:
            file.write(f"{datetime.now(UTC).isoformat()} {' '.join(sys.argv[1:3])}\n")
            file.write("".join(traceback.format_exception(error)))
    except (OSError, NanoideError):
        return "no log could be written"
    return f"the traceback is in {log}"
