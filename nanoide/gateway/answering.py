"""One answer over HTTP: asked of the hub, told as it comes, stopped when nobody listens any more.

Nothing is sent before the first text: until then another rung may answer, and a failure is a plain HTTP error.
After it there is one clean stream, or an `error` event and no end.
"""

import asyncio
from contextlib import suppress

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nanoide import wire
from nanoide.client.generating import Generating
from nanoide.core.errors import BackendError, NanoideError
from nanoide.gateway.asked import Asked
from nanoide.gateway.desk import Desk
from nanoide.gateway.faults import Fault, fault_of
from nanoide.gateway.limits import Limits

NOTHING = wire.Generated(finish="stop", backend="", where="device", tier="model")
"""The end of an answer for which nobody was asked."""


class FaultAnswer(Response):
    """An error as JSON; its code is noted for the metrics."""

    media_type = "application/json"

    def __init__(self, fault: Fault) -> None:
        super().__init__(msgspec.json.encode(fault.body), fault.status, fault.headers)
        self._code = fault.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        scope["outcome"] = self._code
        await super().__call__(scope, receive, send)


class Answer(Response):
    """Asks when it is sent."""

    def __init__(self, desk: Desk, asked: Asked, limits: Limits) -> None:
        super().__init__()
        self._desk = desk
        self._asked = asked
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask, tell, and stop as soon as the client goes away."""
        if self._asked.generate is None:
            await _Telling(self._asked, send, self._limits.stall).end(NOTHING)
            return
        try:
            generating = Generating(await self._desk.link.reach(), self._asked.generate)
        except NanoideError as error:
            await FaultAnswer(fault_of(error))(scope, receive, send)
            return
        self._desk.under_way.add(generating)
        gone = asyncio.create_task(_gone(receive), name="client goes away")
        work = asyncio.create_task(self._tell(generating, scope, receive, send), name="answer")
        try:
            await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                scope["outcome"] = "cancelled"
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.gather(gone, work, return_exceptions=True)
            for piece in await generating.cancel():
                self._note(piece)
            self._desk.under_way.discard(generating)
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    async def _tell(self, generating: Generating, scope: Scope, receive: Receive, send: Send) -> None:
        telling = _Telling(self._asked, send, self._limits.stall)
        try:
            while isinstance(piece := await generating.next(), wire.Piece):
                self._note(piece)
                if piece.rung is not None and not piece.rung.continues:
                    telling.restart(piece.rung.reason)
                elif piece.text:
                    await telling.text(piece.text)
            await telling.end(piece)
        except NanoideError as error:
            fault = fault_of(error)
            if telling.begun:
                scope["outcome"] = fault.code
                await telling.fail(fault)
            else:
                await FaultAnswer(fault)(scope, receive, send)
        except TimeoutError:
            scope["outcome"] = "stalled"

    def _note(self, piece: wire.Piece) -> None:
        if piece.attempt is not None:
            self._desk.metrics.attempt(piece.attempt)


class _Telling:
    """Sends one answer in its shape."""

    def __init__(self, asked: Asked, send: Send, stall: float) -> None:
        self.begun = False
        """True once anything was sent: from here on nothing can be taken back."""
        self._shape = asked.shape
        self._stream = asked.stream
        self._send = send
        self._stall = stall
        self._text: list[str] = []

    def restart(self, why: str) -> None:
        """All text so far is void. Raises BackendError when it was sent already."""
        if self.begun:
            raise BackendError(f"the answer broke off and would have to begin anew: {why}", outcome="cut")
        self._text.clear()

    async def text(self, text: str) -> None:
        """More text."""
        if not self._stream:
            self._text.append(text)
            return
        events = () if self.begun else self._shape.opening()
        await self._events(*events, self._shape.piece(text))

    async def end(self, done: wire.Generated) -> None:
        """The answer is whole."""
        if not self._stream:
            body = msgspec.json.encode(self._shape.whole("".join(self._text), done))
            await self._put(body, kind=b"application/json", more=False)
            return
        events = () if self.begun else self._shape.opening()
        await self._events(*events, *self._shape.closing(done), after=self._shape.TERMINATOR, more=False)

    async def fail(self, fault: Fault) -> None:
        """The answer breaks off, and says so."""
        event = b"event: error\ndata: " + msgspec.json.encode(fault.body) + b"\n\n"
        await self._put(event, kind=b"", more=False)

    async def _events(self, *events: dict[str, object], after: bytes = b"", more: bool = True) -> None:
        lines = b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)
        await self._put(lines + after, kind=b"text/event-stream; charset=utf-8", more=more)

    async def _put(self, body: bytes, *, kind: bytes, more: bool) -> None:
        async with asyncio.timeout(self._stall):
            if not self.begun:
                self.begun = True
                headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
                if not more:
                    headers.append((b"content-length", b"%d" % len(body)))
                await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    """Returns when the client has gone away."""
    with suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
