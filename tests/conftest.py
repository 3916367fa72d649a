"""A home of its own for every test, and a real hub where one is asked for."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.core.errors import HubError
from nanoide.paths import Paths, locate


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty NANOIDE_HOME whose path is short enough for a socket; a hub left in it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="nano-"))
    monkeypatch.setenv("NANOIDE_HOME", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    yield folder
    asyncio.run(_stop_hub(locate({"NANOIDE_HOME": str(folder), "HOME": str(folder)})))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def paths(home: Path) -> Paths:
    """The places below `home`."""
    return locate()


@pytest.fixture
async def hub(paths: Paths) -> AsyncIterator[Connection]:
    """A connection to a real hub in a process of its own."""
    async with await connect(paths, client="test") as connection:
        yield connection


async def _stop_hub(paths: Paths) -> None:
    try:
        connection = await connect(paths, client="test end", start=False)
    except HubError:
        return
    async with connection:
        pid = (await connection.call(wire.ReadStatus())).pid
        await connection.call(wire.StopHub())
        async for _ in connection.notices():
            pass
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        try:
            process.wait(timeout=10)
        except psutil.TimeoutExpired:
            process.kill()
