"""What one side writes, the other side reads; what is no frame is said to be none."""

from contextlib import suppress
from typing import get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide import wire
from nanoide.core.errors import ERRORS, BackendError, HubError, InputError, NanoideError, UnknownName, UsageError
from nanoide.core.events import SessionEvent, SessionId
from nanoide.core.session import opened
from tests.core.samples import EVENTS, NOON, ODD, OPENED


def test_every_request_has_a_method_of_its_own_and_a_reply() -> None:
    """The table holds every request there is."""
    classes = set(wire.Request.__subclasses__())
    named = {each for each in classes if hasattr(each, "METHOD")}
    assert named == set(wire.REQUESTS.values())
    assert all(method == cls.METHOD for method, cls in wire.REQUESTS.items())


@pytest.mark.parametrize("method", sorted(wire.REQUESTS))
def test_the_reply_is_the_one_that_the_type_says(method: str) -> None:
    """`REPLY` and the type parameter name the same."""
    cls = wire.REQUESTS[method]
    (base,) = [each for each in cls.__orig_bases__ if get_origin(each) is wire.Request]
    assert get_args(base) == (cls.REPLY,)


def test_a_request_goes_over_as_one_line() -> None:
    """Newlines in texts are inside the JSON, never between."""
    body = wire.Ask(text=ODD, skill="file-query", inputs=(wire.Input("stdin", "standard input", "a\nb"),))
    line = wire.request(7, body)
    assert line.count(b"\n") == 1
    frame = wire.parse(line)
    assert (frame.id, frame.method) == (7, "ask")
    assert wire.read(frame.params, wire.Ask) == body


def test_a_request_without_parameters() -> None:
    """Their absence is the same as all defaults."""
    frame = wire.parse(b'{"jsonrpc":"2.0","id":1,"method":"status"}')
    assert wire.read(frame.params, wire.ReadStatus) == wire.ReadStatus()


def test_a_reply_goes_over() -> None:
    """A session inside, odd text and all."""
    session = opened(OPENED)
    frame = wire.parse(wire.reply(3, wire.Attached(seq=9, sessions=(session,), status=wire.HubStatus(pid=1))))
    assert frame.id == 3
    assert frame.error is None
    assert wire.read(frame.result, wire.Attached) == wire.Attached(9, (session,), wire.HubStatus(pid=1))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_goes_over(event: SessionEvent) -> None:
    """As the parameters of a notification, which has no id."""
    frame = wire.parse(wire.notification("event", wire.Published(seq=4, event=event)))
    assert (frame.id, frame.method) == (None, "event")
    assert wire.read(frame.params, wire.Published) == wire.Published(4, event)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_comes_out_as_itself(name: str) -> None:
    """Class, message, hint and so the exit code."""
    error = ERRORS[name]("what happened", hint="what to try")
    fault = wire.parse(wire.failure(2, error)).error
    assert fault is not None
    raised = wire.raised(fault)
    assert type(raised) is type(error)
    assert (raised.message, raised.hint) == ("what happened", "what to try")


def test_an_error_of_a_newer_hub_is_still_an_error() -> None:
    """A class that is not known here comes out as the root."""
    fault = wire.Fault(wire.NANOIDE_ERROR, "new trouble", wire.FaultData("QuantumError", "wait"))
    assert type(wire.raised(fault)) is NanoideError


def test_an_internal_error_tells_no_secrets() -> None:
    """The text of a foreign exception may hold anything; only its class goes over."""
    fault = wire.parse(wire.failure(2, ValueError("sk-secret"))).error
    assert fault is not None
    assert fault.message == "internal error: ValueError"
    assert isinstance(wire.raised(fault), HubError)


def test_a_backend_error_goes_over_without_its_outcome() -> None:
    """The outcome stands in the ledger; the class is enough here."""
    fault = wire.parse(wire.failure(1, BackendError("cut", outcome="cut"))).error
    assert fault is not None
    assert isinstance(wire.raised(fault), BackendError)


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"[]", b"{", b"null", b'{"id":"one"}', b"\xff\xfe", b"GET / HTTP/1.1\r\n"]
)
def test_what_is_no_frame(line: bytes) -> None:
    """It is said, and nothing else escapes."""
    with pytest.raises(HubError, match="not a JSON-RPC frame"):
        wire.parse(line)


@given(st.binary(max_size=200))
def test_no_line_breaks_the_parser(line: bytes) -> None:
    """Any bytes are a frame or a HubError."""
    with suppress(HubError):
        wire.parse(line)


@pytest.mark.parametrize(
    ("params", "field"),
    [(b'{"skill": 5}', "skill"), (b'{"priority": "urgent"}', "priority"), (b'{"inputs": [{"kind": "x"}]}', "inputs")],
)
def test_a_field_that_does_not_fit_is_named(params: bytes, field: str) -> None:
    """So that whoever wrote the client finds it."""
    with pytest.raises(UsageError, match=field):
        wire.read(msgspec.Raw(params), wire.Ask)


def test_fields_of_a_newer_client_are_passed_over() -> None:
    """Additions within one protocol version break nobody."""
    assert wire.read(msgspec.Raw(b'{"protocol":1,"client":"x","mood":"good"}'), wire.Initialize) == wire.Initialize(
        1, "x"
    )


def test_a_message_that_is_too_large_is_refused_by_its_sender() -> None:
    """The line says how large and how much is possible."""
    with pytest.raises(InputError, match="over the limit of 8,388,608"):
        wire.request(1, wire.Ask(text="x" * wire.FRAME_LIMIT))


def test_times_keep_their_zone() -> None:
    """A moment is the same on the other side."""
    event = EVENTS[5]
    decoded = wire.read(wire.parse(wire.notification("event", wire.Published(1, event))).params, wire.Published)
    assert isinstance(decoded, wire.Published)
    assert decoded.event.at == NOON
    assert decoded.event.at.tzinfo is not None
    assert decoded.event.session == SessionId("s1")


def test_an_unknown_name_keeps_its_suggestions() -> None:
    """The hint goes over with it."""
    fault = wire.parse(wire.failure(1, UnknownName.among("skill", "fil-query", ["file-query"]))).error
    assert fault is not None
    assert "did you mean 'file-query'?" in str(wire.raised(fault))
