"""The router over real servers that misbehave, for both kinds."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from msgspec.structs import replace

from nanoide.backends.anthropic import AnthropicBackend
from nanoide.backends.openai import OpenAIBackend
from nanoide.backends.scripted import ScriptedBackend
from nanoide.core.chat import Rung, Text
from nanoide.core.errors import NoBackend, PolicyRefused
from nanoide.settings import BackendTable, Timeout
from tests.backends import servers
from tests.backends.servers import Part, Reset, Script, closed_port, respond, serve, silence, stream
from tests.routing.rig import PROMPT, Rig

PATIENT = Timeout(connect=20.0, headers=30.0, first_token=30.0, idle=30.0, total=60.0)
QUICK = Timeout(connect=20.0, headers=0.4, first_token=0.6, idle=0.6, total=60.0)
"""For a server that is silent; one that answers gets the time that a busy machine takes."""

Kind = str


def _words(kind: Kind, *texts: str, whole: bool = True) -> Sequence[Part]:
    if kind == "anthropic":
        return servers.claude(*texts) if whole else servers.claude(*texts, stop=None, end=False)
    return [*servers.chat(*texts), "[DONE]"] if whole else servers.chat(*texts, finish=None)


def _error(kind: Kind) -> Part:
    data = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
    return f"event: error\ndata: {data}\n\n".encode() if kind == "anthropic" else data


def _backend(
    kind: Kind, name: str, url: str, limits: Timeout = PATIENT, **fields: object
) -> tuple[OpenAIBackend | AnthropicBackend, BackendTable]:
    table = BackendTable(name=name, kind=kind, base_url=url, model="m", timeout=limits, **fields)  # type: ignore[arg-type]
    cls = AnthropicBackend if kind == "anthropic" else OpenAIBackend
    return cls(table, lambda: ""), table


@asynccontextmanager
async def _ladder(kind: Kind, first: str, second: str, limits: Timeout = PATIENT) -> AsyncIterator[Rig]:
    """Two real backends; `limits` are those of the first."""
    one, first_table = _backend(kind, "one", first, limits)
    two, second_table = _backend("openai", "two", second)
    rig = Rig(one, two, tables=[first_table, second_table])
    try:
        yield rig
    finally:
        await rig.router.aclose()


FAULTS: dict[str, tuple[Callable[[Kind], Script], str]] = {
    "500": (lambda kind: respond(500), "server_error"),
    "429": (lambda kind: respond(429, {}, ["retry-after: 30"]), "overloaded"),
    "401": (lambda kind: respond(401), "auth"),
    "404": (lambda kind: respond(404), "not_found"),
    "silence": (lambda kind: silence, "timeout"),
    "headers, then silence": (lambda kind: stream(asyncio.Event()), "timeout"),
    "hangs up": (lambda kind: servers.hang_up, "cut"),
    "cut before a word": (lambda kind: stream(Reset), "cut"),
    "empty": (lambda kind: stream(*_words(kind)), "protocol"),
    "no end, no word": (lambda kind: stream(), "cut"),
    "error in the stream": (lambda kind: stream(_error(kind)), "overloaded"),
    "malformed": (lambda kind: stream("{no json"), "protocol"),
    "half a character": (lambda kind: stream(b"data: \xe2\x82\n\n"), "protocol"),
}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_before_the_first_token_every_fault_goes_on_below(kind: Kind, fault: str) -> None:
    """The second server answers whole, and both attempts are recorded once."""
    script, outcome = FAULTS[fault]
    limits = QUICK if outcome == "timeout" else PATIENT
    async with (
        serve(script(kind)) as bad,
        serve(stream(*_words("openai", "all ", "well"))) as good,
        _ladder(kind, bad.url, good.url, limits) as rig,
    ):
        answer = await rig.ask()
    assert answer.text == "all well"
    assert len(answer.ends) == 1
    assert rig.outcomes == [("one", outcome), ("two", "ok")]
    assert len(good.requests) == 1
    assert len(bad.requests) <= 1, "on a busy machine a short limit may be over before anything is sent"


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("ending", "outcome"), [("end", "cut"), ("reset", "cut"), ("error", "overloaded"), ("silence", "timeout")]
)
async def test_after_the_first_token_a_fault_begins_anew_where_too_little_was_said(
    kind: Kind, ending: str, outcome: str
) -> None:
    """No truncated answer is a success, and no second one is glued to it."""
    last: dict[str, list[Part]] = {
        "end": [],
        "reset": [Reset],
        "error": [_error(kind)],
        "silence": [asyncio.Event()],
    }
    limits = replace(PATIENT, idle=0.3) if outcome == "timeout" else PATIENT
    # The first word is known to have arrived: a reset throws away what was not read yet.
    said = asyncio.Event()
    parts = [*_words(kind, "half", whole=False), said, *last[ending]]
    async with (
        serve(stream(*parts)) as bad,
        serve(stream(*_words("openai", "other"))) as good,
        _ladder(kind, bad.url, good.url, limits) as rig,
    ):
        got = ""

        async def read() -> None:
            nonlocal got
            async for chunk in rig.router.stream(PROMPT, record=rig.attempts.append):
                if isinstance(chunk, Text):
                    got += chunk.text
                    said.set()
                elif isinstance(chunk, Rung):
                    assert not chunk.continues
                    got += "|"

        await read()
    assert got == "|half|other"
    assert rig.outcomes == [("one", outcome), ("two", "ok")]
    assert rig.attempts[0].usage.estimated


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_the_first_server_dies_between_two_turns(kind: Kind) -> None:
    """The next turn is answered by the second one; a dead port costs one attempt."""
    async with AsyncExitStack() as dying, serve(stream(*_words("openai", "second"))) as good:
        first = await dying.enter_async_context(serve(stream(*_words(kind, "first"))))
        async with _ladder(kind, first.url, good.url) as rig:
            assert (await rig.ask()).text == "first"
            await dying.aclose()
            answer = await rig.ask()
    assert answer.text == "second"
    assert rig.outcomes[0] == ("one", "ok")
    assert rig.outcomes[1] in {("one", "connect_error"), ("one", "cut")}
    assert rig.outcomes[2:] == [("two", "ok")]
    assert answer.rungs[1].reason.startswith("one: ")


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_slow_first_token_is_waited_for_no_longer_than_its_limit(kind: Kind) -> None:
    """Headers and a ping are no token."""
    async with (
        serve(stream(b": ping\n\n", asyncio.Event(), *_words(kind, "late"))) as slow,
        serve(stream(*_words("openai", "in time"))) as good,
        _ladder(kind, slow.url, good.url, replace(PATIENT, first_token=0.6)) as rig,
    ):
        answer = await rig.ask()
    assert answer.text == "in time"
    assert answer.rungs[1].reason == "one: first token over 0.6 s"


async def test_retry_after_keeps_everybody_away_until_then() -> None:
    """Fifteen turns send one request to the server that asked for a rest."""
    async with (
        serve(respond(429, {}, ["retry-after: 30"])) as busy,
        serve(stream(*_words("openai", "fine"))) as good,
        _ladder("openai", busy.url, good.url) as rig,
    ):
        for _ in range(15):
            assert (await rig.ask()).text == "fine"
        assert len(busy.requests) == 1
        assert rig.router.lines()[0].recovers_in_s == 30.0
        rig.now += 30.0
        await rig.ask()
        assert len(busy.requests) == 2


async def test_when_all_are_dead_the_error_says_it_for_each() -> None:
    """Within the limits, in one line."""
    first, second = await closed_port(), await closed_port()
    async with _ladder("anthropic", f"http://127.0.0.1:{first}", f"http://127.0.0.1:{second}") as rig:
        with pytest.raises(Exception, match=f"one: no connection to 127.0.0.1:{first}; two: no connection"):
            await rig.ask()


@pytest.mark.parametrize("where", ["lan", "remote"])
async def test_local_only_opens_no_connection_that_leaves(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the local model dead, neither a name is looked up nor a socket connected for the others."""
    touched: list[object] = []
    loop = asyncio.get_running_loop()

    async def look_up(*args: object, **kwargs: object) -> list[object]:
        touched.append(args)
        raise socket.gaierror

    async def connect(_: socket.socket, address: object) -> None:
        touched.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(loop, "getaddrinfo", look_up)
    monkeypatch.setattr(loop, "sock_connect", connect)
    far, table = _backend("openai", "far", "http://far.example:1/v1", where=where)
    near = ScriptedBackend([], name="near", objection="its engine is gone")
    rig = Rig(near, far, tables=[table])
    with pytest.raises(PolicyRefused):
        await rig.ask(egress="local-only")
    with pytest.raises(PolicyRefused):
        await rig.ask(backend="far", egress="local-only")
    assert touched == []
    with pytest.raises(NoBackend):  # and to be sure that this would have seen it:
        await rig.ask(egress="remote")
    assert touched
    await rig.router.aclose()
