"""Sessions are what their Facts say, also after a restart."""

from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nanoide.core.chat import Attempt
from nanoide.core.errors import InputError, StoreError
from nanoide.core.events import (
    AttemptEnded,
    DraftSaved,
    Fact,
    SessionId,
    SessionRemoved,
    SessionRenamed,
    TurnCancelled,
    TurnFailed,
    TurnId,
)
from nanoide.core.session import Session, apply, opened
from nanoide.store.database import Database
from nanoide.store.ledger import Ledger
from nanoide.store.migrations import APPLICATION_ID, MIGRATIONS
from nanoide.store.sessions import SessionStore
from nanoide.store.sql import rows
from nanoide.wire import ReadUsage
from tests.store.samples import NOON, answering, asking, opening, row, session

ONE = SessionId("s1")


@pytest.fixture
def store(database: Database) -> SessionStore:
    """Sessions in an open database."""
    return SessionStore(database)


async def test_an_empty_store_has_nothing(store: SessionStore) -> None:
    """Sequence 0, no sessions, no turns, and the first number is 1."""
    assert await store.load() == (0, ())
    assert await store.turns(ONE, 10) == ()
    assert await store.next_number() == 1
    assert await store.grants() == ()


async def test_sequence_numbers_ascend(store: SessionStore) -> None:
    """Each fact gets the next one, and load says which was the last."""
    assert await store.append([opening(), asking(1)], [session()], []) == (1, 2)
    assert await store.append([answering(1)], [], []) == (3,)
    assert (await store.load())[0] == 3


async def test_outlines_come_back_by_number_without_turns(store: SessionStore) -> None:
    """What the hub stored last is what it finds."""
    full = apply(apply(opened(opening(2)), asking(1, 2)), answering(1, 2))
    await store.append([opening(2)], [full], [])
    await store.append([opening(1)], [session(1)], [])
    _, sessions = await store.load()
    assert sessions == (session(1), replace(full, turns=()))
    assert sessions[1].state == "done"
    assert sessions[1].turn_count == 1


async def test_turns_are_folded_from_the_facts(store: SessionStore) -> None:
    """Question, attempts and answer, as the hub's own session has them."""
    facts: list[Fact] = [
        opening(),
        asking(1),
        AttemptEnded(
            session=ONE,
            at=NOON,
            turn=TurnId("t1"),
            attempt=Attempt(backend="a", where="lan", tier="model", outcome="timeout", ms=9),
        ),
        answering(1, text="𝔘 \x1b[31m \u202e\r\n"),
        asking(2),
        TurnFailed(session=ONE, at=NOON, turn=TurnId("t2"), text="half", error="NoBackend", message="none", hint="h"),
        asking(3),
        TurnCancelled(session=ONE, at=NOON, turn=TurnId("t3"), text=""),
    ]
    expected = session()
    for fact in facts:
        expected = apply(expected, fact)
    await store.append(facts, [expected], [])
    assert await store.turns(ONE, 10) == expected.turns
    assert await store.turns(ONE, 2) == expected.turns[-2:]
    assert await store.turns(ONE, 0) == ()
    assert await store.turns(SessionId("nobody"), 5) == ()


async def test_turns_of_one_session_among_many(store: SessionStore) -> None:
    """Facts of other sessions that came between do not matter."""
    for turn in range(1, 9):
        for number in (1, 2, 3):
            await store.append([asking(turn * 10 + number, number), answering(turn * 10 + number, number)], [], [])
    assert [turn.id for turn in await store.turns(SessionId("s2"), 3)] == ["t62", "t72", "t82"]


async def test_everything_of_one_append_is_stored_or_nothing(store: SessionStore, database: Database) -> None:
    """A row that cannot be stored takes its fact with it."""
    with pytest.raises(InputError, match="ISO 8601"):
        await store.append([opening()], [session()], [replace(row(), at="yesterday")])
    assert await store.load() == (0, ())
    report = await Ledger(database).report(ReadUsage())
    assert report.total.attempts == 0


async def test_a_removed_session_leaves_its_ledger_rows_and_its_number(store: SessionStore, database: Database) -> None:
    """Facts and outline go; the sequence goes on; the number is never used again."""
    await store.append([opening(), asking(1), answering(1)], [session()], [row()])
    await store.append([opening(2)], [session(2)], [])
    removed = SessionRemoved(session=ONE, at=NOON)
    assert await store.append([removed], [apply(session(), removed)], []) == (5,)
    last, sessions = await store.load()
    assert last == 5
    assert [each.id for each in sessions] == ["s2"]
    assert await store.turns(ONE, 10) == ()
    assert await database.read(lambda c: rows(c, "SELECT count(*) FROM facts WHERE session = 's1'")) == [(0,)]
    assert (await Ledger(database).report(ReadUsage())).total.attempts == 1
    assert await store.append([answering(1)], [session()], []) == (6,)
    assert await store.turns(ONE, 10) == ()
    assert [each.id for each in (await store.load())[1]] == ["s2"]


async def test_numbers_are_not_used_again_after_a_restart(tmp_path: Path) -> None:
    """Not even that of the last session, once removed; nor does the sequence start over."""
    path = tmp_path / "nanoide.db"
    database = await Database.open(path)
    store = SessionStore(database)
    assert [await store.next_number() for _ in range(3)] == [1, 2, 3]
    await store.append([opening(3)], [session(3)], [])
    await store.append([SessionRemoved(session=SessionId("s3"), at=NOON)], [], [])
    await database.aclose()
    database = await Database.open(path)
    store = SessionStore(database)
    assert await store.next_number() == 4
    assert (await store.load())[0] == 2
    await database.aclose()


async def test_two_sessions_cannot_have_one_number(store: SessionStore) -> None:
    """The database itself holds that."""
    await store.append([opening()], [session()], [])
    with pytest.raises(StoreError):
        await store.append([opening()], [replace(session(), id=SessionId("other"))], [])


async def test_grants_last(store: SessionStore) -> None:
    """Allowed once for good, found again; allowing twice changes nothing, and another host takes the place of one."""
    await store.grant("file-query", "sonnet", "a.example")
    first = await store.grants()
    await store.grant("file-query", "sonnet", "a.example")
    assert await store.grants() == first
    await store.grant("commit-message", "sonnet", "a.example")
    await store.grant("file-query", "sonnet", "b.example")
    assert [(each.skill, each.backend, each.host) for each in await store.grants()] == [
        ("commit-message", "sonnet", "a.example"),
        ("file-query", "sonnet", "b.example"),
    ]
    assert await store.forget("file-query", "sonnet")
    assert not await store.forget("file-query", "sonnet")
    assert [each.skill for each in await store.grants()] == ["commit-message"]


async def test_a_grant_of_before_hosts_were_kept_holds_no_more(tmp_path: Path) -> None:
    """It said nothing of where the backend is: the person is asked again, and everything else is kept."""
    path = tmp_path / "old.db"
    connection = apsw.Connection(str(path))
    rows(connection, MIGRATIONS[0])
    rows(connection, f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
    rows(connection, "INSERT INTO grants (skill, backend, at) VALUES ('file-query', 'sonnet', 5)")
    connection.close()
    database = await Database.open(path)
    try:
        store = SessionStore(database)
        assert await store.grants() == ()
        assert not await store.forget("file-query", "other")
        await store.grant("file-query", "sonnet", "a.example")
        assert [each.host for each in await store.grants()] == ["a.example"]
    finally:
        await database.aclose()


async def test_a_text_that_is_no_unicode_is_refused(store: SessionStore) -> None:
    """A file name that is not UTF-8 makes a lone surrogate; that is said, and nothing is stored."""
    with pytest.raises(InputError, match="not valid Unicode"):
        await store.append([asking(1, text="\udcff")], [], [])
    assert (await store.load())[0] == 0


async def test_a_line_that_does_not_decode_is_named(store: SessionStore, database: Database) -> None:
    """Damage inside a row is a StoreError with a hint, too."""
    await store.append([opening(), asking(1)], [session()], [])
    await database.write(lambda c: rows(c, "UPDATE facts SET body = '{' WHERE seq = 2"))
    with pytest.raises(StoreError, match="a stored fact cannot be read"):
        await store.turns(ONE, 5)
    await database.write(lambda c: rows(c, "UPDATE sessions SET outline = '{}'"))
    with pytest.raises(StoreError, match="a stored session cannot be read"):
        await store.load()


async def test_turns_are_found_without_reading_the_whole_session(store: SessionStore, database: Database) -> None:
    """The question that the tail begins with comes off an index."""

    def plan(connection: apsw.Connection) -> str:
        return str(
            rows(
                connection,
                "EXPLAIN QUERY PLAN SELECT seq FROM facts WHERE session = 's1' AND type = 'turn-asked'"
                " ORDER BY seq DESC LIMIT 5",
            )
        )

    assert "facts_asked" in await database.read(plan)


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    """The Facts of one session: turns of every ending, and what a person does between them."""
    facts: list[Fact] = [opening()]
    for turn in range(draw(st.integers(0, 6))):
        facts.append(asking(turn, text=draw(TEXT)))
        ending = draw(st.sampled_from(["done", "failed", "cancelled", "open"]))
        at = NOON + timedelta(minutes=turn)
        if ending == "done":
            facts.append(answering(turn, text=draw(TEXT)))
        elif ending == "failed":
            facts.append(
                TurnFailed(session=ONE, at=at, turn=TurnId(f"t{turn}"), text=draw(TEXT), error="X", message=draw(TEXT))
            )
        elif ending == "cancelled":
            facts.append(TurnCancelled(session=ONE, at=at, turn=TurnId(f"t{turn}"), text=draw(TEXT)))
        if draw(st.booleans()):
            facts.append(SessionRenamed(session=ONE, at=at, name=draw(TEXT)))
        if draw(st.booleans()):
            facts.append(DraftSaved(session=ONE, at=at, text=draw(TEXT)))
    return facts


@given(histories(), st.integers(1, 8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_stored_is_what_was_said(
    tmp_path_factory: pytest.TempPathFactory, facts: list[Fact], last: int
) -> None:
    """For any history: outline and tail after a restart equal those of the session that was folded."""
    path = tmp_path_factory.mktemp("history") / "nanoide.db"
    database = await Database.open(path)
    expected: Session = session()
    for fact in facts:
        expected = apply(expected, fact)
        await SessionStore(database).append([fact], [expected], [])
    await database.aclose()
    database = await Database.open(path)
    store = SessionStore(database)
    sequence, sessions = await store.load()
    assert sequence == len(facts)
    assert sessions == (replace(expected, turns=()),)
    assert await store.turns(ONE, last) == expected.turns[-last:]
    await database.aclose()
