"""`nanoide wait NAME… --until STATE`: block until sessions are where a script wants them."""

import asyncio
from typing import TYPE_CHECKING, Literal, assert_never

import click

from nanoide.cli import printer
from nanoide.cli.door import connected, run_async
from nanoide.core.errors import HubError, NanoideError
from nanoide.core.events import SessionRemoved, TextArrived
from nanoide.core.session import Session
from nanoide.wire import Attach, FindSession, Published

if TYPE_CHECKING:
    from nanoide.client.connection import Connection

Until = Literal["idle", "asking", "done", "failed"]


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.option("--until", type=click.Choice(["idle", "asking", "done", "failed"]), required=True)
@click.option("--timeout", type=click.FloatRange(min=0), default=None, metavar="S", help="Seconds; exits 1 after them.")
def command(names: tuple[str, ...], until: Until, timeout: float | None) -> int:
    """Block until every session NAME is in the state.

    idle: nothing is under way. asking: it waits for you. done, failed: its last turn ended so.
    Waiting for done ends with exit code 1 as soon as one has failed.
    """
    try:
        return run_async(_wait(names, until, timeout))
    except TimeoutError:
        printer.complain(f"not {until} after {timeout:g} s")
        return 1


def reached(session: Session, until: Until) -> bool:
    """True when the session is where `until` wants it. Its last turn must be in it."""
    match until:
        case "idle":
            return not session.active
        case "asking":
            return session.state == "asking"
        case "done" | "failed":
            return not session.active and bool(session.turns) and session.turns[-1].state == until
        case _:
            assert_never(until)


async def _wait(names: tuple[str, ...], until: Until, limit: float | None) -> int:
    async with asyncio.timeout(limit), connected("cli wait") as connection:
        notices = connection.notices()
        await connection.call(Attach())
        pending = {name: await _look(connection, name) for name in names}
        ids = {name: session.id for name, session in pending.items()}
        while pending:
            for name, session in list(pending.items()):
                if reached(session, until):
                    del pending[name]
                elif until == "done" and reached(session, "failed"):
                    turn = session.turns[-1]
                    raise NanoideError(f"{session.name} failed: {turn.message}", hint=turn.hint)
            if not pending:
                break
            changed = False
            async for notice in notices:
                if not isinstance(notice, Published) or isinstance(notice.event, TextArrived):
                    continue
                for name in [name for name in pending if ids[name] == notice.event.session]:
                    if isinstance(notice.event, SessionRemoved):
                        raise NanoideError(f"{pending[name].name} was removed while it was waited for")
                    # By id, because the session may have been renamed meanwhile.
                    pending[name] = await _look(connection, ids[name])
                    changed = True
                if changed:
                    break
            if not changed:
                raise HubError("the hub went away", hint="try again")
    return 0


async def _look(connection: "Connection", name: str) -> Session:
    return await connection.call(FindSession(name=name, turns=1))
