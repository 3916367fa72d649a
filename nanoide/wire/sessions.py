"""Greeting, watching, sessions and turns."""

from typing import Literal

from nanoide.core.chat import Attempt, Document, Passed, Priority
from nanoide.core.events import ConsentChoice, SessionEvent, SessionId, TurnId
from nanoide.core.policy import Egress, Tier, Where
from nanoide.core.session import Session
from nanoide.core.usage import Usage
from nanoide.core.value import Value
from nanoide.wire.reports import HubStatus
from nanoide.wire.request import Done, Request

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
    question: str = ""
    """`ConsentAsked.digest` of what was shown: when that is not what is asked now, it is no answer.
    Empty answers whatever is asked."""


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
