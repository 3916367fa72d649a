"""A real HTTP server on loopback that does to each request what a script says, well or badly."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, object]


@dataclass
class Running:
    """The server: where it is and what it was asked."""

    url: str
    port: int
    requests: list[Asked] = field(default_factory=list)
    connections: int = 0
    """Made so far."""


@asynccontextmanager
async def serve(*scripts: Script, port: int = 0) -> AsyncIterator[Running]:
    """The nth request is answered by the nth script; the last one goes on answering."""
    running = Running("", 0)
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        running.connections += 1
        try:
            while True:
                running.requests.append(await read(reader))
                await scripts[min(len(running.requests), len(scripts)) - 1](reader, writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the other side is gone, or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    running.port = server.sockets[0].getsockname()[1]
    running.url = f"http://127.0.0.1:{running.port}/v1"
    try:
        yield running
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def read(reader: asyncio.StreamReader) -> Asked:
    """The next request of the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, json.loads(body) if body else {})


def respond(status: int, body: object = None, headers: Sequence[str] = (), kind: str = "application/json") -> Script:
    """One whole answer."""

    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body or {}).encode()
        lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(data)}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    return play


class Reset:
    """The connection is reset here."""


class Close:
    """The connection is closed here, in the middle."""


Part = str | bytes | asyncio.Event | type[Reset] | type[Close]


def stream(*parts: Part, kind: str = "text/event-stream") -> Script:
    """A chunked answer of these parts. A `str` is one event's data; bytes go out as they are."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for part in parts:
            if isinstance(part, asyncio.Event):
                await writer.drain()
                await part.wait()
            elif isinstance(part, type):
                await writer.drain()
                if part is Reset:
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.close()
                return
            else:
                data = part if isinstance(part, bytes) else f"data: {part}\n\n".encode()
                writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        writer.write(b"0\r\n\r\n")

    return play


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept and never answer."""
    await reader.read()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close without a word."""
    writer.close()


def chat(*texts: str, finish: str | None = "stop", usage: dict[str, object] | None = None) -> list[str]:
    """The frames of a chat completion, without [DONE]."""
    frames: list[dict[str, object]] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
    frames += [{"model": "m-1", "choices": [{"delta": {"content": text}}]} for text in texts]
    if finish:
        frames.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    if usage is not None:
        frames.append({"choices": [], "usage": usage})
    return [json.dumps(frame) for frame in frames]


def claude(*texts: str, stop: str | None = "end_turn", end: bool = True) -> list[bytes]:
    """The events of a message, named as Anthropic names them."""
    start = {"model": "c-1", "usage": {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 30}}
    frames: list[dict[str, object]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    frames += [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}} for text in texts]
    if stop:
        frames.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 7}})
    if end:
        frames.append({"type": "message_stop"})
    return [f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n".encode() for frame in frames]


async def closed_port() -> int:
    """A port on loopback where nobody listens."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
