"""Everything that can happen, in the past tense. Each event is a Fact or a Delta, never both.

A Fact is stored before it is published and has a sequence number; nobody may miss one.
A Delta is passing: it may be merged or dropped, because a later Fact (or a snapshot) carries the whole.
"""

from datetime import datetime
from typing import Literal, NewType

from nanoide.core.chat import Attempt, Finish, Seam
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Usage
from nanoide.core.value import Value

SessionId = NewType("SessionId", str)
TurnId = NewType("TurnId", str)


class Event(Value, frozen=True):
    """What all events share."""

    session: SessionId
    at: datetime
    """Timezone-aware, UTC."""


# Facts


class SessionOpened(Event, frozen=True, tag="session-opened"):
    """A session exists from here on."""

    number: int
    """Shown to the person; ascending per user, never used again."""
    name: str
    """Unique among the sessions that are not removed; by default skill-number."""
    skill: str
    folder: str
    """Absolute; empty when opened outside any folder."""
    branch: str = ""
    route: str = ""
    """Empty means as the skill says."""
    ambient: bool = False
    """Opened by a command and not by a person who looks: not counted as needing anyone."""


class SessionRenamed(Event, frozen=True, tag="session-renamed"):
    """The session goes by `name` now."""

    name: str


class SessionHidden(Event, frozen=True, tag="session-hidden"):
    """The session's pane was hidden, or shown again."""

    hidden: bool


class SessionPinned(Event, frozen=True, tag="session-pinned"):
    """The session was exempted from parking, or no longer is."""

    pinned: bool


class SessionParked(Event, frozen=True, tag="session-parked"):
    """Nothing of the session is in memory any more but its line."""


class SessionWoken(Event, frozen=True, tag="session-woken"):
    """A parked session is at hand again."""


class SessionSeen(Event, frozen=True, tag="session-seen"):
    """The person has seen what there was to see: done and failed become idle."""


class SessionRemoved(Event, frozen=True, tag="session-removed"):
    """The session is gone; its ledger rows stay."""


class DraftSaved(Event, frozen=True, tag="draft-saved"):
    """What stands in the session's composer, not sent yet."""

    text: str


class TurnAsked(Event, frozen=True, tag="turn-asked"):
    """A person or a program asked; acknowledged from here on."""

    turn: TurnId
    text: str
    inputs: tuple[str, ...] = ()
    """Labels of what was given with it: files, standard input, a selection."""


class AttemptEnded(Event, frozen=True, tag="attempt-ended"):
    """One rung was tried for the turn; also a row of the ledger."""

    turn: TurnId
    attempt: Attempt


class ConsentAsked(Event, frozen=True, tag="consent-asked"):
    """The turn waits for the person: something would leave this machine."""

    turn: TurnId
    backend: str
    host: str
    what: str
    """What would leave: "diff of 3 files"."""
    tokens: int
    """Estimated."""
    hidden: tuple[str, ...] = ()
    """What was redacted, a phrase each."""
    cost_nano: int | None = None
    """Estimated upper bound; None when unpriced."""
    over: str = ""
    """The budget that stands against it, as a phrase; a yes goes over it. Empty when none does."""
    digest: str = ""
    """Of all that is shown and of the text that would leave: an answer names it."""


ConsentChoice = Literal["once", "session", "always", "stay"]


class ConsentGiven(Event, frozen=True, tag="consent-given"):
    """The person answered. "stay" keeps everything here: the ladder goes on below."""

    turn: TurnId
    choice: ConsentChoice
    why: str = ""
    """Why the question was withdrawn, as a phrase; empty when the person answered."""


class NoticeGiven(Event, frozen=True, tag="notice-given"):
    """The person has to know something of the turn that is no failure: a budget at 80 %, a price not known."""

    turn: TurnId
    text: str
    """A sentence."""


class TurnFinished(Event, frozen=True, tag="turn-finished"):
    """The answer is whole."""

    turn: TurnId
    text: str
    backend: str
    where: Where
    tier: Tier
    finish: Finish
    usage: Usage
    cost_nano: int | None
    """Of all attempts of the turn; None when any part is unpriced."""
    ttft_ms: int | None
    total_ms: int
    sources: tuple[str, ...] = ()
    """Labels of the context used."""
    seams: tuple[Seam, ...] = ()
    """Where one rung went on with what another had begun, in order."""


class TurnFailed(Event, frozen=True, tag="turn-failed"):
    """The turn ended without a whole answer. What had arrived is kept."""

    turn: TurnId
    text: str
    error: str
    """Class name from core.errors; "Interrupted" when the hub ended under the turn."""
    message: str
    hint: str = ""
    total_ms: int = 0
    seams: tuple[Seam, ...] = ()


class TurnCancelled(Event, frozen=True, tag="turn-cancelled"):
    """The person stopped the turn. What had arrived is kept."""

    turn: TurnId
    text: str
    total_ms: int = 0
    seams: tuple[Seam, ...] = ()


# Deltas


class TurnStarted(Event, frozen=True, tag="turn-started"):
    """A rung is being asked; comes again at each failover."""

    turn: TurnId
    backend: str
    where: Where
    tier: Tier
    reason: str = ""
    after: int = 0
    """Code points of the answer that stand and that the rung goes on behind; 0 when it begins from nothing."""


class TextArrived(Event, frozen=True, tag="text-arrived"):
    """More of the answer."""

    turn: TurnId
    offset: int
    """Length in code points of the answer before `text`; a gap means that a Delta was dropped."""
    text: str


Fact = (
    SessionOpened
    | SessionRenamed
    | SessionHidden
    | SessionPinned
    | SessionParked
    | SessionWoken
    | SessionSeen
    | SessionRemoved
    | DraftSaved
    | TurnAsked
    | AttemptEnded
    | ConsentAsked
    | ConsentGiven
    | NoticeGiven
    | TurnFinished
    | TurnFailed
    | TurnCancelled
)
Delta = TurnStarted | TextArrived
SessionEvent = Fact | Delta
