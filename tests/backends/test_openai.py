import asyncio
import json
from contextlib import aclosing

import pytest

from nanoide.backends.openai import OpenAIBackend
from nanoide.core.chat import Chunk, End, Fill, Message, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.core.usage import Usage
from nanoide.settings import BackendTable, Timeout
from tests.backends.servers import Close, Reset, chat, closed_port, hang_up, respond, serve, silence, stream

PROMPT = Prompt(skill="explain", system="Be short.", messages=(Message("user", "Why?"),))
FILL = Prompt(fill=Fill(prefix="def f(", suffix="):\n"))
KEY = "k-very-secret-indeed"
PATIENT = Timeout(connect=20.0, headers=30.0)
QUICK = Timeout(connect=20.0, headers=0.3)


def _backend(url: str, limits: Timeout = PATIENT, **fields: object) -> OpenAIBackend:
    table = BackendTable(name="box", kind="openai", base_url=url, model="m", timeout=limits, **fields)  # type: ignore[arg-type]
    return OpenAIBackend(table, lambda: KEY)


async def _ask(asked: OpenAIBackend, prompt: Prompt = PROMPT) -> list[Chunk]:
    try:
        async with aclosing(asked.stream(prompt)) as chunks:  # type: ignore[type-var]
            return [chunk async for chunk in chunks]
    finally:
        await asked.aclose()


async def _fails(asked: OpenAIBackend, prompt: Prompt = PROMPT) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await _ask(asked, prompt)
    return caught.value


def _said(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Text))


def _end_of(chunks: list[Chunk]) -> End:
    end = chunks[-1]
    assert isinstance(end, End)
    return end


async def test_a_streamed_answer_comes_whole_with_its_usage() -> None:
    """Texts come in order, and the last usage counts, cached tokens included."""
    usage = {"prompt_tokens": 20, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 16}}
    first = json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    async with serve(stream(first, *chat("Be", "cause ✓", usage=usage), "[DONE]")) as server:
        chunks = await _ask(_backend(server.url))
    assert _said(chunks) == "Because ✓"
    assert _end_of(chunks) == End("stop", Usage(input=20, output=3, cache_read=16), model="m-1")
    request = server.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Why?"},
    ]
    assert request.body["stream_options"] == {"include_usage": True}


async def test_usage_that_is_not_told_is_estimated() -> None:
    """A server without usage gets our own count, marked as such."""
    async with serve(stream(*chat("one two three"), "[DONE]")) as server:
        usage = _end_of(await _ask(_backend(server.url))).usage
    assert usage.estimated
    assert usage.input > 0
    assert usage.output > 0


async def test_a_finish_reason_is_an_end_without_done() -> None:
    """Some servers never send [DONE]; the finish reason says that the answer is whole."""
    async with serve(stream(*chat("whole", finish="length"))) as server:
        chunks = await _ask(_backend(server.url))
    assert (_said(chunks), _end_of(chunks).finish) == ("whole", "length")


@pytest.mark.parametrize("ending", [(), (Close,), (Reset,)], ids=["clean", "fin", "rst"])
async def test_a_stream_without_an_end_is_cut(ending: tuple[type, ...]) -> None:
    """However the connection goes: without its end an answer is an error, never a success."""
    async with serve(stream(*chat("half an ans", finish=None), *ending)) as server:
        error = await _fails(_backend(server.url))
    assert error.outcome == "cut"


async def test_done_alone_is_an_end() -> None:
    """A server may leave out the finish reason, but not both."""
    async with serve(stream(*chat("fine", finish=None), "[DONE]")) as server:
        assert _said(await _ask(_backend(server.url))) == "fine"


@pytest.mark.parametrize(
    ("frame", "outcome"),
    [
        ({"error": {"message": "boom", "type": "server_error"}}, "server_error"),
        ({"error": {"message": "busy", "code": 503}}, "overloaded"),
        ({"error": "just a text"}, "server_error"),
        ({"object": "error", "message": "maximum context length is 5", "code": 400}, "context"),
    ],
)
async def test_an_error_inside_the_stream_is_an_error(frame: object, outcome: str) -> None:
    """HTTP said 200, but the stream says error."""
    async with serve(stream(*chat("so far", finish=None), json.dumps(frame))) as server:
        error = await _fails(_backend(server.url))
    assert error.outcome == outcome


@pytest.mark.parametrize(
    "part",
    [b"data: {nonsense\n\n", b'data: {"choices": 5}\n\n', b"data: \xff\xfe\n\n", b"data: " + b"x" * 5_000_000],
    ids=["no json", "wrong types", "no utf-8", "giant"],
)
async def test_a_malformed_stream_breaks_the_protocol(part: bytes) -> None:
    """What is no event of the protocol ends the attempt."""
    async with serve(stream(part)) as server:
        error = await _fails(_backend(server.url))
    assert error.outcome == "protocol"


async def test_events_may_be_cut_anywhere() -> None:
    """Bytes that arrive one by one, CRLF and comments included, make the same answer."""
    frames = "".join(f": hi\r\ndata: {frame}\r\n\r\n" for frame in [*chat("a", "é", "🙂"), "[DONE]"]).encode()
    async with serve(stream(*(frames[i : i + 1] for i in range(len(frames))))) as server:
        assert _said(await _ask(_backend(server.url))) == "aé🙂"


async def test_an_html_page_is_no_answer() -> None:
    """A base_url that leads to a web page is told as such."""
    async with serve(respond(200, "<html>", kind="text/html")) as server:
        error = await _fails(_backend(server.url))
    assert error.outcome == "protocol"
    assert "text/html" in error.message


async def test_a_server_that_does_not_stream_is_understood() -> None:
    """All at once is also an answer."""
    whole = {"choices": [{"message": {"content": "all"}, "finish_reason": "stop"}], "usage": None}
    async with serve(respond(200, whole)) as server:
        assert _said(await _ask(_backend(server.url))) == "all"


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (400, {"error": {"message": "bad"}}, "bad_request"),
        (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, "context"),
        (400, {"error": {"message": "x", "code": "content_filter"}}, "content_filter"),
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, "auth"),
        (402, {}, "quota"),
        (403, {}, "auth"),
        (404, {"error": {"message": "model 'm' not found"}}, "not_found"),
        (408, {}, "server_error"),
        (409, {}, "server_error"),
        (413, {}, "context"),
        (422, {"detail": "nope"}, "bad_request"),
        (429, {"error": {"code": "insufficient_quota"}}, "quota"),
        (429, {}, "overloaded"),
        (500, {"error": f"key {KEY} crashed me"}, "server_error"),
        (502, "<html>", "server_error"),
        (503, {}, "overloaded"),
        (529, {}, "overloaded"),
        (302, {}, "protocol"),
    ],
)
async def test_each_status_is_translated_once(status: int, body: object, outcome: str) -> None:
    """Every refusal has its outcome, and the key is in none of the texts."""
    async with serve(respond(status, body, ["location: http://192.0.2.1/"])) as server:
        error = await _fails(_backend(server.url))
    assert error.outcome == outcome
    assert KEY not in str(error)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("retry-after: 7", 7.0), ("retry-after-ms: 250", 0.25), ("retry-after: soon", None)],
)
async def test_retry_after_is_read(header: str, seconds: float | None) -> None:
    """The server's own word on when to come back goes with the error."""
    async with serve(respond(429, {}, [header])) as server:
        error = await _fails(_backend(server.url))
    assert (error.outcome, error.retry_after) == ("overloaded", seconds)


async def test_nobody_at_the_port_is_no_connection() -> None:
    """A refused connection says whom it did not reach."""
    port = await closed_port()
    error = await _fails(_backend(f"http://127.0.0.1:{port}"))
    assert error.outcome == "connect_error"
    assert f"127.0.0.1:{port}" in error.message


async def test_a_server_that_never_answers_runs_into_the_limit_for_headers() -> None:
    """Accepting is not answering."""
    async with serve(silence) as server:
        error = await _fails(_backend(server.url, QUICK))
    assert error.outcome == "timeout"
    assert "0.3 s" in error.message


async def test_hanging_up_without_a_word_is_a_cut() -> None:
    """A connection that is closed before the status line is no answer."""
    async with serve(hang_up) as server:
        assert (await _fails(_backend(server.url))).outcome == "cut"


@pytest.mark.parametrize("parameter", ["stream_options", "seed", "temperature"])
async def test_a_refused_parameter_is_left_out_from_then_on(parameter: str) -> None:
    """A server that does not know a parameter is asked once more without it, and never again with it."""
    refusal = respond(400, {"error": {"message": f"Unrecognized request argument: '{parameter}'"}})
    prompt = Prompt(messages=PROMPT.messages, seed=1)
    async with serve(refusal, stream(*chat("ok"), "[DONE]")) as server:
        asked = _backend(server.url)
        assert _said([chunk async for chunk in asked.stream(prompt)]) == "ok"
        assert _said(await _ask(asked, prompt)) == "ok"
    assert [parameter in request.body for request in server.requests] == [True, False, False]


async def test_max_tokens_is_renamed_for_servers_that_want_it() -> None:
    """Newer models call it max_completion_tokens."""
    text = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    async with serve(respond(400, {"error": {"message": text}}), stream(*chat("ok"), "[DONE]")) as server:
        await _ask(_backend(server.url))
    assert server.requests[1].body["max_completion_tokens"] == 256


async def test_a_fill_goes_to_completions_with_its_suffix() -> None:
    """Fill in the middle is asked the way the protocol has it."""
    frame = json.dumps({"choices": [{"text": "x", "finish_reason": "stop"}]})
    async with serve(stream(frame, "[DONE]")) as server:
        assert _said(await _ask(_backend(server.url), FILL)) == "x"
    request = server.requests[0]
    assert (request.path, request.body["prompt"], request.body["suffix"]) == ("/v1/completions", "def f(", "):\n")


async def test_a_server_without_completions_objects_from_then_on() -> None:
    """The first refusal is no fault of its health; later prompts are not sent at all."""
    async with serve(respond(404, {"error": {"message": "no such path"}})) as server:
        asked = _backend(server.url)
        error = await _fails(asked, FILL)
        assert error.outcome == "bad_request"
        assert asked.objection(FILL)
        assert not asked.objection(PROMPT)


async def test_where_either_would_do_the_chat_is_asked_when_completions_are_not_there() -> None:
    """A prompt with both falls back from the fill to the messages, once."""
    both = Prompt(messages=PROMPT.messages, fill=FILL.fill)
    async with serve(respond(404, {}), stream(*chat("ok"), "[DONE]")) as server:
        asked = _backend(server.url)
        assert _said([chunk async for chunk in asked.stream(both)]) == "ok"
        assert _said(await _ask(asked, both)) == "ok"
    assert [request.path for request in server.requests] == [
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/chat/completions",
    ]


async def test_stop_texts_hold_even_when_the_server_ignores_them() -> None:
    """The answer ends before the first stop text, also one that arrives in two pieces."""
    prompt = Prompt(messages=PROMPT.messages, stop=("\n\n",))
    async with serve(stream(*chat("one\n", "two\n", "\nthree"), "[DONE]")) as server:
        chunks = await _ask(_backend(server.url), prompt)
    assert (_said(chunks), _end_of(chunks).finish) == ("one\ntwo", "stop")


async def test_where_device_never_asks_beyond_loopback() -> None:
    """A name that does not resolve to loopback is refused before any connection."""
    asked = _backend("http://192.0.2.7:9/v1", where="device")
    assert (await _fails(asked)).outcome == "refused"


async def test_leaving_the_stream_closes_the_connection() -> None:
    """The server sees the end when the reader goes."""
    gone = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        writer.write(f"data: {chat('first')[1]}\n\n".encode())
        await writer.drain()
        await reader.read()
        gone.set()

    async with serve(play) as server:
        asked = _backend(server.url)
        chunks = asked.stream(PROMPT)
        assert await anext(chunks) == Text("first")
        await chunks.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            await gone.wait()
        await asked.aclose()


async def test_probing_lists_the_models() -> None:
    """The cheapest request tells whether anybody is there."""
    async with serve(respond(200, {"data": []})) as server:
        asked = _backend(server.url)
        assert (await asked.probe()).state == "ready"
        assert server.requests[0].path == "/v1/models"
        await asked.aclose()
    assert (await asked.probe()).state == "down"
    await asked.aclose()


async def test_the_form_of_an_answer_is_passed_on_or_refused() -> None:
    """A schema and penalties go to the server, a schema that is none goes nowhere, and a grammar is declined."""
    messages = PROMPT.messages
    asked = Prompt(messages=messages, json_schema='{"type": "null"}', presence_penalty=0.5)
    async with serve(stream(*chat("null"), "[DONE]")) as server:
        backend = _backend(server.url)
        assert _said(await _ask(backend, asked)) == "null"
        with pytest.raises(BackendError) as caught:
            await _ask(backend, Prompt(messages=messages, json_schema="{"))
        await _ask(backend, PROMPT)
    assert caught.value.outcome == "bad_request"
    first, last = server.requests
    assert first.body["response_format"]["json_schema"]["schema"] == {"type": "null"}
    assert first.body["presence_penalty"] == 0.5
    assert not {"response_format", "presence_penalty", "frequency_penalty"} & set(last.body)
    assert backend.objection(Prompt(messages=messages, grammar='root ::= "a"')) == "holds to no grammar"
