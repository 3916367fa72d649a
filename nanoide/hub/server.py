"""The hub's side of a connection: one task reads, one writes, one more for each request under way."""

import asyncio
import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from nanoide import __version__, wire
from nanoide.core.errors import HubError, NanoideError
from nanoide.hub.broker import Subscriber
from nanoide.hub.workshop import Workshop

log = logging.getLogger(__name__)

Dispatch = Callable[[Workshop, Subscriber, wire.Request[object]], Awaitable[object]]


class Server:
    """Listens on the hub's socket."""

    def __init__(self, workshop: Workshop, dispatch: Dispatch) -> None:
        self._workshop = workshop
        self._dispatch = dispatch
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self, path: Path) -> None:
        """Listen at `path`, a socket only this user can reach. The caller holds the hub's lock."""
        before = os.umask(0o177)
        try:
            remove_socket(path)
            self._server = await asyncio.start_unix_server(self._connected, path, limit=wire.FRAME_LIMIT, backlog=128)
        finally:
            os.umask(before)

    async def aclose(self) -> None:
        """Listen no more and end all connections, after what waits for them is sent."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=2.0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or not _same_user(cast("socket.socket", writer.get_extra_info("socket"))):
            writer.close()
            return
        self._connections.add(task)
        subscriber = Subscriber()
        self._workshop.broker.add(subscriber)
        self._workshop.clients.add(subscriber)
        sender = asyncio.create_task(_send(subscriber, writer), name="sender")
        requests: set[asyncio.Task[None]] = set()
        try:
            await self._read(reader, subscriber, requests, sender)
        except (asyncio.CancelledError, ConnectionError):
            pass  # the hub ends, or the client went away
        except Exception:
            log.exception("a connection failed")
        finally:
            for request in requests:
                request.cancel()
            self._workshop.broker.remove(subscriber)
            self._workshop.clients.discard(subscriber)
            await _finish(subscriber, sender, writer)
            self._workshop.journal.shed()
            self._workshop.journal.on_change()
            self._connections.discard(task)

    async def _read(
        self,
        reader: asyncio.StreamReader,
        subscriber: Subscriber,
        requests: set[asyncio.Task[None]],
        sender: asyncio.Task[None],
    ) -> None:
        greeted = False
        while not sender.done():
            try:
                line = await reader.readline()
            except ValueError:
                error = HubError(f"a line over {wire.FRAME_LIMIT:,} bytes", hint="send less at once")
                subscriber.put(wire.failure(None, error, code=wire.INVALID_REQUEST))
                return
            if not line:
                return
            if not line.strip():
                continue
            try:
                frame = wire.parse(line)
            except HubError as error:
                subscriber.put(wire.failure(None, error, code=wire.PARSE_ERROR))
                continue
            if not greeted:
                greeted = _greet(frame, subscriber, self._workshop)
                if not greeted:
                    return
                continue
            task = asyncio.create_task(self._answer(frame, subscriber), name=f"request {frame.method}")
            requests.add(task)
            task.add_done_callback(requests.discard)

    async def _answer(self, frame: wire.Frame, subscriber: Subscriber) -> None:
        if frame.method is None or frame.id is None:
            error = HubError("not a request: it needs a method and an id")
            subscriber.put(wire.failure(frame.id, error, code=wire.INVALID_REQUEST))
            return
        kind = wire.REQUESTS.get(frame.method)
        if kind is None:
            error = HubError(f"unknown method {frame.method!r}")
            subscriber.put(wire.failure(frame.id, error, code=wire.METHOD_NOT_FOUND))
            return
        try:
            try:
                request = cast("wire.Request[object]", wire.read(frame.params, kind))
            except NanoideError as error:
                subscriber.put(wire.failure(frame.id, error, code=wire.INVALID_PARAMS))
                return
            # No await between the handler's last step and put: a snapshot stands before the events after it.
            subscriber.put(wire.reply(frame.id, await self._dispatch(self._workshop, subscriber, request)))
        except NanoideError as error:
            subscriber.put(wire.failure(frame.id, error))
        except Exception as error:
            log.exception("request %s failed", frame.method)
            subscriber.put(wire.failure(frame.id, error))


def remove_socket(path: Path) -> None:
    """Take away what a hub left behind at `path`."""
    path.unlink(missing_ok=True)


def _greet(frame: wire.Frame, subscriber: Subscriber, workshop: Workshop) -> bool:
    """Answer the first frame; False when the connection is not to go on."""
    if frame.method != wire.Initialize.METHOD or frame.id is None:
        error = HubError("the first request must be 'initialize'")
        subscriber.put(wire.failure(frame.id, error, code=wire.INVALID_REQUEST))
        return False
    try:
        hello = cast("wire.Initialize", wire.read(frame.params, wire.Initialize))
    except NanoideError as error:
        subscriber.put(wire.failure(frame.id, error, code=wire.INVALID_PARAMS))
        return False
    if hello.protocol != wire.PROTOCOL_VERSION:
        error = HubError(
            f"this hub speaks protocol {wire.PROTOCOL_VERSION} (nanoide {__version__}), "
            f"the client protocol {hello.protocol} (nanoide {hello.version or 'of unknown version'})",
            hint="run: nanoide hub stop",
        )
        subscriber.put(wire.failure(frame.id, error, code=wire.PROTOCOL_MISMATCH))
        return False
    home = str(workshop.paths.config.parent)
    answer = wire.Initialized(protocol=wire.PROTOCOL_VERSION, version=__version__, pid=os.getpid(), home=home)
    subscriber.put(wire.reply(frame.id, answer))
    log.info("%s (nanoide %s) is connected", hello.client, hello.version)
    if hello.client == "lsp":
        workshop.warm()
    return True


async def _send(subscriber: Subscriber, writer: asyncio.StreamWriter) -> None:
    """Write what the subscriber is to get, at the pace at which it reads."""
    try:
        while True:
            writer.write(await subscriber.take())
            await writer.drain()
            if subscriber.cut:
                log.warning("a client that does not read was cut")
                writer.transport.abort()
                return
    except OSError:
        return  # the client went away


async def _finish(subscriber: Subscriber, sender: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
    """Send what is still waiting, for at most a second, and close."""
    sender.cancel()
    with suppress(asyncio.CancelledError):
        await sender
    if subscriber.backlog and not subscriber.cut and not writer.is_closing():
        with suppress(OSError, TimeoutError):
            writer.write(await subscriber.take())
            async with asyncio.timeout(1.0):
                await writer.drain()
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


def _same_user(peer: socket.socket) -> bool:
    if sys.platform != "linux":
        return True  # the socket's folder is 0700; only Linux tells the peer in one portable call
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid != os.getuid():
        log.warning("user %d was turned away", uid)
        return False
    return True
