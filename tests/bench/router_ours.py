"""`python -m tests.bench.router_ours PORT KIND`: bare is an httpx2 client, backend ours without the router.

router is our router over that backend, egress the same for a backend elsewhere.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import httpx2

from nanoide.backends.openai import OpenAIBackend
from nanoide.core.chat import Message, Prompt, Text
from nanoide.core.policy import Where
from nanoide.routing.failover import Router
from nanoide.settings import BackendTable, Route, Settings
from nanoide.wire import EgressLine
from tests.bench.router_asking import Ask, serve


def bare(port: int) -> Ask:
    """The least there is: the bytes, as they come. Texts are cut out of them without a look at the JSON."""
    client = httpx2.AsyncClient(timeout=None, trust_env=False)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"

    async def ask(question: str) -> AsyncIterator[str]:
        body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": question}]})
        headers = {"content-type": "application/json"}
        async with client.stream("POST", url, content=body, headers=headers) as response:
            async for part in response.aiter_bytes():
                for event in part.split(b'"content": "')[1:]:
                    yield event[: event.index(b" ")].decode()

    return ask


def backend(port: int) -> Ask:
    """Our backend alone."""
    box = OpenAIBackend(_table(port, "device"), lambda: "")

    async def ask(question: str) -> AsyncIterator[str]:
        async for chunk in box.stream(Prompt(messages=(Message("user", question),))):
            if isinstance(chunk, Text):
                yield chunk.text

    return ask


def router(port: int, *, away: bool) -> Ask:
    """Ours, as the hub makes it. With `away` all that stands at the way out is done, too."""
    table = _table(port, "remote" if away else "device")
    settings = Settings(backend=(table,), route={"default": Route(ladder=("box",), egress="remote")})

    async def audit(line: EgressLine) -> None:
        pass

    async def spent() -> int:
        return 0

    made = Router({"box": OpenAIBackend(table, lambda: "")}, settings, audit=audit, spent=spent)

    async def ask(question: str) -> AsyncIterator[str]:
        prompt = Prompt(messages=(Message("user", question),), egress="remote")
        async for chunk in made.stream(prompt, record=lambda attempt: None):
            if isinstance(chunk, Text):
                yield chunk.text

    return ask


def _table(port: int, where: Where) -> BackendTable:
    return BackendTable(name="box", kind="openai", base_url=f"http://127.0.0.1:{port}/v1", model="m", where=where)


async def main(port: int, kind: str) -> None:
    """Answer orders."""
    match kind:
        case "bare":
            ask = bare(port)
        case "backend":
            ask = backend(port)
        case _:
            ask = router(port, away=kind == "egress")
    await serve(ask)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
