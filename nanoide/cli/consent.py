"""The question before anything leaves this machine, asked on a terminal."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nanoide.cli.door import is_terminal
from nanoide.cli.printer import money
from nanoide.core.events import ConsentAsked, ConsentChoice
from nanoide.core.sanitize import clean_line
from nanoide.wire import GiveConsent

if TYPE_CHECKING:
    from nanoide.client.connection import Connection

_CHOICES: dict[str, ConsentChoice] = {"y": "once", "s": "session", "a": "always", "n": "stay", "": "stay"}
_TERMINAL = Path("/dev/tty")


class Questioner:
    """Asks the person at the terminal, which need not be standard input."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    @staticmethod
    def possible() -> bool:
        """True when there is someone to ask: a terminal to write to and one to read from."""
        if not is_terminal(2):
            return False
        try:
            os.close(os.open(_TERMINAL, os.O_RDWR | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    async def answer(self, asked: ConsentAsked) -> None:
        """Put the question and send the answer. A terminal that went away means: stay."""
        hidden = f", hidden: {'; '.join(asked.hidden)}" if asked.hidden else ""
        price = "price unknown" if asked.cost_nano is None else f"at most {money(asked.cost_nano)}"
        sys.stderr.write(
            clean_line(f"send {asked.what} ({asked.tokens} tokens, {price}{hidden}) to {asked.backend} ({asked.host})?")
            + "\n"
        )
        choice: ConsentChoice | None = None
        while choice is None:
            sys.stderr.write("[y] once  [s] this session  [a] always  [n] no, stay here: ")
            sys.stderr.flush()
            choice = _CHOICES.get((await _line()).strip().lower()[:1])
        await self._connection.call(GiveConsent(session=asked.session, choice=choice))


async def _line() -> str:
    """A line from the terminal; empty at its end. Cancelling leaves no thread behind that waits for a key."""
    loop = asyncio.get_running_loop()
    handle = os.open(_TERMINAL, os.O_RDONLY | os.O_CLOEXEC)
    ready: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(handle, lambda: ready.done() or ready.set_result(None))
        await ready
        return os.read(handle, 4096).decode(errors="replace")
    except OSError:
        return ""
    finally:
        loop.remove_reader(handle)
        os.close(handle)
