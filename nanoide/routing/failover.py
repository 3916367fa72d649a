"""The router: a backend made of backends. Climbs down a ladder until a rung answers.

A rung that fails is left for the next one. After the first token that one goes on exactly where the
answer broke off, or begins anew and says so: two answers are never mixed. Each attempt is recorded
exactly once, however it ends.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from time import monotonic

from msgspec.structs import replace

from nanoide import tokens
from nanoide.backends import keys
from nanoide.backends.base import Backend, Health
from nanoide.core.chat import Attempt, Prompt, RoutedChunk
from nanoide.core.errors import BackendError, UnknownName
from nanoide.core.policy import Egress, narrowest
from nanoide.routing import ladder, resume
from nanoide.routing.attempt import Try
from nanoide.routing.breaker import Breaker, Leave, Patience
from nanoide.routing.budget import Purse, Spent
from nanoide.routing.climb import Climb, Step
from nanoide.routing.cutter import Cutter
from nanoide.routing.egress import Consent, Customs, Gate, Held, Recorded
from nanoide.routing.modes import Mode, Standing, line, mode, standing
from nanoide.routing.redact import texts
from nanoide.routing.resume import Leg
from nanoide.settings import Route, Settings
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
    ) -> None:
        """Take over the backends; `aclose` closes them.

        `audit` writes a line before anything leaves the machine. `spent` are the nano-dollars of today,
        `spent_since` those of any period, skill and backend (budgets other than the day's need it). `cutter` is
        the switch of the drill. `purse` is that of the router before, with what is reserved in it.
        """
        self._settings = settings
        self._clock = clock
        tables = {table.name: table for table in settings.backends()}
        self.purse = purse or Purse(settings.budget, spent=spent, spent_since=spent_since, clock=calendar)
        secrets = [table.key for table in tables.values() if table.key is not None]

        async def held() -> tuple[str, ...]:
            return await asyncio.to_thread(keys.held, secrets)  # a keyring may take its time

        customs = Customs(audit=audit, purse=self.purse, held=held, cutter=cutter)
        self._steps: dict[str, Step] = {}
        for name, backend in backends.items():
            table = tables.get(name)
            price = None if table is None else table.prices()
            gate = Gate(backend, customs, price=price, policies=_policies(settings, name))
            breaker = Breaker(Patience(crashes=backend.kind != "llama")) if backend.tier == "model" else None
            self._steps[name] = Step(gate, table, breaker)

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

        `backend` makes a ladder of one. `record` is called exactly once for each attempt, before the next
        one begins, cancelled ones included, and may give back when that stands in the ledger. With no `consent` nobody can be asked, and "ask" means no.
        After a `Rung` all text before it is void, unless it `continues`; the last one names who answered.

        Raises PolicyRefused, BudgetRefused or NoBackend when nobody answered, BackendError when a stream fails
        after its first token and nobody goes on, or the answer was filtered, UnknownName for a route or backend
        that is none.
        """
        names, policy = self._names(route, backend)
        prompt = replace(prompt, egress=narrowest(prompt.egress, policy))
        climb = Climb(names)
        for name in climb.rungs():
            step = self._steps.get(name)
            if step is None:
                climb.pass_over(name, "could not be set up", hint="see nanoide doctor")
                continue
            leg = await self._leg(step, prompt, climb)
            why = self._why_not(step, leg.prompt, climb)
            if why is not None:
                climb.pass_over(name, *why)
                continue
            leave = await step.gate.clear(leg.prompt, consent)
            if isinstance(leave, Held):
                climb.pass_over(name, leave.why, leave.kind, leave.hint)
                continue
            with leave:
                now = self._clock()
                permit = None if step.breaker is None else step.breaker.admit(now)
                if step.breaker is not None and permit is None:  # it opened while the person was asked
                    climb.pass_over(name, step.breaker.refusal(now))
                    continue
                rung = climb.begin(step.gate, leg)
                told = leave.recording(record)
                attempt = Try(step.gate, rung, step.limits, told, self._clock, step.breaker, permit, leg.seam())
                try:
                    async with aclosing(attempt.run(leave)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                except BackendError as error:
                    climb.fail(attempt, error)
                    continue
            if attempt.silent is None:
                return
            climb.silence(rung, attempt.silent)
        if climb.said or climb.silent is None:
            raise climb.nobody()
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

    def _names(self, route: str, backend: str) -> tuple[tuple[str, ...], Egress]:
        found = self._settings.route_for(route)
        if found is None:
            raise UnknownName.among("route", route, {*self._settings.route, "default"})
        if backend and backend not in self._steps:
            raise UnknownName.among("backend", backend, self._steps)
        return ((backend,) if backend else found.ladder), found.egress

    async def _leg(self, step: Step, prompt: Prompt, climb: Climb) -> Leg:
        """What the rung is asked: the prompt, or to go on with what stands of the answer."""
        if not climb.said or climb.anew or not await step.gate.intact(prompt, climb.said):
            return Leg(prompt)
        return resume.leg(prompt, climb.said, raw=step.gate.resumes(prompt))

    def _why_not(self, step: Step, prompt: Prompt, climb: Climb) -> tuple[str, str] | None:
        """Why the rung is passed over and of which kind that is; None when it may be tried."""
        if barred := climb.bars(step.gate):
            return barred, ""
        candidate = step.candidate(prompt, self._clock())
        count = None if candidate.window is None else sum(tokens.count(text) for text in texts(prompt))
        kept = "" if candidate.objection else ladder.kept_here(candidate, prompt.egress)
        if kept:  # told before its health: a rung that may not be asked is no broken rung
            return kept, "policy"
        why = ladder.why_not(candidate, models=climb.models, tokens=count, max_output=prompt.max_output)
        return (why, "") if why else None

    def _line(self, step: Step, health: Health) -> BackendLine:
        return line(step.gate, health, step.model, step.breaker, self._clock())


def _policies(settings: Settings, name: str) -> frozenset[Egress]:
    """Of every route that leads to the backend; one that none leads to can be asked by name, under the default."""
    routes = [settings.route_for(route) or Route() for route in {"", *settings.route}]
    policies: set[Egress] = {route.egress for route in routes if name in route.ladder}
    return frozenset(policies or {(settings.route_for("") or Route()).egress})
