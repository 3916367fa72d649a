"""A hub of its own in a folder of its own, for measuring."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.core.errors import HubError
from nanoide.paths import Paths, locate

MEGABYTE = 1_000_000
START_LIMIT_S = 20.0


class Running:
    """The hub under measurement."""

    def __init__(self, home: Path, paths: Paths, process: psutil.Process, connection: Connection) -> None:
        self.home = home
        self.paths = paths
        self.process = process
        self.connection = connection

    @property
    def environ(self) -> dict[str, str]:
        """What a command needs to find this hub."""
        return environ(self.home)

    def hub_mb(self) -> float:
        """Resident memory of the hub alone, what it shares with others included."""
        return self.process.memory_info().rss / MEGABYTE

    def engine_mb(self) -> float | None:
        """Resident memory of its largest engine process; None when none runs."""
        engines = [
            child.memory_info().rss / MEGABYTE
            for child in self.process.children(recursive=True)
            if any("engine" in word for word in child.cmdline())
        ]
        return max(engines, default=None)


def environ(home: Path) -> dict[str, str]:
    """This environment as a person has it: nanoide below `home`, colours, and Python keeping its bytecode."""
    left_out = ("NANOIDE_", "TEXTUAL", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | {"NANOIDE_HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor"}


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    """A fresh hub with no config; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="nano-bench-") as folder:
        home = Path(folder)
        paths = locate({"NANOIDE_HOME": folder})
        paths.prepare()
        with (paths.log / "hub.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 - measured itself, and awaited below
                [sys.executable, "-m", "nanoide.hub"], env=environ(home), stdout=log, stderr=log
            )
        try:
            connection = await _connected(paths)
            async with connection:
                yield Running(home, paths, psutil.Process(process.pid), connection)
                with suppress(HubError):
                    await connection.call(wire.StopHub())
        finally:
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _connected(paths: Paths) -> Connection:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            return await connect(paths, client="bench", start=False)
        except HubError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)
