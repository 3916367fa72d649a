"""Whoever listens on the hub's socket is told apart: a hub, a hub that leaves, one of another version, a stranger."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from nanoide.client.connection import Connection
from nanoide.core.errors import HubError
from nanoide.paths import Paths

OLD = (
    b'{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"this hub speaks protocol 0 (nanoide 0.0.1), the client'
    b' protocol 1 (nanoide 0.1.0)","data":{"name":"HubError","hint":"run: nanoide hub stop"}}}\n'
)


@asynccontextmanager
async def listening(paths: Paths, answer: bytes) -> AsyncGenerator[None]:
    """Somebody who answers the greeting with `answer`, and closes at once."""
    paths.prepare()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_unix_server(meet, paths.socket):
        yield


async def test_a_hub_of_another_version_is_no_hub_that_leaves(paths: Paths) -> None:
    """It closes right after its answer, which counts all the same: nobody starts a second hub over it."""
    async with listening(paths, OLD):
        for _ in range(20):
            with pytest.raises(HubError, match=r"speaks protocol 0 .* protocol 1") as caught:
                await Connection.open(paths.socket, client="test")
            assert caught.value.hint == "run: nanoide hub stop"


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n", b'{"jsonrpc":"2.0","id":1,"result":17}\n', b"\xff\n"]
)
async def test_a_stranger_is_told_as_one(paths: Paths, answer: bytes) -> None:
    """Nonsense is an error that names the command that mends it."""
    async with listening(paths, answer):
        with pytest.raises(HubError, match="cannot be understood") as caught:
            await Connection.open(paths.socket, client="test")
        assert caught.value.hint == "run: nanoide hub stop"


async def test_a_hub_that_leaves_may_be_replaced(paths: Paths) -> None:
    """Closing without a word is what a leaving hub does."""
    async with listening(paths, b""):
        with pytest.raises(ConnectionResetError):
            await Connection.open(paths.socket, client="test")
