import asyncio
import socket
import struct
from contextlib import aclosing

import pytest

from nanoide.backends.openai import OpenAIBackend
from nanoide.core.chat import Message, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.settings import BackendTable, Timeout
from tests.backends.servers import Running, Script, chat, hang_up, serve, stream

PROMPT = Prompt(skill="explain", messages=(Message("user", "Why?"),))
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


async def _ask(box: OpenAIBackend) -> str:
    async with aclosing(box.stream(PROMPT)) as chunks:
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
