"""One HTTP server: a client for it, the limits for connect and headers, and transport errors in our words.

No proxies from the environment, no redirects, and from a backend on this device no address but loopback.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import msgspec

from nanoide.backends import faults
from nanoide.backends.sse import Event, Events
from nanoide.core.errors import BackendError
from nanoide.settings import BackendTable

if TYPE_CHECKING:
    import httpcore2

_ERROR_LIMIT = 64 * 1024
"""Bytes of an error's body that are read."""

_WHOLE_LIMIT = 8 * 1024 * 1024
"""Bytes of an answer that comes whole."""

_KEEP = 3.0
"""Seconds that an unused connection is kept: less than the five after which common servers close it."""


_DRAIN = 0.02
"""Seconds to wait for the end of a body whose last event has come."""


class Server:
    """Where one backend's requests go. The client is made at the first one, in a thread: TLS takes its time."""

    def __init__(self, table: BackendTable, *, root: str = "") -> None:
        parts = urlsplit(table.base_url)
        self.name = table.name
        self.address = parts.netloc.rpartition("@")[2]
        """Host and port, as a person reads them."""
        self._path = quote(parts.path.rstrip("/") or root, safe="/%:@!$&'()*+,;=~")
        self._scheme = parts.scheme
        self._hostname = parts.hostname or ""
        self._port = parts.port
        self._device = table.locality == "device"
        self._timeout = table.timeout
        self._client: _Client | None = None
        self._lock = asyncio.Lock()

    async def post(self, path: str, body: object, headers: Mapping[str, str], *, secret: str = "") -> "Answer":
        """The answer, its headers read and found good; to be closed by whom it is given to.

        Raises BackendError for everything else. `secret` is hidden wherever the server repeats it.
        """
        return await self._send("POST", path, msgspec.json.encode(body), headers, secret)

    async def get(self, path: str, headers: Mapping[str, str], *, secret: str = "") -> bytes:
        """The body. Raises BackendError."""
        async with await self._send("GET", path, None, headers, secret) as answer:
            return await answer.whole()

    async def aclose(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], secret: str
    ) -> "Answer":
        client = self._client or await self._ready()
        import httpcore2  # after the client was made in a thread, which has loaded it

        from nanoide.backends.lines import Stale

        if self._device:
            await self._stay()
        limit = asyncio.timeout(self._timeout.headers)
        try:
            request = self._request(method, path, body, headers)
            async with limit:
                response = await client.send(request)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise BackendError(f"no answer within {self._timeout.headers:g} s", outcome="timeout") from error
        except httpcore2.ConnectTimeout as error:
            raise BackendError(
                f"no connection to {self.address} within {self._timeout.connect:g} s", outcome="timeout"
            ) from error
        except httpcore2.ConnectError as error:
            raise BackendError(_no_connection(error, self.address), outcome="connect_error") from error
        except UnicodeError as error:
            raise BackendError(f"{self.address!r} is no proper address", outcome="connect_error") from error
        except (httpcore2.NetworkError, httpcore2.RemoteProtocolError, Stale) as error:
            raise BackendError(f"{self.address} closed the connection without an answer", outcome="cut") from error
        except (httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
            raise BackendError(f"no proper HTTP: {type(error).__name__}", outcome="protocol") from error
        answer = Answer(response, self._timeout.headers)
        if response.status == 200 and not answer.encoding:
            return answer
        async with answer:
            if answer.encoding:
                raise BackendError(f"{self.address} encodes its answers as {answer.encoding!r}", outcome="protocol")
            if 300 <= response.status < 400:
                raise BackendError(f"{self.address} redirects elsewhere; that is not followed", outcome="protocol")
            raise faults.from_status(
                response.status, answer.headers, await answer.beginning(_ERROR_LIMIT), secret=secret
            )

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> "httpcore2.Request":
        import httpcore2

        host = self.address if self.address.isascii() else self.address.encode("idna").decode()
        whole = {"host": host, "accept-encoding": "identity", "user-agent": "nanoide", **headers}
        if body is not None:
            whole["content-length"] = str(len(body))
        return httpcore2.Request(
            method,
            httpcore2.URL(
                scheme=self._scheme.encode(),
                host=self._hostname.encode("ascii" if self._hostname.isascii() else "idna"),
                port=self._port,
                target=(self._path + path).encode(),
            ),
            headers=[(name.encode(), value.encode()) for name, value in whole.items()],
            content=body,
            extensions={"timeout": {"connect": self._timeout.connect}},
        )

    async def _ready(self) -> "_Client":
        async with self._lock:
            if self._client is None:
                self._client = await asyncio.to_thread(self._make)
            return self._client

    def _make(self) -> "_Client":
        # Without TLS there is nothing to verify, and no certificates to load.
        return _Client(ssl.create_default_context() if self._scheme == "https" else None)

    async def _stay(self) -> None:
        """Raise BackendError unless every address of the host is loopback."""
        try:
            addresses = [self._hostname] if _is_address(self._hostname) else await self._resolve()
        except OSError as error:
            raise BackendError(f"{self._hostname!r} has no address", outcome="connect_error") from error
        if not all(ipaddress.ip_address(each).is_loopback for each in addresses):
            raise BackendError(
                f'{self._hostname!r} is not this device; where = "device" stays on loopback', outcome="refused"
            )

    async def _resolve(self) -> list[str]:
        found = await asyncio.get_running_loop().getaddrinfo(self._hostname, None, type=socket.SOCK_STREAM)
        return [str(each[4][0]).partition("%")[0] for each in found]


class _Client:
    """The connections to one server."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        import httpcore2

        from nanoide.backends.lines import Lines

        self._lines = Lines()
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=16,
            keepalive_expiry=_KEEP,
            network_backend=self._lines,
        )

    async def send(self, request: "httpcore2.Request") -> "httpcore2.Response":
        """The answer with its headers; tried once more, on a new connection, when the kept one was closed already."""
        from nanoide.backends.lines import Stale

        try:
            return await self._pool.handle_async_request(request)
        except Stale:
            self._lines.doubt()
            return await self._pool.handle_async_request(request)

    async def aclose(self) -> None:
        """Close them all."""
        await self._pool.aclose()


class Answer:
    """A response under way."""

    def __init__(self, response: "httpcore2.Response", patience: float) -> None:
        self._response = response
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        """By lower-case name."""
        self._patience = patience
        """Seconds for a body that is read whole."""
        self._raw = response.aiter_stream()
        self._parser = Events()
        self._events: deque[Event] = deque()
        self._ended = False

    @property
    def kind(self) -> str:
        """Its media type, lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def encoding(self) -> str:
        """How the body is encoded, lower case; empty when it is as we asked for: not at all."""
        told = self.headers.get("content-encoding", "").strip().lower()
        return "" if told == "identity" else told

    async def next(self) -> Event | None:
        """The next event; None at the end. Raises BackendError "cut" when the connection breaks."""
        while not self._events:
            if self._ended:
                return None
            chunk = await self._chunk()
            self._events.extend(self._parser.flush() if chunk is None else self._parser.feed(chunk))
        return self._events.popleft()

    async def drain(self) -> None:
        """After the last event that matters: read the end that is there already, so that the connection can be kept."""
        with contextlib.suppress(TimeoutError, BackendError):
            async with asyncio.timeout(_DRAIN):
                while await self._chunk() is not None:
                    pass

    async def whole(self) -> bytes:
        """All of the body. Raises BackendError when it is too large or never ends."""
        body = await self.beginning(_WHOLE_LIMIT + 1)
        if len(body) > _WHOLE_LIMIT:
            raise BackendError(f"an answer of over {_WHOLE_LIMIT:,} bytes", outcome="protocol")
        return body

    async def beginning(self, limit: int) -> bytes:
        """The body, at most `limit` bytes of it; what there is when it is cut or slow."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._patience):
                while len(body) < limit and (chunk := await self._chunk()) is not None:
                    body += chunk
        except (TimeoutError, BackendError):
            pass  # the status alone already says what is wrong; half a JSON text is told by whoever parses it
        return bytes(body[:limit])

    async def aclose(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        await self._raw.aclose()
        await self._response.aclose()

    async def __aenter__(self) -> "Answer":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _chunk(self) -> bytes | None:
        import httpcore2

        try:
            return await anext(self._raw)
        except StopAsyncIteration:
            self._ended = True
            return None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
            raise BackendError("the connection broke in mid-answer", outcome="cut") from error


def _no_connection(error: Exception, address: str) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"no trusted connection to {address}: {cause.reason or 'TLS failed'}"
        if isinstance(cause, socket.gaierror):
            return f"no connection: {address} is not known"
        cause = cause.__cause__ or cause.__context__
    return f"no connection to {address}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
