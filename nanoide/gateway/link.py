"""The gateway's line to the hub: one for all requests, made again when it is lost."""

import asyncio

from nanoide import settings
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.paths import Paths


class Link:
    """Holds the connection."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._connection: Connection | None = None
        self._making = asyncio.Lock()

    @property
    def connection(self) -> Connection | None:
        """The connection as it is; None when there is none."""
        return None if self._connection is None or self._connection.closed else self._connection

    async def reach(self) -> Connection:
        """The connection; the hub is started when it does not run. Raises HubError or SettingsError."""
        async with self._making:  # twenty requests at once make one connection
            found = self.connection
            if found is None:
                await self.aclose()
                settings.load(self._paths.config)
                self._connection = found = await connect(self._paths, client="gateway")
            return found

    async def aclose(self) -> None:
        """Hang up."""
        if self._connection is not None:
            await self._connection.aclose()
            self._connection = None
