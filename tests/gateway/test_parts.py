"""The pure parts: the guard, what clients send, what they are told, the counts, the token's file."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide import wire
from nanoide.core.chat import Attempt, Fill, Message, Source
from nanoide.core.errors import ERRORS, BackendError, HubError, NanoideError, NoBackend, UsageError
from nanoide.core.usage import Usage
from nanoide.gateway import asked, token_file
from nanoide.gateway.faults import Fault, fault_of
from nanoide.gateway.guard import Guard
from nanoide.gateway.metrics import Metrics
from nanoide.gateway.server import listen
from nanoide.gateway.shapes import FillShape

TOKEN = "a-token-of-some-length"
GUARD = Guard(8080, TOKEN)
OURS = [(b"host", b"127.0.0.1:8080"), (b"authorization", b"Bearer " + TOKEN.encode())]


def chat(**more: object) -> wire.Generate:
    """What the hub is asked for a chat."""
    body = {"model": "route:default", "messages": [{"role": "user", "content": "hi"}], **more}
    generate = asked.chat(json.dumps(body).encode(), id="x", created=1).generate
    assert generate is not None
    return generate


def refused(**more: object) -> Fault:
    """Why a chat is refused."""
    with pytest.raises(Fault) as raised:
        chat(**more)
    return raised.value


@given(st.lists(st.tuples(st.sampled_from([b"host", b"origin", b"authorization", b"x"]), st.binary(max_size=40))))
def test_whatever_the_headers_say_only_the_token_opens(headers: list[tuple[bytes, bytes]]) -> None:
    """No bytes raise anything, and none come in by chance."""
    fault = GUARD.refusal("/v1/models", headers)
    assert fault is not None
    assert fault.status in {401, 403, 421}


def test_the_token_opens_and_health_needs_none() -> None:
    """But for the host, which is always looked at."""
    assert GUARD.refusal("/v1/models", OURS) is None
    assert GUARD.refusal("/health", OURS[:1]) is None
    fault = GUARD.refusal("/health", [])
    assert fault is not None
    assert fault.status == 421


def test_a_host_that_is_said_twice_is_no_host() -> None:
    """Whoever sends two wants one to be overlooked."""
    fault = GUARD.refusal("/v1/models", [*OURS, (b"host", b"evil.example")])
    assert fault is not None
    assert fault.status == 421


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{}]}, "functions"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"seed": -1}, "seed"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"model": ""}, "model"),
    ],
)
def test_what_cannot_be_done_is_refused_and_named(more: dict[str, object], param: str) -> None:
    """Never dropped in silence: an answer that ignores a part of the question is a wrong one."""
    fault = refused(**more)
    assert (fault.status, fault.param) == (400, param)


BODIES = (asked.Chat, asked.Completion, asked.Infill)
INNER = "role", "content", "type", "text", "schema", "json_schema", "tool_calls", "include_usage"
FIELDS = st.sampled_from([*sorted({field for each in BODIES for field in each.__struct_fields__}), *INNER])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just("route:a"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(FIELDS, JSON) | JSON)
def test_whatever_is_sent_is_understood_or_refused(body: object) -> None:
    """Nothing else ever comes of it."""
    data = json.dumps(body).encode()
    for read in (
        lambda: asked.chat(data, id="x", created=1),
        lambda: asked.completion(data, id="x", created=1),
        lambda: asked.infill(data),
    ):
        try:
            found = read()
        except Fault:
            continue
        assert found.generate is None or found.generate.messages or found.generate.fill


def test_fields_that_mean_nothing_here_are_let_pass() -> None:
    """And null is the same as nothing said."""
    generate = chat(store=True, metadata={}, n=1, tools=[], temperature=None, stop=None, service_tier="auto")
    assert (generate.temperature, generate.stop) == (None, None)


def test_the_newer_name_of_the_limit_counts() -> None:
    """And a limit beyond measure is cut to one that is not."""
    assert chat(max_tokens=5, max_completion_tokens=7).max_output == 7
    assert chat(max_tokens=10**12).max_output == asked.MOST_OUTPUT


def test_an_object_as_the_form_is_a_schema_too() -> None:
    """JSON without a schema is any object."""
    assert json.loads(chat(response_format={"type": "json_object"}).json_schema) == {"type": "object"}
    assert chat(response_format={"type": "text"}).json_schema == ""


def test_a_session_is_known_by_a_hash() -> None:
    """The same for the same key, and nothing of it is told."""
    one, same, other = (chat(prompt_cache_key=key).session for key in ("jane@example", "jane@example", "joe"))
    assert one == same != other
    assert "jane" not in one
    assert chat().session == ""


def test_the_conversation_keeps_its_order() -> None:
    """And the instructions are one."""
    said = [("system", "a"), ("user", "b"), ("developer", "c"), ("assistant", "d"), ("user", "e")]
    generate = chat(messages=[{"role": role, "content": text} for role, text in said])
    assert generate.system == "a\n\nc"
    assert generate.messages == (Message("user", "b"), Message("assistant", "d"), Message("user", "e"))


def test_infill_joins_the_begun_line_to_what_stands_before_it() -> None:
    """As llama.cpp's editor plugins send it; a negative limit is none."""
    body = {"input_prefix": "a\n", "prompt": "b", "input_suffix": "c", "n_predict": -1, "t_max_predict_ms": 9}
    found = asked.infill(json.dumps(body).encode())
    assert found.generate is not None
    assert found.generate.fill == Fill(prefix="a\nb", suffix="c")
    assert found.generate.max_output is None
    assert found.shape == FillShape("route:default")


def test_infill_takes_other_files_along_but_no_secrets() -> None:
    """Under a label, not as a path; empty ones and files that hold keys are left out."""
    extras = [
        {"filename": "src/a.py", "text": "a = 1", "time": 7},
        {"text": "b = 2"},
        {"filename": "empty.py", "text": ""},
        {"filename": "src/.env", "text": "KEY=x"},
    ]
    generate = asked.infill(json.dumps({"input_prefix": "x", "input_extra": extras}).encode()).generate
    assert generate is not None
    assert generate.beside == (Source("file", "src/a.py", "a = 1"), Source("file", "another file", "b = 2"))
    assert {source.path for source in generate.beside} == {""}


@pytest.mark.parametrize("extra", ["text", {"text": "x"}, [1], [{"filename": "a.py"}], [{"text": 1}]])
def test_other_files_in_another_form_are_refused(extra: object) -> None:
    """With the field."""
    with pytest.raises(Fault) as raised:
        asked.infill(json.dumps({"input_prefix": "x", "input_extra": extra}).encode())
    assert raised.value.status == 400
    assert (raised.value.param or "").startswith("input_extra")


@pytest.mark.parametrize("prompt", [[1, 2, 3], ["a", "b"], [[1]], [], None])
def test_prompts_that_are_no_single_text_are_refused(prompt: object) -> None:
    """Token numbers mean something to one model only."""
    with pytest.raises(Fault) as raised:
        asked.completion(json.dumps({"model": "route:default", "prompt": prompt}).encode(), id="x", created=1)
    assert raised.value.param == "prompt"


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_has_an_answer(name: str) -> None:
    """A status of at least 400, and a body as OpenAI says it."""
    fault = fault_of(ERRORS[name]("what happened", hint="what to try"))
    assert 400 <= fault.status < 600
    error = fault.body["error"]
    assert isinstance(error, dict)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] == "what happened (what to try)"


def test_a_time_to_come_back_is_whole_seconds_and_never_none() -> None:
    """Too late by less than a second, and never at once."""
    assert fault_of(NoBackend("x", retry_after=2.1)).headers == {"retry-after": "3"}
    assert fault_of(NoBackend("x", retry_after=0.0)).headers == {"retry-after": "1"}
    assert fault_of(NoBackend("x")).headers == {}


def test_outcome_and_time_cross_the_wire() -> None:
    """What a client raises is what the hub raised."""
    for error in (BackendError("x", outcome="context", retry_after=1.5), NoBackend("y", retry_after=2.5)):
        frame = wire.parse(wire.failure(1, error))
        assert frame.error is not None
        again = wire.raised(frame.error)
        assert type(again) is type(error)
        assert vars(again) == vars(error)


def test_the_counts_are_text_that_prometheus_reads() -> None:
    """Names of backends may hold anything."""
    metrics = Metrics()
    odd = 'a"b\\c\nd'
    metrics.attempt(
        Attempt(backend=odd, where="device", tier="model", outcome="ok", ms=1, usage=Usage(input=3, output=2))
    )
    metrics.request("/infill", "ok")
    lines = metrics.text().splitlines()
    assert 'nanoide_gateway_attempts_total{backend="a\\"b\\\\c\\nd",outcome="ok"} 1' in lines
    assert 'nanoide_gateway_tokens_total{kind="input"} 3' in lines
    assert 'nanoide_gateway_requests_total{endpoint="/infill",outcome="ok"} 1' in lines
    assert "nanoide_gateway_in_flight 0" in lines


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """0600 whatever the umask, hard to guess, and no draft is left."""
    path = tmp_path / "token"
    before = os.umask(0o777)
    try:
        token = token_file.keep(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) >= 40
    assert token_file.keep(path) == token
    assert list(tmp_path.iterdir()) == [path]


def test_a_token_of_one_s_own_is_taken(tmp_path: Path) -> None:
    """With the line end that an editor adds."""
    path = tmp_path / "token"
    path.write_text("my-own-secret-token\n")
    path.chmod(0o600)
    assert token_file.keep(path) == "my-own-secret-token"


def test_a_token_that_others_may_read_is_none(tmp_path: Path) -> None:
    """And the error says what mends it, not what is in it."""
    path = tmp_path / "token"
    path.write_text("my-own-secret-token\n")
    path.chmod(0o640)
    with pytest.raises(UsageError, match="open to others") as raised:
        token_file.keep(path)
    assert "chmod 600" in raised.value.hint
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "short", "with a space in between", "ümlaut-ümlaut-ümlaut", "x" * 513])
def test_what_is_no_token_is_told(tmp_path: Path, text: str) -> None:
    """Rather than a gateway that anybody can open, or nobody."""
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="holds no token"):
        token_file.keep(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """The file itself must be there; neither may its folder be missing."""
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "token", tmp_path / "nowhere" / "token", tmp_path):
        with pytest.raises(UsageError):
            token_file.keep(path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "192.168.1.2", ""])
def test_only_loopback_is_listened_on(host: str) -> None:
    """Anything else is refused before a port is taken."""
    with pytest.raises(UsageError, match="does not listen"):
        listen(host, 0)


async def test_an_answer_does_not_wait_for_the_one_before_to_be_acknowledged() -> None:
    """What is accepted sends small pieces at once: asyncio sees that it is TCP."""
    held: list[int] = []
    asked_for = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        held.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        asked_for.set()
        writer.close()

    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    async with await asyncio.start_server(accept, sock=listening):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await asked_for.wait()
        writer.close()
        await writer.wait_closed()
    assert held == [1]


def test_a_port_in_use_is_told() -> None:
    """With a way out."""
    with listen("127.0.0.1", 0) as first, pytest.raises(NanoideError, match="is in use") as raised:
        listen("127.0.0.1", first.getsockname()[1])
    assert not isinstance(raised.value, HubError)
    assert raised.value.exit_code == 1
