"""What a drill does to the sessions, read off what the hub tells of them. No I/O in here."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from nanoide.core.events import (
    AttemptEnded,
    ConsentAsked,
    ConsentGiven,
    SessionEvent,
    SessionId,
    SessionOpened,
    TextArrived,
    TurnAsked,
    TurnCancelled,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from nanoide.core.session import Session
from nanoide.core.value import Value

MARK = "drill"
"""What the reason of an attempt begins with that the drill made fail."""

Outcome = Literal[
    "went on", "went elsewhere", "passed it over", "untouched", "lost", "stopped", "asks you", "under way"
]
"""went on: cut in mid-answer, another rung finished it. went elsewhere: turned away before the first token.
passed it over: not even asked, its breaker was open or a policy kept it out. untouched: it answered itself."""


class Fate(Value, frozen=True):
    """What became of one turn."""

    session: str
    skill: str
    outcome: Outcome
    rung: str
    """Who answered, or was asked last; empty when nobody was."""
    added_ms: int | None
    """From where the drill hit the turn to the first text of the next rung; None when it did not, or none came."""
    why: str


class _Case:
    """One turn that was under way while the backend was cut off."""

    def __init__(self, session: str, skill: str) -> None:
        self.session = session
        self.skill = skill
        self.rung = ""
        self.outcome: Outcome = "under way"
        self.why = ""
        self.spoke = False
        self.broken = False
        self.hit: datetime | None = None
        """When the drill first met it."""
        self.next_text: datetime | None = None
        """The first text of another rung after that."""

    @property
    def open(self) -> bool:
        return self.outcome in {"under way", "asks you"}

    def fate(self) -> Fate:
        added = None
        if self.hit is not None and self.next_text is not None:
            added = max(0, round((self.next_text - self.hit) / timedelta(milliseconds=1)))
        return Fate(
            session=self.session,
            skill=self.skill,
            outcome=self.outcome,
            rung=self.rung,
            added_ms=added,
            why=self.why,
        )


class Watch:
    """Hears what happens, and says in a line what is worth telling."""

    def __init__(self, backend: str, sessions: Iterable[Session]) -> None:
        self._backend = backend
        self._names: dict[SessionId, tuple[str, str]] = {}
        self._now: dict[SessionId, _Case] = {}
        """The turn under way of each session."""
        self._cases: list[_Case] = []
        self.closing = False
        """True once the backend is back: turns that begin now are no part of the drill."""
        for session in sessions:
            self._names[session.id] = (session.name, session.skill)
            if session.active:
                self._begin(session.id).rung = session.backend

    @property
    def under_way(self) -> int:
        """Turns that are not over."""
        return sum(each.outcome == "under way" for each in self._cases)

    @property
    def speaking(self) -> bool:
        """True when an answer that is under way has begun."""
        return any(each.spoke and each.outcome == "under way" for each in self._cases)

    def fates(self) -> tuple[Fate, ...]:
        """What became of each turn, in the order in which they began."""
        return tuple(each.fate() for each in self._cases)

    def hear(self, event: SessionEvent) -> str:
        """Take note of one event; a line to show, or empty."""
        if isinstance(event, SessionOpened):
            self._names[event.session] = (event.name, event.skill)
            return ""
        if isinstance(event, TurnAsked):
            if not self.closing:
                self._begin(event.session)
            return ""
        case = self._now.get(event.session)
        if case is None or not case.open:
            return ""
        return self._told(case, event)

    def _begin(self, session: SessionId) -> _Case:
        case = self._now[session] = _Case(*self._names.get(session, (session, "")))
        self._cases.append(case)
        return case

    def _told(self, case: _Case, event: SessionEvent) -> str:
        match event:
            case AttemptEnded():
                return self._attempt(case, event)
            case TurnStarted():
                moved = case.hit is not None and event.backend not in {self._backend, case.rung}
                case.rung = event.backend
                return f"{case.session}: goes on with {event.backend}" if moved else ""
            case TextArrived():
                case.spoke = True
                if case.next_text is None and case.rung not in {"", self._backend}:
                    case.next_text = event.at
            case ConsentAsked():
                case.outcome = "asks you"
                return f"{case.session}: asks you whether it may go to {event.backend}"
            case ConsentGiven():
                case.outcome = "under way"
            case TurnFinished():
                case.rung = event.backend
                case.outcome = self._finished(case)
                added = case.fate().added_ms
                late = "" if added is None else f", {added} ms after the cut"
                return f"{case.session}: {case.outcome}, answered by {event.backend}{late}"
            case TurnFailed():
                case.outcome, case.why = "lost", event.message
                return f"{case.session}: lost: {event.message}"
            case TurnCancelled():
                case.outcome = "stopped"
                return f"{case.session}: stopped"
            case _:
                pass
        return ""

    def _attempt(self, case: _Case, event: AttemptEnded) -> str:
        attempt = event.attempt
        if attempt.backend == self._backend and attempt.reason.startswith(MARK):
            case.broken = case.broken or attempt.outcome == "cut"
            case.why = attempt.reason.removeprefix(f"{MARK}: ")
            if case.hit is None:
                case.hit = event.at if case.broken else event.at - timedelta(milliseconds=attempt.ms)
                if case.next_text is not None and case.next_text < case.hit:
                    case.next_text = None  # from before: another rung broke off, and this one was to go on
            # What passes by may be heard before what is stored first: the next rung may have begun already.
            on = "" if case.rung in {"", self._backend} else f"; goes on with {case.rung}"
            return f"{case.session}: {case.why}{on}"
        if case.hit is None and attempt.reason.startswith(f"{self._backend}: "):
            case.why = attempt.reason.removeprefix(f"{self._backend}: ")
        if case.hit is not None and case.next_text is None and attempt.ttft_ms is not None:
            case.next_text = event.at - timedelta(milliseconds=attempt.ms - attempt.ttft_ms)
        return ""

    def _finished(self, case: _Case) -> Outcome:
        if case.hit is not None:
            return "went on" if case.broken else "went elsewhere"
        return "untouched" if case.rung == self._backend else "passed it over"
