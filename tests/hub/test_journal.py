"""What the journal does when the store cannot take what has happened."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nanoide.core.chat import Attempt
from nanoide.core.errors import StoreError
from nanoide.core.events import AttemptEnded, DraftSaved, SessionId, SessionOpened, TurnAsked, TurnFailed, TurnId
from nanoide.core.session import Session
from nanoide.hub.broker import Broker
from nanoide.hub.journal import Journal, now
from nanoide.hub.turn import ledger_row
from nanoide.store import sql
from nanoide.store.database import Database
from nanoide.store.ledger import Ledger
from nanoide.store.sessions import SessionStore
from nanoide.wire import ReadUsage

ONE = SessionId("one")
TURN = TurnId("turn")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A real database."""
    opened = await Database.open(tmp_path / "nanoide.db")
    yield opened
    await opened.aclose()


async def pages(database: Database, most: int) -> None:
    """Let the database have at most so many pages: what a full disk is to SQLite."""
    await database.write(lambda connection: sql.rows(connection, f"PRAGMA max_page_count = {most}"))


async def asked(database: Database) -> tuple[Journal, Session]:
    """A journal with one session that was asked something, on a disk that is full from now on."""
    store = SessionStore(database)
    journal = Journal(store, Broker(), *await store.load())
    opened = SessionOpened(session=ONE, at=now(), number=1, name="one", skill="explain-code", folder="/")
    await journal.commit(opened, TurnAsked(session=ONE, at=now(), turn=TURN, text="why"))
    await pages(database, 1)
    with pytest.raises(StoreError, match="disk is full"):
        await journal.commit(DraftSaved(session=ONE, at=now(), text="x" * 100_000))
    return journal, journal.sessions[ONE]


def ended(session: Session) -> tuple[TurnFailed, AttemptEnded]:
    """How the turn ended, with more text than there is room for."""
    failed = TurnFailed(
        session=session.id, at=now(), turn=TURN, text="y" * 100_000, error="StoreError", message="the disk is full"
    )
    attempt = Attempt(backend="nano", where="device", tier="model", outcome="ok", ms=1, cost_nano=7)
    return failed, AttemptEnded(session=session.id, at=now(), turn=TURN, attempt=attempt)


async def test_the_end_of_a_turn_is_told_although_the_disk_is_full(database: Database) -> None:
    """Nobody waits for ever: the session has failed, and says why."""
    journal, session = await asked(database)
    failed, _ = ended(session)
    await journal.commit(failed, owe=True)
    assert journal.sessions[ONE].state == "failed"
    assert "disk is full" in journal.sessions[ONE].reason


async def test_what_is_owed_is_stored_when_there_is_room(database: Database) -> None:
    """Facts, their order and their money are what they would have been, with the numbers that were told."""
    journal, session = await asked(database)
    failed, attempt = ended(session)
    row = ledger_row(session, TURN, 1, attempt.attempt)
    await journal.commit(attempt, rows=(row,), owe=True)
    await journal.commit(failed, owe=True)
    told = journal.seq
    await pages(database, 1_000_000)
    await journal.settle()
    seq, (stored,) = await SessionStore(database).load()
    assert seq == told
    assert (stored.state, stored.cost_nano) == ("failed", 7)
    (turn,) = await SessionStore(database).turns(ONE, 1)
    assert turn.text == "y" * 100_000
    assert (await Ledger(database).report(ReadUsage(by="day"))).total.attempts == 1


async def test_what_is_owed_stands_before_what_comes_later(database: Database) -> None:
    """A draft that is saved after the disk has room again has the next number."""
    journal, session = await asked(database)
    failed, _ = ended(session)
    await journal.commit(failed, owe=True)
    told = journal.seq
    await pages(database, 1_000_000)
    await journal.commit(DraftSaved(session=ONE, at=now(), text="later"))
    assert journal.seq == told + 1
    _, (stored,) = await SessionStore(database).load()
    assert (stored.state, stored.draft) == ("failed", "later")
