"""What stands between a command and the hub: places, settings, the connection, the event loop."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nanoide.core.errors import UsageError
from nanoide.core.value import Value

if TYPE_CHECKING:
    from nanoide.client.connection import Connection
    from nanoide.paths import Paths
    from nanoide.settings import Settings

T = TypeVar("T")


class Doors(Value, frozen=True):
    """The other front doors. They arrive as arguments, because one door never imports another."""

    tui: "Callable[[Paths, Settings, str], int]"
    """The command center in a folder; returns when the person leaves."""
    lsp: "Callable[[Paths], int]"
    """The language server on standard input and output."""
    hub: "Callable[[Paths], int]"
    """The hub itself, in the foreground."""
    gateway: "Callable[[Paths, str, int, Path | None, Callable[[str], None]], int]"
    """HTTP for other programs: host, port, token file (None means the usual one), and what prints its one line."""


def here() -> str:
    """The folder that the command was started in. Raises UsageError when it is gone or cannot be told."""
    try:
        folder = str(Path.cwd())
        _ = folder.encode()
    except OSError as error:
        raise UsageError("the current folder does not exist any more", hint="change to another one") from error
    except UnicodeEncodeError as error:
        raise UsageError("the name of the current folder is not UTF-8", hint="change to another one") from error
    return folder


def places() -> "Paths":
    """Where everything is for this user. Raises what `paths.locate` raises."""
    from nanoide.paths import locate

    return locate()


@asynccontextmanager
async def connected(client: str, *, start: bool = True) -> "AsyncGenerator[Connection]":
    """A connection to the hub, which is started when it does not run and `start` allows it.

    Settings are read first: a mistake in config.toml is told as such, and not as a hub that does not start.
    """
    from nanoide import settings
    from nanoide.client.launch import connect

    paths = places()
    settings.load(paths.config)
    async with await connect(paths, client=client, start=start) as connection:
        yield connection


def run_async(work: Coroutine[object, object, T]) -> T:
    """Run one command's coroutine to its end. Ctrl+C cancels it and comes out as KeyboardInterrupt."""
    return asyncio.run(work)


def is_terminal(stream: int) -> bool:
    """True when standard output (1) or standard error (2) is a terminal; a closed stream is none."""
    chosen = sys.stdout if stream == 1 else sys.stderr
    try:
        return bool(chosen and chosen.isatty())
    except ValueError:
        return False
