"""A pool: one backend on several servers that answer alike. Least busy first; a session stays where its prefix is.

A replica that fails leaves the pool, and the attempt fails with it: going on is the router's business, and when it
asks the pool again another replica answers. After its rest one cheap request finds out whether it is back; when all
are out, the next prompt is that request.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from time import monotonic

from msgspec.structs import replace

from nanoide.backends.base import Health
from nanoide.backends.remote import HttpBackend
from nanoide.core.chat import Chunk, End, Prompt
from nanoide.core.errors import BackendError, Outcome
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Usage
from nanoide.settings import BackendTable, Timeout

_BUSIER = 2
"""A session leaves its replica when that one answers over so many prompts more than the least busy one."""

_HOMES = 4_096
"""Sessions whose replica is remembered; the ones asked longest ago are forgotten first."""

_REST = 5.0
"""Seconds of a replica's first rest; twice as long after each try that fails."""

_LONGEST = 60.0
"""No rest of our own is longer."""

_TOLD = 900.0
"""At most so long is a replica's own Retry-After believed."""

_AT_ONCE: frozenset[Outcome] = frozenset({"connect_error", "timeout", "overloaded", "not_found"})
"""Asking this replica again at once cannot help."""

_TWICE: frozenset[Outcome] = frozenset({"server_error", "cut", "protocol", "crashed"})
"""May happen once; the second in a row is one too many."""

_GONE = (_AT_ONCE | _TWICE) - {"not_found"}
"""What says that nobody is back. A server need not list its models to answer."""

_GIVEN_UP = 0.9
"""Whoever stops waiting after this share of a limit was kept waiting: the limits that the router holds end in a
cancel, as a person's does."""


class _Replica:
    """One server, and how it stands in the pool."""

    def __init__(self, backend: HttpBackend) -> None:
        self.backend = backend
        self.running = 0
        self.last = 0
        """The number of the last prompt that it was given."""
        self.failures = 0
        """In a row."""
        self.rests = 0
        """In a row."""
        self.until: float | None = None
        """End of its rest; None while it is in the pool."""
        self.trying = False
        """One request finds out whether it is back."""
        self.reason = ""
        """Why it left, as a phrase."""

    @property
    def out(self) -> bool:
        return self.until is not None

    def leave(self, reason: str, now: float, told: float | None) -> None:
        """Out of the pool, until `told` seconds are over or its own rest is."""
        rest = min(_LONGEST, _REST * 2.0 ** min(self.rests, 16)) if told is None else min(max(told, 0.1), _TOLD)
        self.rests += 1
        self.until, self.reason = now + rest, reason

    def back(self) -> None:
        """In the pool again, on probation: the rests are forgotten with the first answer."""
        self.until, self.reason, self.failures = None, "", 1

    def well(self) -> None:
        """It has answered."""
        self.until, self.reason, self.failures, self.rests = None, "", 0, 0


class Pool:
    """Several servers as one backend."""

    def __init__(
        self, table: BackendTable, replicas: Sequence[HttpBackend], *, clock: Callable[[], float] = monotonic
    ) -> None:
        """Take over the replicas, one for each address of `table`; `aclose` closes them."""
        self._clock = clock
        self.name = table.name
        self.kind = replicas[0].kind
        self.where: Where = table.locality
        self.tier: Tier = "model"
        self.host = ", ".join(each.host for each in replicas if each.host)
        self._model = table.model
        self._limits: Timeout = table.timeout
        self._replicas = [_Replica(each) for each in replicas]
        self.homes: OrderedDict[str, _Replica] = OrderedDict()
        """By session: who answered it last; the one asked longest ago is first."""
        self.homes_kept = _HOMES
        self._given = 0
        """Prompts so far."""
        self.tries: set[asyncio.Task[None]] = set()
        """Requests under way that find out who is back."""

    def objection(self, prompt: Prompt) -> str:
        """Empty when one replica has none."""
        objections = [each.backend.objection(prompt) for each in self._replicas]
        return objections[0] if all(objections) else ""

    def resumes(self, prompt: Prompt) -> bool:
        """True when every replica does: nobody knows yet which one it will be."""
        return all(each.backend.resumes(prompt) for each in self._replicas)

    def call(self, prompt: Prompt) -> "_Call":
        """Choose the replica, and keep a place there. Raises BackendError at once when all are out."""
        return _Call(self._choose(prompt), prompt, self._ask)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Chunk, None]:
        """Ask one replica, and give on what comes. Raises BackendError at once when all are out."""
        async with aclosing(self.call(prompt).stream()) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _ask(self, call: "_Call") -> AsyncGenerator[Chunk, None]:
        replica, trial = call.replica, call.trial
        limit, waits = self._limits.first_token, self._clock()
        try:
            async with aclosing(call.inner.stream()) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, End) and (trial or not replica.out):
                        replica.well()  # an answer from before its rest does not end the rest
                    if isinstance(chunk, End) and chunk.rest_s is not None:
                        replica.leave("its allowance is used up", self._clock(), chunk.rest_s)
                        rest = None if any(not each.out for each in self._replicas) else self._soonest(self._clock())
                        chunk = replace(chunk, rest_s=rest)
                    yield chunk
                    limit, waits = self._limits.idle, self._clock()
        except BackendError as error:
            self._failed(replica, error, trial=trial)
            raise
        except asyncio.CancelledError:
            waited = self._clock() - waits
            if waited >= limit * _GIVEN_UP:
                self._strike(replica, "timeout", f"silent for {waited:.1f} s", None, trial=trial)
            raise
        finally:
            call.drop()

    def health(self) -> Health:
        """Ready while one replica is in the pool; says who is not, and why."""
        out = [each for each in self._replicas if each.out]
        count = len(self._replicas)
        reason = ""
        if out:
            reason = f"{count - len(out)} of {count} replicas; " + "; ".join(map(_told, out))
        return Health(
            state="down" if len(out) == count else "ready",
            reason=reason,
            model=self._model,
            running=sum(each.running for each in self._replicas),
        )

    async def probe(self) -> Health:
        """Ask every replica how it is, all at once; who answers is in the pool."""
        await asyncio.gather(*(self._try(each) for each in self._replicas if not each.trying))
        return self.health()

    async def aclose(self) -> None:
        """Close every replica."""
        for task in self.tries:
            task.cancel()
        await asyncio.gather(*self.tries, return_exceptions=True)
        await asyncio.gather(*(each.backend.aclose() for each in self._replicas))

    def _choose(self, prompt: Prompt) -> _Replica:
        """Who answers `prompt`. Raises BackendError when all are out."""
        now = self._clock()
        able = [each for each in self._replicas if not each.backend.objection(prompt)] or self._replicas
        rested = [each for each in able if each.until is not None and each.until <= now and not each.trying]
        ready = [each for each in able if not each.out]
        if ready:
            for each in rested:
                self._try_aside(each)
            chosen = self._at_home(prompt, ready) or min(ready, key=lambda each: (each.running, each.last))
        elif rested:
            chosen = min(rested, key=lambda each: each.until or 0.0)
            chosen.trying = True
        else:
            raise self._none(now)
        self._given += 1
        chosen.last = self._given
        if prompt.session:
            self.homes[prompt.session] = chosen
            self.homes.move_to_end(prompt.session)
            if len(self.homes) > self.homes_kept:
                self.homes.popitem(last=False)
        return chosen

    def _at_home(self, prompt: Prompt, ready: Sequence[_Replica]) -> _Replica | None:
        """The replica that knows the beginning of the session, unless it is gone or clearly busier."""
        home = self.homes.get(prompt.session)
        if home is None or home not in ready:
            return None
        return home if home.running <= min(each.running for each in ready) + _BUSIER else None

    def _failed(self, replica: _Replica, error: BackendError, *, trial: bool) -> None:
        """Judge the replica, and have the error say which it was and whether the others can be asked."""
        address = replica.backend.address
        if address not in error.message:
            error.message = f"{address}: {error.message}"
        self._strike(replica, error.outcome, error.message, error.retry_after, trial=trial)
        if replica.out:
            error.part = any(not each.out for each in self._replicas)
            error.retry_after = None if error.part else self._soonest(self._clock())

    def _strike(self, replica: _Replica, outcome: Outcome, reason: str, told: float | None, *, trial: bool) -> None:
        """Count what happened; the replica leaves when it was too much."""
        if outcome not in _AT_ONCE | _TWICE:
            # It is there and answers; the prompt, the key or the account is what it does not like.
            if trial or not replica.out:
                replica.well()
            return
        if replica.out and not trial:
            return  # it left while this prompt was under way: that is one failure, not two
        replica.failures += 1
        if outcome in _AT_ONCE or replica.failures >= 2 or trial:
            replica.leave(reason, self._clock(), told)

    def _try_aside(self, replica: _Replica) -> None:
        """Find out beside the prompts whether the replica is back: none of them has to be the one that fails."""
        replica.trying = True
        task = asyncio.create_task(self._try(replica))
        self.tries.add(task)
        task.add_done_callback(self.tries.discard)

    async def _try(self, replica: _Replica) -> None:
        replica.trying = True
        try:
            error = await replica.backend.reach()
        finally:
            replica.trying = False
        if error is not None and error.outcome in _GONE:
            replica.leave(error.message, self._clock(), error.retry_after)
        elif replica.out:
            replica.back()

    def _none(self, now: float) -> BackendError:
        rest = self._soonest(now)
        again = f"the next is tried in {rest:.0f} s" if rest >= 1 else "one is being tried"
        count = len(self._replicas)
        return BackendError(
            f"all {count} replicas are out, {again}: {'; '.join(map(_told, self._replicas))}",
            outcome="connect_error",
            retry_after=rest,
        )

    def _soonest(self, now: float) -> float:
        """Seconds until the first replica may be tried."""
        return max(0.1, min((each.until or now) - now for each in self._replicas))


class _Call:
    """One prompt to the replica that was chosen for it: see `base.Call`."""

    def __init__(
        self, replica: _Replica, prompt: Prompt, ask: Callable[["_Call"], AsyncGenerator[Chunk, None]]
    ) -> None:
        self.replica = replica
        self.trial = replica.out
        """It finds out whether the replica is back."""
        self.inner = replica.backend.call(prompt)
        self.host = self.inner.host
        self._ask = ask
        self._held = True
        replica.running += 1

    def stream(self) -> AsyncGenerator[Chunk, None]:
        """Ask it, and give on what comes."""
        return self._ask(self)

    def told(self) -> Usage | None:
        """The replica's own."""
        return self.inner.told()

    def drop(self) -> None:
        """Free the place that was kept; once."""
        if self._held:
            self._held = False
            self.replica.running -= 1
            if self.trial:
                self.replica.trying = False


def _told(replica: _Replica) -> str:
    address = replica.backend.address
    return replica.reason if address in replica.reason else f"{address}: {replica.reason}"
