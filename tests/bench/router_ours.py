"""`python -m tests.bench.router_ours PORT bare|router|egress`: a bare httpx2 client, or our router over our backend."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import process_time

import httpx2

from nanoide.backends.base import Backend
from nanoide.backends.openai import OpenAIBackend
from nanoide.backends.scripted import ScriptedBackend
from nanoide.core.chat import Message, Prompt, Text
from nanoide.core.policy import Where
from nanoide.routing.failover import Router
from nanoide.settings import BackendTable, Route, Settings
from nanoide.wire import EgressLine
from tests.bench.router_asking import Ask, serve


@asynccontextmanager
async def bare(port: int) -> AsyncIterator[Ask]:
    """The least there is: the bytes, as they come. Texts are cut out of them without a look at the JSON."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"

    async def ask(question: str) -> AsyncIterator[str]:
        body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": question}]})
        headers = {"content-type": "application/json"}
        async with client.stream("POST", url, content=body, headers=headers) as response:
            async for part in response.aiter_bytes():
                for event in part.split(b'"content": "')[1:]:
                    yield event[: event.index(b" ")].decode()

    async with httpx2.AsyncClient(timeout=None, trust_env=False) as client:
        yield ask


@asynccontextmanager
async def router(port: int, *, away: bool) -> AsyncIterator[Ask]:
    """Ours, as the hub makes it. With `away` all that stands at the way out is done, too."""
    where: Where = "remote" if away else "device"
    table = BackendTable(name="box", kind="openai", base_url=f"http://127.0.0.1:{port}/v1", model="m", where=where)
    made = _over(OpenAIBackend(table, lambda: ""), table)

    async def ask(question: str) -> AsyncIterator[str]:
        prompt = Prompt(messages=(Message("user", question),), egress="remote")
        async for chunk in made.stream(prompt, record=lambda attempt: None):
            if isinstance(chunk, Text):
                yield chunk.text

    try:
        yield ask
    finally:
        await made.aclose()


async def alone(count: int) -> tuple[float, float]:
    """The router without any network: its own processor time in microseconds, for each call and for each chunk."""
    prompt = Prompt(messages=(Message("user", "why?"),))
    table = BackendTable(name="box", kind="openai", base_url="http://127.0.0.1:1", model="m")

    async def used(backend: ScriptedBackend, calls: int) -> float:
        made = _over(backend, table)
        begun = process_time()
        for _ in range(calls):
            async for _ in backend.stream(prompt):
                pass
        between = process_time()
        for _ in range(calls):
            async for _ in made.stream(prompt, record=lambda attempt: None):
                pass
        return (process_time() - between) - (between - begun)

    call = await used(ScriptedBackend(["word "], name="box"), count)
    chunks = await used(ScriptedBackend(["word "] * (count * 10), name="box"), 1)
    return call / count * 1e6, chunks / (count * 10) * 1e6


def _over(backend: Backend, table: BackendTable) -> Router:
    settings = Settings(backend=(table,), route={"default": Route(ladder=("box",), egress="remote")})

    async def audit(line: EgressLine) -> None:
        pass

    async def spent() -> int:
        return 0

    return Router({"box": backend}, settings, audit=audit, spent=spent)


async def main(port: int, kind: str) -> None:
    """Answer orders."""
    async with bare(port) if kind == "bare" else router(port, away=kind == "egress") as ask:
        await serve(ask)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
