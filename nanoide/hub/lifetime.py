"""The hub as a process: the only one of its user, from the lock to the last write."""

import asyncio
import fcntl
import logging
import logging.handlers
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path

from nanoide import tokens
from nanoide.core.errors import HubError, NanoideError
from nanoide.hub import bootstrap, idle, status
from nanoide.hub.handlers import dispatch
from nanoide.hub.server import Server, remove_socket
from nanoide.hub.watch import watch_file
from nanoide.hub.workshop import Workshop
from nanoide.paths import Paths

log = logging.getLogger(__name__)

STATUS_EVERY = 2.0
"""Seconds between two looks at whether the status changed, while somebody is attached."""

MODE_EVERY = 0.5
"""Seconds between two looks at the ladder's mode, while somebody is attached: a change of it is told at once."""

LEAVE_LIMIT = 10.0
"""Seconds for which a new hub waits for one that is leaving."""

LOG_BYTES = 2_000_000
"""Size at which the log is turned over; two old ones are kept."""


def run(paths: Paths) -> int:
    """Be the hub until told to leave. Returns the exit code; every failure is one line on stderr."""
    try:
        paths.prepare()
        lock = _lock(paths.socket.with_name("hub.lock"), paths.socket)
    except (NanoideError, OSError) as error:
        sys.stderr.write(f"nanoide: {error}\n")
        return getattr(error, "exit_code", 1)
    try:
        _log_to(paths.log / "hub.log")
        asyncio.run(_live(paths))
    except NanoideError as error:
        sys.stderr.write(f"nanoide: {error}\n")
        return error.exit_code
    finally:
        os.close(lock)
    return 0


async def _live(paths: Paths) -> None:
    workshop = await bootstrap.build(paths)
    server = Server(workshop, dispatch)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, workshop.leave.set)

    async def config_changed() -> None:
        await bootstrap.reload(workshop)

    chores: list[Coroutine[object, object, None]] = [
        idle.park_the_quiet(workshop),
        idle.leave_when_idle(workshop),
        watch_file(paths.config, config_changed),
        _tell_status(workshop),
    ]
    tasks: list[asyncio.Task[None]] = []
    try:
        await server.open(paths.socket)
        log.info("the hub listens, pid %d", os.getpid())
        tasks = [asyncio.create_task(chore) for chore in chores]
        tasks.append(asyncio.create_task(_make_ready()))
        await workshop.leave.wait()
        log.info("the hub leaves")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        remove_socket(paths.socket)
        await workshop.turns.aclose()
        await server.aclose()
        await bootstrap.dismantle(workshop)


async def _make_ready() -> None:
    """Load what the first turn would otherwise wait for."""
    await asyncio.to_thread(tokens.count, "ready")


async def _tell_status(workshop: Workshop) -> None:
    """Send the status to whoever is attached, when it changed; a change of mode is noted with nobody there too."""
    told = None
    waited = 0.0
    while True:
        pause = MODE_EVERY if workshop.broker.attached else STATUS_EVERY
        await asyncio.sleep(pause)
        waited += pause
        mode = status.note_mode(workshop)
        if not workshop.broker.attached or (told is not None and mode == told.mode and waited < STATUS_EVERY):
            continue
        waited = 0.0
        current = await status.read(workshop)
        if current != told:
            workshop.broker.tell_status(current)
            told = current


def _lock(path: Path, listening: Path) -> int:
    """Hold the lock of the only hub until the process ends; one that is leaving is waited for.

    Raises HubError when another one lives, which is to say that it listens.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LEAVE_LIMIT
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _listens(listening) or time.monotonic() > deadline:
                os.close(handle)
                raise HubError("a hub runs already", hint="nanoide hub status tells which") from None
            time.sleep(0.02)
        else:
            # For `nanoide hub stop`, when the two do not understand each other. A full disk must not matter here.
            with suppress(OSError):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            return handle


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=2, encoding="utf-8")
    path.chmod(0o600)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpcore2").setLevel(logging.WARNING)
