"""What may still be spent. Money is reserved before anything is sent, so that many calls at once stay within.

A reservation becomes what the attempt really cost at the moment it ends, and goes only when that stands in
the ledger: in between nothing slips through. One purse lasts as long as the hub, over every reload of
config.toml, and so do the reservations in it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from nanoide.core.chat import Attempt
from nanoide.core.errors import BudgetRefused
from nanoide.core.usage import NANO, nano_from_usd
from nanoide.core.value import Value
from nanoide.settings import Budget, Limit

WARN_AT = 0.8
"""The share of a budget from which on the person is told."""


class Reservation(Value, frozen=True):
    """Money and tokens set aside for one attempt that is under way."""

    skill: str
    backend: str
    nano: int
    session: str = ""
    """Empty for a one-off: no session's caps hold."""
    tokens: int = 0
    """Of the prompt, estimated."""
    free: bool = False
    """True on this device: no budget of money is asked, only the session's caps."""


class Ceiling(Value, frozen=True):
    """One limit that applies to one attempt."""

    label: str
    """ "today's budget of $2.00", "this month's budget of skill 'explain' of $1"."""
    nano: int
    since: datetime
    skill: str = ""
    """Empty means every skill."""
    backend: str = ""
    today: bool = False
    """True for the budget of the day over everything."""


class Level(Value, frozen=True):
    """How far one budget is used up."""

    label: str
    spent_nano: int
    limit_nano: int
    since: datetime

    @property
    def near(self) -> bool:
        """True from the share on at which the person is told."""
        return self.spent_nano >= self.limit_nano * WARN_AT

    def __str__(self) -> str:
        """In one phrase: "today's budget of $2.00 is at 83 %: $1.66 is spent"."""
        if self.limit_nano == 0:
            return f"{self.label}: nothing may be spent"
        share = 100 * self.spent_nano // self.limit_nano
        return f"{self.label} is at {share} %: {_dollars(self.spent_nano)} is spent"


class Spent(Protocol):
    """Nano-dollars spent since a time, by a skill, on a backend; empty means by or on any. As `Ledger.spent`."""

    def __call__(self, since: datetime, *, skill: str = "", backend: str = "") -> Awaitable[int]:
        """Read it."""
        ...


class _Entry:
    """A reservation, and what became of it."""

    def __init__(self, reservation: Reservation) -> None:
        self.reservation = reservation
        self.nano = reservation.nano
        self.tokens = reservation.tokens
        self.stored: asyncio.Future[None] | None = None
        """Set when the attempt has ended: done when it stands in the ledger."""


class Purse:
    """Holds every limit of `[budget]`, and what is reserved at this moment."""

    def __init__(
        self,
        budget: Budget,
        *,
        spent: Callable[[], Awaitable[int]],
        spent_since: Spent | None,
        clock: Callable[[], datetime],
        of_session: Callable[[str], Awaitable[tuple[int, int]]] | None = None,
    ) -> None:
        """`of_session` tells the attempts on models, and their tokens, of a session; without it no caps hold."""
        self.budget = budget
        """May be replaced at any time; what is reserved stays."""
        self._spent = spent
        self._spent_since = spent_since
        self._clock = clock
        self._of_session = of_session
        self._lock = asyncio.Lock()
        self._entries: list[_Entry] = []
        self._settled = 0
        """How many attempts have ended so far: what was counted before the last one may be counted wrongly."""
        self._known: tuple[tuple[int, tuple[Ceiling, ...]], tuple[Level, ...]] | None = None
        """The levels as they were read last: a status line asks for them every second."""
        self._told: set[tuple[str, datetime | None]] = set()

    @property
    def caps(self) -> bool:
        """True when sessions have caps of their own."""
        limit = self.budget.session
        return self._of_session is not None and (limit.tokens is not None or limit.attempts is not None)

    async def reserve(self, reservation: Reservation, *, force: bool = False) -> str:
        """Set the money aside. Returns what is against it, as a phrase; empty means that it is reserved.

        With `force` it is reserved all the same: the person agreed. Raises BudgetRefused when the session has
        come to one of its caps.
        """
        async with self._lock:  # between reading what was spent and reserving nobody else may do the same
            await self._check_session(reservation)
            breach = "" if force or reservation.free else await self._breach(reservation)
            if not breach:
                self._entries.append(_Entry(reservation))
        return breach

    def settle(self, reservation: Reservation, attempt: Attempt, stored: "asyncio.Future[None] | None") -> None:
        """The attempt has ended. What it cost takes the reservation's place until it is `stored` in the ledger.

        Without `stored` it stands there already.
        """
        self._settled += 1
        for entry in self._entries:
            if entry.reservation is reservation and entry.stored is None:
                if stored is None or stored.done():
                    break
                entry.nano = attempt.cost_nano or 0
                entry.tokens = attempt.usage.input + attempt.usage.output
                entry.stored = stored
                stored.add_done_callback(partial(self._is_stored, entry))
                return
        self.release(reservation)

    def release(self, reservation: Reservation) -> None:
        """There was no attempt, or it was settled: nothing is reserved any more."""
        self._entries = [
            each for each in self._entries if each.reservation is not reservation or each.stored is not None
        ]

    def _is_stored(self, entry: _Entry, _: "asyncio.Future[None]") -> None:
        self._entries.remove(entry)

    async def levels(self) -> tuple[Level, ...]:
        """How far every budget is used up, of what stands in the ledger."""
        ceilings = every_ceiling(self.budget, self._clock())
        if not ceilings:
            return ()
        if self._known is not None and self._known[0] == (self._settled, ceilings):
            return self._known[1]
        settled = self._settled
        await self._written()
        levels = tuple([Level(each.label, await self._used(each), each.nano, each.since) for each in ceilings])
        if settled == self._settled:
            self._known = ((settled, ceilings), levels)
        return levels

    async def notices(self, skill: str, attempts: Sequence[Attempt]) -> tuple[str, ...]:
        """What the person has to know after these attempts, each once: a budget at 80 %, a price not known."""
        away = [each for each in attempts if each.where != "device"]
        if not away:
            return ()
        told: list[str] = []
        for each in away:
            ceilings = ceilings_for(self.budget, skill, each.backend, self._clock())
            if each.cost_nano is None and ceilings and self._first(f"no price: {each.backend}", None):
                told.append(f"{each.backend} has no price: {ceilings[0].label} cannot count it")
        told += [str(each) for each in await self.levels() if each.near and self._first(each.label, each.since)]
        return tuple(told)

    def _first(self, what: str, since: datetime | None) -> bool:
        key = (what, since)
        first = key not in self._told
        self._told.add(key)
        return first

    async def _check_session(self, reservation: Reservation) -> None:
        if not (self.caps and reservation.session and self._of_session is not None):
            return
        limit = self.budget.session
        while True:
            settled, waiting = self._settled, self._waiting()
            held = [each for each in self._entries if each.reservation.session == reservation.session]
            attempts, tokens = await self._of_session(reservation.session)
            attempts, tokens = attempts + len(held), tokens + sum(each.tokens for each in held)
            why = ""
            if limit.attempts is not None and attempts >= limit.attempts:
                why = f"this session has made {attempts:,} of {limit.attempts:,} attempts"
            elif limit.tokens is not None and tokens + reservation.tokens > limit.tokens:
                why = f"this session has used {tokens:,} of {limit.tokens:,} tokens"
                why += f", and this prompt has about {reservation.tokens:,}" if tokens < limit.tokens else ""
            if not why:
                return
            if settled == self._settled and not waiting:
                hint = "open another session, or raise [budget.session] in config.toml; --backend reflex still answers"
                raise BudgetRefused(why, hint=hint)
            await self._written()

    async def _breach(self, reservation: Reservation) -> str:
        """What is against it. An attempt that ends meanwhile may be counted twice: it is then counted anew."""
        ceilings = ceilings_for(self.budget, reservation.skill, reservation.backend, self._clock())
        while True:
            settled, waiting = self._settled, self._waiting()
            breach = ""
            for ceiling in ceilings:
                # First what is held, then the ledger: the other way round what moves between them would be in neither.
                held = sum(
                    each.nano
                    for each in self._entries
                    if not each.reservation.free
                    and ceiling.skill in {"", each.reservation.skill}
                    and ceiling.backend in {"", each.reservation.backend}
                )
                used = await self._used(ceiling) + held
                if used >= ceiling.nano:
                    breach = f"{ceiling.label} is used up"
                elif used + reservation.nano > ceiling.nano:
                    breach = f"this could go over {ceiling.label}"
                if breach:
                    break
            if not breach or (settled == self._settled and not waiting):
                return breach
            await self._written()

    def _waiting(self) -> list["asyncio.Future[None]"]:
        return [each.stored for each in self._entries if each.stored is not None and not each.stored.done()]

    async def _written(self) -> None:
        """Wait until what has ended so far stands in the ledger."""
        if waiting := self._waiting():
            await asyncio.wait(waiting)
            await asyncio.sleep(0)  # the entries go in callbacks of the same futures

    async def _used(self, ceiling: Ceiling) -> int:
        if self._spent_since is not None and not ceiling.today:
            return await self._spent_since(ceiling.since, skill=ceiling.skill, backend=ceiling.backend)
        return await self._spent()


def ceilings_for(budget: Budget, skill: str, backend: str, now: datetime) -> tuple[Ceiling, ...]:
    """Every limit that an attempt for `skill` on `backend` is under. Days are those of `now`'s time zone."""
    return _ceilings(
        [
            (budget, "", "", ""),
            (budget.skill.get(skill), f" of skill {skill!r}", skill, ""),
            (budget.backend.get(backend), f" of backend {backend!r}", "", backend),
        ],
        now,
    )


def every_ceiling(budget: Budget, now: datetime) -> tuple[Ceiling, ...]:
    """Every limit that there is."""
    scopes: list[tuple[Limit | None, str, str, str]] = [(budget, "", "", "")]
    scopes += [(limit, f" of skill {name!r}", name, "") for name, limit in budget.skill.items()]
    scopes += [(limit, f" of backend {name!r}", "", name) for name, limit in budget.backend.items()]
    return _ceilings(scopes, now)


def _ceilings(scopes: Iterable[tuple[Limit | None, str, str, str]], now: datetime) -> tuple[Ceiling, ...]:
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ceilings: list[Ceiling] = []
    for limit, whose, skill, backend in scopes:
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
                        skill=skill,
                        backend=backend,
                        today=not whose and when == "today's",
                    )
                )
    return tuple(ceilings)


def _dollars(nano: int) -> str:
    """For a sentence: cents, and more digits where there are none to tell."""
    dollars = nano / NANO
    return f"${dollars:.2f}" if dollars >= 0.1 or nano == 0 else f"${dollars:.6f}".rstrip("0")
