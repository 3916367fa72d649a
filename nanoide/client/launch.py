"""Connect to the hub, starting it when it does not run: lock, look again, start, wait.

Twenty clients at once start exactly one hub: whoever holds `start.lock` looks again before it starts
one, and the hub itself holds `hub.lock` for as long as it lives.
"""

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

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
    except (FileNotFoundError, ConnectionRefusedError) as error:
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
    with _private(log) as out:
        before = out.tell()
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once, and nothing else waits for this client
            [sys.executable, "-m", "nanoide.hub"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            start_new_session=True,
        )
    deadline = asyncio.get_running_loop().time() + START_LIMIT
    while True:
        try:
            return await _open(paths, client)
        except OSError:
            pass
        if process.poll() is not None:
            raise HubError(f"the hub did not start: {_last_line(log, before)}", hint="see nanoide hub log")
        if asyncio.get_running_loop().time() > deadline:
            process.terminate()
            raise HubError(f"the hub did not listen within {START_LIMIT:.0f} s", hint="see nanoide hub log")
        await asyncio.sleep(_STEP)


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def _last_line(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read()[-4096:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"


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
