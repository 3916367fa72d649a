import json
from contextlib import aclosing

import pytest

from nanoide.backends.anthropic import AnthropicBackend
from nanoide.core.chat import Chunk, End, Fill, Message, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.core.usage import Usage
from nanoide.settings import BackendTable, Timeout
from tests.backends.servers import Close, claude, closed_port, respond, serve, silence, stream

PROMPT = Prompt(system="Be short.", messages=(Message("user", "Why?"),), stop=("\n\n", "END"))
KEY = "sk-ant-very-secret-indeed"
PATIENT = Timeout(connect=20.0, headers=30.0)
QUICK = Timeout(connect=20.0, headers=0.3)


def _backend(url: str, limits: Timeout = PATIENT) -> AnthropicBackend:
    table = BackendTable(name="sonnet", kind="anthropic", base_url=url, model="c", timeout=limits)
    return AnthropicBackend(table, lambda: KEY)


async def _ask(url: str, prompt: Prompt = PROMPT, limits: Timeout = PATIENT) -> list[Chunk]:
    asked = _backend(url, limits)
    try:
        async with aclosing(asked.stream(prompt)) as chunks:  # type: ignore[type-var]
            return [chunk async for chunk in chunks]
    finally:
        await asked.aclose()


async def _fails(url: str, limits: Timeout = PATIENT) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await _ask(url, limits=limits)
    return caught.value


def _said(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Text))


async def test_a_streamed_message_comes_whole_and_all_input_is_counted() -> None:
    """Input that was read from the cache is part of the input."""
    async with serve(stream(*claude("Be", "cause"))) as server:
        chunks = await _ask(server.url)
    assert _said(chunks) == "Because"
    assert chunks[-1] == End("stop", Usage(input=40, output=7, cache_read=30), model="c-1")
    request = server.requests[0]
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.body["system"] == "Be short."
    assert request.body["stop_sequences"] == ["END"], "a blank stop text is refused by the server and held to here"


@pytest.mark.parametrize(
    ("stop", "finish"), [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "content_filter")]
)
async def test_the_reason_to_stop_is_told(stop: str, finish: str) -> None:
    """Three ways to end."""
    async with serve(stream(*claude("x", stop=stop))) as server:
        end = (await _ask(server.url))[-1]
    assert isinstance(end, End)
    assert end.finish == finish


@pytest.mark.parametrize("ending", [(), (Close,)], ids=["clean", "fin"])
async def test_a_message_without_its_stop_is_cut(ending: tuple[type, ...]) -> None:
    """Without message_stop an answer is never a success."""
    async with serve(stream(*claude("half", stop=None, end=False), *ending)) as server:
        assert (await _fails(server.url)).outcome == "cut"


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("overloaded_error", "overloaded"), ("api_error", "server_error"), ("rate_limit_error", "overloaded")],
)
async def test_an_error_event_inside_the_stream_is_an_error(kind: str, outcome: str) -> None:
    """HTTP said 200, but the stream says error."""
    data = json.dumps({"type": "error", "error": {"type": kind, "message": "x"}})
    part = f"event: error\ndata: {data}\n\n".encode()
    async with serve(stream(*claude("so far", stop=None, end=False), part)) as server:
        assert (await _fails(server.url)).outcome == outcome


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}}, "context"),
        (400, {"error": {"type": "invalid_request_error", "message": "nope"}}, "bad_request"),
        (400, {"error": {"message": "Your credit balance is too low"}}, "quota"),
        (401, {"error": {"message": f"invalid x-api-key {KEY}"}}, "auth"),
        (404, {}, "not_found"),
        (429, {}, "overloaded"),
        (500, {}, "server_error"),
        (529, {}, "overloaded"),
    ],
)
async def test_each_status_is_translated_once(status: int, body: object, outcome: str) -> None:
    """Every refusal has its outcome, and the key is in none of the texts."""
    async with serve(respond(status, body)) as server:
        error = await _fails(server.url)
    assert error.outcome == outcome
    assert KEY not in str(error)


async def test_malformed_events_break_the_protocol() -> None:
    """What is no JSON ends the attempt."""
    async with serve(stream("{nonsense")) as server:
        assert (await _fails(server.url)).outcome == "protocol"


async def test_silence_and_absence_are_told_apart() -> None:
    """Nobody there is no connection; somebody who says nothing is a timeout."""
    assert (await _fails(f"http://127.0.0.1:{await closed_port()}")).outcome == "connect_error"
    async with serve(silence) as server:
        assert (await _fails(server.url, QUICK)).outcome == "timeout"


async def test_it_does_not_fill_in() -> None:
    """A prompt with nothing but a fill is objected to without asking."""
    asked = _backend("http://127.0.0.1:1")
    assert "fill" in asked.objection(Prompt(fill=Fill("a")))
    assert not asked.objection(PROMPT)
