"""Connect to the hub, starting it when it does not run: lock, look again, start, wait.

Twenty clients at once start exactly one hub: whoever holds `start.lock` looks again before it starts
one, and the hub itself holds `hub.lock` for as long as it lives.
"""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from nanoide.client.connection import Connection
from nanoide.core.errors import HubError
from nanoide.paths import Paths

START_LIMIT = 20.0
"""Seconds that a new hub may take until it listens."""

_STEP = 0.02
"""Seconds between two looks."""


async def connect(paths: Paths, *, client: str, start: bool = True) -> Connection:
    """A greeted connection to this user's hub; with `start` it is started when it does not run.

    Raises HubError when it cannot be reached or started, or speaks another protocol version.
    """
    try:
        return await _open(paths, client)
    except (FileNotFoundError, ConnectionError) as error:
        if not start:
            raise HubError("the hub does not run", hint="any nanoide command starts it") from error
    except OSError as error:
        raise HubError(f"cannot reach the hub at {str(paths.socket)!r}: {error.strerror}") from error
    paths.prepare()
    async with _lock(paths.socket.with_name("start.lock")):
        try:
            return await _open(paths, client)
        except OSError:
            return await _start(paths, client)


async def _open(paths: Paths, client: str) -> Connection:
    return await Connection.open(paths.socket, client=client)


async def _start(paths: Paths, client: str) -> Connection:
    log = paths.log / "hub.log"
    pid, before = _spawn(log)
    deadline = asyncio.get_running_loop().time() + START_LIMIT
    while True:
        try:
            return await _open(paths, client)
        except OSError:
            pass
        if _ended(pid):
            raise _why(log, before)
        if asyncio.get_running_loop().time() > deadline:
            os.kill(pid, signal.SIGTERM)
            raise HubError(f"the hub did not listen within {START_LIMIT:.0f} s", hint="see nanoide hub log")
        await asyncio.sleep(_STEP)


def _spawn(log: Path) -> tuple[int, int]:
    """Start a hub that outlives this process. Returns its pid and where its words begin in `log`.

    Not subprocess.Popen, which wants to see its child end; the hub makes a session of its own.
    """
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "nanoide.hub"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)],
        )
        return pid, os.fstat(out).st_size
    finally:
        os.close(out)
        os.close(null)


def _ended(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] != 0


def _why(log: Path, offset: int) -> HubError:
    """What the hub said before it ended, which is from `offset` on in `log`."""
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read()[-4096:].decode(errors="replace").strip().splitlines()
    if not lines:
        if unwritable := _unwritable(log):
            return HubError(f"the hub did not start: {unwritable}", hint="free some space and try again")
        return HubError("the hub did not start: it ended without a word", hint="see nanoide hub log")
    said = lines[-1].removeprefix("nanoide: ")
    hint = "" if said.endswith(")") else "see nanoide hub log"  # its own hint stands at the end already
    return HubError(f"the hub did not start: {said}", hint=hint)


def _unwritable(log: Path) -> str:
    """Why nothing can be written to `log`; empty when it can. A full disk leaves no word of its own."""
    try:
        with log.open("ab", buffering=0) as file:
            file.write(b"the hub ended without a word\n")
    except OSError as error:
        return f"{str(log)!r} cannot be written: {(error.strerror or str(error)).lower()}"
    return ""


@asynccontextmanager
async def _lock(path: Path) -> AsyncGenerator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_STEP)
        yield
    finally:
        os.close(handle)
