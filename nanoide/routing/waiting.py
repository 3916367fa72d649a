"""What a turn does while everybody it could ask rests: it waits for the earliest, for as long as that makes sense."""

import asyncio
from collections.abc import Sequence

from nanoide.core.chat import Priority
from nanoide.core.value import Value
from nanoide.routing.conditions import UNWATCHED

PATIENCE_S = 30.0
"""Seconds that a person is made to wait for a rung to recover."""

UNWATCHED_S = 120.0
"""Seconds that work waits which nobody waits for."""

TELL_S = 1.0
"""Seconds between two words about it."""


class Hope(Value, frozen=True):
    """A rung that could answer, were it not for its breaker."""

    name: str
    rest: float
    """Seconds until it may be tried; 0 while another turn tries it."""
    refusal: str
    """Its breaker's; empty when it may be asked now."""
    reason: str
    """Why it rests, as a phrase."""
    total: float
    """Seconds that a whole answer of it may take."""


def patience(priority: Priority, total: float) -> float:
    """Seconds that a turn of this `priority` waits for a rung whose answers may take `total` seconds.

    At the cursor nobody waits: who types has gone on.
    """
    if priority == "completion":
        return 0.0
    return UNWATCHED_S if priority in UNWATCHED else min(PATIENCE_S, total)


def best(hopes: Sequence[Hope], left: float) -> Hope | None:
    """Whom to wait for with `left` seconds of patience; None when nobody recovers within them."""
    soon = [hope for hope in hopes if not hope.refusal or hope.rest < left]
    return min(soon, key=lambda hope: (bool(hope.refusal), hope.rest), default=None)


def told(hope: Hope) -> str:
    """What is waited for, as a phrase."""
    reason = hope.reason.partition(", again in")[0]  # by now it is another time
    because = f": {reason}" if reason else ""
    if not hope.rest:
        return f"waits for {hope.name}, which another turn tries{because}"
    return f"waits {max(1.0, hope.rest):.0f} s for {hope.name}{because}"


class Bell:
    """Wakes everybody who waits, each time that a breaker changes."""

    def __init__(self) -> None:
        self._waiting = set[asyncio.Future[None]]()

    def ring(self) -> None:
        """Look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Until it rings, or that long."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait({future}, timeout=seconds)
        finally:
            self._waiting.discard(future)
            future.cancel()
