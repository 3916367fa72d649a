"""The ledger's sums add up, whatever it is asked for."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanoide.core.errors import InputError, Outcome, UsageError
from nanoide.core.usage import Usage
from nanoide.store.database import Database
from nanoide.store.ledger import MOST, Ledger, insert
from nanoide.wire import EgressLine, LedgerRow, ReadEgress, ReadUsage, UsageKey, UsageRow
from tests.store.samples import NOON, row

KEYS: tuple[UsageKey, ...] = get_args(UsageKey)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """A ledger whose clock stands still a while after noon."""
    return Ledger(database, now=lambda: NOON + timedelta(seconds=30))


async def keys(ledger: Ledger, ask: ReadUsage) -> list[str]:
    """The keys of the report's rows, in their order."""
    return [each.key for each in (await ledger.report(ask)).rows]


@pytest.mark.parametrize("by", KEYS)
async def test_an_empty_ledger(ledger: Ledger, by: UsageKey) -> None:
    """No rows, and a total of nothing."""
    report = await ledger.report(ReadUsage(by=by, recent=5))
    assert report.rows == ()
    assert report.recent == ()
    assert report.total == UsageRow(
        key="total",
        turns=0,
        attempts=0,
        failed=0,
        usage=Usage(),
        cost_nano=0,
        unpriced=0,
        local_turns=0,
        ttft_p50_ms=None,
    )


async def test_a_failover_is_one_turn_and_two_attempts(ledger: Ledger) -> None:
    """The turn counts where it was answered; the failed attempt and its cost stand where they arose."""
    await ledger.add(row(backend="sonnet", where="remote", outcome="timeout", cost_nano=7, ttft_ms=None))
    await ledger.add(row(number=2, cost_nano=0))
    report = await ledger.report(ReadUsage(by="backend"))
    sonnet, nano = report.rows
    assert (sonnet.key, sonnet.turns, sonnet.attempts, sonnet.failed, sonnet.cost_nano) == ("sonnet", 0, 1, 1, 7)
    assert (nano.key, nano.turns, nano.attempts, nano.failed, nano.local_turns) == ("nano", 1, 1, 0, 1)
    assert sonnet.ttft_p50_ms is None
    assert nano.ttft_p50_ms == 30
    assert (report.total.turns, report.total.attempts, report.total.failed, report.total.local_turns) == (1, 2, 1, 1)
    assert report.total.usage == Usage(input=200, output=40, cache_read=100)


async def test_the_loser_of_a_hedge_does_not_take_the_turn(ledger: Ledger) -> None:
    """A turn counts where it was answered, also when another attempt ended later."""
    await ledger.add(row(backend="nano"))
    await ledger.add(row(number=2, backend="sonnet", where="remote", outcome="cancelled"))
    report = await ledger.report(ReadUsage(by="backend"))
    assert {each.key: each.turns for each in report.rows} == {"nano": 1, "sonnet": 0}
    assert report.total.local_turns == 1


async def test_an_attempt_without_a_price_is_not_free(ledger: Ledger) -> None:
    """It is counted as unpriced and adds nothing to the cost."""
    await ledger.add(row("t1", cost_nano=None))
    await ledger.add(row("t2", cost_nano=5))
    total = (await ledger.report(ReadUsage())).total
    assert (total.cost_nano, total.unpriced) == (5, 1)


async def test_attempts_without_a_turn_are_turns_of_their_own(ledger: Ledger) -> None:
    """Two completions outside any session are two turns."""
    await ledger.add(row(""))
    await ledger.add(row(""))
    assert (await ledger.report(ReadUsage())).total.turns == 2


async def test_estimated_is_told(ledger: Ledger) -> None:
    """One estimated count makes the sum an estimate."""
    await ledger.add(row("t1", backend="a", usage=Usage(input=1)))
    await ledger.add(row("t2", backend="b", usage=Usage(input=1, estimated=True)))
    report = await ledger.report(ReadUsage(by="backend"))
    assert {each.key: each.usage.estimated for each in report.rows} == {"a": False, "b": True}
    assert report.total.usage.estimated


async def test_the_median_is_a_time_that_occurred(ledger: Ledger) -> None:
    """The lower middle one; attempts without a first token do not count."""
    for turn, ttft in enumerate([10, 20, 30, 4000, None]):
        await ledger.add(row(f"t{turn}", ttft_ms=ttft))
    assert (await ledger.report(ReadUsage())).total.ttft_p50_ms == 20


async def test_days_are_the_askers(ledger: Ledger) -> None:
    """The same moment is another day elsewhere; nothing about it is stored."""
    await ledger.add(row(at=datetime(2026, 11, 20, 23, 30, tzinfo=UTC)))
    assert await keys(ledger, ReadUsage(by="day")) == ["2026-11-20"]
    assert await keys(ledger, ReadUsage(by="day", tz_minutes=60)) == ["2026-11-21"]
    assert await keys(ledger, ReadUsage(by="day", tz_minutes=-24 * 60 + 6 * 60 + 60)) == ["2026-11-20"]


async def test_days_come_in_order_and_the_rest_by_cost(ledger: Ledger) -> None:
    """Time runs forward; of everything else the dearest stands first."""
    await ledger.add(row("t1", at=NOON, skill="cheap", cost_nano=1))
    await ledger.add(row("t2", at=NOON - timedelta(days=1), skill="dear", cost_nano=9))
    assert await keys(ledger, ReadUsage(by="day")) == ["2026-11-20", "2026-11-21"]
    assert await keys(ledger, ReadUsage(by="skill")) == ["dear", "cheap"]


async def test_blocks_are_five_hours_from_the_first_attempts_hour(ledger: Ledger) -> None:
    """The next one begins with the first attempt after it, not on a fixed grid."""
    for turn, (hour, minute) in enumerate([(8, 40), (12, 59), (13, 0), (17, 59), (22, 15)]):
        await ledger.add(row(f"t{turn}", at=datetime(2026, 11, 21, hour, minute, tzinfo=UTC)))
    report = await ledger.report(ReadUsage(by="block"))
    assert [(each.key, each.attempts) for each in report.rows] == [
        ("2026-11-21 08:00", 2),
        ("2026-11-21 13:00", 2),
        ("2026-11-21 22:00", 1),
    ]
    assert (await keys(ledger, ReadUsage(by="block", tz_minutes=90)))[0] == "2026-11-21 09:30"


async def test_years_of_hours_are_grouped_into_blocks(ledger: Ledger, database: Database) -> None:
    """Each hour finds its block by an index: comparing every pair of these would not come to an end."""
    attempts = [row(f"t{hour}", at=NOON - timedelta(hours=hour)) for hour in range(20_000)]
    await database.write(lambda connection: [insert(connection, each) for each in attempts])
    report = await ledger.report(ReadUsage(by="block"))
    assert len(report.rows) == 4_000
    assert {each.attempts for each in report.rows} == {5}


@pytest.mark.parametrize(
    ("since", "tz_minutes", "attempts"),
    [
        (None, 0, 2),
        ("2026-11-21", 0, 1),
        ("2026-11-21", 120, 2),
        ("2026-11-20T23:30:00Z", 600, 1),
        ("2026-11-20T23:30", -60, 1),
        ("2026-11-20T23:29+00:00", 0, 2),
        ("2030-01-01", 0, 0),
    ],
)
async def test_since_is_the_askers_time(ledger: Ledger, since: str | None, tz_minutes: int, attempts: int) -> None:
    """A date begins at the asker's midnight; an offset in the text itself is obeyed."""
    await ledger.add(row("t1", at=datetime(2026, 11, 20, 23, 29, 59, tzinfo=UTC)))
    await ledger.add(row("t2", at=datetime(2026, 11, 21, 0, 30, tzinfo=UTC)))
    report = await ledger.report(ReadUsage(since=since, tz_minutes=tz_minutes, recent=9))
    assert report.total.attempts == attempts
    assert len(report.recent) == attempts


@pytest.mark.parametrize("since", ["yesterday", "", "2026-13-01", "21.11.2026", "\x1b[31m", "0001-01-01T00:00+14:00"])
async def test_a_since_that_is_no_date(ledger: Ledger, since: str) -> None:
    """The error says how to write one; a date before all time is simply the beginning."""
    ask = ReadUsage(since=since)
    if since.startswith("0001"):
        assert (await ledger.report(ask)).total.attempts == 0
        return
    with pytest.raises(UsageError, match="neither a date nor a time") as caught:
        await ledger.report(ask)
    assert "2026-11-21" in caught.value.hint


async def test_a_time_zone_that_does_not_exist(ledger: Ledger) -> None:
    """Nonsense is refused and not computed with."""
    with pytest.raises(UsageError, match="does not exist"):
        await ledger.report(ReadUsage(tz_minutes=100_000))


async def test_recent_rows_come_back_as_they_went_in(ledger: Ledger) -> None:
    """Latest first, every field kept, the time in UTC."""
    given_rows = [row("t1", cost_nano=None, ttft_ms=None), row("t2", where="lan", outcome="cut")]
    for each in given_rows:
        await ledger.add(each)
    recent = (await ledger.report(ReadUsage(recent=1))).recent
    assert recent == (
        LedgerRow(
            at="2026-11-21T12:00:00.000000Z",
            turn="t2",
            number=1,
            session="s1",
            skill="file-query",
            project="/home/ada/project",
            branch="main",
            attempt=given_rows[1].attempt,
        ),
    )
    assert len((await ledger.report(ReadUsage(recent=10))).recent) == 2
    assert (await ledger.report(ReadUsage(recent=-1))).recent == ()


async def test_odd_names_are_kept_and_impossible_ones_refused(ledger: Ledger) -> None:
    """Controls and astral characters are text; a lone surrogate is not."""
    odd = "𝔘 \x1b[31m \u202e\x00'; DROP TABLE ledger; --"
    await ledger.add(row(skill=odd))
    assert await keys(ledger, ReadUsage(by="skill")) == [odd]
    with pytest.raises(InputError, match="not valid Unicode"):
        await ledger.add(row(project="\udcff"))
    assert (await ledger.report(ReadUsage())).total.attempts == 1


async def test_nonsense_from_a_backend_cannot_break_the_ledger(ledger: Ledger) -> None:
    """Counts below zero or beyond all reason are held within bounds; the row is stored."""
    await ledger.add(row(usage=Usage(input=-5, output=10**30), cost_nano=-1))
    total = (await ledger.report(ReadUsage())).total
    assert total.usage == Usage(input=0, output=MOST)
    assert total.cost_nano == 0


async def test_spent_since_a_moment(ledger: Ledger) -> None:
    """Of everything, of one skill, of one backend; unpriced attempts add nothing."""
    await ledger.add(row("t1", at=NOON, backend="a", skill="x", cost_nano=1))
    await ledger.add(row("t2", at=NOON, backend="b", skill="x", cost_nano=10))
    await ledger.add(row("t3", at=NOON, backend="b", skill="y", cost_nano=None))
    await ledger.add(row("t4", at=NOON - timedelta(hours=1), backend="b", skill="x", cost_nano=100))
    assert await ledger.spent(NOON) == 11
    assert await ledger.spent(NOON, backend="b") == 10
    assert await ledger.spent(NOON, skill="x") == 11
    assert await ledger.spent(NOON, skill="x", backend="a") == 1
    assert await ledger.spent(NOON - timedelta(days=1)) == 111


async def test_today(ledger: Ledger) -> None:
    """Money and unpriced attempts since the asker's midnight; tokens of the last minute."""
    await ledger.add(row("t1", at=NOON, cost_nano=5))
    await ledger.add(row("t2", at=NOON - timedelta(hours=3), cost_nano=None))
    await ledger.add(row("t3", at=NOON - timedelta(hours=13), cost_nano=100))
    assert await ledger.today(0) == (5, 1, 20)
    assert await ledger.today(120) == (105, 1, 20)


async def test_what_left_the_machine(ledger: Ledger) -> None:
    """Latest first, with what was redacted."""
    first = EgressLine(
        at="2026-11-21T12:00:00.000000Z",
        backend="sonnet",
        host="api.example.com",
        where="remote",
        session="s1",
        skill="file-query",
        bytes=1234,
        hidden=("one key", "an e-mail address"),
    )
    await ledger.add_egress(first)
    await ledger.add_egress(EgressLine("2026-11-21T13:00:00.000000Z", "b", "h", "lan", "", "", 1))
    lines = await ledger.egress(ReadEgress(limit=10))
    assert [line.backend for line in lines] == ["b", "sonnet"]
    assert lines[1] == first
    assert len(await ledger.egress(ReadEgress(limit=1))) == 1
    assert await ledger.egress(ReadEgress(limit=-1)) == ()
    assert await ledger.egress(ReadEgress(session="s1")) == (first,)
    assert [line.backend for line in await ledger.egress(ReadEgress(since="2026-11-21T12:30"))] == ["b"]
    assert len(await ledger.egress(ReadEgress(since="2026-11-21T14:00", tz_minutes=120))) == 2
    with pytest.raises(UsageError, match="neither a date"):
        await ledger.egress(ReadEgress(since="soon"))


async def test_what_a_session_has_used(ledger: Ledger) -> None:
    """Its attempts on models, wherever they ran, and the tokens that these read and wrote."""
    await ledger.add(row("t1", session="s1"))
    await ledger.add(row("t2", session="s1", where="remote", outcome="cut"))
    await ledger.add(row("t3", session="s2"))
    assert await ledger.of_session("s1") == (2, 240)
    assert await ledger.of_session("nobody") == (0, 0)


ROWS = st.builds(
    row,
    st.sampled_from(["t1", "t2", "t3", "t4", ""]),
    at=st.datetimes(datetime(2026, 10, 20), datetime(2026, 11, 5), timezones=st.just(UTC)),  # noqa: DTZ001
    session=st.sampled_from(["s1", "s2"]),
    skill=st.sampled_from(["x", "y"]),
    project=st.sampled_from(["", "/p"]),
    backend=st.sampled_from(["a", "b", "c"]),
    model=st.sampled_from(["m", ""]),
    where=st.sampled_from(["device", "remote"]),
    outcome=st.sampled_from(get_args(Outcome)),
    usage=st.builds(Usage, *[st.integers(0, 10**6)] * 4, st.booleans()),
    cost_nano=st.none() | st.integers(0, 10**10),
    ttft_ms=st.none() | st.integers(0, 9999),
)


@given(st.lists(ROWS, max_size=25), st.integers(-720, 840), st.sampled_from([None, "2026-10-25", "2026-10-31T06:00"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_grouping_sums_to_the_same_total(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[LedgerRow], tz_minutes: int, since: str | None
) -> None:
    """To the token, the nano-dollar and the turn, in any time zone."""
    database = await Database.open(tmp_path_factory.mktemp("ledger") / "nanoide.db")
    ledger = Ledger(database)
    for each in attempts:
        await ledger.add(each)
    reports = [await ledger.report(ReadUsage(by=by, since=since, tz_minutes=tz_minutes)) for by in KEYS]
    await database.aclose()
    for report in reports:
        assert report.total == reports[0].total
        assert len({each.key for each in report.rows}) == len(report.rows)
        for field in ("turns", "attempts", "failed", "cost_nano", "unpriced", "local_turns"):
            assert sum(getattr(each, field) for each in report.rows) == getattr(report.total, field)
        assert sum((each.usage for each in report.rows), Usage()) == report.total.usage
    if since is None:
        total = reports[0].total
        assert total.attempts == len(attempts)
        assert total.cost_nano == sum(each.attempt.cost_nano or 0 for each in attempts)
        assert total.usage.input == sum(each.attempt.usage.input for each in attempts)
        named = {each.turn for each in attempts if each.turn}
        assert total.turns == len(named) + sum(not each.turn for each in attempts)
