import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from nanoide.backends.scripted import Pause, ScriptedBackend, Step
from nanoide.core.chat import Attempt, End, Message, Prompt, Rung
from nanoide.core.errors import BudgetRefused
from nanoide.core.usage import NANO, Usage
from nanoide.routing.budget import Purse, Reservation, ceilings_for
from nanoide.routing.failover import Router
from nanoide.settings import BackendTable, Budget, Limit, PriceTable, Route, SessionLimit, Settings
from nanoide.store.database import Database
from nanoide.store.ledger import Ledger
from nanoide.wire import EgressLine, LedgerRow

NOW = datetime(2026, 11, 19, 15, 30, tzinfo=UTC)  # a Thursday


def _purse(budget: Budget, spent: int = 0, since: int = 0) -> Purse:
    async def today() -> int:
        await asyncio.sleep(0)
        return spent

    async def ever(when: datetime, *, skill: str = "", backend: str = "") -> int:
        await asyncio.sleep(0)
        return since

    return Purse(budget, spent=today, spent_since=ever, clock=lambda: NOW)


async def test_fifty_at_once_stay_within_the_budget() -> None:
    """Money is reserved before it is spent: at two dollars, four calls of fifty cents go."""
    purse = _purse(Budget(day_usd="2.00"))
    answers = await asyncio.gather(*(purse.reserve(Reservation("s", "b", NANO // 2)) for _ in range(50)))
    assert answers.count("") == 4


async def test_what_was_reserved_comes_back() -> None:
    """After an attempt its reservation is free again, exactly once."""
    purse = _purse(Budget(day_usd="1.00"))
    first, second = Reservation("s", "b", NANO), Reservation("s", "b", NANO)
    assert await purse.reserve(first) == ""
    assert "today's budget of $1.00" in await purse.reserve(second)
    purse.release(first)
    purse.release(first)
    assert await purse.reserve(second) == ""


async def test_an_unpriced_call_goes_until_the_budget_is_used_up() -> None:
    """What it costs is not known; that nothing is left is."""
    assert await _purse(Budget(day_usd="1.00"), spent=NANO - 1).reserve(Reservation("s", "b", 0)) == ""
    assert "used up" in await _purse(Budget(day_usd="1.00"), spent=NANO).reserve(Reservation("s", "b", 0))


async def test_each_limit_holds_for_what_it_names() -> None:
    """Skill, backend, week and month have limits of their own."""
    budget = Budget(month_usd="9", skill={"explain": Limit(week_usd="1")}, backend={"sonnet": Limit(day_usd="1")})
    labels = [ceiling.label for ceiling in ceilings_for(budget, "explain", "sonnet", NOW)]
    assert labels == [
        "this month's budget of $9",
        "this week's budget of skill 'explain' of $1",
        "today's budget of backend 'sonnet' of $1",
    ]
    assert [ceiling.since.day for ceiling in ceilings_for(budget, "explain", "sonnet", NOW)] == [1, 16, 19]
    assert len(ceilings_for(budget, "other", "other", NOW)) == 1
    purse = _purse(budget, since=NANO * 2)
    assert "explain" in await purse.reserve(Reservation("explain", "other", 1))
    assert await purse.reserve(Reservation("other", "other", 1)) == ""


async def test_one_skills_reservations_do_not_count_for_another() -> None:
    """A limit looks at its own kind of calls only."""
    purse = _purse(Budget(skill={"a": Limit(day_usd="1"), "b": Limit(day_usd="1")}))
    assert await purse.reserve(Reservation("a", "x", NANO)) == ""
    assert await purse.reserve(Reservation("b", "x", NANO)) == ""
    assert "'a'" in await purse.reserve(Reservation("a", "x", NANO))


class Till:
    """A router to a paid backend elsewhere and a free one here, over a real ledger. A token costs a tenth of a cent."""

    def __init__(self, ledger: Ledger, budget: Budget, *scripts: Sequence[Step]) -> None:
        self.ledger = ledger
        self.far = ScriptedBackend(*scripts, name="far", where="remote", host="far.example")
        self.here = ScriptedBackend(["here"], name="here")
        self.open = asyncio.Event()
        """Until it is set, no attempt comes to stand in the ledger."""
        self.open.set()
        self.asked = 0
        """How often it was read what is spent."""
        self.rows = 0
        self.began = asyncio.Event()
        """Set when an attempt begins, its money reserved."""
        self.once_read: Callable[[], None] = lambda: None
        """Called after each reading of what is spent."""
        price = PriceTable(input="1000", output="1000")
        tables = (
            BackendTable(name="far", kind="openai", base_url="http://far.example", model="m", price=price),
            BackendTable(name="here", kind="openai", base_url="http://127.0.0.1:1", model="m"),
        )
        settings = Settings(
            backend=tables, route={"default": Route(ladder=("far", "here"), egress="remote")}, budget=budget
        )
        self.purse = Purse(
            budget,
            spent=self.spent,
            spent_since=ledger.spent,
            clock=lambda: datetime.now(UTC),
            of_session=ledger.of_session,
        )

        async def audit(line: EgressLine) -> None:
            await ledger.add_egress(line)

        self.router = Router(
            {"far": self.far, "here": self.here}, settings, audit=audit, spent=self.spent, purse=self.purse
        )

    async def spent(self) -> int:
        """Of today, as the ledger has it."""
        found = await self.ledger.spent(datetime.now(UTC) - timedelta(hours=24))
        self.asked += 1
        self.once_read()
        return found

    async def ask(self, session: str = "", backend: str = "") -> str:
        """Who answered."""
        rung = ""

        def record(attempt: Attempt) -> asyncio.Future[None]:
            return asyncio.ensure_future(self._store(attempt, session))

        prompt = Prompt(
            skill="explain", session=session, messages=(Message("user", "why?"),), max_output=18, egress="remote"
        )
        stream = self.router.stream(prompt, backend=backend, record=record)
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Rung):
                    rung = chunk.backend
                    self.began.set()
        return rung

    async def _store(self, attempt: Attempt, session: str) -> None:
        await self.open.wait()
        self.rows += 1
        await self.ledger.add(
            LedgerRow(datetime.now(UTC).isoformat(), f"t{self.rows}", 1, session, "explain", "", "", attempt)
        )


USED = End(usage=Usage(input=2, output=18))
"""Two cents, which is what is reserved for it as well."""


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """An empty one, in a real database."""
    database = await Database.open(tmp_path / "nanoide.db")
    yield Ledger(database)
    await database.aclose()


async def test_fifty_calls_at_once_spend_no_more_than_the_budget(ledger: Ledger) -> None:
    """Slow answers, a real ledger, three waves of fifty: what fits goes, the rest is answered here."""
    budget = Budget(day_usd="0.21", month_usd="0.50", backend={"far": Limit(week_usd="0.30")})
    till = Till(ledger, budget, [Pause(0.02), "a", USED])
    answered: list[str] = []
    for _ in range(3):
        answered += await asyncio.gather(*(till.ask() for _ in range(50)))
    assert len(answered) == 150
    spent = await till.spent()
    assert answered.count("far") == len(till.far.prompts) == 10
    assert spent == 10 * NANO // 50


async def test_no_call_slips_through_between_an_answer_and_its_row(ledger: Ledger) -> None:
    """What an attempt cost counts from the moment it ends, also while its row waits to be written."""
    till = Till(ledger, Budget(day_usd="0.03"), ["a", USED])
    till.open.clear()
    assert await till.ask() == "far"
    assert await ledger.of_session("") == (0, 0)  # nothing stands there yet
    till.once_read = till.open.set
    assert await till.ask() == "here"
    assert till.asked == 3, "read once with the row on its way, and once more when it was there"
    assert await till.ask() == "here"


async def test_what_was_reserved_becomes_what_it_cost(ledger: Ledger) -> None:
    """A cheap answer leaves room for the next one at once."""
    till = Till(ledger, Budget(day_usd="0.03"), ["a", End(usage=Usage(input=1, output=1))])
    assert [await till.ask() for _ in range(5)] == ["far"] * 5


async def test_a_person_who_stops_gives_back_what_was_reserved(ledger: Ledger) -> None:
    """A turn that is cancelled before anything was sent costs nothing."""
    hangs = asyncio.Event()
    till = Till(ledger, Budget(day_usd="0.03"), [hangs, "a", USED])
    task = asyncio.ensure_future(till.ask())
    await till.began.wait()
    assert await till.ask() == "here"
    task.cancel()
    await asyncio.wait([task])
    hangs.set()
    assert await till.ask() == "far"


async def test_a_session_has_caps_of_its_own(ledger: Ledger) -> None:
    """On attempts and on tokens, wherever the model runs; the numbers are told and other sessions go on."""
    till = Till(ledger, Budget(session=SessionLimit(attempts=2)), ["a", USED])
    assert [await till.ask("one"), await till.ask("one", "here")] == ["far", "here"]
    for backend in ("", "here", "far"):
        with pytest.raises(BudgetRefused, match="this session has made 2 of 2 attempts") as refused:
            await till.ask("one", backend)
        assert refused.value.exit_code == 3
    assert await till.ask("two") == "far"
    assert await till.ask() == "far"

    till.purse.budget = Budget(session=SessionLimit(tokens=40))
    assert await till.ask("two", "here") == "here"
    till.purse.budget = Budget(session=SessionLimit(tokens=22))
    with pytest.raises(BudgetRefused, match="this session has used 22 of 22 tokens") as refused:
        await till.ask("two", "here")
    assert "[budget.session]" in refused.value.hint


async def test_a_budget_at_eighty_percent_is_told_once(ledger: Ledger) -> None:
    """With the figures, and again only in the next period; so is a price that is not known."""
    till = Till(ledger, Budget(day_usd="0.10", skill={"explain": Limit(month_usd="1")}), ["a", USED])
    paid = Attempt(backend="far", where="remote", tier="model", outcome="ok", ms=1, cost_nano=1)
    for _ in range(3):
        await till.ask()
    assert await till.purse.notices("explain", [paid]) == ()
    assert not any(level.near for level in await till.purse.levels())
    await till.ask()
    assert await till.purse.notices("explain", [paid]) == ("today's budget of $0.10 is at 80 %: $0.08 is spent",)
    assert await till.purse.notices("explain", [paid]) == ()
    assert [level.near for level in await till.purse.levels()] == [True, False]

    unpriced = replace(paid, cost_nano=None)
    told = await till.purse.notices("explain", [unpriced])
    assert told == ("far has no price: today's budget of $0.10 cannot count it",)
    assert await till.purse.notices("explain", [unpriced, replace(unpriced, where="device")]) == ()


async def test_a_budget_that_is_lowered_holds_at_once(ledger: Ledger) -> None:
    """What was reserved before counts under the new limits."""
    till = Till(ledger, Budget(), [asyncio.Event(), USED])
    task = asyncio.ensure_future(till.ask())
    await till.began.wait()
    till.purse.budget = Budget(day_usd="0.03")
    assert await till.ask() == "here"
    task.cancel()
    await asyncio.wait([task])
