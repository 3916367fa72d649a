"""Whom the engine is compared with: llama.cpp's own server (from the `xllamacpp` wheel) and llama-cpp-python's.

They live in a virtual environment of their own, `.peers/`, made on first use (llama-cpp-python is compiled then:
some minutes). Each runs as a process on a loopback port and is asked for raw completions, streamed.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench.gguf import TAIL
from tests.bench.questions import Answer, Question

PACKAGES = ("xllamacpp", "llama-cpp-python[server]")
START_LIMIT_S = 60.0

_LLAMA_CPP = """
import sys
import xllamacpp
model, port, slots, context, threads = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path = model
params.port = port
params.n_parallel = slots
params.n_ctx = context
params.kv_unified = True
params.n_gpu_layers = 0
params.fit_params = False
params.ui = False
params.cpuparams.n_threads = threads
params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)
sys.stdin.read()
"""
"""All else is as the server's authors set it: prompt cache, batch sizes, flash attention."""


def python(repository: Path, name: str = ".peers", packages: tuple[str, ...] = PACKAGES) -> Path:
    """The Python of the peers in the folder `name`; their environment is made when it is not there."""
    folder = repository / name
    program = folder / "bin" / "python"
    done = folder / "made"
    if not done.exists():
        print(f"making {name}, once; that takes some minutes", file=sys.stderr, flush=True)
        subprocess.run(["uv", "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
        subprocess.run(["uv", "pip", "install", "-q", "--python", str(program), *packages], check=True, cwd=repository)
        done.touch()
    return program


class Server:
    """A peer that listens, asked over HTTP without a library: the client shares the cores with it."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes], path: str, limit: str) -> None:
        self.name = name
        self.port = port
        self.process = process
        self._path = path
        self._limit = limit

    async def ask(self, question: Question, heard: list[float] | None = None) -> Answer:
        """Ask, and take the time of every piece; `heard` gets them as they come, as the clock tells."""
        body = json.dumps(
            {
                "prompt": rendered(question),
                self._limit: question.max_output,
                "temperature": 0,
                "stream": True,
                "cache_prompt": True,
                "ignore_eos": True,
            }
        ).encode()
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        begun = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        stamps, texts = list[float](), list[str]()
        computed = 0
        try:
            writer.write(head.encode() + body)
            status = await reader.readline()
            if b" 503 " in status:
                raise ConnectionError(f"{self.name} is not ready")
            if b" 200 " not in status:
                raise RuntimeError(f"{self.name}: {status.decode().strip()} {(await reader.read(500))!r}")
            while line := await reader.readline():
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                text = event["content"] if "content" in event else event["choices"][0]["text"]
                if text:
                    now = time.perf_counter()
                    stamps.append(now - begun)
                    texts.append(text)
                    if heard is not None:
                        heard.append(now)
                computed = event.get("timings", {}).get("prompt_n", computed)
        finally:
            writer.close()
        return Answer("".join(texts), tuple(stamps), time.perf_counter() - begun, len(stamps), computed)


def rendered(question: Question) -> str:
    """The prompt as the model's chat template writes it."""
    turns = (("system", question.system), *question.turns)
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns if text) + TAIL


@asynccontextmanager
async def llama_cpp(program: Path, model: Path, *, slots: int, context: int, threads: int) -> AsyncIterator[Server]:
    """llama.cpp's server with so many slots on one unified cache of `context` cells."""
    port = _free_port()
    argv = [str(program), "-c", _LLAMA_CPP, str(model), str(port), str(slots), str(context), str(threads)]
    async with _served("llama.cpp server", argv, port, "/completion", "n_predict") as server:
        yield server


@asynccontextmanager
async def llama_cpp_python(program: Path, model: Path, *, context: int, threads: int) -> AsyncIterator[Server]:
    """llama-cpp-python's server; it answers one question at a time."""
    port = _free_port()
    argv = [str(program), "-m", "llama_cpp.server", "--model", str(model), "--port", str(port)]
    argv += ["--n_ctx", str(context), "--n_threads", str(threads), "--n_threads_batch", str(threads)]
    # Else the server drops an answer when the next question comes, which is no service to 32 sessions.
    argv += ["--interrupt_requests", "False", "--verbose", "False"]
    async with _served("llama-cpp-python server", argv, port, "/v1/completions", "max_tokens") as server:
        yield server


@asynccontextmanager
async def _served(name: str, argv: list[str], port: int, path: str, limit: str) -> AsyncIterator[Server]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GOMP", "OMP"))}
    process = subprocess.Popen(  # noqa: ASYNC220 - measured itself, and ended below
        argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ
    )
    try:
        server = Server(name, port, process, path, limit)
        await _ready(server)
        yield server
    finally:
        process.kill()
        process.wait()


async def _ready(server: Server) -> None:
    """Wait until it has answered once: then the model is loaded and warm."""
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        if server.process.poll() is not None:
            raise RuntimeError(f"{server.name} ended with code {server.process.returncode} before it listened")
        try:
            await server.ask(Question(system="", turns=(("user", " babe"),), max_output=2))
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
