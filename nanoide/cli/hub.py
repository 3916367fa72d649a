"""`nanoide hub …`: the hub itself."""

import asyncio
import fcntl
import os
import signal
from collections import deque
from contextlib import suppress
from pathlib import Path

import click
import msgspec

from nanoide.cli import printer
from nanoide.cli.door import Doors, connected, places, run_async
from nanoide.core.errors import HubError
from nanoide.core.usage import usd
from nanoide.wire import HubStatus, ReadStatus, StopHub

LEAVE_LIMIT = 30.0
"""Seconds that a hub may take to write everything and leave."""


@click.group()
def command() -> None:
    """The hub owns sessions, models and money; every other command starts it when needed."""


@command.command()
@click.pass_obj
def run(doors: Doors) -> int:
    """Be the hub, in the foreground."""
    return doors.hub(places())


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> int:
    """Show how the hub is; exits 1 when it does not run."""
    try:
        found = run_async(_status())
    except HubError as error:
        if not as_json:
            raise
        printer.json_object({"running": False, "reason": error.message})
        return 1
    if as_json:
        printer.json_object({"running": True, **_status_object(found)})
        return 0
    reason = f" ({found.mode_reason})" if found.mode_reason else ""
    printer.answer(f"hub {found.pid} up {found.uptime_s:.0f} s, {found.mode}{reason}")
    printer.answer(
        f"{found.sessions} sessions, {found.active} at work, {found.needy} need you, {found.parked} parked, "
        f"{found.clients} clients"
    )
    printer.answer(
        f"{found.memory_bytes / 1e6:.0f} MB, {found.cpu_percent:.0f} % CPU, {found.tokens_per_min} tokens/min, "
        f"today {printer.money(found.today_nano, unpriced=found.today_unpriced)}"
    )
    return 0


@command.command()
def stop() -> int:
    """Finish writing and leave. Does nothing when no hub runs."""
    return run_async(_stop())


@command.command()
@click.option(
    "-n", "count", type=click.IntRange(min=1, max=1_000_000), default=50, show_default=True, help="How many lines."
)
def log(count: int) -> int:
    """Print the end of the hub's log."""
    path = places().log / "hub.log"
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = deque(file, maxlen=count)
    except FileNotFoundError:
        printer.note(f"there is no log yet at {path}")
        return 0
    for line in lines:
        printer.answer(line.rstrip("\n"))
    return 0


def _status_object(status: HubStatus) -> dict[str, object]:
    """The status with stable keys; money as decimal strings."""
    found: dict[str, object] = msgspec.structs.asdict(status)
    for name in ("today_nano", "saved_nano", "budget_day_nano"):
        nano = found.pop(name)
        found[name.replace("_nano", "_usd")] = usd(nano) if isinstance(nano, int) else None
    return found


async def _status() -> HubStatus:
    async with connected("cli hub", start=False) as connection:
        return await connection.call(ReadStatus())


async def _stop() -> int:
    from nanoide.client.launch import connect

    paths = places()
    lock = paths.socket.with_name("hub.lock")
    # Without reading config.toml: a mistake in it must not keep anyone from stopping the hub.
    try:
        connection = await connect(paths, client="cli hub", start=False)
    except HubError as error:
        pid = holder(lock)
        if pid is None:
            if paths.socket.exists() and not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
                raise
            printer.note("no hub runs")
            return 0
        if pid == 0:
            raise
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)  # of another version, or one that hangs: a signal is understood by all
    else:
        async with connection:
            notices = connection.notices()
            await connection.call(StopHub())
            async for _ in notices:
                pass  # it says good-bye to its clients first
    await _left(lock)
    return 0


async def _left(lock: Path) -> None:
    """Wait until the hub has written everything and is gone. Raises HubError when it stays."""
    deadline = asyncio.get_running_loop().time() + LEAVE_LIMIT
    while (pid := holder(lock)) is not None:
        if asyncio.get_running_loop().time() > deadline:
            raise HubError(f"the hub does not leave, pid {pid}", hint=f"kill -9 {pid}; what it has told is kept")
        await asyncio.sleep(0.02)


def holder(lock: Path) -> int | None:
    """The pid of the hub that holds `lock`, 0 when it did not write it; None when nobody holds it."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.read(handle, 32).strip()
        return int(said) if said.isdigit() else 0
    finally:
        os.close(handle)
    return None
