"""Connections to servers. A kept one that was closed in our absence is told apart from one that breaks under us.

Loads the HTTP library: it is imported when the first request is made, not before.
"""

import asyncio
import select
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import SupportsIndex

import httpcore2

_STAGGER = 0.25
"""Seconds after which a host's next address is tried beside the one before."""


class Stale(Exception):
    """A kept connection ended before a byte of the answer came: it was closed already when the request was written."""


class Lines(httpcore2.AsyncNetworkBackend):
    """Makes connections, and says which of the kept ones are still trusted."""

    def __init__(self) -> None:
        self._made = 0
        self._trusted = 0
        """The number of the first connection that may be used again."""
        self._making = set[asyncio.Task[asyncio.Transport]]()
        """Connections on their way, those that nobody waits for any more included."""

    def doubt(self) -> None:
        """Trust no connection made so far: where one was closed in our absence, others were too."""
        self._trusted = self._made

    def trusts(self, number: int) -> bool:
        """Whether the connection of that number may be used again."""
        return number >= self._trusted

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library calls it
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> "Line":
        """A new connection."""
        del local_address, socket_options  # we never set them
        loop = asyncio.get_running_loop()
        inbox = Inbox(loop=loop)
        protocol = asyncio.StreamReaderProtocol(inbox, loop=loop)
        making = asyncio.create_task(_connect(protocol, host, port, timeout), name=f"connect {host}")
        self._making.add(making)
        making.add_done_callback(self._making.discard)
        try:
            transport = await asyncio.shield(making)
        except asyncio.CancelledError:
            # Were it cancelled just when it is connected, its socket would stay open.
            making.add_done_callback(_abandon)
            raise
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        number, self._made = self._made, self._made + 1
        return Line(inbox, asyncio.StreamWriter(transport, protocol, inbox, loop), self, number)


async def _connect(
    protocol: asyncio.StreamReaderProtocol, host: str, port: int, limit: float | None
) -> asyncio.Transport:
    async with asyncio.timeout(limit):
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: protocol, host, port, happy_eyeballs_delay=_STAGGER)
        return transport


def _abandon(making: asyncio.Task[asyncio.Transport]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().abort()


class Inbox(asyncio.StreamReader):
    """What came on a connection and was not read yet. Unlike its base it can be asked for that."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.pending = 0
        """Bytes."""
        self.ended = False
        """The other side has closed, or the connection broke."""

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """The loop brings bytes."""
        self.pending += len(bytes(data))
        super().feed_data(data)

    def feed_eof(self) -> None:
        """The loop brings the end."""
        self.ended = True
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        """The loop brings a failure."""
        self.ended = True
        super().set_exception(exc)

    async def read(self, n: int = -1) -> bytes:
        """As the base has it."""
        data = await super().read(n)
        self.pending -= len(data)
        return data


class Line(httpcore2.AsyncNetworkStream):
    """One connection. It notices when a new request begins on it and nothing ever comes back.

    What is written goes out when an answer is waited for: head and body of a request are one packet, not two.
    """

    def __init__(self, inbox: Inbox, writer: asyncio.StreamWriter, lines: Lines, number: int) -> None:
        self._inbox = inbox
        self._writer = writer
        self._lines = lines
        self._number = number
        self._used = False
        """An earlier request was answered on it."""
        self._heard = False
        """Bytes came since the request under way began."""
        self._written: list[bytes] = []
        """Not sent yet."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as the library calls it
        """The next bytes; none at the end. Raises Stale. How long that may take is minded by whoever asks."""
        del timeout
        try:
            if self._written:
                await self._send()
            data = await self._inbox.read(max_bytes)
        except OSError as error:
            if self._used and not self._heard:
                raise Stale from error
            raise httpcore2.ReadError(str(error)) from error
        if data:
            self._heard = True
        elif self._used and not self._heard:
            raise Stale
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as the library calls it
        """Have `buffer` sent; what is written after an answer begins a new request."""
        del timeout
        if self._heard:
            self._used, self._heard = True, False
        self._written.append(buffer)

    async def aclose(self) -> None:
        """Close it, without a word to the other side: nothing that we wait for is on its way."""
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library calls it
    ) -> "Line":
        """The same connection, encrypted."""
        raw = self._writer.transport
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        finally:
            if self._writer.transport is raw:  # there is no encrypted one: nobody else closes this one
                raw.abort()
        return self

    def get_extra_info(self, info: str) -> object:
        """A connection that is not trusted looks like one that the other side has closed."""
        if info != "is_readable":
            return self._writer.get_extra_info(info)
        return not self._lines.trusts(self._number) or self._readable()

    def _readable(self) -> bool:
        """Whether something came that nobody asked for, the end included."""
        if self._inbox.pending or self._inbox.ended or self._writer.is_closing():
            return True
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    async def _send(self) -> None:
        written, self._written = b"".join(self._written), []
        self._writer.write(written)
        # A server may close before it has read everything, and still have answered: what it said is read first.
        with suppress(OSError):
            await self._writer.drain()
