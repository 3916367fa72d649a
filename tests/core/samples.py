"""One of every event, and any history of a session, for the tests of core, wire and store."""

from datetime import UTC, datetime, timedelta
from typing import get_args

from hypothesis import strategies as st

from nanoide.core.chat import Attempt
from nanoide.core.errors import Outcome
from nanoide.core.events import (
    AttemptEnded,
    ConsentAsked,
    ConsentChoice,
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
from nanoide.core.usage import Usage

ONE = SessionId("s1")
TURN = TurnId("t1")
NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)

ODD = "𝔘 👩\u200d💻 \x1b[31m \u202e\r\n\x00 {[$]} <b>"
"""Text with all that is dangerous to show; it is stored and sent as it is."""

ATTEMPT = Attempt(
    backend="sonnet",
    where="remote",
    tier="model",
    outcome="timeout",
    ms=1500,
    usage=Usage(input=9, estimated=True),
    cost_nano=None,
    model="m",
    price_source="",
    reason="first token over 1.5 s",
)

OPENED = SessionOpened(
    session=ONE, at=NOON, number=1, name="file-query-1", skill="file-query", folder="/p", branch="main", route="fast"
)

EVENTS: tuple[SessionEvent, ...] = (
    OPENED,
    SessionRenamed(session=ONE, at=NOON, name=ODD),
    SessionHidden(session=ONE, at=NOON, hidden=True),
    SessionPinned(session=ONE, at=NOON, pinned=True),
    SessionParked(session=ONE, at=NOON),
    SessionWoken(session=ONE, at=NOON),
    SessionSeen(session=ONE, at=NOON),
    DraftSaved(session=ONE, at=NOON, text=ODD),
    TurnAsked(session=ONE, at=NOON, turn=TURN, text=ODD, inputs=("standard input", "a.py")),
    TurnStarted(session=ONE, at=NOON, turn=TURN, backend="sonnet", where="remote", tier="model", reason="first"),
    ConsentAsked(
        session=ONE,
        at=NOON,
        turn=TURN,
        backend="sonnet",
        host="api.example.com",
        what="diff of 3 files",
        tokens=900,
        hidden=("1 key",),
        cost_nano=7,
    ),
    ConsentGiven(session=ONE, at=NOON, turn=TURN, choice="once"),
    NoticeGiven(session=ONE, at=NOON, turn=TURN, text=ODD),
    AttemptEnded(session=ONE, at=NOON, turn=TURN, attempt=ATTEMPT),
    TextArrived(session=ONE, at=NOON, turn=TURN, offset=0, text=ODD),
    TurnFinished(
        session=ONE,
        at=NOON,
        turn=TURN,
        text=ODD,
        backend="nano",
        where="device",
        tier="model",
        finish="stop",
        usage=Usage(input=9, output=3, cache_read=4, cache_write=1),
        cost_nano=None,
        ttft_ms=12,
        total_ms=90,
        sources=("a.py:1-9",),
    ),
    TurnFailed(
        session=ONE, at=NOON, turn=TURN, text=ODD, error="NoBackend", message="none", hint="start one", total_ms=5
    ),
    TurnCancelled(session=ONE, at=NOON, turn=TURN, text=ODD, total_ms=5),
    SessionRemoved(session=ONE, at=NOON),
)
"""One of every kind."""

_words = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_turns = st.sampled_from([TurnId("t1"), TurnId("t2"), TurnId("elsewhere")])
_common = {
    "session": st.just(ONE),
    "at": st.integers(0, 10**6).map(lambda seconds: NOON + timedelta(seconds=seconds)),
}
_attempts = st.builds(
    Attempt,
    backend=_words,
    where=st.sampled_from(["device", "lan", "remote"]),
    tier=st.sampled_from(["model", "reflex"]),
    outcome=st.sampled_from(get_args(Outcome)),
    ms=st.integers(0, 9999),
    usage=st.builds(Usage, input=st.integers(0, 99), output=st.integers(0, 99)),
    cost_nano=st.none() | st.integers(0, 10**9),
)

later_events: st.SearchStrategy[SessionEvent] = st.one_of(
    st.builds(SessionRenamed, **_common, name=_words),
    st.builds(SessionHidden, **_common, hidden=st.booleans()),
    st.builds(SessionPinned, **_common, pinned=st.booleans()),
    st.builds(SessionParked, **_common),
    st.builds(SessionWoken, **_common),
    st.builds(SessionSeen, **_common),
    st.builds(SessionRemoved, **_common),
    st.builds(DraftSaved, **_common, text=_words),
    st.builds(TurnAsked, **_common, turn=_turns, text=_words),
    st.builds(TurnStarted, **_common, turn=_turns, backend=_words, where=st.just("device"), tier=st.just("model")),
    st.builds(TextArrived, **_common, turn=_turns, offset=st.integers(0, 5), text=_words),
    st.builds(AttemptEnded, **_common, turn=_turns, attempt=_attempts),
    st.builds(ConsentAsked, **_common, turn=_turns, backend=_words, host=_words, what=_words, tokens=st.integers(0, 9)),
    st.builds(ConsentGiven, **_common, turn=_turns, choice=st.sampled_from(get_args(ConsentChoice))),
    st.builds(
        TurnFinished,
        **_common,
        turn=_turns,
        text=_words,
        backend=_words,
        where=st.just("device"),
        tier=st.just("model"),
        finish=st.just("stop"),
        usage=st.builds(Usage, output=st.integers(0, 99)),
        cost_nano=st.none() | st.integers(0, 99),
        ttft_ms=st.none(),
        total_ms=st.integers(0, 99),
    ),
    st.builds(TurnFailed, **_common, turn=_turns, text=_words, error=st.just("NoBackend"), message=_words),
    st.builds(TurnCancelled, **_common, turn=_turns, text=_words),
)
"""Any event of a session that is open, in any order: what a broker that drops Deltas may deliver, and worse."""
