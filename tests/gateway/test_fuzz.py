"""Whatever is posted gets an answer or an error as OpenAI says it: the real application and a real hub, no socket."""

import asyncio
import json
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from nanoide.gateway import asked
from nanoide.gateway.app import Gateway
from nanoide.gateway.desk import Desk
from nanoide.gateway.guard import Guard
from nanoide.gateway.limits import Limits
from tests.gateway.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = ("/v1/chat/completions", "/v1/completions", "/infill", "/v1/models")
"""The last one is asked by GET alone."""

MODELS = ("backend:ready", "backend:reflex", "route:default", "route:falls", "route:far", "backend:narrow")
"""None that breaks off: it would soon rest, and each chat wait for it."""

OTHERS = ("skill:commit-message", "skill:inline-completion", "skill:nowhere", "gpt-4o", "route:", ":", "")

TEXT = st.text(max_size=12) | st.sampled_from(["hi", "x = ", "\n\n", "\x00", "\N{GRINNING FACE}"])
BROKEN = st.just("\ud800")
"""Half a character: JSON can say it, no text can hold it."""

NUMBER = st.integers() | st.floats() | st.integers(-3, 3) | st.floats(-3, 3)
ANY = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT | BROKEN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
PART = st.fixed_dictionaries({"type": st.just("text"), "text": TEXT})
SAID = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "developer", "user", "user", "assistant"]),
        "content": TEXT | st.lists(PART, max_size=2) | st.none(),
    }
)
SCHEMA = st.sampled_from([{}, {"type": "object"}, {"type": "array", "items": {}}, {"type": 3}])
FORM = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "json_object", "json_schema"])},
    optional={"json_schema": st.fixed_dictionaries({"schema": SCHEMA})},
)
SHARE = st.floats(0.1, 1)
ASKED: dict[str, st.SearchStrategy[object]] = {
    "model": st.sampled_from(MODELS),
    "messages": st.lists(SAID, min_size=1, max_size=3),
    "prompt": TEXT | st.lists(TEXT, min_size=1, max_size=1),
}
MEANT: dict[str, st.SearchStrategy[object]] = {
    "suffix": TEXT,
    "input_prefix": TEXT,
    "input_suffix": TEXT,
    "input_extra": st.lists(st.fixed_dictionaries({"text": TEXT}, optional={"filename": TEXT}), max_size=3),
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans()}),
    "stop": TEXT | st.lists(TEXT, max_size=16),
    "response_format": FORM,
    "max_tokens": st.integers(1, 9) | st.integers(min_value=1),
    "n_predict": st.integers(-1, 9),
    "temperature": SHARE,
    "top_p": SHARE,
    "top_k": st.integers(0, 99),
    "min_p": SHARE,
    "seed": st.integers(0, 2**63 - 1),
    "user": TEXT,
}
FIELDS = sorted({field for each in (asked.Chat, asked.Completion, asked.Infill) for field in each.__struct_fields__})
NAMES = st.sampled_from(FIELDS)
RIGHT = st.fixed_dictionaries(ASKED, optional=MEANT)
ODD = st.dictionaries(NAMES, ANY, min_size=1, max_size=1) | st.fixed_dictionaries({"model": st.sampled_from(OTHERS)})
BODY = RIGHT | RIGHT | st.builds(lambda body, odd: {**body, **odd}, RIGHT, ODD) | st.dictionaries(NAMES, ANY) | ANY
RAW = BODY.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=40)


class Asking:
    """Asks the application itself; what it raises comes through."""

    def __init__(self, desk: Desk, token: str) -> None:
        self._app = Gateway(desk, Guard(80, token), Limits())
        self._headers = [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer " + token.encode())]

    async def post(self, path: str, data: bytes) -> tuple[int, str, bytes]:
        """The status, the media type, the body."""
        status, kind, body, whole = 0, "", b"", False
        coming: asyncio.Queue[Message] = asyncio.Queue()
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            coming.put_nowait({"type": "http.request", "body": part, "more_body": True})
        coming.put_nowait({"type": "http.request", "body": b"", "more_body": False})

        async def send(message: Message) -> None:
            nonlocal status, kind, body, whole
            assert not whole
            if message["type"] == "http.response.start":
                assert status == 0
                status = message["status"]
                kind = dict(message["headers"])[b"content-type"].decode()
            else:
                body += message["body"]
                whole = not message.get("more_body", False)

        scope = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": path}
        scope |= {"raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": self._headers}
        await self._app(scope, coming.get, send)
        assert whole
        return status, kind, body


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asking(doors: House) -> AsyncIterator[Asking]:
    """One for all."""
    desk = Desk(doors.paths)
    yield Asking(desk, doors.token)
    await desk.link.aclose()


def right(status: int, kind: str, body: bytes) -> None:
    """An answer, or an error as OpenAI says it; a stream ends, or says that it does not."""
    if kind.startswith("text/event-stream"):
        last = body.decode().rstrip("\n").rpartition("\n\n")[2]
        if last.startswith("event: error\ndata: "):
            wrong(json.loads(last.partition("data: ")[2]))
        elif last != "data: [DONE]":
            assert json.loads(last.removeprefix("data: "))["stop"] is True
        return
    assert kind == "application/json"
    told = msgspec.json.decode(body)
    if status == 200:
        assert "choices" in told or told["stop"] is True
    else:
        assert status in {400, 403, 404, 405, 502, 503}, body
        wrong(told)


def wrong(told: dict[str, dict[str, object]]) -> None:
    """One error with its four fields."""
    assert set(told) == {"error"}
    assert set(told["error"]) == {"message", "type", "param", "code"}
    assert told["error"]["message"]
    assert told["error"]["code"] not in {None, "", "internal"}


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=RAW)
async def test_nothing_that_is_posted_is_too_much(asking: Asking, path: str, data: bytes) -> None:
    """Never an internal error, never an answer that nobody can read."""
    right(*await asking.post(path, data))
