"""An answer that breaks off at a real server goes on at another one."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from nanoide.backends.anthropic import AnthropicBackend
from nanoide.backends.openai import OpenAIBackend
from nanoide.core.chat import Fill, Prompt
from nanoide.core.usage import Usage
from nanoide.routing.seam import anchor_of
from nanoide.settings import BackendTable, Timeout
from tests.backends import servers
from tests.backends.servers import Close, Part, Running, Script, serve, stream
from tests.routing.answers import ANSWER, pieces
from tests.routing.rig import Rig

ASKED = re.compile(r"→(.*)←\Z", re.DOTALL)


def _obedient(kind: str, running: Callable[[], Running], dice: random.Random) -> Script:
    """A server that has the whole answer: it repeats what it is asked to repeat, and goes on."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages = running().requests[-1].body["messages"]
        assert isinstance(messages, list)
        last: str = messages[-1]["content"]
        found = ASKED.search(last)
        start = 0
        if found is not None:
            assert messages[-2]["role"] == "assistant"
            said: str = messages[-2]["content"]
            assert ANSWER.startswith(said)
            assert said.endswith(found[1])
            start = len(said) - len(found[1])
        await stream(*_events(kind, pieces(ANSWER[start:], dice)))(reader, writer)

    return play


def _events(kind: str, texts: list[str], *, whole: bool = True) -> list[Part]:
    if kind == "anthropic":
        return list(servers.claude(*texts) if whole else servers.claude(*texts, stop=None, end=False))
    return [*servers.chat(*texts), "[DONE]"] if whole else list(servers.chat(*texts, finish=None))


def _cut(kind: str, cuts: list[list[str]]) -> Script:
    """A server that says the next of `cuts` and closes the connection."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream(*_events(kind, cuts.pop(0), whole=False), Close)(reader, writer)

    return play


def _backend(kind: str, name: str, url: str) -> OpenAIBackend | AnthropicBackend:
    table = BackendTable(name=name, kind=kind, base_url=url, model="m", timeout=Timeout(headers=30, first_token=30))  # type: ignore[arg-type]
    return (AnthropicBackend if kind == "anthropic" else OpenAIBackend)(table, lambda: "")


@asynccontextmanager
async def _closing(*backends: OpenAIBackend | AnthropicBackend) -> AsyncIterator[Rig]:
    rig = Rig(*backends)
    try:
        yield rig
    finally:
        await rig.router.aclose()


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_hundred_seeded_cuts_are_gone_on_with_by_a_server_that_does_as_it_is_asked(kind: str) -> None:
    """To the byte; where too little was said to go on with, it begins anew and is whole as well."""
    dice = random.Random(40)
    places = [dice.randrange(1, len(ANSWER)) for _ in range(100)]
    cuts = [pieces(ANSWER[:at], dice) for at in places]
    servers_by_name: dict[str, Running] = {}
    async with (
        serve(_cut(kind, cuts)) as bad,
        serve(_obedient(kind, lambda: servers_by_name["good"], dice)) as good,
        _closing(_backend(kind, "one", bad.url), _backend(kind, "two", good.url)) as rig,
    ):
        servers_by_name["good"] = good
        for at in places:
            answer = await rig.ask()
            assert answer.text == ANSWER, at
            assert answer.rungs[-1].continues == bool(anchor_of(ANSWER[:at]))
            rig.now += 100.0  # the rest of a backend that keeps failing is over
    assert rig.outcomes == [("one", "cut"), ("two", "ok")] * 100


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_what_a_server_had_told_of_its_usage_is_believed(kind: str) -> None:
    """Also when the stream broke; only what it had not told is counted here."""
    parts: list[Part]
    if kind == "openai":
        frames = servers.chat("one ", "two ", finish=None, usage={"prompt_tokens": 31, "completion_tokens": 9})
        parts = [*frames, Close]
    else:
        parts = [*servers.claude("one ", "two ", stop=None, end=False), Close]
    async with (
        serve(stream(*parts)) as bad,
        serve(stream(*servers.chat("fine"), "[DONE]")) as good,
        _closing(_backend(kind, "one", bad.url), _backend("openai", "two", good.url)) as rig,
    ):
        assert (await rig.ask()).text == "fine"
    usage = rig.attempts[0].usage
    if kind == "openai":
        assert usage == Usage(input=31, output=9)
    else:
        assert (usage.input, usage.cache_read, usage.estimated) == (40, 30, True)
        assert usage.output >= 2


async def test_a_completion_goes_on_where_the_server_completes() -> None:
    """The text that stands is the end of the prefix."""
    frames = ['{"choices": [{"text": "b)", "finish_reason": "stop"}]}', "[DONE]"]
    async with (
        serve(stream('{"choices": [{"text": "add(a, "}]}', Close)) as bad,
        serve(stream(*frames)) as good,
        _closing(_backend("openai", "one", bad.url), _backend("openai", "two", good.url)) as rig,
    ):
        answer = await rig.ask(Prompt(fill=Fill("x = ", "\n")))
    assert answer.text == "add(a, b)"
    assert answer.rungs[1].continues
    assert (good.requests[0].body["prompt"], good.requests[0].body["suffix"]) == ("x = add(a, ", "\n")
