"""HTTP itself: methods, connections that go on, bodies that are packed or do not come, clients that do not read."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import openai
import pytest

from nanoide.gateway.app import Gateway
from nanoide.gateway.desk import Desk
from nanoide.gateway.guard import Guard
from nanoide.gateway.limits import Limits
from nanoide.gateway.server import listen, serving
from tests.gateway.house import PIECES, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: dict[str, object] = {"model": "backend:ready", "messages": [{"role": "user", "content": "hi"}]}


def head(doors: House, method: str, path: str, *more: str, port: int = 0) -> bytes:
    """The head of a request, with the token."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port or doors.port}"]
    return "\r\n".join([*lines, f"Authorization: Bearer {doors.token}", *more, "", ""]).encode()


def post(doors: House, path: str, body: object, *more: str, port: int = 0) -> bytes:
    """A whole request."""
    data = json.dumps(body).encode()
    return head(doors, "POST", path, f"Content-Length: {len(data)}", *more, port=port) + data


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """One answer that says its length."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


@asynccontextmanager
async def strict(doors: House, limits: Limits) -> AsyncGenerator[int]:
    """The port of a second gateway, in this process, that bears with less."""
    desk = Desk(doors.paths)
    with listen("127.0.0.1", 0) as listening:
        port: int = listening.getsockname()[1]
        server = serving(Gateway(desk, Guard(port, doors.token), limits))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield port
        finally:
            server.should_exit = True
            await task
            await desk.link.aclose()


async def test_one_model_is_told_as_in_the_list(doors: House) -> None:
    """By its name, plain or with the colon encoded; an unknown one is not found, with what is near."""
    async with doors.client() as client:
        listed = {model.id: model async for model in client.models.list()}
        for name in ("route:default", "backend:ready", "skill:commit-message"):
            assert await client.models.retrieve(name) == listed[name]
        with pytest.raises(openai.NotFoundError, match="did you mean 'backend:ready'") as raised:
            await client.models.retrieve("backend:redy")
    assert raised.value.code == "model_not_found"
    assert (await doors.curl("/v1/models/backend:ready")).object["id"] == "backend:ready"
    assert (await doors.curl("/v1/models/backend%3aready")).object["id"] == "backend:ready"
    for path in ("/v1/models/", "/v1/models/backend", "/v1/models/backend:ready/x", "/v1/models/%00"):
        assert (await doors.curl(path)).status == 404
    assert (await doors.curl("/v1/models/backend:ready", token=False)).status == 401


async def test_names_of_models_do_not_multiply_the_counts(doors: House) -> None:
    """Whatever is asked for, it is counted under the path alone."""
    await doors.curl("/v1/models/made-up")
    assert not [line for line in await doors.metrics() if "made-up" in line]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/route:default", "/health", "/metrics"])
async def test_head_is_get_without_the_body(doors: House, path: str) -> None:
    """The connection goes on behind it: nothing of a body was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    writer.write(head(doors, "HEAD", path))
    said = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert said.startswith("http/1.1 200")
    assert "content-length: " in said
    writer.write(head(doors, "GET", path))
    status, _, body = await answer(reader)
    assert status == 200
    assert body
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", "/v1/chat/completions", {"POST"}),
        ("OPTIONS", "/v1/models", {"GET", "HEAD"}),
        ("OPTIONS", "/v1/models/route:default", {"GET", "HEAD"}),
        ("HEAD", "/infill", {"POST"}),
        ("PUT", "/v1/completions", {"POST"}),
        ("DELETE", "/v1/models/route:default", {"GET", "HEAD"}),
    ],
)
async def test_other_methods_are_told_which_there_are(doors: House, method: str, path: str, allowed: set[str]) -> None:
    """405 with `Allow`; no answer says that a web page may come in."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    writer.write(head(doors, method, path, "Connection: close"))
    said = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    top, _, body = said.partition("\r\n\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in top.split("\r\n"))}
    assert top.startswith("HTTP/1.1 405")
    assert set(headers["allow"].split(", ")) == allowed
    assert not [name for name in headers if name.startswith("access-control")]
    assert ("method_not_allowed" in body) == (method != "HEAD")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/infill"])
@pytest.mark.parametrize("how", ["gzip", "br", "deflate, gzip", "identity, gzip", "nonsense"])
async def test_a_packed_body_is_refused(doors: House, path: str, how: str) -> None:
    """It is not unpacked: a small one may hold a very large one."""
    said = await doors.curl(path, "-H", f"Content-Encoding: {how}", body=CHAT)
    assert (said.status, said.code) == (415, "unsupported_encoding")
    assert said.headers["accept-encoding"] == "identity"


async def test_a_body_that_says_it_is_not_packed_is_taken(doors: House) -> None:
    """And so is one that says nothing."""
    said = await doors.curl("/v1/chat/completions", "-H", "Content-Encoding: Identity", body=CHAT)
    assert said.status == 200


@pytest.mark.parametrize("second", ["127.0.0.1:{port}", "evil.example"])
async def test_a_host_said_twice_is_refused(doors: House, second: str) -> None:
    """And one not said at all; by HTTP's own rules, before anything is looked at."""
    for line in (f"Host: {second.format(port=doors.port)}\r\n", ""):
        request = head(doors, "GET", "/v1/models")
        ours = f"Host: 127.0.0.1:{doors.port}\r\n".encode()
        request = request.replace(ours, ours + line.encode() if line else b"")
        reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
        writer.write(request)
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert said.startswith(b"HTTP/1.1 400")
        assert b"route:default" not in said


async def test_a_connection_goes_on_after_every_kind_of_answer(doors: House) -> None:
    """After answers, refusals that did not read the body, and a stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    refused = {**CHAT, "n": 2}
    for request, expected in (
        (post(doors, "/v1/chat/completions", CHAT), 200),
        (post(doors, "/v1/chat/completions", refused), 400),
        (post(doors, "/v1/chat/completions", CHAT, "Content-Encoding: gzip"), 415),
        (post(doors, "/v1/nothing", CHAT), 404),
        (post(doors, "/v1/models", CHAT), 405),
        (post(doors, "/v1/chat/completions", CHAT, "Authorization: Bearer another"), 401),
        (post(doors, "/v1/chat/completions", CHAT), 200),
    ):
        writer.write(request)
        status, _, _ = await answer(reader)
        assert status == expected
    writer.write(post(doors, "/v1/chat/completions", {**CHAT, "stream": True}))
    streamed = await reader.readuntil(b"0\r\n\r\n")
    assert b"data: [DONE]" in streamed
    writer.write(head(doors, "GET", "/health"))
    assert (await answer(reader))[0] == 200
    writer.close()
    await writer.wait_closed()


async def test_requests_that_are_sent_at_once_are_answered_in_their_order(doors: House) -> None:
    """One after the other, each its own answer, and none is taken for a client that goes away."""
    kinds = [
        (post(doors, "/v1/chat/completions", CHAT), 200, b"".join(piece.encode() for piece in PIECES)),
        (post(doors, "/v1/completions", {"model": "backend:ready", "prompt": "x = "}), 200, b"a + b"),
        (post(doors, "/v1/chat/completions", {**CHAT, "model": "gpt"}), 404, b"model_not_found"),
        (head(doors, "GET", "/health"), 200, b'"ok"'),
    ] * 5
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    writer.write(b"".join(request for request, _, _ in kinds))
    for _, expected, inside in kinds:
        status, _, body = await answer(reader)
        assert status == expected
        assert inside in body
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/infill"])
async def test_a_body_that_does_not_come_is_given_up(doors: House, path: str) -> None:
    """408, and the connection ends: what would trickle in later is nobody's."""
    async with strict(doors, Limits(arrival=0.1)) as port:
        for begun in (b"", b'{"model": '):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(doors, "POST", path, "Content-Length: 1000", port=port) + begun)
            status, headers, body = await answer(reader)
            assert (status, json.loads(body)["error"]["code"]) == (408, "slow")
            assert headers["connection"] == "close"
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()


async def test_a_request_without_end_is_cut(doors: House) -> None:
    """Too large: told after as much as is swallowed, not after all of it."""
    async with strict(doors, Limits(body=1000, swallowed=5000)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(doors, "POST", "/infill", "Transfer-Encoding: chunked", port=port))
        writer.write((b"3e8\r\n" + b" " * 1000 + b"\r\n") * 6)
        status, _, body = await answer(reader)
        assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_takes_nothing_is_given_up(doors: House) -> None:
    """The stream breaks off without its end, and is counted as stalled."""
    async with strict(doors, Limits(stall=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = {**CHAT, "model": "backend:big", "stream": True}
        writer.write(post(doors, "/v1/chat/completions", asked, port=port))
        counts = b""
        async with asyncio.timeout(60):
            while b'outcome="stalled"} 1' not in counts:
                asking, telling = await asyncio.open_connection("127.0.0.1", port)
                telling.write(head(doors, "GET", "/metrics", port=port))
                _, _, counts = await answer(asking)
                telling.close()
                await telling.wait_closed()
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert said.startswith(b"HTTP/1.1 200")
    assert b"[DONE]" not in said
    assert not said.endswith(b"0\r\n\r\n")
    assert b"nanoide_gateway_in_flight 1\n" in counts
