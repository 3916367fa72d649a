"""What all requests share: the line to the hub, the counts, and the answers under way."""

import asyncio
from time import monotonic

from nanoide import settings, wire
from nanoide.client.generating import Generating
from nanoide.core.errors import HubError, Interrupted, SettingsError
from nanoide.gateway.link import Link
from nanoide.gateway.metrics import Metrics
from nanoide.paths import Paths

HEALTH_FOR = 1.0
"""Seconds for which an answer about health holds: anybody may ask, and asking the hub is work."""


HEALTH_WITHIN = 5.0
"""Seconds that the hub may take to say how it is."""


class Desk:
    """One for the life of a gateway."""

    def __init__(self, paths: Paths) -> None:
        self.link = Link(paths)
        self.metrics = Metrics()
        self.under_way: set[Generating] = set()
        self._paths = paths
        self._mode = ""
        self._mode_at = 0.0

    async def models(self) -> list[str]:
        """Everything that can be asked: routes, backends, skills. Raises NanoideError."""
        connection = await self.link.reach()
        try:
            routes = {"default", *settings.load(self._paths.config).route}
        except SettingsError:  # the hub goes on with what held before; its routes cannot be told from here
            routes = {"default"}
        backends = await connection.call(wire.ListBackends())
        skills = await connection.call(wire.ListSkills())
        return [
            *(f"route:{name}" for name in sorted(routes)),
            *(f"backend:{line.name}" for line in backends),
            *(f"skill:{line.name}" for line in skills if not line.problem),
        ]

    async def mode(self) -> str:
        """How the hub stands: full, degraded, local only, reflex only; "asleep" when the next request starts it.

        Raises HubError when the hub is there and does not answer.
        """
        now = monotonic()
        if self._mode and now - self._mode_at < HEALTH_FOR:
            return self._mode
        connection = self.link.connection
        try:
            async with asyncio.timeout(HEALTH_WITHIN):
                self._mode = "asleep" if connection is None else (await connection.call(wire.ReadStatus())).mode
        except TimeoutError as error:
            raise HubError("the hub does not answer", hint="run: nanoide hub stop") from error
        except HubError:
            self._mode = "asleep"
        self._mode_at = now
        return self._mode

    def leave(self) -> None:
        """Tell every answer under way that the gateway ends."""
        for generating in self.under_way:
            generating.fail(Interrupted("the gateway was stopped before the answer was whole", hint="ask again"))
