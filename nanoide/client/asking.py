"""One turn, from the side of whoever asks."""

from collections.abc import AsyncGenerator, AsyncIterator

from msgspec.structs import replace

from nanoide import wire
from nanoide.client.connection import Connection, Notices
from nanoide.core.errors import HubError
from nanoide.core.events import SessionEvent, TurnCancelled, TurnFailed, TurnFinished


class Asking:
    """A turn under way: `asked` tells which, iterating gives its events to the end."""

    def __init__(self, connection: Connection, notices: Notices, asked: wire.Asked) -> None:
        self._connection = connection
        self._notices = notices
        self.asked = asked

    @classmethod
    async def start(cls, connection: Connection, request: wire.Ask) -> "Asking":
        """Ask, and miss nothing of what follows. Raises what the hub raises."""
        notices = connection.notices()
        try:
            asked = await connection.call(replace(request, watch=True))
        except BaseException:
            connection.forget(notices)
            raise
        return cls(connection, notices, asked)

    async def events(self) -> AsyncGenerator[SessionEvent]:
        """The turn's events; the last is TurnFinished, TurnFailed or TurnCancelled.

        Raises HubError when the hub goes away before the turn's end.
        """
        try:
            async for notice in self._notices:
                if not isinstance(notice, wire.Published):
                    continue
                event = notice.event
                if getattr(event, "turn", None) != self.asked.turn:
                    continue
                yield event
                if isinstance(event, TurnFinished | TurnFailed | TurnCancelled):
                    return
        finally:
            self._connection.forget(self._notices)
        raise HubError("the hub went away before the answer was whole", hint="try again; what had arrived is kept")

    async def cancel(self) -> None:
        """Stop the turn."""
        await self._connection.call(wire.CancelTurn(session=self.asked.session.id))


async def ask(connection: Connection, request: wire.Ask) -> AsyncIterator[SessionEvent]:
    """Ask, and give the turn's events to its end."""
    asking = await Asking.start(connection, request)
    async for event in asking.events():
        yield event
