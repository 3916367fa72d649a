"""All sessions as they are now, and the one door through which they change.

A Fact is stored, then folded into its session, then published: nobody hears of what a crash could
take back. Facts that arrive while others are being written share the next transaction.

How a turn ended and what it cost has happened, also when the disk is full: such Facts are then owed. They are
told at once, kept, and stored before anything else as soon as there is room.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from nanoide import wire
from nanoide.core.errors import StoreError
from nanoide.core.events import Delta, Fact, SessionId, SessionOpened, SessionRemoved
from nanoide.core.session import Session, Turn, apply, opened, outline
from nanoide.hub.broker import Broker
from nanoide.store.sessions import SessionStore

log = logging.getLogger(__name__)

TURNS_KEPT = 50
"""Turns of a session that are held in memory while somebody looks at it or it works."""

PAY_EVERY = 2.0
"""Seconds between two tries to store what is owed."""


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class _Entry:
    def __init__(
        self, facts: Sequence[Fact], rows: Sequence[wire.LedgerRow], done: asyncio.Future[None], *, owe: bool
    ) -> None:
        self.facts = facts
        self.rows = rows
        self.done = done
        self.owe = owe


class Journal:
    """Sessions by id, in the order of their numbers."""

    def __init__(self, store: SessionStore, broker: Broker, seq: int, sessions: Sequence[Session]) -> None:
        self.seq = seq
        """Of the last Fact that was published."""
        self.sessions: dict[SessionId, Session] = {each.id: each for each in sessions}
        self.on_change: Callable[[], None] = lambda: None
        """Called after every change, to wake whoever waits for the hub to fall idle."""
        self._store = store
        self._broker = broker
        self._loaded: set[SessionId] = set()
        self._waiting: list[_Entry] = []
        self._order = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._owed: list[_Entry] = []
        """Told and not stored yet; the next transaction begins with them."""
        self._paying: asyncio.TimerHandle | None = None

    def submit(self, *facts: Fact, rows: Sequence[wire.LedgerRow] = (), owe: bool = False) -> asyncio.Future[None]:
        """Take `facts` and ledger `rows` for writing, in this order; done when they are stored and published.

        With `owe` they are published even when the store cannot take them now, and stored later.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(facts, rows, done, owe=owe))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="journal")
        return done

    async def commit(self, *facts: Fact, rows: Sequence[wire.LedgerRow] = (), owe: bool = False) -> None:
        """Store `facts` and `rows`, fold and publish the facts. Raises StoreError, and then nothing changed.

        With `owe` there is no StoreError, see `submit`. Once begun it is carried out even when the caller is cancelled.
        """
        await asyncio.shield(self.submit(*facts, rows=rows, owe=owe))

    def tell(self, delta: Delta) -> None:
        """Fold and publish a passing event."""
        session = self.sessions.get(delta.session)
        if session is None:
            return
        self.sessions[delta.session] = apply(session, delta)
        self._broker.publish(self.seq, delta)

    async def load(self, session: SessionId) -> None:
        """Bring the last turns of `session` into memory."""
        async with self._order:
            if session in self._loaded or session not in self.sessions:
                return
            turns = await self._store.turns(session, TURNS_KEPT)
            live = self.sessions.get(session)
            if live is not None:
                self.sessions[session] = _with_turns(live, turns)
                self._loaded.add(session)

    def shed(self) -> None:
        """Forget the turns of every session that nobody watches and that does not work."""
        for session in list(self._loaded):
            live = self.sessions.get(session)
            if live is None or not (live.active or self._broker.watched(session)):
                self._loaded.discard(session)
                if live is not None:
                    self.sessions[session] = outline(live)

    async def settle(self) -> None:
        """Wait until all that was submitted is written; what is owed is tried once more."""
        self._pay()
        while self._writer is not None and not self._writer.done():
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _write(self) -> None:
        while self._waiting:
            async with self._order:
                batch, self._waiting = self._waiting, []
                try:
                    await self._write_batch(batch)
                except Exception as error:  # noqa: BLE001 - handed to whoever waits for these facts
                    if any(entry.facts or entry.rows for entry in batch):
                        log.error("facts could not be stored: %s", error)
                    for entry in batch:
                        self._refuse(entry, error)
                    self.on_change()

    async def _write_batch(self, batch: list[_Entry]) -> None:
        owed = [fact for entry in self._owed for fact in entry.facts]
        rows = [row for entry in (*self._owed, *batch) for row in entry.rows]
        facts: list[Fact] = []
        after: dict[SessionId, Session] = {
            fact.session: self.sessions[fact.session] for fact in owed if fact.session in self.sessions
        }
        for fact in (fact for entry in batch for fact in entry.facts):
            session = _fold(after.get(fact.session) or self.sessions.get(fact.session), fact)
            if session is not None:  # else it was removed in the meantime; its ledger rows are kept all the same
                facts.append(fact)
                after[fact.session] = session
        outlines = [outline(each) for each in after.values()]
        numbers = await self._store.append([*owed, *facts], outlines, rows)
        self._owed.clear()
        for seq, fact in zip(numbers[len(owed) :], facts, strict=True):
            self._publish(seq, fact)
        for entry in batch:
            if not entry.done.done():
                entry.done.set_result(None)
        self.on_change()

    def _refuse(self, entry: _Entry, error: Exception) -> None:
        """Tell whoever waits that `entry` could not be stored; owe it when it may be owed."""
        if entry.owe and isinstance(error, StoreError):
            entry.facts = [fact for fact in entry.facts if fact.session in self.sessions]
            self._owed.append(entry)
            # They are stored first and in this order, so these are the numbers that they will have.
            for fact in entry.facts:
                self._publish(self.seq + 1, fact)
            if not entry.done.done():
                entry.done.set_result(None)
        elif not entry.done.done():
            entry.done.set_exception(error)
            _ = entry.done.exception()  # retrieved even if nobody waits any more
        if self._owed and self._paying is None:
            self._paying = asyncio.get_running_loop().call_later(PAY_EVERY, self._pay)

    def _pay(self) -> None:
        if self._paying is not None:
            self._paying.cancel()
            self._paying = None
        if self._owed:
            self.submit()

    def _publish(self, seq: int, fact: Fact) -> None:
        self.seq = seq
        if isinstance(fact, SessionOpened):
            self._loaded.add(fact.session)
        session = _fold(self.sessions.get(fact.session), fact)
        if session is None or isinstance(fact, SessionRemoved):
            self.sessions.pop(fact.session, None)
            self._loaded.discard(fact.session)
        else:
            self.sessions[fact.session] = _trim(session)
        self._broker.publish(seq, fact)


def _fold(session: Session | None, fact: Fact) -> Session | None:
    if session is None:
        return opened(fact) if isinstance(fact, SessionOpened) else None
    return apply(session, fact)


def _trim(session: Session) -> Session:
    if len(session.turns) <= TURNS_KEPT:
        return session
    return replace(session, turns=session.turns[-TURNS_KEPT:])


def _with_turns(live: Session, stored: tuple[Turn, ...]) -> Session:
    held = {turn.id: turn for turn in live.turns}
    return replace(live, turns=tuple(held.get(turn.id, turn) for turn in stored))
