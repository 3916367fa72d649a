"""One answer without a session, from the side of whoever asks."""

import asyncio
import secrets
from contextlib import suppress

from msgspec.structs import replace

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.core.errors import HubError, NanoideError


class Generating:
    """An answer under way: `next` gives its pieces, and at last how it ended."""

    def __init__(self, connection: Connection, request: wire.Generate) -> None:
        """Ask, under a key of its own. Must be followed by `next` to the end, or by `cancel`."""
        self._connection = connection
        self._key = request.key or secrets.token_hex(8)
        self._pieces: asyncio.Queue[wire.Piece | None] = asyncio.Queue()
        self._fault: NanoideError | None = None
        connection.hear(self._key, self._pieces.put_nowait)
        self._call = asyncio.create_task(connection.call(replace(request, key=self._key)), name="generate")
        self._call.add_done_callback(self._ended)

    async def next(self) -> wire.Piece | wire.Generated:
        """The next piece; `Generated` after the last one. Raises the hub's NanoideError, or HubError when it goes."""
        if self._fault is None:
            piece = await self._pieces.get()
            if piece is not None:
                return piece
        if self._fault is not None:
            raise self._fault
        self._pieces.put_nowait(None)  # asked once more, it says the same
        return self._call.result()

    def fail(self, error: NanoideError) -> None:
        """Let `next` raise `error` from now on."""
        self._fault = error
        self._pieces.put_nowait(None)

    async def cancel(self) -> tuple[wire.Piece, ...]:
        """Stop, and wait until the hub has. Returns the pieces that were not read; does no harm after the end."""
        if not self._call.done():
            with suppress(HubError):  # no hub, no answer
                await self._connection.call(wire.CancelGenerate(key=self._key))
            await asyncio.wait({self._call})
        rest: list[wire.Piece] = []
        while not self._pieces.empty():
            piece = self._pieces.get_nowait()
            if piece is not None:
                rest.append(piece)
        self._pieces.put_nowait(None)  # `next` finds the end again
        return tuple(rest)

    def _ended(self, call: "asyncio.Task[wire.Generated]") -> None:
        self._connection.unhear(self._key)
        if not call.cancelled():
            call.exception()  # retrieved, also when nobody asks any more
        self._pieces.put_nowait(None)
