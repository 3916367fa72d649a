"""What may still be spent. Money is reserved before anything is sent, so that many calls at once stay within."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from nanoide.core.usage import nano_from_usd
from nanoide.core.value import Value
from nanoide.settings import Budget, Limit


class Reservation(Value, frozen=True):
    """Money set aside for one attempt that is under way."""

    skill: str
    backend: str
    nano: int


class Ceiling(Value, frozen=True):
    """One limit that applies to one attempt."""

    label: str
    """ "today's budget", "this month's budget of skill 'explain'"."""
    nano: int
    since: datetime
    skill: str = ""
    """Empty means every skill."""
    backend: str = ""
    today: bool = False
    """True for the budget of the day over everything."""


class Spent(Protocol):
    """Nano-dollars spent since a time, by a skill, on a backend; empty means by or on any. As `Ledger.spent`."""

    def __call__(self, since: datetime, *, skill: str = "", backend: str = "") -> Awaitable[int]:
        """Read it."""
        ...


class Purse:
    """Holds every limit of `[budget]`, and what is reserved at this moment."""

    def __init__(
        self,
        budget: Budget,
        *,
        spent: Callable[[], Awaitable[int]],
        spent_since: Spent | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._budget = budget
        self._spent = spent
        self._spent_since = spent_since
        self._clock = clock
        self._lock = asyncio.Lock()
        self._reserved: list[Reservation] = []

    async def reserve(self, reservation: Reservation, *, force: bool = False) -> str:
        """Set the money aside. Returns what is against it, as a phrase; empty means that it is reserved.

        With `force` it is reserved all the same: the person agreed.
        """
        ceilings = ceilings_for(self._budget, reservation.skill, reservation.backend, self._clock())
        async with self._lock:  # between reading what was spent and reserving nobody else may do the same
            for ceiling in () if force else ceilings:
                held = sum(
                    each.nano
                    for each in self._reserved
                    if ceiling.skill in {"", each.skill} and ceiling.backend in {"", each.backend}
                )
                used = await self._used(ceiling) + held
                if used >= ceiling.nano:
                    return f"{ceiling.label} is used up"
                if used + reservation.nano > ceiling.nano:
                    return f"this could go over {ceiling.label}"
            self._reserved.append(reservation)
        return ""

    def release(self, reservation: Reservation) -> None:
        """The attempt has ended; what it cost stands in the ledger."""
        self._reserved = [each for each in self._reserved if each is not reservation]

    async def _used(self, ceiling: Ceiling) -> int:
        if self._spent_since is not None and not ceiling.today:
            return await self._spent_since(ceiling.since, skill=ceiling.skill, backend=ceiling.backend)
        return await self._spent()


def ceilings_for(budget: Budget, skill: str, backend: str, now: datetime) -> tuple[Ceiling, ...]:
    """Every limit that an attempt for `skill` on `backend` is under. Days are those of `now`'s time zone."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ceilings: list[Ceiling] = []
    scopes: list[tuple[Limit | None, str, str, str]] = [
        (budget, "", "", ""),
        (budget.skill.get(skill), f" of skill {skill!r}", skill, ""),
        (budget.backend.get(backend), f" of backend {backend!r}", "", backend),
    ]
    for limit, whose, of_skill, of_backend in scopes:
        if limit is None:
            continue
        for amount, when, since in (
            (limit.day_usd, "today's", day),
            (limit.week_usd, "this week's", day - timedelta(days=day.weekday())),
            (limit.month_usd, "this month's", day.replace(day=1)),
        ):
            if amount is not None:
                ceilings.append(
                    Ceiling(
                        label=f"{when} budget{whose} of ${amount}",
                        nano=nano_from_usd(amount),
                        since=since,
                        skill=of_skill,
                        backend=of_backend,
                        today=not whose and when == "today's",
                    )
                )
    return tuple(ceilings)
