"""`nanoide hub …`: the hub itself."""

from collections import deque

import click
import msgspec

from nanoide.cli import printer
from nanoide.cli.door import Doors, connected, places, run_async
from nanoide.core.errors import HubError
from nanoide.core.usage import usd
from nanoide.wire import HubStatus, ReadStatus, StopHub


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
@click.option("-n", "count", type=click.IntRange(min=1), default=50, show_default=True, help="How many lines.")
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
    if not paths.socket.exists():
        printer.note("no hub runs")
        return 0
    # Without reading config.toml: a mistake in it must not keep anyone from stopping the hub.
    try:
        connection = await connect(paths, client="cli hub", start=False)
    except HubError as error:
        if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            raise
        printer.note("no hub runs")
        return 0
    async with connection:
        notices = connection.notices()
        await connection.call(StopHub())
        async for _ in notices:
            pass  # it has left when its side of the connection closes
    return 0
