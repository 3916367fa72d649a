"""Facts, sessions and ledger rows for the store's tests."""

from datetime import UTC, datetime, timedelta

from nanoide.core.chat import Attempt
from nanoide.core.errors import Outcome
from nanoide.core.events import SessionId, SessionOpened, TurnAsked, TurnFinished, TurnId
from nanoide.core.policy import Where
from nanoide.core.session import Session, opened
from nanoide.core.usage import Usage
from nanoide.wire import LedgerRow

USED = Usage(input=100, output=20, cache_read=50)

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def opening(number: int = 1, *, at: datetime = NOON) -> SessionOpened:
    """A session is opened."""
    return SessionOpened(
        session=SessionId(f"s{number}"),
        at=at,
        number=number,
        name=f"file-query-{number}",
        skill="file-query",
        folder="/home/ada/project",
    )


def session(number: int = 1) -> Session:
    """The session that `opening` begins."""
    return opened(opening(number))


def asking(turn: int, number: int = 1, text: str = "why?") -> TurnAsked:
    """A question."""
    return TurnAsked(session=SessionId(f"s{number}"), at=NOON, turn=TurnId(f"t{turn}"), text=text)


def answering(turn: int, number: int = 1, text: str = "because") -> TurnFinished:
    """Its answer."""
    return TurnFinished(
        session=SessionId(f"s{number}"),
        at=NOON + timedelta(seconds=1),
        turn=TurnId(f"t{turn}"),
        text=text,
        backend="nano",
        where="device",
        tier="model",
        finish="stop",
        usage=Usage(input=10, output=5),
        cost_nano=0,
        ttft_ms=30,
        total_ms=100,
    )


def row(
    turn: str = "t1",
    *,
    number: int = 1,
    at: datetime = NOON,
    session: str = "s1",
    skill: str = "file-query",
    project: str = "/home/ada/project",
    backend: str = "nano",
    model: str = "nano-1",
    where: Where = "device",
    outcome: Outcome = "ok",
    usage: Usage = USED,
    cost_nano: int | None = 0,
    ttft_ms: int | None = 30,
) -> LedgerRow:
    """One attempt."""
    attempt = Attempt(
        backend=backend,
        where=where,
        tier="model",
        outcome=outcome,
        ms=100,
        ttft_ms=ttft_ms,
        usage=usage,
        cost_nano=cost_nano,
        model=model,
        price_source="config",
        reason="first of the ladder",
    )
    return LedgerRow(
        at=at.isoformat(),
        turn=turn,
        number=number,
        session=session,
        skill=skill,
        project=project,
        branch="main",
        attempt=attempt,
    )
