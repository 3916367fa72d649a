"""The question before anything leaves this machine, asked on a terminal."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nanoide.cli.door import is_terminal
from nanoide.cli.printer import money
from nanoide.core.errors import UsageError
from nanoide.core.events import (
    ConsentAsked,
    ConsentChoice,
    ConsentGiven,
    SessionEvent,
    TurnCancelled,
    TurnFailed,
    TurnFinished,
)
from nanoide.core.sanitize import clean_line
from nanoide.wire import GiveConsent

if TYPE_CHECKING:
    from nanoide.client.connection import Connection

_CHOICES: dict[str, ConsentChoice] = {"y": "once", "s": "session", "a": "always", "n": "stay", "": "stay"}
_OVER: dict[str, ConsentChoice] = {"y": "once", "s": "session", "n": "stay", "": "stay"}
"""Going over a budget is never allowed for good."""
_TERMINAL = Path("/dev/tty")


class Questioner:
    """Asks the person at the terminal, which need not be standard input.

    A question that is answered from another window, or that nobody needs an answer to any more, is taken back.
    """

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._asking: asyncio.Task[None] | None = None
        self._answered = False

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

    async def hear(self, event: SessionEvent) -> None:
        """Ask when the turn asks; take the question back when it is settled."""
        if isinstance(event, ConsentAsked):
            self._answered = False
            self._asking = asyncio.create_task(self._ask(event), name="consent")
        elif isinstance(event, ConsentGiven | TurnFinished | TurnFailed | TurnCancelled):
            why = event.why if isinstance(event, ConsentGiven) else ""
            await self._take_back(why or "it was answered elsewhere, or the turn has ended")

    async def _take_back(self, why: str) -> None:
        asking, self._asking = self._asking, None
        if asking is None:
            return
        if not self._answered:
            asking.cancel()
            sys.stderr.write(f"\n({clean_line(why)})\n")
        await asyncio.wait([asking])
        error = None if asking.cancelled() else asking.exception()
        if error is not None and not isinstance(error, UsageError):  # that came too late: the events tell what holds
            raise error

    async def _ask(self, asked: ConsentAsked) -> None:
        """Put the question and send the answer. A terminal that went away means: stay."""
        hidden = f"hidden: {'; '.join(asked.hidden)}" if asked.hidden else "no secret was found in it"
        price = "price unknown" if asked.cost_nano is None else f"at most {money(asked.cost_nano)}"
        over = f" Over the budget: {asked.over}." if asked.over else ""
        told = f"{asked.tokens} tokens, {price}, {hidden}"
        sys.stderr.write(clean_line(f"send {asked.what} ({told}) to {asked.backend} ({asked.host})?{over}") + "\n")
        always = "" if asked.over else "[a] always for this skill  "
        choices = _OVER if asked.over else _CHOICES
        choice: ConsentChoice | None = None
        while choice is None:
            sys.stderr.write(f"[y] once  [s] this session  {always}[n] no, stay here: ")
            sys.stderr.flush()
            choice = choices.get((await _line()).strip().lower()[:1])
        self._answered = True
        await self._connection.call(GiveConsent(session=asked.session, choice=choice, question=asked.digest))


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
