import asyncio
from datetime import UTC, datetime

from nanoide.core.usage import NANO
from nanoide.routing.budget import Purse, Reservation, ceilings_for
from nanoide.settings import Budget, Limit

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
