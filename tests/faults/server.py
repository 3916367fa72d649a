"""A real server on loopback that speaks OpenAI's and Anthropic's protocols, and breaks off as it is told.

What it does to one request is a `Fault`: a function that speaks through a `Voice`. The server keeps its own
book of what it sent and what it told, for comparing with ours.
"""

import asyncio
import json
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.backends.servers import Asked, read

Kind = Literal["openai", "anthropic"]

_TEXT = """\
Failing over is a habit, not a feature. A careful router keeps three promises: it never doubles a word, it never
hides a gap, and it always says who answered. Here is what that looks like in code:

```python
def climb(ladder, prompt):
    for rung in ladder:
        if not rung.resting:
            yield from rung.answer(prompt)
```

Some languages put no blanks between words: 模型 停了， 另一个 继续 写。 日本語 も 同じ です。 Some signs are made of
many parts: 👩‍👩‍👧 🏳️‍🌈 é naïve Ångström. None of them may be split in two, whichever byte the connection breaks at.

After the cut the next backend repeats the last few words that were heard, and the overlap is taken off again; a
reader who was looking elsewhere would not have noticed. Both legs stand in the ledger, the first one with an
estimate because nobody was left to tell what it had used. The person pays for what was sent, once, and can look up
why it was sent there. That is all there is to it: be exact, or be honest about not being exact.
"""

TOKENS = tuple(re.findall(r"\s*\S+|\s+$", _TEXT))
"""Every good answer of these servers, token by token. No forty characters of it come twice."""

ANSWER = "".join(TOKENS)

ANCHOR = 40
"""Characters that a cooperative server repeats before it goes on."""

_CERTIFICATE = Path(__file__).parent / "self-signed.pem"


class Ear:
    """What a person has heard of an answer so far: a reset throws away what was not read yet."""

    def __init__(self) -> None:
        self._length = 0
        self._grew = asyncio.Event()

    def hear(self, length: int) -> None:
        """So many characters are there."""
        self._length = length
        self._grew.set()

    async def heard(self, length: int) -> None:
        """Wait until so many characters are there."""
        while self._length < length:
            self._grew.clear()
            await self._grew.wait()


@dataclass
class Served:
    """One request in the server's own book."""

    asked: Asked
    status: int = 0
    """0 when no status was sent."""
    tokens: int = 0
    """Sent as text."""
    read: int | None = None
    """Tokens read, as told before the answer; None when they were not."""
    told: tuple[int, int] | None = None
    """Tokens read and written, as told in the answer; None when it never told."""


class Voice:
    """Speaks one answer, in the protocol of its kind."""

    def __init__(
        self, kind: Kind, served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ear: Ear
    ) -> None:
        self.kind = kind
        self.served = served
        self.asked = served.asked
        self.ear = ear
        self._reader = reader
        self._writer = writer
        self._said = 0

    @property
    def read(self) -> int:
        """Tokens of the question, as this server counts them: ten a message, however it is worded."""
        return 10 * len(_messages(self.asked.body))

    def refuse(self, status: int, body: object = None, *headers: str) -> None:
        """A whole answer with this status."""
        self.served.status = status
        data = json.dumps(body or {}).encode()
        head = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(data)}", *headers]
        self._writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)

    def wire(self, data: bytes) -> None:
        """Bytes that are no proper answer."""
        self._writer.write(data)

    def begin(self, *, told: bool = True) -> None:
        """Status 200 and what comes before the first token; with the usage so far unless it is not `told`."""
        self.served.status = 200
        self._writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        if self.kind == "anthropic":
            self.served.read = self.read if told else None
            usage = {"usage": {"input_tokens": self.read, "output_tokens": 1}} if told else {}
            self.event({"type": "message_start", "message": {"model": "m-1", **usage}})
            self.event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
            self.event({"type": "ping"})
        else:
            self.event({"model": "m-1", "choices": [{"delta": {"role": "assistant", "content": ""}}]})

    def say(self, *tokens: str) -> None:
        """The next tokens, an event each."""
        for token in tokens:
            self._said += len(token)
            self.served.tokens += bool(token)
            if self.kind == "anthropic":
                self.event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token}})
            else:
                self.event({"model": "m-1", "choices": [{"delta": {"content": token}}]})

    def tool(self) -> None:
        """A tool call that is not whole."""
        if self.kind == "anthropic":
            block = {"type": "tool_use", "id": "t", "name": "edit", "input": {}}
            self.event({"type": "content_block_start", "index": 1, "content_block": block})
            self.event(
                {
                    "type": "content_block_delta",
                    "index": 1,
                    "delta": {"type": "input_json_delta", "partial_json": '{"pa'},
                }
            )
        else:
            call = {"index": 0, "id": "t", "type": "function", "function": {"name": "edit", "arguments": '{"pa'}}
            self.event({"choices": [{"delta": {"tool_calls": [call]}}]})

    def error(self, type: str, message: str) -> None:
        """An error inside the stream."""
        self.event({"type": "error", "error": {"type": type, "message": message}})

    def event(self, data: dict[str, object]) -> None:
        """Any event."""
        name = f"event: {data['type']}\n" if self.kind == "anthropic" else ""
        self.bytes(f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode())

    def bytes(self, data: bytes) -> None:
        """Bytes of the body as they are."""
        self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def finish(self, reason: str = "", *, told: bool = True) -> None:
        """The end as the protocol has it, with the usage unless it is not `told`."""
        usage = (self.read, self.served.tokens)
        if self.kind == "anthropic":
            last: dict[str, object] = {"type": "message_delta", "delta": {"stop_reason": reason or "end_turn"}}
            self.event(last | ({"usage": {"output_tokens": usage[1]}} if told else {}))
            self.event({"type": "message_stop"})
        else:
            self.event({"choices": [{"delta": {}, "finish_reason": reason or "stop"}]})
            if told:
                self.event({"choices": [], "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}})
            self.bytes(b"data: [DONE]\n\n")
        if told:
            self.served.told = usage
        self.end()

    def end(self) -> None:
        """The body is over, whatever was said in it."""
        self._writer.write(b"0\r\n\r\n")

    async def flush(self) -> None:
        """Send what was said."""
        await self._writer.drain()

    async def heard(self) -> None:
        """Wait until the person has all that was said."""
        await self._writer.drain()
        await self.ear.heard(self._said)

    async def cut(self, *, reset: bool) -> None:
        """Close the connection in the middle: with FIN, or with RST."""
        await self._writer.drain()
        if reset:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.close()

    async def hold(self) -> None:
        """Say nothing more until the other side goes away."""
        await self._writer.drain()
        await self._reader.read()
        self._writer.close()

    async def drip(self, data: bytes, every: float) -> None:
        """One byte at a time."""
        with suppress(ConnectionError):
            for byte in data:
                self.bytes(bytes([byte]))
                await self._writer.drain()
                await asyncio.sleep(every)


Fault = Callable[[Voice], Awaitable[None]]


@dataclass
class Bad:
    """A server: where it is, and its book."""

    url: str = ""
    port: int = 0
    book: list[Served] = field(default_factory=list[Served])


@asynccontextmanager
async def serving(kind: Kind, *faults: Fault, ear: Ear | None = None, tls: bool = False) -> AsyncIterator[Bad]:
    """The nth request meets the nth fault; the last one goes on."""
    bad = Bad()
    ear = ear or Ear()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while not writer.is_closing():
                served = Served(await read(reader))
                bad.book.append(served)
                await faults[min(len(bad.book), len(faults)) - 1](Voice(kind, served, reader, writer, ear))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the other side is gone, or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=_self_signed() if tls else None)
    bad.port = server.sockets[0].getsockname()[1]
    bad.url = f"{'https' if tls else 'http'}://127.0.0.1:{bad.port}/v1"
    try:
        yield bad
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """An address where packets that would open a connection are dropped: the queue of a listener is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    crowd: list[socket.socket] = []
    try:
        for _ in range(4):  # a queue of 0 takes one or two, and nobody accepts
            guest = socket.socket()
            guest.setblocking(False)
            with suppress(BlockingIOError):
                guest.connect(listener.getsockname())
            crowd.append(guest)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        for each in (*crowd, listener):
            each.close()


async def answers(voice: Voice) -> None:
    """A good answer; one that was begun elsewhere is gone on with as the question asks."""
    voice.begin()
    voice.say(*rest(begun(voice.asked)))
    voice.finish()


def begun(asked: Asked) -> str:
    """What stands of the answer already; empty when it is wanted from the beginning."""
    return next((each["content"] for each in _messages(asked.body) if each.get("role") == "assistant"), "")


def rest(begun: str) -> list[str]:
    """The tokens that a cooperative server says: the end of what stands, and what comes behind it."""
    if begun and ANSWER.startswith(begun):
        return [begun[-ANCHOR:], *split(ANSWER[len(begun) :])]
    return [begun[-ANCHOR:], " and so on."] if begun else list(TOKENS)


def split(text: str) -> list[str]:
    """A text as tokens: words with the blanks before them."""
    return re.findall(r"\s*\S+|\s+$", text)


def _messages(body: dict[str, object]) -> list[dict[str, str]]:
    messages = body.get("messages")
    return messages if isinstance(messages, list) else []


def _self_signed() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_CERTIFICATE)
    return context
