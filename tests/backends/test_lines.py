import asyncio
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from nanoide.backends.openai import OpenAIBackend
from nanoide.core.chat import Message, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.settings import BackendTable, Timeout
from tests.backends.servers import Running, Script, chat, hang_up, read, respond, serve, stream

GOOD = stream(*chat("fine"), "[DONE]")


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection without a word."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def half_a_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin to answer, and close."""
    writer.write(b"HTTP/1.1 200 O")
    await writer.drain()
    writer.close()


def _backend(server: Running) -> OpenAIBackend:
    limits = Timeout(connect=20.0, headers=30.0)
    return OpenAIBackend(
        BackendTable(name="box", kind="openai", base_url=server.url, model="m", timeout=limits), lambda: ""
    )


async def _ask(box: OpenAIBackend, question: str = "Why?") -> str:
    async with aclosing(box.stream(Prompt(messages=(Message("user", question),)))) as chunks:
        return "".join([chunk.text async for chunk in chunks if isinstance(chunk, Text)])


@pytest.mark.parametrize("closes", [hang_up, reset], ids=["fin", "rst"])
async def test_a_kept_connection_that_was_closed_is_replaced_unseen(closes: Script) -> None:
    """The server closes it as the second request comes: that request is sent again, once, on a new connection."""
    async with serve(GOOD, closes, GOOD) as server:
        box = _backend(server)
        assert [await _ask(box), await _ask(box)] == ["fine", "fine"]
        await box.aclose()
    assert len(server.requests) == 3
    assert server.connections == 2


async def test_a_server_that_closes_idle_connections_is_never_noticed() -> None:
    """Closed between two requests, the connection is not used again at all."""
    closed = asyncio.Event()

    async def and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await GOOD(reader, writer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with serve(and_close, GOOD) as server:
        box = _backend(server)
        assert await _ask(box) == "fine"
        await closed.wait()
        assert await _ask(box) == "fine"
        await box.aclose()
    assert len(server.requests) == 2


@pytest.mark.parametrize("closes", [hang_up, reset], ids=["fin", "rst"])
async def test_a_new_connection_that_breaks_is_never_tried_again(closes: Script) -> None:
    """The server may be working on the request; asking twice could be paid twice."""
    async with serve(closes, GOOD) as server:
        box = _backend(server)
        with pytest.raises(BackendError) as caught:
            await _ask(box)
        await box.aclose()
    assert caught.value.outcome == "cut"
    assert len(server.requests) == 1


async def test_once_only() -> None:
    """When the new connection breaks as well, that is how the attempt ends."""
    async with serve(GOOD, hang_up) as server:
        box = _backend(server)
        assert await _ask(box) == "fine"
        with pytest.raises(BackendError) as caught:
            await _ask(box)
        await box.aclose()
    assert caught.value.outcome == "cut"
    assert len(server.requests) == 3


async def test_half_a_header_is_an_answer_begun() -> None:
    """The request was taken up: it is not sent again, kept connection or not."""
    async with serve(GOOD, half_a_header, GOOD) as server:
        box = _backend(server)
        assert await _ask(box) == "fine"
        with pytest.raises(BackendError) as caught:
            await _ask(box)
        await box.aclose()
    assert caught.value.outcome == "cut"
    assert len(server.requests) == 2


async def test_where_one_was_closed_no_other_is_trusted() -> None:
    """A server that went away took every kept connection with it; the first that is found closed tells of all."""
    both = asyncio.Barrier(2)

    async def together(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await both.wait()
        await GOOD(reader, writer)

    async with serve(together, together, hang_up, GOOD) as server:
        box = _backend(server)
        assert await asyncio.gather(_ask(box), _ask(box)) == ["fine", "fine"]
        assert await _ask(box) == "fine"
        await box.aclose()
    assert len(server.requests) == 4
    assert server.connections == 3


async def test_a_goodbye_that_nobody_asked_for_is_not_taken_for_an_answer() -> None:
    """Some servers say 408 before they close an idle connection; the next request goes out on a new one."""
    said = asyncio.Event()

    async def and_goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await GOOD(reader, writer)
        await writer.drain()
        await released.wait()
        writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        said.set()

    released = asyncio.Event()
    async with serve(and_goodbye, GOOD) as server:
        box = _backend(server)
        assert await _ask(box) == "fine"
        released.set()
        await said.wait()
        assert await _ask(box) == "fine"
        await box.aclose()
    assert server.connections == 2


async def test_what_a_server_says_before_it_has_read_everything_is_heard() -> None:
    """It refuses a large request by its head alone, and closes."""
    over = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        over.set()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    box = _backend(Running(f"http://127.0.0.1:{port}/v1", port))
    with pytest.raises(BackendError) as caught:
        await _ask(box, "x" * 4_000_000)
    await box.aclose()
    await over.wait()
    server.close()
    await server.wait_closed()
    assert caught.value.outcome == "context"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    argv = ["openssl", *words.split(), "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(argv, check=True, capture_output=True)
    return folder


@asynccontextmanager
async def _secure(folder: Path) -> AsyncIterator[tuple[str, list[int]]]:
    """A server behind TLS; its address, and the number of requests on each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    connections: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(connections)
        connections.append(0)
        try:
            while True:
                await read(reader)
                connections[place] += 1
                await GOOD(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/v1", connections
    finally:
        server.close()
        await server.wait_closed()


async def test_over_tls_a_connection_is_kept_as_well(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusted and by name: three requests, one handshake."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    async with _secure(certificate) as (url, connections):
        box = _backend(Running(url, 0))
        assert [await _ask(box) for _ in range(3)] == ["fine"] * 3
        await box.aclose()
    assert connections == [3]


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    """The reason is told, and no request was sent."""
    async with _secure(certificate) as (url, connections):
        box = _backend(Running(url, 0))
        with pytest.raises(BackendError, match="no trusted connection to localhost:"):
            await _ask(box)
        await box.aclose()
    assert sum(connections) == 0


async def test_a_handshake_without_an_answer_ends_at_the_limit_for_connecting() -> None:
    """It is part of connecting, as a person sees it."""
    over = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        over.set()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    table = BackendTable(
        name="box", kind="openai", base_url=f"https://127.0.0.1:{port}/v1", model="m", timeout=Timeout(connect=0.3)
    )
    box = OpenAIBackend(table, lambda: "")
    with pytest.raises(BackendError, match=r"no connection to 127.0.0.1:\d+ within 0.3 s") as caught:
        await _ask(box)
    assert caught.value.outcome == "timeout"
    await box.aclose()
    await over.wait()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "outcome", "words"),
    [
        ("http://bücher.invalid/v1", "connect_error", "no connection: bücher.invalid is not known"),
        ("http://a..b/v1", "connect_error", "'a..b' is no proper address"),
        ("http://" + "ü" * 80 + "/v1", "connect_error", "is no proper address"),
    ],
    ids=["unknown", "empty label", "label too long"],
)
async def test_an_address_that_leads_nowhere_is_told_as_such(url: str, outcome: str, words: str) -> None:
    """Also one that is no name at all."""
    box = _backend(Running(url, 0))
    with pytest.raises(BackendError) as caught:
        await _ask(box)
    await box.aclose()
    assert caught.value.outcome == outcome
    assert words in caught.value.message


async def test_an_encoding_that_nobody_asked_for_is_told() -> None:
    """Plain text was asked for; compressed events cannot come one by one."""
    async with serve(respond(200, "x", ["content-encoding: gzip"])) as server:
        box = _backend(server)
        with pytest.raises(BackendError, match="encodes its answers as 'gzip'") as caught:
            await _ask(box)
        await box.aclose()
    assert caught.value.outcome == "protocol"
