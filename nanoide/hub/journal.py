"""All sessions as they are now, and the one door through which they change.

A Fact is stored, then folded into its session, then published: nobody hears of what a crash could
take back. Facts that arrive while others are being written share the next transaction.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from nanoide import wire
from nanoide.core.events import Delta, Fact, SessionId, SessionOpened, SessionRemoved
from nanoide.core.session import Session, Turn, apply, opened, outline
from nanoide.hub.broker import Broker
from nanoide.store.sessions import SessionStore

log = logging.getLogger(__name__)

TURNS_KEPT = 50
"""Turns of a session that are held in memory while somebody looks at it or it works."""


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class _Entry:
    def __init__(self, facts: Sequence[Fact], rows: Sequence[wire.LedgerRow], done: asyncio.Future[None]) -> None:
        self.facts = facts
        self.rows = rows
        self.done = done


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

    def submit(self, *facts: Fact, rows: Sequence[wire.LedgerRow] = ()) -> asyncio.Future[None]:
        """Take `facts` and ledger `rows` for writing, in this order; done when they are stored and published."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(facts, rows, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="journal")
        return done

    async def commit(self, *facts: Fact, rows: Sequence[wire.LedgerRow] = ()) -> None:
        """Store `facts` and `rows`, fold and publish the facts. Raises StoreError, and then nothing changed.

        Once begun it is carried out even when the caller is cancelled.
        """
        await asyncio.shield(self.submit(*facts, rows=rows))

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
        """Wait until all that was submitted is written."""
        while self._writer is not None and not self._writer.done():
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _write(self) -> None:
        while self._waiting:
            async with self._order:
                batch, self._waiting = self._waiting, []
                try:
                    await self._write_batch(batch)
                except Exception as error:  # noqa: BLE001 - handed to whoever waits for these facts
                    for entry in batch:
                        if not entry.done.done():
                            entry.done.set_exception(error)
                            _ = entry.done.exception()  # retrieved even if nobody waits any more
                    log.error("facts could not be stored: %s", error)

    async def _write_batch(self, batch: list[_Entry]) -> None:
        rows = [row for entry in batch for row in entry.rows]
        facts: list[Fact] = []
        after: dict[SessionId, Session] = {}
        for fact in (fact for entry in batch for fact in entry.facts):
            session = _fold(after.get(fact.session) or self.sessions.get(fact.session), fact)
            if session is not None:  # else it was removed in the meantime; its ledger rows are kept all the same
                facts.append(fact)
                after[fact.session] = session
        outlines = [outline(each) for each in after.values()]
        numbers = await self._store.append(facts, outlines, rows)
        for seq, fact in zip(numbers, facts, strict=True):
            self._publish(seq, fact)
        for entry in batch:
            if not entry.done.done():
                entry.done.set_result(None)
        self.on_change()

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
