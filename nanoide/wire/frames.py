"""Frames: JSON-RPC 2.0, one object per line."""

from typing import Literal

import msgspec

from nanoide.core import errors
from nanoide.core.value import Value
from nanoide.wire.generating import Piece
from nanoide.wire.request import Reply, Request
from nanoide.wire.sessions import Published, StatusChanged

PROTOCOL_VERSION = 1

FRAME_LIMIT = 8 * 1024 * 1024
"""Bytes of one line, its newline included."""


class Frame(Value, frozen=True):
    """A line from either side: a request, a reply, an error or a notification, by which fields are set."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: int | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"")
    error: "Fault | None" = None


class Fault(Value, frozen=True):
    """A JSON-RPC error. `data` carries a NanoideError's class name and hint."""

    code: int
    message: str
    data: "FaultData | None" = None


class FaultData(Value, frozen=True):
    """What the other side needs to raise the same error."""

    name: str
    hint: str = ""
    outcome: errors.Outcome | None = None
    """Of a BackendError."""
    retry_after: float | None = None
    """Of a BackendError or NoBackend."""


PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
NANOIDE_ERROR = -32000
PROTOCOL_MISMATCH = -32001

_encoder = msgspec.json.Encoder()
_frames = msgspec.json.Decoder(Frame)


def request(number: int, body: Request[Reply]) -> bytes:
    """The line that asks `body` under the id `number`."""
    return _line({"jsonrpc": "2.0", "id": number, "method": body.METHOD, "params": body})


def reply(number: int, result: object) -> bytes:
    """The line that answers request `number`."""
    return _line({"jsonrpc": "2.0", "id": number, "result": result})


def notification(method: Literal["event", "status", "piece"], params: Published | StatusChanged | Piece) -> bytes:
    """The line that tells something that was not asked for."""
    return _line({"jsonrpc": "2.0", "method": method, "params": params})


def failure(number: int | None, error: Exception, *, code: int = NANOIDE_ERROR) -> bytes:
    """The line that answers request `number` with an error. Only a NanoideError tells its text."""
    if isinstance(error, errors.NanoideError):
        data = FaultData(
            name=type(error).__name__,
            hint=error.hint,
            outcome=error.outcome if isinstance(error, errors.BackendError) else None,
            retry_after=error.retry_after if isinstance(error, errors.BackendError | errors.NoBackend) else None,
        )
        fault = Fault(code=code, message=error.message, data=data)
    else:
        fault = Fault(code=INTERNAL_ERROR, message=f"internal error: {type(error).__name__}")
    return _line({"jsonrpc": "2.0", "id": number, "error": fault})


def parse(line: bytes) -> Frame:
    """The frame in one line. Raises HubError when it is none."""
    try:
        return _frames.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.HubError(f"not a JSON-RPC frame: {error}") from error


def read(raw: msgspec.Raw, kind: object) -> object:
    """The value of type `kind` in `raw`. Raises UsageError that names the field when it does not fit."""
    try:
        return msgspec.json.decode(bytes(raw) or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise errors.UsageError(f"a field does not fit: {error}") from error


def raised(fault: Fault) -> errors.NanoideError:
    """The error that `fault` stands for, to be raised on this side."""
    if fault.data is None:
        return errors.HubError(fault.message)
    cls = errors.ERRORS.get(fault.data.name, errors.NanoideError)
    if issubclass(cls, errors.BackendError):
        outcome = fault.data.outcome or "server_error"
        return cls(fault.message, hint=fault.data.hint, outcome=outcome, retry_after=fault.data.retry_after)
    if issubclass(cls, errors.NoBackend):
        return cls(fault.message, hint=fault.data.hint, retry_after=fault.data.retry_after)
    return cls(fault.message, hint=fault.data.hint)


def _line(value: object) -> bytes:
    line = _encoder.encode(value) + b"\n"
    if len(line) > FRAME_LIMIT:
        raise errors.InputError(
            f"a message of {len(line):,} bytes is over the limit of {FRAME_LIMIT:,}", hint="send less at once"
        )
    return line
