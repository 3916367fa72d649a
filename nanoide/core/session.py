"""A session as a value, and the one function that changes it: `apply(session, event) -> session`.

The hub folds events into sessions, and so does every pane: both hold the same value at the same
sequence number, and neither guesses a state.
"""

from datetime import datetime
from typing import Literal, assert_never

from msgspec.structs import replace

from nanoide.core.chat import Attempt, Passed, Seam
from nanoide.core.events import (
    AttemptEnded,
    ConsentAsked,
    ConsentGiven,
    DraftSaved,
    NoticeGiven,
    SessionEvent,
    SessionHidden,
    SessionId,
    SessionOpened,
    SessionParked,
    SessionPinned,
    SessionRemoved,
    SessionRenamed,
    SessionSeen,
    SessionWoken,
    TextArrived,
    TurnAsked,
    TurnCancelled,
    TurnFailed,
    TurnFinished,
    TurnId,
    TurnStarted,
)
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Usage
from nanoide.core.value import Value

State = Literal["queued", "working", "streaming", "asking", "failed", "done", "idle", "parked"]
"""done: finished and not seen yet. idle: nothing to see, nothing to do. asking: waits for the person."""

ACTIVE: frozenset[State] = frozenset({"queued", "working", "streaming", "asking"})
"""States in which a turn is under way."""

NEEDY: tuple[State, ...] = ("asking", "failed", "done")
"""States that need the person, the most urgent first."""

GLYPHS: dict[State, str] = {
    "queued": "▹",
    "working": "▸",
    "streaming": "▸",
    "asking": "?",
    "failed": "!",
    "done": "•",
    "idle": "○",
    "parked": "◌",
}
"""One sign a state, the same in every window; a word always stands beside it."""

ASCII_GLYPHS: dict[State, str] = {
    "queued": ".",
    "working": ">",
    "streaming": ">",
    "asking": "?",
    "failed": "!",
    "done": "*",
    "idle": "o",
    "parked": "-",
}
"""For terminals without Unicode."""

TurnState = Literal["queued", "working", "streaming", "asking", "done", "failed", "cancelled"]


class Turn(Value, frozen=True):
    """One question and its answer."""

    id: TurnId
    asked: str
    at: datetime
    inputs: tuple[str, ...] = ()
    state: TurnState = "queued"
    text: str = ""
    """The answer so far; whole when state is "done"."""
    seams: tuple[Seam, ...] = ()
    """Where one rung went on with what another had begun, in order."""
    backend: str = ""
    """The rung that answers or answered; empty while queued."""
    where: Where = "device"
    tier: Tier = "model"
    reason: str = ""
    """Why this rung, as a phrase; empty for the first of the ladder."""
    attempts: tuple[Attempt, ...] = ()
    passed: tuple[Passed, ...] = ()
    usage: Usage = Usage()
    cost_nano: int | None = 0
    """Of all attempts; None when any is unpriced."""
    ttft_ms: int | None = None
    total_ms: int = 0
    sources: tuple[str, ...] = ()
    error: str = ""
    """Class name from core.errors; empty when all is well."""
    message: str = ""
    hint: str = ""
    consent: ConsentAsked | None = None
    """The open question; None when there is none."""
    notices: tuple[str, ...] = ()
    """What the person has to know that is no failure, a sentence each."""


class Session(Value, frozen=True):
    """One nanochat. In lists `turns` is empty and `turn_count` says how many there are."""

    id: SessionId
    number: int
    name: str
    skill: str
    folder: str
    created: datetime
    since: datetime
    """When the state began."""
    branch: str = ""
    route: str = ""
    state: State = "idle"
    reason: str = ""
    """Why it is in this state, as a phrase: "nano: first token over 1.5 s"."""
    hidden: bool = False
    pinned: bool = False
    removed: bool = False
    ambient: bool = False
    draft: str = ""
    backend: str = ""
    """The rung of the last turn; empty before the first."""
    cost_nano: int = 0
    """Of all priced attempts."""
    unpriced: int = 0
    """Attempts without a price."""
    tokens: int = 0
    """Output tokens of all turns."""
    turn_count: int = 0
    turns: tuple[Turn, ...] = ()
    """Oldest first. May be only the tail of all `turn_count` turns, or empty in lists."""

    @property
    def unread(self) -> bool:
        """True while there is something the person has not seen. What a command asked, its caller has seen."""
        return self.state in NEEDY and (not self.ambient or self.state == "asking")

    @property
    def active(self) -> bool:
        """True while a turn is under way."""
        return self.state in ACTIVE


def opened(event: SessionOpened) -> Session:
    """The session that `event` begins."""
    return Session(
        id=event.session,
        number=event.number,
        name=event.name,
        skill=event.skill,
        folder=event.folder,
        branch=event.branch,
        route=event.route,
        ambient=event.ambient,
        created=event.at,
        since=event.at,
        reason="new",
    )


def outline(session: Session) -> Session:
    """The session without its turns, as lists carry it."""
    return replace(session, turns=()) if session.turns else session


def apply(session: Session, event: SessionEvent) -> Session:
    """The session after `event`. An event of a turn that is not in `session.turns` changes the outline only."""
    match event:
        case SessionOpened():
            return opened(event)
        case SessionRenamed():
            return replace(session, name=event.name)
        case SessionHidden():
            return replace(session, hidden=event.hidden)
        case SessionPinned():
            return replace(session, pinned=event.pinned)
        case SessionParked():
            return _enter(session, event, "parked", "quiet for a while")
        case SessionWoken():
            return _enter(session, event, "idle", "woken") if session.state == "parked" else session
        case SessionSeen():
            return _enter(session, event, "idle", "seen") if session.state in {"done", "failed"} else session
        case SessionRemoved():
            return replace(_enter(session, event, "idle", "removed"), removed=True)
        case DraftSaved():
            return replace(session, draft=event.text)
        case TurnAsked():
            turn = Turn(id=event.turn, asked=event.text, at=event.at, inputs=event.inputs)
            session = replace(session, turns=(*session.turns, turn), turn_count=session.turn_count + 1, draft="")
            return _enter(session, event, "queued", "waits for a rung")
        case TurnStarted():
            session = _turn(
                session,
                event.turn,
                state="working",
                backend=event.backend,
                where=event.where,
                tier=event.tier,
                reason=event.reason,
                **_start(session, event),
            )
            session = replace(session, backend=event.backend)
            return _enter(session, event, "working", event.reason or f"{event.backend} works on it")
        case TextArrived():
            turn = _find(session, event.turn)
            if turn is not None and len(turn.text) == event.offset:
                session = _turn(session, event.turn, state="streaming", text=turn.text + event.text)
            if session.state == "streaming":
                return session
            return _enter(session, event, "streaming", f"{session.backend} answers")
        case AttemptEnded():
            return _attempt(session, event)
        case ConsentAsked():
            session = _turn(session, event.turn, state="asking", consent=event)
            return _enter(session, event, "asking", f"would send {event.what} to {event.backend}")
        case ConsentGiven():
            session = _turn(session, event.turn, state="working", consent=None)
            return _enter(session, event, "working", event.why or f"you chose {event.choice}")
        case NoticeGiven():
            turn = _find(session, event.turn)
            return session if turn is None else _turn(session, event.turn, notices=(*turn.notices, event.text))
        case TurnFinished():
            session = _turn(
                session,
                event.turn,
                state="done",
                text=event.text,
                backend=event.backend,
                where=event.where,
                tier=event.tier,
                usage=event.usage,
                cost_nano=event.cost_nano,
                ttft_ms=event.ttft_ms,
                total_ms=event.total_ms,
                sources=event.sources,
                seams=event.seams,
                consent=None,
            )
            session = replace(session, backend=event.backend, tokens=session.tokens + event.usage.output)
            return _enter(session, event, "done", f"answered by {event.backend}")
        case TurnFailed():
            session = _turn(
                session,
                event.turn,
                state="failed",
                text=event.text,
                error=event.error,
                message=event.message,
                hint=event.hint,
                total_ms=event.total_ms,
                seams=event.seams,
                consent=None,
            )
            return _enter(session, event, "failed", event.message)
        case TurnCancelled():
            session = _turn(
                session,
                event.turn,
                state="cancelled",
                text=event.text,
                total_ms=event.total_ms,
                seams=event.seams,
                consent=None,
            )
            return _enter(session, event, "idle", "stopped by you")
        case _:
            assert_never(event)


def _enter(session: Session, event: SessionEvent, state: State, reason: str) -> Session:
    if session.state == state and session.reason == reason:
        return session
    return replace(session, state=state, reason=reason, since=event.at)


def _find(session: Session, turn: TurnId) -> Turn | None:
    return next((each for each in reversed(session.turns) if each.id == turn), None)


def _turn(session: Session, turn: TurnId, **changes: object) -> Session:
    if _find(session, turn) is None:
        return session
    turns = tuple(replace(each, **changes) if each.id == turn else each for each in session.turns)
    return replace(session, turns=turns)


def _start(session: Session, event: TurnStarted) -> dict[str, object]:
    """What stands of the answer when a rung begins, and where it was gone on with."""
    turn = _find(session, event.turn)
    if turn is None or not event.after:
        return {"text": "", "seams": ()}
    return {"text": turn.text[: event.after], "seams": sewn(turn.seams, Seam(event.after, event.backend, event.reason))}


def sewn(seams: tuple[Seam, ...], seam: Seam) -> tuple[Seam, ...]:
    """`seams` with one more. At the same place what was told last counts: who goes on at last, and why."""
    return (*(each for each in seams if each.after < seam.after), seam)


def _attempt(session: Session, event: AttemptEnded) -> Session:
    attempt = event.attempt
    turn = _find(session, event.turn)
    if turn is not None:
        session = _turn(session, event.turn, attempts=(*turn.attempts, attempt))
    if attempt.cost_nano is None:
        return replace(session, unpriced=session.unpriced + 1)
    return replace(session, cost_nano=session.cost_nano + attempt.cost_nano)
