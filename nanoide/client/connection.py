"""One connection to the hub: requests out, replies and notices in."""

import asyncio
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from nanoide import __version__, wire
from nanoide.core.errors import HubError, NanoideError
from nanoide.wire import Frame, Piece, Published, Reply, Request, StatusChanged

Notice = Published | StatusChanged

GREET_LIMIT = 20.0
"""Seconds that a hub may take to answer the greeting; one that hangs is told as such."""


class _Gone(HubError):
    """The other side has closed."""


class Notices(AsyncIterator[Notice]):
    """What the hub tells unasked, from the moment this was made. Ends when the connection does."""

    def __init__(self) -> None:
        self._waiting: deque[Notice] = deque()
        self._wake = asyncio.Event()
        self._ended = False

    def put(self, notice: Notice) -> None:
        """Add one notice."""
        self._waiting.append(notice)
        self._wake.set()

    def end(self) -> None:
        """Nothing more will come; what waits is still given out."""
        self._ended = True
        self._wake.set()

    async def __anext__(self) -> Notice:
        """The next notice; waits for it."""
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


class Connection:
    """A greeted connection. Use `nanoide.client.launch.connect` to get one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next = 0
        self._pending: dict[int, tuple[Request[object], asyncio.Future[object]]] = {}
        self._listeners: list[Notices] = []
        self._takers: dict[str, Callable[[Piece], None]] = {}
        """Who takes the pieces of an answer, by its key."""
        self._lost: HubError | None = None
        self._task = asyncio.create_task(self._read(), name="hub connection")

    @classmethod
    async def open(cls, path: Path, *, client: str) -> "Connection":
        """Connect to the socket at `path` and greet.

        Raises OSError when nobody listens there or the hub is just leaving, HubError when whoever does listen
        is not this user's hub of this version.
        """
        reader, writer = await asyncio.open_unix_connection(path, limit=wire.FRAME_LIMIT)
        connection = cls(reader, writer)
        try:
            _check_peer(cast("socket.socket", writer.get_extra_info("socket")))
            async with asyncio.timeout(GREET_LIMIT):
                await connection.call(
                    wire.Initialize(protocol=wire.PROTOCOL_VERSION, client=client, version=__version__)
                )
        except TimeoutError as error:
            await connection.aclose()
            raise HubError("the hub listens but does not answer", hint="run: nanoide hub stop") from error
        except _Gone as error:
            await connection.aclose()
            raise ConnectionResetError("the hub is leaving") from error
        except BaseException:
            await connection.aclose()
            raise
        return connection

    @property
    def closed(self) -> bool:
        """True once the hub has gone away or this side has closed."""
        return self._lost is not None

    async def call(self, request: Request[Reply]) -> Reply:
        """The hub's reply. Raises the hub's NanoideError, or HubError when the connection is lost."""
        if self._lost is not None:
            raise _again(self._lost)
        self._next += 1
        number = self._next
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._pending[number] = (cast("Request[object]", request), future)
        try:
            self._writer.write(wire.request(number, request))
            await self._writer.drain()
            return cast("Reply", await future)
        except (ConnectionError, OSError) as error:
            raise _Gone("the hub went away", hint="try again; it starts by itself") from error
        finally:
            self._pending.pop(number, None)

    def notices(self) -> Notices:
        """All that the hub tells unasked from now on. Each call makes a stream of its own."""
        notices = Notices()
        if self._lost is not None:
            notices.end()
        else:
            self._listeners.append(notices)
        return notices

    def forget(self, notices: Notices) -> None:
        """Stop adding to `notices`."""
        notices.end()
        if notices in self._listeners:
            self._listeners.remove(notices)

    def hear(self, key: str, take: Callable[[Piece], None]) -> None:
        """Give every piece of the answer with this `key` to `take`, as it comes."""
        self._takers[key] = take

    def unhear(self, key: str) -> None:
        """Stop giving them."""
        self._takers.pop(key, None)

    async def aclose(self) -> None:
        """Close. Requests under way end with HubError."""
        self._lose(HubError("the connection was closed"))
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()
        with suppress(OSError):  # the other side was faster
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        """The connection itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    async def _read(self) -> None:
        lost: HubError = _Gone("the hub went away", hint="try again; it starts by itself")
        try:
            while line := await self._reader.readline():
                self._take(wire.parse(line))
        except (OSError, ValueError):
            pass  # cut in mid-line, or a line over the limit: either way this connection is over
        except NanoideError as error:
            lost = _puzzled(error)
        finally:
            self._lose(lost)

    def _take(self, frame: Frame) -> None:
        if frame.method == "event":
            self._tell(cast("Published", wire.read(frame.params, Published)))
            return
        if frame.method == "status":
            self._tell(cast("StatusChanged", wire.read(frame.params, StatusChanged)))
            return
        if frame.method == "piece":
            piece = cast("Piece", wire.read(frame.params, Piece))
            take = self._takers.get(piece.key)
            if take is not None:
                take(piece)
            return
        if frame.id is None:
            if frame.error is not None:
                raise wire.raised(frame.error)
            return
        request, future = self._pending.get(frame.id, (None, None))
        if request is None or future is None or future.done():
            return
        if frame.error is not None:
            future.set_exception(wire.raised(frame.error))
            return
        try:
            future.set_result(wire.read(frame.result, request.REPLY))
        except NanoideError as error:
            future.set_exception(_puzzled(error))

    def _tell(self, notice: Notice) -> None:
        for listener in self._listeners:
            listener.put(notice)

    def _lose(self, why: HubError) -> None:
        if self._lost is not None:
            return
        self._lost = why
        for _, future in self._pending.values():
            if not future.done():
                future.set_exception(_again(why))
        for listener in self._listeners:
            listener.end()
        self._listeners.clear()


def _puzzled(error: NanoideError) -> HubError:
    return HubError(f"the hub cannot be understood: {error.message}", hint="run: nanoide hub stop")


def _again(error: HubError) -> HubError:
    """The same error for another one who waits: an exception that is raised twice has a mixed history."""
    return type(error)(error.message, hint=error.hint)


def _check_peer(peer: socket.socket) -> None:
    """Refuse a socket that another user listens on."""
    if sys.platform != "linux":
        return  # the socket's folder is ours and 0700; only Linux tells the peer in one portable call
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid != os.getuid():
        raise HubError(
            f"the hub's socket belongs to user {uid}, not to you", hint="set NANOIDE_HOME to a folder of yours"
        )
