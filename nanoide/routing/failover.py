"""The router: a backend made of backends. Climbs down a ladder until a rung answers.

A rung that fails is left for the next one. After the first token that one goes on exactly where the
answer broke off, or begins anew and says so: two answers are never mixed. Each attempt is recorded
exactly once, however it ends.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from time import monotonic

from msgspec.structs import replace

from nanoide import tokens
from nanoide.backends import keys
from nanoide.backends.base import Backend, Health
from nanoide.core.chat import Attempt, Prompt, RoutedChunk, Rung
from nanoide.core.errors import BackendError, BudgetRefused, NanoideError, NoBackend, UnknownName
from nanoide.core.policy import Egress, narrowest
from nanoide.routing import ladder, resume
from nanoide.routing.attempt import Try
from nanoide.routing.breaker import Breaker, Leave, Patience
from nanoide.routing.budget import Purse, Spent
from nanoide.routing.climb import Climb, Step
from nanoide.routing.conditions import UNWATCHED, Machine, order
from nanoide.routing.cutter import Cutter
from nanoide.routing.egress import Consent, Customs, Gate, Held, Pass, Recorded
from nanoide.routing.hedge import FASTER, Allowance
from nanoide.routing.memory import Keeper, Memory
from nanoide.routing.modes import Mode, Standing, line, mode, standing
from nanoide.routing.race import Race, Runner
from nanoide.routing.redact import texts
from nanoide.routing.resume import Leg
from nanoide.routing.waiting import TELL_S, Bell, Hope, best, patience, told
from nanoide.settings import BackendTable, Route, Settings
from nanoide.wire import BackendLine, EgressLine


class Router:
    """Streams prompts through the ladders of `settings`, over `backends` by name."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        settings: Settings,
        *,
        audit: Callable[[EgressLine], Awaitable[None]],
        spent: Callable[[], Awaitable[int]],
        spent_since: Spent | None = None,
        clock: Callable[[], float] = monotonic,
        calendar: Callable[[], datetime] = lambda: datetime.now().astimezone(),
        cutter: Cutter | None = None,
        purse: Purse | None = None,
        memory: Memory | None = None,
        machine: Machine | None = None,
    ) -> None:
        """Take over the backends; `aclose` closes them.

        `audit` writes a line before anything leaves the machine. `spent` are the nano-dollars of today,
        `spent_since` those of any period, skill and backend (budgets other than the day's need it). `cutter` is
        the switch of the drill. `purse` is that of the router before, with what is reserved in it. `memory` is what
        breakers knew before, `machine` whose state ambient work is spared or ordered by.
        """
        self.memory = memory or Memory()
        self._machine = machine or Machine()
        self._bell = Bell()
        self._allowance = Allowance()
        self._settings = settings
        self._clock = clock
        tables = {table.name: table for table in settings.backends()}
        self.purse = purse or Purse(settings.budget, spent=spent, spent_since=spent_since, clock=calendar)
        secrets = [table.key for table in tables.values() if table.key is not None]

        async def held() -> tuple[str, ...]:
            return await asyncio.to_thread(keys.held, secrets)  # a keyring may take its time

        self.customs = customs = Customs(audit=audit, purse=self.purse, held=held, cutter=cutter)
        self._steps: dict[str, Step] = {}
        for name, backend in backends.items():
            table = tables.get(name)
            price = None if table is None else table.prices()
            gate = Gate(backend, customs, price=price, policies=_policies(settings, name))
            self._steps[name] = Step(gate, table, *self._breaker(backend, table))

    async def stream(
        self,
        prompt: Prompt,
        *,
        route: str = "",
        backend: str = "",
        record: Callable[[Attempt], Recorded],
        consent: Consent | None = None,
    ) -> AsyncGenerator[RoutedChunk, None]:
        """Answer `prompt`: a `Rung` before each attempt, `Text`s, at last `End`.

        `backend` makes a ladder of one. `record` is called exactly once for each attempt, before the next one
        begins (but for a hedge), cancelled ones included, and may give back when that stands in the ledger. With no
        `consent` nobody can be asked, and "ask" means no. While all who could answer rest, the turn waits for the
        first of them: a `Rung` says so, with no attempt.

        After a `Rung` all text before it is void, unless it `continues`; the last one names who answered.

        Raises PolicyRefused, BudgetRefused or NoBackend when nobody answered, BackendError when a stream fails
        after its first token and nobody goes on, or the answer was filtered, UnknownName for a route or backend
        that is none.
        """
        names, found = self._names(route, backend)
        prompt = replace(prompt, egress=narrowest(prompt.egress, found.egress))
        climb = await self._begin(names, prompt, alone=bool(backend))
        hedges = found.hedge and len(names) > 1 and prompt.priority not in UNWATCHED
        if hedges:
            self._allowance.turn()
        while climb.beneath():
            for name in climb.rungs():
                runner = await self._runner(name, prompt, climb, consent, record)
                if runner is None:
                    continue
                heat = self._race(runner, prompt, climb, record) if hedges else None
                chunks = runner.chunks if heat is None else heat.run()
                with runner.leave:
                    try:
                        async with aclosing(chunks):
                            async for chunk in chunks:
                                yield chunk
                    except BackendError as error:
                        self._fail(climb, runner.attempt if heat is None else heat.attempt, error)
                        continue
                attempt = runner.attempt if heat is None else heat.attempt
                if attempt.silent is None:
                    return
                climb.silence(attempt.rung, attempt.silent)
            async with aclosing(self._wait(prompt, climb)) as rungs:
                async for rung in rungs:
                    yield rung
        if climb.said or climb.silent is None:
            raise self._nobody(prompt, climb)
        tried, rung, end = climb.silent
        if tried < climb.tried or climb.passed:
            yield replace(rung, reason="nothing else answered", passed=tuple(climb.passed))
        yield end

    def lines(self) -> tuple[BackendLine, ...]:
        """Health of every rung, as far as it is known."""
        return tuple(self._line(step, step.gate.health()) for step in self._steps.values())

    async def probe(self) -> tuple[BackendLine, ...]:
        """Health of every rung, asked now, all at once."""
        steps = list(self._steps.values())
        healths = await asyncio.gather(*(step.gate.probe() for step in steps))
        for step, health in zip(steps, healths, strict=True):
            if step.breaker is not None and step.breaker.locked and health.state == "ready":
                step.breaker.forget()  # the key is taken again, or another one is
        return tuple(self._line(step, health) for step, health in zip(steps, healths, strict=True))

    def mode(self) -> tuple[Mode, str]:
        """The whole in two words, and why."""
        route = self._settings.route_for("") or Route()
        lines = {each.name: each for each in self.lines()}
        return mode([lines[name] for name in route.ladder if name in lines], tuple(lines.values()), route.egress)

    def standing(self) -> Standing:
        """The whole as `wire.HubStatus` has it: the mode, whose fault it is, and when that is tried again."""
        route = self._settings.route_for("") or Route()
        lines = {each.name: each for each in self.lines()}
        return standing([lines[name] for name in route.ladder if name in lines], tuple(lines.values()), route.egress)

    def forgive(self, name: str, because: str) -> None:
        """Close the backend's breaker when what opened it begins with `because`: it is known to be over."""
        step = self._steps.get(name)
        if step is not None and step.breaker is not None and step.breaker.reason.startswith(because):
            step.breaker.ended(Leave(probe=False), "ok", self._clock())

    async def aclose(self) -> None:
        """Close every backend."""
        await asyncio.gather(*(step.gate.aclose() for step in self._steps.values()))
        await self.memory.settle()

    def _breaker(self, backend: Backend, table: BackendTable | None) -> tuple[Breaker | None, Keeper | None]:
        if backend.tier != "model":
            return None, None

        def changed() -> None:
            self._bell.ring()
            if keeper is not None:
                keeper.changed()

        breaker = Breaker(Patience(crashes=backend.kind != "llama"), changed)
        keeper = None if table is None else Keeper(table, breaker, self.memory, self._clock)
        return breaker, keeper

    def _names(self, route: str, backend: str) -> tuple[tuple[str, ...], Route]:
        found = self._settings.route_for(route)
        if found is None:
            raise UnknownName.among("route", route, {*self._settings.route, "default"})
        if backend and backend not in self._steps:
            raise UnknownName.among("backend", backend, self._steps)
        return ((backend,) if backend else found.ladder), found

    async def _begin(self, names: Sequence[str], prompt: Prompt, *, alone: bool) -> Climb:
        """The ladder in the order in which it is climbed; a rung that was named `alone` is asked as things are."""
        steps = [self._steps[name] for name in names if name in self._steps]
        for step in steps:
            if step.keeper is not None and step.breaker is not None and step.breaker.locked:
                await step.keeper.look()
        if alone or prompt.priority not in UNWATCHED:
            return Climb(names)
        conditions = await self._machine.conditions()
        ordered, why = order([step.place for step in steps], prompt.priority, conditions)
        return Climb((*ordered, *(name for name in names if name not in self._steps)), why, conditions)

    async def _runner(
        self,
        name: str,
        prompt: Prompt,
        climb: Climb,
        consent: Consent | None,
        record: Callable[[Attempt], Recorded],
    ) -> Runner | None:
        """An attempt on the rung, about to begin; None when it is passed over."""
        step = self._steps.get(name)
        if step is None:
            climb.pass_over(name, "could not be set up", hint="see nanoide doctor")
            return None
        leg = await self._leg(step, prompt, climb)
        why = self._why_not(step, leg.prompt, climb)
        if why is not None:
            climb.pass_over(name, *why)
            return None
        leave = await step.gate.clear(leg.prompt, consent)
        if isinstance(leave, Held):
            climb.pass_over(name, leave.why, leave.kind, leave.hint)
            return None
        permit = None if step.breaker is None else step.breaker.admit(self._clock())
        if step.breaker is not None and permit is None:  # it opened while the person was asked
            leave.give_back()
            climb.pass_over(name, step.breaker.refusal(self._clock()), "rests")
            return None
        return self._start(step, climb.begin(step, leg), leave, permit, record, leg)

    def _start(
        self,
        step: Step,
        rung: Rung,
        leave: Pass,
        permit: Leave | None,
        record: Callable[[Attempt], Recorded],
        leg: Leg,
    ) -> Runner:
        noted = leave.recording(step.noting(record))
        attempt = Try(step.gate, rung, step.limits, noted, self._clock, step.breaker, permit, leg.seam())
        return Runner(attempt, leave)

    def _race(self, first: Runner, prompt: Prompt, climb: Climb, record: Callable[[Attempt], Recorded]) -> Race | None:
        """The attempt, and how a second one begins beside it; None when there is nothing to hedge by."""
        name = first.attempt.rung.backend
        patience = self._steps[name].latency.p95
        if patience is None or climb.said or first.attempt.rung.tier != "model":
            return None
        why = f"{FASTER}{name} gave no token for {patience:.1f} s"

        async def second() -> Runner | None:
            for other in climb.beneath():
                step = self._steps.get(other)
                if step is None or step.breaker is None or step.breaker.state(self._clock()) != "closed":
                    continue
                if self._why_not(step, prompt, climb) is not None:
                    continue
                try:
                    leave = await step.gate.clear(prompt, None)  # who would have to be asked is not worth it
                except BudgetRefused:
                    continue
                if isinstance(leave, Held):
                    continue
                permit = None if not first.pending or not self._allowance.take() else step.breaker.admit(self._clock())
                if permit is None:
                    leave.give_back()
                    return None
                climb.take(other)
                leg = Leg(prompt)
                return self._start(step, climb.begin(step, leg, why), leave, permit, record, leg)
            return None

        return Race(first, patience, second, lambda attempt, error: self._fail(climb, attempt, error))

    def _fail(self, climb: Climb, attempt: Try, error: BackendError) -> None:
        window = self._steps[attempt.rung.backend].window
        if error.outcome == "context" and window is not None:
            climb.overflown = max(climb.overflown or 0, window)
        climb.fail(attempt, error)

    async def _wait(self, prompt: Prompt, climb: Climb) -> AsyncGenerator[Rung, None]:
        """Nobody answered: while all who could are only resting, wait for the first of them, and say so.

        Then the climb has somebody beneath again. It has nobody when nobody recovers in time.
        """
        if climb.silent is not None and not climb.said:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        while hopes := self._hopes(prompt, climb):
            if climb.gave_up_at is None:
                climb.gave_up_at = began + patience(prompt.priority, min(each.total for each in hopes))
            left = climb.gave_up_at - loop.time()
            hope = best(hopes, left)
            if hope is None:
                return
            if not hope.refusal:
                waited = loop.time() - began
                again = [each.name for each in hopes if not each.refusal]
                climb.look_again(again, f"waited {waited:.0f} s for it" if waited >= 1 else "")
                return
            gate = self._steps[hope.name].gate
            yield Rung(hope.name, gate.where, gate.tier, told(hope), continues=bool(climb.said))
            await self._bell.wait(max(0.01, min(TELL_S, left, hope.rest or TELL_S)))

    def _hopes(self, prompt: Prompt, climb: Climb) -> list[Hope]:
        """The rungs that could answer, were it not for their breakers."""
        now = self._clock()
        hopes: list[Hope] = []
        for name in climb.names:
            step = self._steps.get(name)
            if step is None or step.breaker is None or step.breaker.locked or not climb.may_wait_for(name):
                continue
            why = self._why_not(step, prompt, climb)
            if why is None or why[1] == "rests":
                breaker = step.breaker
                hopes.append(Hope(name, breaker.rest(now), breaker.refusal(now), breaker.reason, step.limits.total))
        return hopes

    def _nobody(self, prompt: Prompt, climb: Climb) -> NanoideError:
        error = climb.nobody()
        if isinstance(error, NoBackend):
            error.retry_after = min((each.rest for each in self._hopes(prompt, climb)), default=None)
        return error

    async def _leg(self, step: Step, prompt: Prompt, climb: Climb) -> Leg:
        """What the rung is asked: the prompt, or to go on with what stands of the answer."""
        if not climb.said or climb.anew or not await step.gate.intact(prompt, climb.said):
            return Leg(prompt)
        return resume.leg(prompt, climb.said, raw=step.gate.resumes(prompt))

    def _why_not(self, step: Step, prompt: Prompt, climb: Climb) -> tuple[str, str, str] | None:
        """Why the rung is passed over, of which kind that is, and what to do about it; None when it may be tried."""
        if barred := climb.bars(step.gate):
            return barred, "", ""
        candidate = step.candidate(prompt, self._clock(), climb.conditions)
        count = None if candidate.window is None else sum(tokens.count(text) for text in texts(prompt))
        kept = "" if candidate.objection else ladder.kept_here(candidate, prompt.egress)
        if kept:  # told before its health: a rung that may not be asked is no broken rung
            return kept, "policy", ""
        return ladder.obstacle(
            candidate, models=climb.models, tokens=count, max_output=prompt.max_output, overflown=climb.overflown
        )

    def _line(self, step: Step, health: Health) -> BackendLine:
        return line(step.gate, health, step.model, step.breaker, self._clock())


def _policies(settings: Settings, name: str) -> frozenset[Egress]:
    """Of every route that leads to the backend; one that none leads to can be asked by name, under the default."""
    routes = [settings.route_for(route) or Route() for route in {"", *settings.route}]
    policies: set[Egress] = {route.egress for route in routes if name in route.ladder}
    return frozenset(policies or {(settings.route_for("") or Route()).egress})
