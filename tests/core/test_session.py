"""Hub and pane fold the same events into the same session."""

from datetime import timedelta
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nanoide.core.chat import Seam
from nanoide.core.events import (
    AttemptEnded,
    ConsentAsked,
    ConsentGiven,
    Delta,
    DraftSaved,
    Fact,
    SessionEvent,
    SessionHidden,
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
    TurnStarted,
)
from nanoide.core.session import ACTIVE, NEEDY, Session, apply, opened, outline
from tests.core.samples import ATTEMPT, EVENTS, NOON, ODD, ONE, OPENED, TURN, later_events

SOON = NOON + timedelta(seconds=1)


def fold(*events: SessionEvent) -> Session:
    """The session after its opening and these."""
    session = opened(OPENED)
    for event in events:
        session = apply(session, event)
    return session


ASKED = TurnAsked(session=ONE, at=SOON, turn=TURN, text="why?", inputs=("a.py",))
STARTED = TurnStarted(session=ONE, at=SOON, turn=TURN, backend="nano", where="device", tier="model")
FINISHED = next(event for event in EVENTS if isinstance(event, TurnFinished))
FAILED = next(event for event in EVENTS if isinstance(event, TurnFailed))
CANCELLED = next(event for event in EVENTS if isinstance(event, TurnCancelled))
CONSENT = next(event for event in EVENTS if isinstance(event, ConsentAsked))


def test_the_samples_hold_one_of_every_event() -> None:
    """A new event cannot be forgotten here."""
    assert {type(event) for event in EVENTS} == {*get_args(Fact), *get_args(Delta)}


def test_every_event_is_exactly_one_of_fact_and_delta() -> None:
    """What is stored and what passes are told apart by type, and by tag."""
    assert not set(get_args(Fact)) & set(get_args(Delta))
    tags = [event.__struct_config__.tag for event in (*get_args(Fact), *get_args(Delta))]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_survives_json(event: SessionEvent) -> None:
    """Stored or sent, it comes back as it was, odd text included."""
    assert msgspec.json.decode(msgspec.json.encode(event), type=SessionEvent) == event


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_can_be_applied_at_any_time(event: SessionEvent) -> None:
    """Also one of a turn that the session does not hold."""
    assert apply(opened(OPENED), event).id == ONE


def test_a_turn_from_question_to_answer() -> None:
    """Queued, working, streaming, done, each with a reason and the time that it began."""
    session = fold(ASKED)
    assert (session.state, session.reason, session.since) == ("queued", "waits for a rung", SOON)
    assert session.turns[0].inputs == ("a.py",)
    session = apply(session, STARTED)
    assert (session.state, session.backend, session.turns[0].state) == ("working", "nano", "working")
    session = apply(session, TextArrived(session=ONE, at=SOON, turn=TURN, offset=0, text="𝔘a"))
    session = apply(session, TextArrived(session=ONE, at=SOON, turn=TURN, offset=2, text="b"))
    assert (session.state, session.turns[0].text) == ("streaming", "𝔘ab")
    session = apply(session, FINISHED)
    assert (session.state, session.unread, session.active, session.tokens) == ("done", True, False, 3)
    turn = session.turns[0]
    assert (turn.state, turn.text, turn.ttft_ms, turn.total_ms, turn.sources) == ("done", ODD, 12, 90, ("a.py:1-9",))
    assert turn.cost_nano is None
    session = apply(session, SessionSeen(session=ONE, at=SOON))
    assert (session.state, session.unread) == ("idle", False)


def test_a_gap_in_the_text_is_not_papered_over() -> None:
    """A dropped Delta leaves the text as it was; the Fact brings the whole."""
    session = fold(ASKED, STARTED, TextArrived(session=ONE, at=SOON, turn=TURN, offset=0, text="one "))
    session = apply(session, TextArrived(session=ONE, at=SOON, turn=TURN, offset=9, text="three"))
    assert session.turns[0].text == "one "
    assert session.state == "streaming"
    assert apply(session, FINISHED).turns[0].text == ODD


def test_a_failover_starts_the_answer_over() -> None:
    """What a failed rung had said is gone; the attempt stays on record, its missing price too."""
    session = fold(ASKED, STARTED, TextArrived(session=ONE, at=SOON, turn=TURN, offset=0, text="half"))
    session = apply(session, AttemptEnded(session=ONE, at=SOON, turn=TURN, attempt=ATTEMPT))
    session = apply(session, replace(STARTED, backend="other", reason="nano: cut"))
    turn = session.turns[0]
    assert (turn.text, turn.backend, turn.reason, turn.attempts) == ("", "other", "nano: cut", (ATTEMPT,))
    assert (session.unpriced, session.cost_nano, session.reason) == (1, 0, "nano: cut")
    priced = replace(ATTEMPT, cost_nano=5)
    assert apply(session, AttemptEnded(session=ONE, at=SOON, turn=TURN, attempt=priced)).cost_nano == 5


def test_consent_is_an_open_question_until_it_is_answered() -> None:
    """The session asks, says what would go where, and goes on working."""
    session = fold(ASKED, STARTED, CONSENT)
    assert (session.state, session.turns[0].consent) == ("asking", CONSENT)
    assert session.reason == "would send diff of 3 files to sonnet"
    session = apply(session, ConsentGiven(session=ONE, at=SOON, turn=TURN, choice="stay"))
    assert (session.state, session.turns[0].consent) == ("working", None)


@pytest.mark.parametrize("ending", [FINISHED, FAILED, CANCELLED], ids=["finished", "failed", "cancelled"])
def test_every_ending_closes_the_turn(ending: SessionEvent) -> None:
    """Nothing stays active, no question stays open, what had arrived is kept."""
    session = fold(ASKED, STARTED, CONSENT, ending)
    assert not session.active
    assert session.turns[0].consent is None
    assert session.turns[0].text == ODD
    assert session.state == {"TurnFinished": "done", "TurnFailed": "failed"}.get(type(ending).__name__, "idle")


def test_a_failure_tells_what_to_try() -> None:
    """Class, message and hint stand in the turn; the session needs the person."""
    session = fold(ASKED, FAILED)
    turn = session.turns[0]
    assert (turn.error, turn.message, turn.hint) == ("NoBackend", "none", "start one")
    assert session.state in NEEDY


def test_what_a_person_does_to_a_session() -> None:
    """Rename, hide, pin, park, wake, draft, remove."""
    session = fold(
        SessionRenamed(session=ONE, at=SOON, name="auth"),
        SessionHidden(session=ONE, at=SOON, hidden=True),
        SessionPinned(session=ONE, at=SOON, pinned=True),
        DraftSaved(session=ONE, at=SOON, text="half a thought"),
    )
    assert (session.name, session.hidden, session.pinned, session.draft) == ("auth", True, True, "half a thought")
    assert apply(session, ASKED).draft == ""
    parked = apply(session, SessionParked(session=ONE, at=SOON))
    assert (parked.state, parked.since) == ("parked", SOON)
    assert apply(parked, SessionWoken(session=ONE, at=SOON)).state == "idle"
    assert apply(session, SessionWoken(session=ONE, at=SOON)) == session
    assert apply(session, SessionRemoved(session=ONE, at=SOON)).removed


def test_events_of_a_turn_that_is_not_here_change_the_outline_only() -> None:
    """A list that holds no turns still knows state, cost and count."""
    whole, line = fold(ASKED), outline(fold(ASKED))
    for event in (STARTED, AttemptEnded(session=ONE, at=SOON, turn=TURN, attempt=ATTEMPT), CONSENT, FINISHED):
        whole, line = apply(whole, event), apply(line, event)
        assert line == outline(whole)


@given(st.lists(later_events, max_size=30), st.integers(0, 30))
def test_a_snapshot_and_the_rest_equal_the_whole(events: list[SessionEvent], cut: int) -> None:
    """Attaching at any sequence number, through JSON, loses nothing, whatever was said before."""
    whole = fold(*events)
    snapshot = msgspec.json.decode(msgspec.json.encode(fold(*events[:cut])), type=Session)
    for event in events[cut:]:
        snapshot = apply(snapshot, event)
    assert snapshot == whole


@given(st.lists(later_events, max_size=30))
def test_a_list_follows_every_event(events: list[SessionEvent]) -> None:
    """An outline that gets the events is the outline of the session that got them.

    Text that arrives shows in the state either way, which is all that a list needs of it.
    """
    whole, line = opened(OPENED), outline(opened(OPENED))
    for event in events:
        whole, line = apply(whole, event), outline(apply(line, event))
        assert (line.state, line.reason, line.turn_count) == (whole.state, whole.reason, whole.turn_count)
        assert (line.cost_nano, line.unpriced, line.tokens) == (whole.cost_nano, whole.unpriced, whole.tokens)
        assert whole.active == (whole.state in ACTIVE)


def test_a_rung_that_goes_on_leaves_the_text_and_a_seam() -> None:
    """At the same place what is told last counts: it may have to wait before it goes on, or fail itself."""
    on = msgspec.structs.replace(STARTED, backend="b", reason="a: broke", after=5)
    text = TextArrived(session=ONE, at=SOON, turn=TURN, offset=0, text="hello")
    waits = msgspec.structs.replace(on, reason="loads the model")
    (turn,) = fold(ASKED, STARTED, text, waits, on).turns
    assert (turn.text, turn.backend, turn.seams) == ("hello", "b", (Seam(5, "b", "a: broke"),))
    third = msgspec.structs.replace(on, backend="c", reason="b: no connection")
    more = TextArrived(session=ONE, at=SOON, turn=TURN, offset=5, text=" world")
    fourth = msgspec.structs.replace(on, backend="d", reason="c: broke", after=11)
    (turn,) = fold(ASKED, STARTED, text, on, third, more, fourth).turns
    assert turn.text == "hello world"
    assert turn.seams == (Seam(5, "c", "b: no connection"), Seam(11, "d", "c: broke"))
    (turn,) = fold(ASKED, STARTED, text, on, STARTED).turns
    assert (turn.text, turn.seams) == ("", ())


@pytest.mark.parametrize("end", [FINISHED, FAILED, CANCELLED], ids=lambda event: type(event).__name__)
def test_seams_last_as_long_as_the_answer(end: TurnFinished | TurnFailed | TurnCancelled) -> None:
    """They are part of the Fact that ends the turn: the Deltas are not stored."""
    seams = (Seam(1, "b", "a: broke"),)
    (turn,) = fold(ASKED, msgspec.structs.replace(end, turn=TURN, seams=seams)).turns
    assert turn.seams == seams
