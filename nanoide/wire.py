"""The language between the hub and its clients: JSON-RPC 2.0, one object per line, over a Unix socket.

Every request is a class with its method name and the type of its reply. Types only: sockets are the
business of `hub.server` and `client.connection`.
"""

from typing import ClassVar, Generic, Literal, TypeVar

import msgspec

from nanoide.core import errors
from nanoide.core.chat import Attempt, Document, Passed, Priority
from nanoide.core.events import ConsentChoice, SessionEvent, SessionId, TurnId
from nanoide.core.policy import Egress, Tier, Where
from nanoide.core.session import Session
from nanoide.core.usage import Usage
from nanoide.core.value import Value

PROTOCOL_VERSION = 1

FRAME_LIMIT = 8 * 1024 * 1024
"""Bytes of one line, its newline included."""

Reply = TypeVar("Reply")


class Request(Value, Generic[Reply], frozen=True):
    """A question to the hub. Subclasses name their METHOD and the type of their REPLY."""

    METHOD: ClassVar[str]
    REPLY: ClassVar[object]


class Done(Value, frozen=True):
    """The reply to a request that has nothing to say but that it was carried out."""


# Greeting and watching


class Initialized(Value, frozen=True):
    """Who answers."""

    protocol: int
    version: str
    pid: int
    home: str


class Initialize(Request[Initialized], frozen=True):
    """The first request of every connection. A protocol that does not match is an error."""

    METHOD = "initialize"
    REPLY = Initialized

    protocol: int
    client: str
    """For the log: "tui", "cli ask", "lsp" …"""
    version: str = ""


Mode = Literal["full", "degraded", "local only", "reflex only"]


class HubStatus(Value, frozen=True):
    """What the status bar shows, of the whole hub."""

    pid: int = 0
    uptime_s: float = 0.0
    mode: Mode = "full"
    mode_reason: str = ""
    tokens_per_min: int = 0
    today_nano: int = 0
    today_unpriced: int = 0
    """Attempts of today without a price."""
    saved_nano: int | None = None
    """What today's local answers would have cost remotely; None when there is no price to compare with."""
    cpu_percent: float = 0.0
    """Of the hub and its engines, 100 per core."""
    memory_bytes: int = 0
    """Of the hub and its engines."""
    sessions: int = 0
    active: int = 0
    needy: int = 0
    parked: int = 0
    clients: int = 0
    budget_day_nano: int | None = None


class Attached(Value, frozen=True):
    """Every session as an outline, as of sequence number `seq`."""

    seq: int
    sessions: tuple[Session, ...]
    status: HubStatus


class Attach(Request[Attached], frozen=True):
    """From now on send Facts (and state-changing Deltas) of all sessions, from `seq` + 1 on."""

    METHOD = "attach"
    REPLY = Attached


class Watching(Value, frozen=True):
    """Whole sessions, as of sequence number `seq`, partial answers included."""

    seq: int
    sessions: tuple[Session, ...]


class Watch(Request[Watching], frozen=True):
    """Send `TextArrived` for exactly these sessions from now on. Replaces what was watched before.

    The reply holds snapshots of those named in `sessions`, with at most the last `turns` turns each.
    """

    METHOD = "watch"
    REPLY = Watching

    sessions: tuple[SessionId, ...]
    turns: int = 50


class Published(Value, frozen=True):
    """The parameters of the notification `event`."""

    seq: int
    """Of the Fact; for a Delta, of the last Fact before it."""
    event: SessionEvent


class StatusChanged(Value, frozen=True):
    """The parameters of the notification `status`, sent to attached clients when it changed."""

    status: HubStatus


# Sessions


class OpenSession(Request[Session], frozen=True):
    """Open a nanochat bound to one skill."""

    METHOD = "session.open"
    REPLY = Session

    skill: str
    folder: str
    name: str = ""
    route: str = ""
    ambient: bool = False


class FindSession(Request[Session], frozen=True):
    """The whole session that `name` stands for: its number, name or id (or an unambiguous beginning of it)."""

    METHOD = "session.find"
    REPLY = Session

    name: str
    turns: int = 50


class RenameSession(Request[Done], frozen=True):
    """Give the session another name."""

    METHOD = "session.rename"
    REPLY = Done

    session: SessionId
    name: str


class HideSession(Request[Done], frozen=True):
    """Hide the session's pane, or show it again."""

    METHOD = "session.hide"
    REPLY = Done

    session: SessionId
    hidden: bool = True


class PinSession(Request[Done], frozen=True):
    """Exempt the session from parking, or stop exempting it."""

    METHOD = "session.pin"
    REPLY = Done

    session: SessionId
    pinned: bool = True


class ParkSession(Request[Done], frozen=True):
    """Free what the session holds in memory."""

    METHOD = "session.park"
    REPLY = Done

    session: SessionId


class WakeSession(Request[Done], frozen=True):
    """Bring a parked session back."""

    METHOD = "session.wake"
    REPLY = Done

    session: SessionId


class SeeSession(Request[Done], frozen=True):
    """The person has seen the session's last answer."""

    METHOD = "session.see"
    REPLY = Done

    session: SessionId


class RemoveSession(Request[Done], frozen=True):
    """Delete the session and its turns. Ledger rows stay. An active turn is cancelled first."""

    METHOD = "session.remove"
    REPLY = Done

    session: SessionId


class SaveDraft(Request[Done], frozen=True):
    """Keep what stands in the composer."""

    METHOD = "session.draft"
    REPLY = Done

    session: SessionId
    text: str


# Turns


class Input(Value, frozen=True):
    """Something given with a question."""

    kind: Literal["file", "stdin", "selection"]
    label: str
    """A path for a file; shown to the person."""
    text: str | None = None
    """None for a file that the hub is to read itself."""


class Asked(Value, frozen=True):
    """The turn is stored and queued."""

    session: Session
    turn: TurnId


class Ask(Request[Asked], frozen=True):
    """One turn. With `session` None a session is opened for it.

    `watch` subscribes this connection to the session before the turn begins, so that nothing is missed.
    """

    METHOD = "ask"
    REPLY = Asked

    text: str = ""
    session: SessionId | None = None
    skill: str = ""
    """Needed when `session` is None."""
    name: str = ""
    """Of the session to open, or of an existing one of the same skill to go on with."""
    folder: str = ""
    inputs: tuple[Input, ...] = ()
    document: Document | None = None
    route: str = ""
    """Empty means as the session or the skill says."""
    backend: str = ""
    """Ask this one alone."""
    egress: Egress | None = None
    """May narrow the policy in force."""
    interactive: bool = True
    """False when nobody can answer a question; "ask" then means: stay."""
    priority: Priority = "focused"
    watch: bool = False
    ambient: bool = False


class CancelTurn(Request[Done], frozen=True):
    """Stop the session's turn; without one nothing happens."""

    METHOD = "cancel"
    REPLY = Done

    session: SessionId


class GiveConsent(Request[Done], frozen=True):
    """Answer the session's open question."""

    METHOD = "consent"
    REPLY = Done

    session: SessionId
    choice: ConsentChoice


class Completed(Value, frozen=True):
    """An inline completion: `text` replaces nothing and goes in at the position asked for."""

    text: str
    """Empty when there is nothing worth showing."""
    backend: str = ""
    where: Where = "device"
    tier: Tier = "model"
    attempts: tuple[Attempt, ...] = ()
    passed: tuple[Passed, ...] = ()
    usage: Usage = Usage()
    cost_nano: int | None = 0
    ttft_ms: int | None = None
    total_ms: int = 0


class Complete(Request[Completed], frozen=True):
    """One inline completion, without a session. A later one of the same `client` key supersedes it."""

    METHOD = "complete"
    REPLY = Completed

    document: Document
    folder: str = ""
    automatic: bool = False
    """True while typing: a deadline applies, and the best answer so far comes back."""
    max_output: int = 64
    backend: str = ""
    egress: Egress | None = None
    supersedes: str = ""
    """A key such as the document's URI: the request before with the same key is cancelled."""


# What there is


class SkillLine(Value, frozen=True):
    """A skill in a list."""

    name: str
    description: str
    where: str
    """bundled, user, agents or project."""
    folder: str
    route: str
    egress: Egress | None
    action: str
    reflex: bool
    problem: str = ""
    """Why it does not load; empty when it does."""


class SkillText(Value, frozen=True):
    """A skill, whole."""

    line: SkillLine
    instruction: str
    settings: dict[str, object]
    """nanoide.toml with its defaults filled in."""


class ListSkills(Request[tuple[SkillLine, ...]], frozen=True):
    """All skills that can be seen from `folder`."""

    METHOD = "skills.list"
    REPLY = tuple[SkillLine, ...]

    folder: str = ""


class ShowSkill(Request[SkillText], frozen=True):
    """One skill, whole."""

    METHOD = "skills.show"
    REPLY = SkillText

    name: str
    folder: str = ""


class Check(Value, frozen=True):
    """One line of the doctor, or of a skill's check."""

    name: str
    ok: bool
    detail: str
    mend: str = ""
    """The one command that mends it; empty when all is well or nothing does."""


class CheckSkill(Request[tuple[Check, ...]], frozen=True):
    """Whether the folder `path` holds a skill that loads, and what is wrong with it if not."""

    METHOD = "skills.check"
    REPLY = tuple[Check, ...]

    path: str
    """Absolute."""


class Trust(Request[Done], frozen=True):
    """Use the skills that `folder`'s repository brings with it, from now on and as they are now."""

    METHOD = "trust"
    REPLY = Done

    folder: str


class BackendLine(Value, frozen=True):
    """One rung's health."""

    name: str
    kind: str
    where: Where
    tier: Tier
    model: str = ""
    state: Literal["ready", "starting", "asleep", "cooling", "down", "off"] = "ready"
    """asleep: starts when asked. cooling: its breaker is open. down: cannot answer now. off: cannot run here."""
    reason: str = ""
    breaker: Literal["closed", "open", "half-open"] = "closed"
    recovers_in_s: float | None = None
    pid: int | None = None
    memory_bytes: int = 0
    running: int = 0
    queued: int = 0
    tokens_per_s: float = 0.0


class ListBackends(Request[tuple[BackendLine, ...]], frozen=True):
    """Health of every rung. With `probe` each is asked now."""

    METHOD = "backends"
    REPLY = tuple[BackendLine, ...]

    probe: bool = False


UsageKey = Literal["day", "block", "model", "backend", "skill", "session", "project"]


class UsageRow(Value, frozen=True):
    """Sums over one group of the ledger."""

    key: str
    turns: int
    attempts: int
    failed: int
    """Attempts that did not end ok."""
    usage: Usage
    cost_nano: int
    """Of the priced attempts."""
    unpriced: int
    """Attempts without a price."""
    local_turns: int
    """Turns answered on this device."""
    ttft_p50_ms: int | None = None


class LedgerRow(Value, frozen=True):
    """One attempt as it stands in the ledger."""

    at: str
    """ISO 8601, UTC."""
    turn: str
    number: int
    """Of the attempt within its turn, from 1."""
    session: str
    skill: str
    project: str
    branch: str
    attempt: Attempt


class UsageReport(Value, frozen=True):
    """Groups and the rows behind the last few."""

    by: UsageKey
    since: str | None
    rows: tuple[UsageRow, ...]
    total: UsageRow
    recent: tuple[LedgerRow, ...] = ()


class ReadUsage(Request[UsageReport], frozen=True):
    """Group the ledger. Days are those of the time zone `tz_minutes` east of UTC."""

    METHOD = "usage"
    REPLY = UsageReport

    by: UsageKey = "day"
    since: str | None = None
    """ISO 8601 date or time; None means from the beginning."""
    recent: int = 0
    """How many of the latest attempts to list."""
    tz_minutes: int = 0


class EgressLine(Value, frozen=True):
    """Something that left this machine."""

    at: str
    backend: str
    host: str
    where: Where
    session: str
    skill: str
    bytes: int
    hidden: tuple[str, ...] = ()
    """What was redacted, a phrase each."""


class ReadEgress(Request[tuple[EgressLine, ...]], frozen=True):
    """What left this machine, latest first."""

    METHOD = "egress"
    REPLY = tuple[EgressLine, ...]

    limit: int = 200


class Examine(Request[tuple[Check, ...]], frozen=True):
    """What the hub can say about its own health."""

    METHOD = "doctor"
    REPLY = tuple[Check, ...]


class ReadStatus(Request[HubStatus], frozen=True):
    """The hub in one line."""

    METHOD = "status"
    REPLY = HubStatus


class StopHub(Request[Done], frozen=True):
    """Finish writing and leave. Active turns are stored as interrupted."""

    METHOD = "hub.stop"
    REPLY = Done


REQUESTS: dict[str, type[Request[object]]] = {
    cls.METHOD: cls  # type: ignore[misc]
    for cls in (
        Initialize,
        Attach,
        Watch,
        OpenSession,
        FindSession,
        RenameSession,
        HideSession,
        PinSession,
        ParkSession,
        WakeSession,
        SeeSession,
        RemoveSession,
        SaveDraft,
        Ask,
        CancelTurn,
        GiveConsent,
        Complete,
        ListSkills,
        ShowSkill,
        CheckSkill,
        Trust,
        ListBackends,
        ReadUsage,
        ReadEgress,
        Examine,
        ReadStatus,
        StopHub,
    )
}
"""By method name. `hub.handlers` has one function for each, and a test holds the two together."""


# Frames


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


def notification(method: Literal["event", "status"], params: Published | StatusChanged) -> bytes:
    """The line that tells something that was not asked for."""
    return _line({"jsonrpc": "2.0", "method": method, "params": params})


def failure(number: int | None, error: Exception, *, code: int = NANOIDE_ERROR) -> bytes:
    """The line that answers request `number` with an error. Only a NanoideError tells its text."""
    if isinstance(error, errors.NanoideError):
        fault = Fault(code=code, message=error.message, data=FaultData(name=type(error).__name__, hint=error.hint))
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
    return cls(fault.message, hint=fault.data.hint)


def _line(value: object) -> bytes:
    line = _encoder.encode(value) + b"\n"
    if len(line) > FRAME_LIMIT:
        raise errors.InputError(
            f"a message of {len(line):,} bytes is over the limit of {FRAME_LIMIT:,}", hint="send less at once"
        )
    return line
