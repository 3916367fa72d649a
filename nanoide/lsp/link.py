"""The server's line to the hub: made in the background, made again when lost, and silent about it but once."""

import asyncio
import logging
from collections.abc import Callable

from nanoide import settings
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.core.errors import HubError, NanoideError
from nanoide.paths import Paths
from nanoide.wire import Reply, Request

log = logging.getLogger(__name__)

RETRY_AFTER = 5.0
"""Seconds between two tries to reach a hub that cannot be reached."""


class Link:
    """Asks the hub; None is the answer of a hub that cannot be reached."""

    def __init__(self, paths: Paths, tell: Callable[[str], None]) -> None:
        self._paths = paths
        self._tell = tell
        """Tells the person one line."""
        self._told = ""
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection | None] | None = None
        self._not_before = 0.0

    def prepare(self) -> None:
        """Begin to connect; returns at once."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect(), name="connect to the hub")

    async def ask(self, request: Request[Reply]) -> Reply | None:
        """The hub's reply; None when it cannot be reached or cannot answer, which the person is told once."""
        connection = await self._reach()
        if connection is None:
            return None
        try:
            reply = await connection.call(request)
        except NanoideError as error:
            self._say(error)
            return None
        self._told = ""
        return reply

    async def aclose(self) -> None:
        """Hang up."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._connection is not None:
            await self._connection.aclose()

    async def _reach(self) -> Connection | None:
        if self._connection is not None:
            if not self._connection.closed:
                return self._connection
            await self._connection.aclose()
            self._connection = None
        if self._connecting is None or self._connecting.done():
            if asyncio.get_running_loop().time() < self._not_before:
                return None
            self.prepare()
        assert self._connecting is not None
        # Shielded: one request that is given up must not stop the others from getting a connection.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> Connection | None:
        try:
            settings.load(self._paths.config)
            self._connection = await connect(self._paths, client="lsp")
        except (NanoideError, OSError) as error:
            self._not_before = asyncio.get_running_loop().time() + RETRY_AFTER
            self._say(error if isinstance(error, NanoideError) else HubError(str(error)))
            return None
        return self._connection

    def _say(self, error: NanoideError) -> None:
        line = f"nanoide: {error}"
        if line != self._told:
            self._told = line
            log.warning("%s", line)
            self._tell(line)
