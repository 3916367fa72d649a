"""A real gateway over a real hub over a model server on loopback that does what its models are called."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.paths import Paths, locate
from tests.backends.servers import Close, Running, chat, respond, serve, stream

USAGE: dict[str, object] = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}

PIECES = ("one ", "two ", "three")

BEGUN = "The quick brown fox jumps over the lazy dog, and then it walks"
"""What the model "begin" says before it breaks off."""

BIG = "0123456789abcdef" * 4096
"""One piece of the model "big"."""

CONFIG = """
[[backend]]
name = "ready"
kind = "openai"
base_url = "{url}"
model = "ready"
[[backend]]
name = "broken"
kind = "openai"
base_url = "{url}"
model = "broken"
[[backend]]
name = "cut"
kind = "openai"
base_url = "{url}"
model = "cut"
[[backend]]
name = "begin"
kind = "openai"
base_url = "{url}"
model = "begin"
[[backend]]
name = "resume"
kind = "openai"
base_url = "{url}"
model = "resume"
[[backend]]
name = "hold"
kind = "openai"
base_url = "{url}"
model = "hold"
timeout = {{ idle = 60.0 }}
[[backend]]
name = "crowd"
kind = "openai"
base_url = "{url}"
model = "crowd"
timeout = {{ headers = 60.0, first_token = 60.0 }}
[[backend]]
name = "big"
kind = "openai"
base_url = "{url}"
model = "big"
[[backend]]
name = "narrow"
kind = "openai"
base_url = "{url}"
model = "narrow"
[[backend]]
name = "far"
kind = "openai"
base_url = "{url}"
model = "ready"
where = "remote"
[[backend]]
name = "dear"
kind = "openai"
base_url = "{url}"
model = "ready"
where = "remote"
price = {{ input = "1000", output = "1000" }}

[budget.backend.dear]
day_usd = "0.000001"

[route.default]
ladder = ["ready", "nano", "reflex"]
[route.falls]
ladder = ["broken", "ready"]
[route.goes-on]
ladder = ["begin", "resume"]
[route.anew]
ladder = ["cut", "ready"]
[route.nobody]
ladder = ["broken"]
[route.far]
ladder = ["far"]
egress = "ask"
[route.far-then-near]
ladder = ["far", "ready"]
egress = "ask"
[route.dear]
ladder = ["dear"]
egress = "remote"
"""


class Oracle:
    """The model server: each model answers in its own manner."""

    def __init__(self) -> None:
        self.running = Running("", 0)
        self.holding = asyncio.Event()
        """Set when the model "hold" has said its first word."""
        self.hung_up = asyncio.Event()
        """Set when nobody listens to it any more."""
        self.crowd = asyncio.Barrier(20)
        """The model "crowd" answers when so many have asked."""

    @property
    def last(self) -> dict[str, object]:
        """The body of the last request."""
        return self.running.requests[-1].body

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do what the model is called."""
        asked = self.running.requests[-1]
        match asked.body["model"]:
            case "ready" if asked.path.endswith("/chat/completions"):
                play = stream(*chat(*PIECES, usage=USAGE), "[DONE]")
            case "ready":
                frame = {"choices": [{"text": "a + b", "finish_reason": "stop"}], "usage": USAGE}
                play = stream(json.dumps(frame), "[DONE]")
            case "broken":
                play = respond(503, {"error": {"message": "too much to do"}})
            case "cut":
                play = stream(*chat("half of ", "an", finish=None), Close)
            case "begin":
                play = stream(*chat(BEGUN, finish=None), Close)
            case "resume":
                _, arrow, rest = str(asked.body["messages"]).rpartition("→")
                anchor = rest.partition("←")[0] if arrow else ""
                play = stream(*chat(anchor, " home.", usage=USAGE), "[DONE]")
            case "hold":
                play = self._hold
            case "crowd":
                await self.crowd.wait()
                play = stream(*chat(*PIECES, usage=USAGE), "[DONE]")
            case "big":
                play = stream(*chat(*[BIG] * 100, usage=USAGE), "[DONE]")
            case "narrow":
                body = {"error": {"message": "maximum context length is 10 tokens", "code": "context_length_exceeded"}}
                play = respond(400, body)
            case other:
                raise AssertionError(other)
        await play(reader, writer)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        frames = "".join(f"data: {frame}\n\n" for frame in chat("first ", finish=None))
        writer.write(head.encode() + frames.encode())
        await writer.drain()
        self.holding.set()
        await reader.read(1)
        self.hung_up.set()
        writer.close()


class Said:
    """What curl printed."""

    def __init__(self, text: str) -> None:
        head, _, self.body = text.partition("\r\n\r\n")
        while self.body.startswith("HTTP/"):  # after "100 Continue"
            head, _, self.body = self.body.partition("\r\n\r\n")
        lines = head.split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    @property
    def object(self) -> dict[str, object]:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of the error."""
        return json.loads(self.body)["error"]["code"]

    @property
    def events(self) -> list[str]:
        """The data of every event."""
        return [line.removeprefix("data: ") for line in self.body.split("\n") if line.startswith("data: ")]


class House:
    """A gateway that runs, and those who talk to it."""

    def __init__(self, paths: Paths, process: asyncio.subprocess.Process, url: str, token: str, oracle: Oracle) -> None:
        self.paths = paths
        self.process = process
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self.token = token
        self.oracle = oracle

    def client(self, token: str | None = None) -> openai.AsyncOpenAI:
        """The real client, which asks once."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=token or self.token, max_retries=0)

    async def curl(self, path: str, *options: str, body: object = None, token: bool = True) -> Said:
        """What curl gets."""
        words = ["curl", "-sS", "-i", "-N", "--max-time", "60", f"{self.url}{path}", *options]
        if token:
            words += ["-H", f"Authorization: Bearer {self.token}"]
        if body is not None:
            words += ["-H", "content-type: application/json", "--data-binary", "@-"]
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        data = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        out, err = await process.communicate(data)
        assert out, err
        return Said(out.decode())

    async def ledger(self, count: int) -> tuple[wire.LedgerRow, ...]:
        """The latest rows, latest first."""
        async with await self.hub() as hub:
            return (await hub.call(wire.ReadUsage(recent=count))).recent

    async def hub(self) -> Connection:
        """A connection of our own to the hub."""
        return await connect(self.paths, client="test")

    async def metrics(self) -> dict[str, float]:
        """Each sample by its name and labels."""
        said = await self.curl("/metrics")
        lines = [line for line in said.body.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@asynccontextmanager
async def house(config: str = CONFIG) -> AsyncIterator[House]:
    """Start all of it, and end all of it."""
    folder = Path(tempfile.mkdtemp(prefix="nano-"))
    env = {**os.environ, "NANOIDE_HOME": str(folder), "HOME": str(folder)}
    oracle = Oracle()
    async with serve(oracle.answer) as oracle.running:
        (folder / "config.toml").write_text(config.format(url=oracle.running.url))
        process = await gateway(env)
        try:
            paths = locate(env)
            url = await address(process)
            token = paths.database.with_name("gateway.token").read_text().strip()
            yield House(paths, process, url, token, oracle)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            _, complaints = await process.communicate()
            stop = await asyncio.create_subprocess_exec(sys.executable, "-m", "nanoide", "hub", "stop", env=env)
            await stop.wait()
            shutil.rmtree(folder, ignore_errors=True)
    assert complaints == b""


async def gateway(env: dict[str, str], *options: str, port: int = 0) -> asyncio.subprocess.Process:
    """The command, started; ready when it has said its line."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nanoide", "gateway", "--port", str(port), *options),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def address(process: asyncio.subprocess.Process) -> str:
    """Where it listens, by its own word."""
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line or (await process.communicate())[1]
    return found.group()
