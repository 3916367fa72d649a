"""Sessions as they last: every Fact in order, and beside them each session's outline for quick lists."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import apsw
import msgspec

from nanoide.core.errors import InputError, StoreError
from nanoide.core.events import Fact, SessionId, SessionRemoved
from nanoide.core.session import Session, Turn, apply, outline
from nanoide.store import sql
from nanoide.store.database import Database
from nanoide.store.ledger import insert
from nanoide.store.times import iso, micros
from nanoide.wire import GrantLine, LedgerRow

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_facts: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
_outlines = msgspec.json.Decoder(Session)


class SessionStore:
    """Facts in, sessions out."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._number: int | None = None
        """The last number given; None before the first."""

    async def load(self) -> tuple[int, tuple[Session, ...]]:
        """The last sequence number ever given, and the outlines of all sessions that are not removed, by number."""

        def work(connection: apsw.Connection) -> tuple[int, list[str]]:
            last = sql.rows(connection, "SELECT seq FROM sqlite_sequence WHERE name = 'facts'")
            lines = sql.rows(connection, "SELECT outline FROM sessions WHERE NOT removed ORDER BY number")
            return (last[0][0] if last else 0), [body for (body,) in lines]

        last, bodies = await self._database.read(work)
        return last, tuple(self._decode(_outlines, body, "session") for body in bodies)

    async def append(
        self, facts: Sequence[Fact], outlines: Sequence[Session], rows: Sequence[LedgerRow]
    ) -> tuple[int, ...]:
        """Store all of it in one transaction, or nothing. The facts' sequence numbers, in their order.

        A removed session's facts and outline go; its line stays, so that its number is not used again.
        What comes for it later still gets a number, and is not kept.
        """
        lines = [(fact.session, _tag(fact), micros(fact.at), _encode(fact)) for fact in facts]
        sessions = [(session.id, session.number, _encode(outline(session))) for session in outlines]
        removed = {fact.session for fact in facts if isinstance(fact, SessionRemoved)}

        def work(connection: apsw.Connection) -> tuple[int, ...]:
            sql.each(
                connection,
                "INSERT INTO sessions (id, number, outline) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET outline = excluded.outline WHERE NOT removed",
                sessions,
            )
            numbers: list[int] = []
            for line in lines:
                sql.rows(connection, "INSERT INTO facts (session, type, at, body) VALUES (?, ?, ?, ?)", line)
                numbers.append(connection.last_insert_rowid())
            for session in removed:
                sql.rows(connection, "UPDATE sessions SET removed = 1, outline = '' WHERE id = ?", (session,))
            for session in {line[0] for line in lines}:
                sql.rows(
                    connection,
                    "DELETE FROM facts WHERE session = :id AND EXISTS"
                    " (SELECT 1 FROM sessions WHERE id = :id AND removed)",
                    {"id": session},
                )
            for row in rows:
                insert(connection, row)
            return tuple(numbers)

        return await self._database.write(work)

    async def turns(self, session: SessionId, last: int) -> tuple[Turn, ...]:
        """The last turns of the session, at most `last` of them, oldest first."""
        if last <= 0:
            return ()

        def work(connection: apsw.Connection) -> list[str]:
            ((asked,),) = sql.rows(
                connection,
                "SELECT min(seq) FROM (SELECT seq FROM facts WHERE session = ? AND type = 'turn-asked'"
                " ORDER BY seq DESC LIMIT ?)",
                (session, last),
            )
            if asked is None:
                return []
            lines = sql.rows(
                connection, "SELECT body FROM facts WHERE session = ? AND seq >= ? ORDER BY seq", (session, asked)
            )
            return [body for (body,) in lines]

        bodies = await self._database.read(work)
        folded = _blank(session)
        for body in bodies:
            folded = apply(folded, self._decode(_facts, body, "fact"))
        return folded.turns

    async def next_number(self) -> int:
        """A session number that was never given before.

        One that is given and never stored may be given again after a restart: nobody has seen it.
        """
        if self._number is None:

            def work(connection: apsw.Connection) -> int:
                return sql.rows(connection, "SELECT coalesce(max(number), 0) FROM sessions")[0][0]

            highest = await self._database.read(work)
            # Another call may have come this far meanwhile.
            self._number = max(highest, self._number or 0)
        self._number += 1
        return self._number

    async def grants(self) -> tuple[GrantLine, ...]:
        """What the person has allowed for good. One without a host is older than hosts are kept; it holds no more."""

        def work(connection: apsw.Connection) -> tuple[GrantLine, ...]:
            lines = sql.rows(
                connection, "SELECT skill, backend, host, at FROM grants WHERE host != '' ORDER BY skill, backend"
            )
            return tuple(GrantLine(skill, backend, host, iso(at)) for skill, backend, host, at in lines)

        return await self._database.read(work)

    async def grant(self, skill: str, backend: str, host: str) -> None:
        """The person allowed `skill` to send to `backend` at `host` for good; another host of before is forgotten."""
        values = (skill, backend, host, micros(datetime.now(UTC)))

        def work(connection: apsw.Connection) -> None:
            sql.rows(
                connection,
                "INSERT INTO grants (skill, backend, host, at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (skill, backend) DO UPDATE SET host = excluded.host, at = excluded.at"
                " WHERE host != excluded.host",
                values,
            )

        await self._database.write(work)

    async def forget(self, skill: str, backend: str) -> bool:
        """Take a grant back. False when there was none."""

        def work(connection: apsw.Connection) -> bool:
            found = sql.rows(
                connection, "DELETE FROM grants WHERE skill = ? AND backend = ? RETURNING host", (skill, backend)
            )
            return any(host for (host,) in found)

        return await self._database.write(work)

    def _decode(self, decoder: "msgspec.json.Decoder[T]", body: str, kind: str) -> T:
        try:
            return decoder.decode(body)
        except msgspec.DecodeError as error:
            raise StoreError(
                f"database {str(self._database.path)!r}: a stored {kind} cannot be read: {error}",
                hint="move the file away, or put a backup there; nanoide makes a new one",
            ) from error


def _blank(session: SessionId) -> Session:
    """What turns are folded into; only its turns are used."""
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    return Session(id=session, number=0, name="", skill="", folder="", created=long_ago, since=long_ago)


def _tag(fact: Fact) -> str:
    return str(type(fact).__struct_config__.tag)


def _encode(value: Fact | Session) -> str:
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError as error:
        raise InputError(f"a text that is not valid Unicode cannot be stored: {error.reason}") from error
