"""The ledger: one row per attempt, what left this machine, and the sums over both.

Days and blocks are worked out when asked, for the asker's time zone; nothing that depends on one is stored.
Every sum adds up: an attempt belongs to one group, and so does a turn, namely to that of the attempt that
answered it, or of its last one when none did.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import assert_never, cast

import apsw
import msgspec

from nanoide.core.chat import Attempt
from nanoide.core.errors import InputError, Outcome
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Usage
from nanoide.store.database import Database
from nanoide.store.sql import rows
from nanoide.store.times import SECOND, from_iso, iso, micros, midnight, since, zone
from nanoide.wire import EgressLine, LedgerRow, ReadEgress, ReadUsage, UsageKey, UsageReport, UsageRow

BLOCK_HOURS = 5
"""A block begins with the full hour of the first attempt after the block before."""

MOST = 2**40
"""No count of a single attempt is larger; a backend that reports more talks nonsense."""

_HOUR = 3600 * SECOND
_DAY = 24 * _HOUR

_COLUMNS = (
    "at, turn, number, session, skill, project, branch, backend, location, tier, model, outcome, reason, ms, ttft_ms,"
    " input, output, cache_read, cache_write, estimated, cost_nano, price_source"
)

_SUMS = """
    count(*), coalesce(sum(outcome != 'ok'), 0),
    coalesce(sum(input), 0), coalesce(sum(output), 0), coalesce(sum(cache_read), 0), coalesce(sum(cache_write), 0),
    coalesce(max(estimated), 0), coalesce(sum(cost_nano), 0), coalesce(sum(cost_nano IS NULL), 0),
    coalesce(sum(seq IN counted), 0), coalesce(sum(outcome = 'ok' AND location = 'device' AND seq IN counted), 0),
    percentile_disc(ttft_ms, 0.5)
"""

_COUNTED = f"""
    counted (seq) AS MATERIALIZED (
        SELECT max(iif(outcome = 'ok', seq + {2**48}, seq)) & {2**48 - 1} FROM ledger WHERE turn != '' %s GROUP BY turn
        UNION ALL SELECT seq FROM ledger WHERE turn = ''
    )
"""
"""Of every turn the one attempt that it is counted by. Attempts without a turn are turns of their own."""

_BLOCKS = """
    blocks (hour, first) AS MATERIALIZED (
        SELECT CAST(value ->> 0 AS INTEGER), CAST(value ->> 1 AS INTEGER) FROM json_each(:blocks)
    ),
"""
"""A table of its own, so that SQLite indexes it: joining json_each directly compares every pair."""

_LATER = "WHERE at >= :since"
_LATER_TURNS = "AND turn IN (SELECT turn FROM ledger WHERE at >= :since)"

_Sums = tuple[str, int, int, int, int, int, int, int, int, int, int, int, int | None]


class Ledger:
    """What was used and what it cost."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    async def add(self, row: LedgerRow) -> None:
        """Store one attempt."""
        await self._database.write(lambda connection: insert(connection, row))

    async def report(self, ask: ReadUsage) -> UsageReport:
        """Group the attempts as asked. Raises UsageError when `since` or the time zone is none."""
        zone(ask.tz_minutes)
        start = None if ask.since is None else since(ask.since, ask.tz_minutes)

        def work(connection: apsw.Connection) -> UsageReport:
            groups = _groups(connection, ask.by, start, ask.tz_minutes)
            total = _sums(connection, "''", "", {"since": start})
            recent = rows(
                connection,
                f"SELECT {_COLUMNS} FROM ledger {'' if start is None else _LATER} ORDER BY seq DESC LIMIT :limit",
                {"since": start, "limit": max(0, ask.recent)},
            )
            return UsageReport(
                by=ask.by,
                since=ask.since,
                rows=groups,
                total=msgspec.structs.replace(total[0], key="total") if total else EMPTY,
                recent=tuple(_row(each) for each in recent),
            )

        return await self._database.read(work)

    async def spent(self, since: datetime, *, skill: str = "", backend: str = "") -> int:
        """Nano-dollars of all priced attempts since then, of one skill or backend where one is named."""
        names = {"since": micros(since), "skill": skill, "backend": backend}

        def work(connection: apsw.Connection) -> int:
            return rows(
                connection,
                "SELECT coalesce(sum(cost_nano), 0) FROM ledger WHERE at >= :since"
                " AND (:skill = '' OR skill = :skill) AND (:backend = '' OR backend = :backend)",
                names,
            )[0][0]

        return await self._database.read(work)

    async def of_session(self, session: str) -> tuple[int, int]:
        """Attempts of the session on models, wherever they run, and the tokens that these read and wrote."""

        def work(connection: apsw.Connection) -> tuple[int, int]:
            ((attempts, tokens),) = rows(
                connection,
                "SELECT count(*), coalesce(sum(input + output), 0) FROM ledger WHERE session = ? AND tier = 'model'",
                (session,),
            )
            return attempts, tokens

        return await self._database.read(work)

    async def today(self, tz_minutes: int) -> tuple[int, int, int]:
        """Of the day so far: nano-dollars and attempts without a price; and output tokens of the last minute."""
        now = self._now()
        start, minute = midnight(now, tz_minutes), micros(now) - 60 * SECOND

        def work(connection: apsw.Connection) -> tuple[int, int, int]:
            ((nano, unpriced),) = rows(
                connection,
                "SELECT coalesce(sum(cost_nano), 0), coalesce(sum(cost_nano IS NULL), 0) FROM ledger WHERE at >= ?",
                (start,),
            )
            ((tokens,),) = rows(connection, "SELECT coalesce(sum(output), 0) FROM ledger WHERE at >= ?", (minute,))
            return nano, unpriced, tokens

        return await self._database.read(work)

    async def add_egress(self, line: EgressLine) -> None:
        """Store that something is about to leave this machine."""
        values = (
            _at(line.at),
            line.backend,
            line.host,
            line.where,
            line.session,
            line.skill,
            _within(line.bytes),
            msgspec.json.encode(line.hidden).decode(),
        )

        def work(connection: apsw.Connection) -> None:
            rows(
                connection,
                "INSERT INTO egress (at, backend, host, location, session, skill, bytes, hidden)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )

        await self._database.write(work)

    async def egress(self, ask: ReadEgress) -> tuple[EgressLine, ...]:
        """What left this machine, latest first. Raises UsageError when `since` or the time zone is none."""
        zone(ask.tz_minutes)
        start = None if ask.since is None else since(ask.since, ask.tz_minutes)

        def work(connection: apsw.Connection) -> tuple[EgressLine, ...]:
            lines = rows(
                connection,
                "SELECT at, backend, host, location, session, skill, bytes, hidden FROM egress"
                " WHERE (:since IS NULL OR at >= :since) AND (:session = '' OR session = :session)"
                " ORDER BY seq DESC LIMIT :limit",
                {"since": start, "session": ask.session, "limit": max(0, ask.limit)},
            )
            return tuple(_egress_line(each) for each in lines)

        return await self._database.read(work)


EMPTY = UsageRow(
    key="total", turns=0, attempts=0, failed=0, usage=Usage(), cost_nano=0, unpriced=0, local_turns=0, ttft_p50_ms=None
)
"""The total of nothing."""


def insert(connection: apsw.Connection, row: LedgerRow) -> None:
    """Write one attempt within the transaction under way; also used by sessions, together with the Facts."""
    attempt, usage = row.attempt, row.attempt.usage
    rows(
        connection,
        f"INSERT INTO ledger ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            _at(row.at),
            row.turn,
            row.number,
            row.session,
            row.skill,
            row.project,
            row.branch,
            attempt.backend,
            attempt.where,
            attempt.tier,
            attempt.model,
            attempt.outcome,
            attempt.reason,
            _within(attempt.ms),
            None if attempt.ttft_ms is None else _within(attempt.ttft_ms),
            _within(usage.input),
            _within(usage.output),
            _within(usage.cache_read),
            _within(usage.cache_write),
            usage.estimated,
            None if attempt.cost_nano is None else max(0, min(attempt.cost_nano, MOST * 1000)),
            attempt.price_source,
        ),
    )


def _within(count: int) -> int:
    return max(0, min(count, MOST))


def _at(text: str) -> int:
    try:
        return from_iso(text)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{text!r} is no ISO 8601 time") from error


def _groups(connection: apsw.Connection, by: UsageKey, start: int | None, tz_minutes: int) -> tuple[UsageRow, ...]:
    """The rows of the report: times in their order, everything else by cost, the dearest first."""
    values: dict[str, str | int | None] = {"since": start, "east": tz_minutes * 60 * SECOND}
    match by:
        case "day":
            # Whole days since 1970, rounded down also before it.
            day = f"(at + :east - ((at + :east) % {_DAY} + {_DAY}) % {_DAY}) / {SECOND}"
            return tuple(_sums(connection, f"date({day}, 'unixepoch')", "ORDER BY 1", values))
        case "block":
            values["blocks"] = msgspec.json.encode(_blocks(connection)).decode()
            key = f"strftime('%Y-%m-%d %H:%M', first * 3600 + :east / {SECOND}, 'unixepoch')"
            join = f"JOIN blocks ON blocks.hour = at / {_HOUR}"
            return tuple(_sums(connection, key, "ORDER BY 1", values, join, _BLOCKS))
        case "model" | "backend" | "skill" | "session" | "project":
            sums = _sums(connection, by, "", values)
            return tuple(sorted(sums, key=lambda row: (-row.cost_nano, -row.attempts, row.key)))
        case _:
            assert_never(by)


def _blocks(connection: apsw.Connection) -> list[tuple[int, int]]:
    """Every hour since 1970 in which something was asked, with the first hour of its block."""
    pairs: list[tuple[int, int]] = []
    first: int | None = None
    for (hour,) in rows(connection, f"SELECT DISTINCT at / {_HOUR} FROM ledger ORDER BY 1"):
        if first is None or hour >= first + BLOCK_HOURS:
            first = int(hour)
        pairs.append((hour, first))
    return pairs


def _sums(
    connection: apsw.Connection,
    key: str,
    order: str,
    values: dict[str, str | int | None],
    join: str = "",
    tables: str = "",
) -> list[UsageRow]:
    later, later_turns = ("", "") if values["since"] is None else (_LATER, _LATER_TURNS)
    sums = rows(
        connection,
        f"WITH {tables}{_COUNTED % later_turns} SELECT {key}, {_SUMS} FROM ledger {join} {later} GROUP BY 1 {order}",
        values,
    )
    return [_usage_row(cast("_Sums", each)) for each in sums]


def _usage_row(sums: _Sums) -> UsageRow:
    key, attempts, failed, given, output, read, written, estimated, nano, unpriced, turns, local, ttft = sums
    return UsageRow(
        key=key,
        turns=turns,
        attempts=attempts,
        failed=failed,
        usage=Usage(input=given, output=output, cache_read=read, cache_write=written, estimated=bool(estimated)),
        cost_nano=nano,
        unpriced=unpriced,
        local_turns=local,
        ttft_p50_ms=None if ttft is None else int(ttft),
    )


_Row = tuple[
    int,
    str,
    int,
    str,
    str,
    str,
    str,
    str,
    Where,
    Tier,
    str,
    Outcome,
    str,
    int,
    int | None,
    int,
    int,
    int,
    int,
    int,
    int | None,
    str,
]


def _row(values: object) -> LedgerRow:
    (at, turn, number, session, skill, project, branch, backend, where, tier, model, outcome, reason, ms, ttft,
     given, output, read, written, estimated, nano, source) = cast("_Row", values)  # fmt: skip
    usage = Usage(input=given, output=output, cache_read=read, cache_write=written, estimated=bool(estimated))
    attempt = Attempt(
        backend=backend,
        where=where,
        tier=tier,
        outcome=outcome,
        ms=ms,
        ttft_ms=ttft,
        usage=usage,
        cost_nano=nano,
        model=model,
        price_source=source,
        reason=reason,
    )
    return LedgerRow(
        at=iso(at),
        turn=turn,
        number=number,
        session=session,
        skill=skill,
        project=project,
        branch=branch,
        attempt=attempt,
    )


def _egress_line(values: object) -> EgressLine:
    at, backend, host, where, session, skill, size, hidden = cast(
        "tuple[int, str, str, Where, str, str, int, str]", values
    )
    return EgressLine(
        at=iso(at),
        backend=backend,
        host=host,
        where=where,
        session=session,
        skill=skill,
        bytes=size,
        hidden=msgspec.json.decode(hidden, type=tuple[str, ...]),
    )
