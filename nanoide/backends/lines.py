"""Connections to servers. A kept one that was closed in our absence is told apart from one that breaks under us.

Loads the HTTP library: it is imported when the first request is made, not before.
"""

import contextlib
import ssl
from collections.abc import Iterable
from typing import cast

import httpcore2


class Stale(Exception):
    """A kept connection ended before a byte of the answer came: it was closed already when the request was written."""


class Lines(httpcore2.AsyncNetworkBackend):
    """Makes connections, and says which of the kept ones are still trusted."""

    def __init__(self) -> None:
        self._under = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())
        self._made = 0
        self._trusted = 0
        """The number of the first connection that may be used again."""

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
        stream = await self._under.connect_tcp(host, port, timeout, local_address, socket_options)
        number, self._made = self._made, self._made + 1
        return Line(stream, self, number)


class Line(httpcore2.AsyncNetworkStream):
    """One connection. It notices when a new request begins on it and nothing ever comes back.

    What is written goes out when an answer is waited for: head and body of a request are one packet, not two.
    """

    def __init__(self, under: httpcore2.AsyncNetworkStream, lines: Lines, number: int) -> None:
        self._under = under
        self._lines = lines
        self._number = number
        self._used = False
        """An earlier request was answered on it."""
        self._heard = False
        """Bytes came since the request under way began."""
        self._written: list[bytes] = []
        """Not sent yet."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as the library calls it
        """The next bytes; none at the end. Raises Stale."""
        try:
            if self._written:
                await self._send(timeout)
            data = await self._under.read(max_bytes, timeout)
        except httpcore2.ReadError as error:
            if self._used and not self._heard:
                raise Stale from error
            raise
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
        """Close it."""
        await self._under.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library calls it
    ) -> "Line":
        """The same connection, encrypted."""
        return Line(await self._under.start_tls(ssl_context, server_hostname, timeout), self._lines, self._number)

    async def _send(self, timeout: float | None) -> None:  # noqa: ASYNC109 - as the library calls it
        written, self._written = b"".join(self._written), []
        # A server may close before it has read everything, and still have answered: what it said is read first.
        with contextlib.suppress(httpcore2.WriteError):
            await self._under.write(written, timeout)

    def get_extra_info(self, info: str) -> object:
        """A connection that is not trusted looks like one that the other side has closed."""
        if info == "is_readable" and not self._lines.trusts(self._number):
            return True
        return self._under.get_extra_info(info)
