"""Every way in which a server fails a person in one turn, as a scene that can be played for both protocols.

Seconds are scaled down where a scene waits for a limit: a first token after 20 s is one after its limit.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from msgspec.structs import replace

from nanoide.core.value import Value
from nanoide.settings import Timeout
from tests.backends.servers import closed_port
from tests.faults.server import TOKENS, Ear, Fault, Kind, Voice, answers, begun, black_hole, rest, serving

PATIENT = Timeout(connect=20.0, headers=30.0, first_token=30.0, idle=30.0, total=60.0)
"""Only the limit that a scene is about is short: on a busy machine the others are never in its way."""

SHORT = 0.4
"""Seconds of that limit."""

Setting = Callable[[Kind, Ear], AbstractAsyncContextManager[str]]
"""Opens the first backend's server; gives its base_url."""


class Scene(Value, frozen=True):
    """The first backend fails in one way; the second one is well, unless the scene says more."""

    name: str
    first: Setting
    limits: Timeout = PATIENT
    """Of the first backend."""
    second: Fault = answers


def scenes() -> tuple[Scene, ...]:
    """All of them, in the order of a request: connecting, before the first token, after it, refusals."""
    return (*_connecting(), *_before(), *_after(), *_refused(), *_odd())


def _connecting() -> tuple[Scene, ...]:
    return (
        Scene("connection refused", _refusing),
        Scene("black-holed connect", _swallowing, replace(PATIENT, connect=SHORT)),
        Scene("TLS with a certificate that nobody signed", _served(answers, tls=True)),
        Scene("TLS asked of a server that has none", _no_tls),
        Scene("TLS handshake without an answer", _mute_tls, replace(PATIENT, connect=SHORT)),
    )


def _before() -> tuple[Scene, ...]:
    first = replace(PATIENT, first_token=SHORT)
    return (
        Scene("accepts and never answers", _served(_hold), replace(PATIENT, headers=SHORT)),
        Scene("headers, then silence", _served(_silent), first),
        Scene("first token late", _served(_late), first),
        Scene("one byte at a time from the start", _served(_drips), first),
        Scene("headers one byte at a time", _served(_slow_headers), replace(PATIENT, headers=SHORT)),
        Scene("keep-alives instead of a token", _served(_pings), first),
        Scene("closes without an answer (FIN)", _served(_slam(reset=False))),
        Scene("closes without an answer (RST)", _served(_slam(reset=True))),
        Scene("cut before the first token (FIN)", _served(_after_tokens(0, _fin))),
        Scene("ends before the first token, no terminator", _served(_after_tokens(0, _ends))),
        Scene("error event before the first token", _served(_after_tokens(0, _fails))),
        Scene("no HTTP at all", _served(_babble)),
        Scene("a web page with status 200", _served(_page)),
        Scene("a JSON error with status 200", _served(_status(200, "server_error", "the model crashed"))),
        Scene("a redirect", _served(_status(302, "", "", header=lambda: "location: http://192.0.2.1/"))),
        Scene("malformed SSE", _served(_after_tokens(0, _nonsense))),
        Scene("half a UTF-8 character", _served(_after_tokens(0, _half))),
        Scene("giant frame", _served(_after_tokens(0, _giant))),
        Scene("empty deltas and an end", _served(_hollow)),
        Scene("cut inside a tool call, before any text", _served(_after_tokens(0, _tool))),
    )


def _after() -> tuple[Scene, ...]:
    idle = replace(PATIENT, idle=SHORT)
    return (
        *(Scene(f"cut after {n} token{'s' * (n > 1)} (FIN)", _served(_after_tokens(n, _fin))) for n in (1, 10, 100)),
        *(Scene(f"cut after {n} token{'s' * (n > 1)} (RST)", _served(_after_tokens(n, _rst))) for n in (1, 10, 100)),
        Scene("stall in mid-stream", _served(_after_tokens(20, _hold)), idle),
        Scene("stall past the limit for the whole", _served(_after_tokens(20, _hold)), replace(PATIENT, total=1.5)),
        Scene("keep-alives instead of more tokens", _served(_after_tokens(20, _beats)), idle),
        Scene("one byte at a time from mid-stream on", _served(_after_tokens(20, _slowly)), idle),
        Scene("ends in mid-stream, no terminator", _served(_after_tokens(20, _ends))),
        Scene("error event in mid-stream", _served(_after_tokens(20, _fails))),
        Scene("malformed SSE in mid-stream", _served(_after_tokens(20, _nonsense))),
        Scene("half a UTF-8 character in mid-stream", _served(_after_tokens(20, _half))),
        Scene("giant frame in mid-stream", _served(_after_tokens(20, _giant))),
        Scene("cut inside a tool call, after text", _served(_after_tokens(20, _tool))),
        Scene("all tokens, then cut before the terminator", _served(_after_tokens(len(TOKENS), _fin))),
        Scene("cut in mid-stream, and the next one begins anew", _served(_after_tokens(20, _fin)), second=_anew),
        Scene(
            "cut in mid-stream, and the next one says something else", _served(_after_tokens(20, _fin)), second=_else
        ),
        Scene(
            "cut in mid-stream, and the next one is cut too",
            _served(_after_tokens(20, _fin)),
            second=_goes_on(20, _fin),
        ),
        Scene("cut in mid-stream, and the next one is down", _served(_after_tokens(20, _fin)), second=_sick),
    )


_STATUSES: tuple[tuple[int, str, str], ...] = (
    (400, "invalid_request_error", "messages: at least one is required"),
    (401, "authentication_error", "invalid key"),
    (402, "billing_error", "credit balance is too low"),
    (403, "permission_error", "this key may not use m"),
    (404, "not_found_error", "there is no model m"),
    (408, "timeout_error", "request timed out"),
    (413, "request_too_large", "request exceeds the maximum size"),
    (422, "invalid_request_error", "max_tokens: must be an integer"),
    (429, "rate_limit_error", "slow down"),
    (500, "api_error", "internal error"),
    (502, "api_error", "bad gateway"),
    (503, "api_error", "no capacity"),
    (529, "overloaded_error", "overloaded"),
)


def _refused() -> tuple[Scene, ...]:
    slow = (429, "rate_limit_error", "slow down")
    return (
        *(Scene(str(status), _served(_status(status, type, words))) for status, type, words in _STATUSES),
        Scene("429, Retry-After in seconds", _served(_status(*slow, header=lambda: "retry-after: 30"))),
        Scene("429, Retry-After as a date", _served(_status(*slow, header=_in_an_hour))),
        Scene("429, Retry-After in milliseconds", _served(_status(*slow, header=lambda: "retry-after-ms: 20000"))),
        Scene(
            "context overflow as a 400",
            _served(_status(400, "context_length_exceeded", "prompt is too long: 9000 tokens > 8192 maximum")),
        ),
        Scene("content filter as a 400", _served(_status(400, "content_filter", "blocked by content policy"))),
        Scene("content filter as finish reason, no text", _served(_filtered(0))),
        Scene("content filter as finish reason, after text", _served(_filtered(20))),
    )


def _odd() -> tuple[Scene, ...]:
    return (
        Scene("missing usage", _served(_untold)),
        Scene("empty deltas between tokens", _served(_gaps)),
        Scene("well", _served(answers)),
    )


def _served(fault: Fault, *, tls: bool = False) -> Setting:
    @asynccontextmanager
    async def setting(kind: Kind, ear: Ear) -> AsyncGenerator[str]:
        async with serving(kind, fault, ear=ear, tls=tls) as server:
            yield server.url

    return setting


@asynccontextmanager
async def _refusing(kind: Kind, ear: Ear) -> AsyncGenerator[str]:
    yield f"http://127.0.0.1:{await closed_port()}/v1"


@asynccontextmanager
async def _swallowing(kind: Kind, ear: Ear) -> AsyncGenerator[str]:
    async with black_hole() as url:
        yield url


@asynccontextmanager
async def _no_tls(kind: Kind, ear: Ear) -> AsyncGenerator[str]:
    """Speaks plain HTTP to whatever comes."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(1000)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            await reader.read()  # what is not read when it closes is answered with a reset
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@asynccontextmanager
async def _mute_tls(kind: Kind, ear: Ear) -> AsyncGenerator[str]:
    async with serving(kind, answers) as server:  # it waits for the end of a request that never ends
        yield server.url.replace("http:", "https:")


async def _hold(voice: Voice) -> None:
    await voice.hold()


async def _silent(voice: Voice) -> None:
    voice.begin()
    await voice.hold()


async def _late(voice: Voice) -> None:
    voice.begin()
    await voice.hold()  # the other side goes away before the token would come
    voice.say(TOKENS[0])


async def _slow_headers(voice: Voice) -> None:
    with suppress(ConnectionError):
        for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * 500:
            voice.wire(bytes([byte]))
            await voice.flush()
            await asyncio.sleep(0.05)


async def _pings(voice: Voice) -> None:
    voice.begin()
    await _beats(voice)


async def _beats(voice: Voice) -> None:
    with suppress(ConnectionError):
        while True:
            voice.bytes(b": keep-alive\n\n")
            await voice.flush()
            await asyncio.sleep(0.05)


async def _babble(voice: Voice) -> None:
    voice.wire(b"220 mail.example ESMTP ready\r\n")
    await voice.cut(reset=False)


async def _page(voice: Voice) -> None:
    page = b"<html>Sign in</html>"
    voice.wire(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n%b" % (len(page), page))


async def _drips(voice: Voice) -> None:
    voice.begin()
    await voice.drip(b": " + b"." * 2000, 0.05)


def _slam(*, reset: bool) -> Fault:
    async def fault(voice: Voice) -> None:
        await voice.cut(reset=reset)

    return fault


def _after_tokens(count: int, then: Fault) -> Fault:
    """So many tokens, heard by the person, and then `then`."""

    async def fault(voice: Voice) -> None:
        voice.begin()
        voice.say(*TOKENS[:count])
        await voice.heard()
        await then(voice)

    return fault


async def _anew(voice: Voice) -> None:
    """Answers from the beginning, whatever it is asked."""
    voice.begin()
    voice.say(*TOKENS)
    voice.finish()


async def _else(voice: Voice) -> None:
    """Well, but not able to repeat what it is shown."""
    voice.begin()
    voice.say(*(TOKENS if begun(voice.asked) == "" else ["Certainly! ", "Here is ", "the rest ", "of it."] * 20))
    voice.finish()


async def _sick(voice: Voice) -> None:
    voice.refuse(500)


def _goes_on(count: int, then: Fault) -> Fault:
    """So many tokens of what is left of an answer, and then `then`."""

    async def fault(voice: Voice) -> None:
        voice.begin()
        voice.say(*rest(begun(voice.asked))[: count + 1])
        await voice.flush()
        await then(voice)

    return fault


async def _fin(voice: Voice) -> None:
    await voice.cut(reset=False)


async def _rst(voice: Voice) -> None:
    await voice.cut(reset=True)


async def _ends(voice: Voice) -> None:
    voice.end()


async def _fails(voice: Voice) -> None:
    voice.error("overloaded_error", "too busy to go on")
    await voice.hold()


async def _nonsense(voice: Voice) -> None:
    voice.bytes(b"data: {no json\n\n")
    await voice.hold()


async def _half(voice: Voice) -> None:
    voice.bytes(b"data: \xe2\x82\n\n")
    await voice.hold()


async def _giant(voice: Voice) -> None:
    voice.bytes(b"data: " + b"x" * 5_000_000)
    await voice.hold()


async def _tool(voice: Voice) -> None:
    voice.tool()
    await voice.cut(reset=False)


async def _slowly(voice: Voice) -> None:
    await voice.drip(b'data: {"choices": [' + b" " * 2000, 0.05)


async def _hollow(voice: Voice) -> None:
    voice.begin()
    voice.say(*[""] * 50)
    voice.finish()


async def _gaps(voice: Voice) -> None:
    voice.begin()
    for token in TOKENS:
        voice.say("", token, "")
    voice.finish()


async def _untold(voice: Voice) -> None:
    voice.begin(told=False)
    voice.say(*TOKENS)
    voice.finish(told=False)


def _filtered(count: int) -> Fault:
    async def fault(voice: Voice) -> None:
        voice.begin()
        voice.say(*TOKENS[:count])
        voice.finish("refusal" if voice.kind == "anthropic" else "content_filter")

    return fault


def _status(status: int, type: str, words: str, header: Callable[[], str] | None = None) -> Fault:
    async def fault(voice: Voice) -> None:
        headers = () if header is None else (header(),)
        error = {"type": type, "message": words}
        body = {"type": "error", "error": error} if voice.kind == "anthropic" else {"error": error}
        voice.refuse(status, body, *headers)

    return fault


def _in_an_hour() -> str:
    return f"retry-after: {format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}"
