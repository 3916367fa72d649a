"""Fan-out of events to the connected clients.

Two deliveries: a Fact reaches every subscriber or the subscriber is cut (it attaches again and gets a
snapshot); a Delta is dropped for a subscriber that reads too slowly. Each event is encoded once.
"""

import asyncio
from collections import deque
from typing import Final

from nanoide import wire
from nanoide.core.events import SessionEvent, SessionId, TextArrived, TurnStarted

DELTA_BACKLOG: Final = 512 * 1024
"""Bytes waiting for one client from which on Deltas are dropped for it."""

CUT_BACKLOG: Final = 32 * 1024 * 1024
"""Bytes waiting for one client from which on it is cut. Four times the largest frame."""


class Subscriber:
    """The outgoing side of one connection."""

    def __init__(self) -> None:
        self.attached = False
        """True: Facts of all sessions, and the Deltas that change a state."""
        self.watched: frozenset[SessionId] = frozenset()
        """Sessions whose every Delta is wanted."""
        self.cut = False
        """True once it read too slowly; the server closes the connection."""
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent."""
        return self._bytes

    def put(self, line: bytes) -> None:
        """Add one line; a reply or a Fact."""
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes > CUT_BACKLOG:
            self.cut = True
        self._wake.set()

    async def take(self) -> bytes:
        """All lines that wait, joined; waits for the first."""
        while not self._lines:
            self._wake.clear()
            await self._wake.wait()
        joined = b"".join(self._lines)
        self._lines.clear()
        self._bytes = 0
        return joined


class Broker:
    """Who listens, and to what."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()

    def add(self, subscriber: Subscriber) -> None:
        """Begin to send to `subscriber`."""
        self._subscribers.add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        """Stop sending to `subscriber`."""
        self._subscribers.discard(subscriber)

    @property
    def attached(self) -> int:
        """How many clients look at all sessions."""
        return sum(each.attached for each in self._subscribers)

    def watched(self, session: SessionId) -> bool:
        """True while anyone watches `session`."""
        return any(session in each.watched for each in self._subscribers)

    def publish(self, seq: int, event: SessionEvent) -> None:
        """Send `event` to all whom it concerns."""
        passing = isinstance(event, TextArrived | TurnStarted)
        tells_state = not isinstance(event, TextArrived) or event.offset == 0
        line: bytes | None = None
        for subscriber in self._subscribers:
            wanted = event.session in subscriber.watched or (subscriber.attached and tells_state)
            if not wanted or subscriber.cut or (passing and subscriber.backlog > DELTA_BACKLOG):
                continue
            if line is None:
                line = wire.notification("event", wire.Published(seq=seq, event=event))
            subscriber.put(line)

    def tell_status(self, status: wire.HubStatus) -> None:
        """Send the status to attached clients that keep up."""
        line: bytes | None = None
        for subscriber in self._subscribers:
            if not subscriber.attached or subscriber.cut or subscriber.backlog > DELTA_BACKLOG:
                continue
            if line is None:
                line = wire.notification("status", wire.StatusChanged(status=status))
            subscriber.put(line)
