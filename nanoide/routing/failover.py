"""The router: a backend made of backends. Climbs down a ladder until a rung answers.

Before the first token a rung that fails is left for the next one; after it the failure is told, for
two answers must never be mixed. Each attempt is recorded exactly once, however it ends.
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
from nanoide.core.chat import Attempt, End, Passed, Prompt, RoutedChunk, Rung
from nanoide.core.errors import BackendError, UnknownName
from nanoide.core.policy import Egress, narrowest
from nanoide.routing import ladder
from nanoide.routing.attempt import Try, phrase
from nanoide.routing.breaker import Breaker, Leave, Patience
from nanoide.routing.budget import Purse, Spent
from nanoide.routing.cutter import Cutter
from nanoide.routing.egress import Consent, Customs, Gate, Held
from nanoide.routing.ladder import Candidate, Trouble
from nanoide.routing.modes import Mode, Standing, line, mode, standing
from nanoide.routing.redact import texts
from nanoide.settings import BackendTable, Route, Settings
from nanoide.wire import BackendLine, EgressLine


class _Step:
    """One rung of any ladder, with what the router knows of it."""

    def __init__(self, gate: Gate, table: BackendTable | None, breaker: Breaker | None) -> None:
        self.gate = gate
        self.breaker = breaker
        """None for a reflex: one bad script says nothing about the others."""
        self.limits = ladder.limits(table)
        self.model = "" if table is None else table.model
        self.window = table.context if table is not None and table.kind in {"openai", "anthropic"} else None
        """llama minds its window itself: it knows how it cuts a prompt."""

    def candidate(self, prompt: Prompt, now: float) -> Candidate:
        return Candidate(
            name=self.gate.name,
            where=self.gate.where,
            tier=self.gate.tier,
            objection=self.gate.objection(prompt),
            refusal="" if self.breaker is None else self.breaker.refusal(now),
            window=self.window,
        )


class _Climb:
    """How far one turn has come on its ladder."""

    def __init__(self) -> None:
        self.troubles: list[Trouble] = []
        self.passed: list[Passed] = []
        self.models = 0
        self.tried = 0
        self.silent: tuple[int, Rung, End] | None = None
        """A reflex that had nothing to say, and the how-manieth try it was: the answer if nobody else has one."""

    def pass_over(self, name: str, why: str, kind: str = "", hint: str = "") -> None:
        self.passed.append(Passed(backend=name, reason=why))
        self.troubles.append(Trouble(backend=name, why=why, kind=kind, hint=hint))

    def begin(self, gate: Gate, *, first: bool) -> Rung:
        self.tried += 1
        self.models += gate.tier == "model"
        passed, self.passed = tuple(self.passed), []
        reason = ladder.because(self.troubles, first=first)
        return Rung(backend=gate.name, where=gate.where, tier=gate.tier, reason=reason, passed=passed)


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
    ) -> None:
        """Take over the backends; `aclose` closes them.

        `audit` writes a line before anything leaves the machine. `spent` are the nano-dollars of today,
        `spent_since` those of any period, skill and backend (budgets other than the day's need it). `cutter` is
        the switch of the drill.
        """
        self._settings = settings
        self._clock = clock
        tables = {table.name: table for table in settings.backends()}
        purse = Purse(settings.budget, spent=spent, spent_since=spent_since, clock=calendar)
        secrets = [table.key for table in tables.values() if table.key is not None]

        async def held() -> tuple[str, ...]:
            return await asyncio.to_thread(keys.held, secrets)  # a keyring may take its time

        customs = Customs(audit=audit, purse=purse, budget=settings.budget, held=held, cutter=cutter)
        self._steps: dict[str, _Step] = {}
        for name, backend in backends.items():
            table = tables.get(name)
            price = None if table is None else table.prices()
            gate = Gate(backend, customs, price=price, policies=_policies(settings, name))
            breaker = Breaker(Patience(crashes=backend.kind != "llama")) if backend.tier == "model" else None
            self._steps[name] = _Step(gate, table, breaker)

    async def stream(
        self,
        prompt: Prompt,
        *,
        route: str = "",
        backend: str = "",
        record: Callable[[Attempt], None],
        consent: Consent | None = None,
    ) -> AsyncGenerator[RoutedChunk, None]:
        """Answer `prompt`: a `Rung` before each attempt, `Text`s, at last `End`.

        `backend` makes a ladder of one. `record` is called exactly once for each attempt, before the next
        one begins, cancelled ones included. With no `consent` nobody can be asked, and "ask" means no.
        After a `Rung` all text before it is void; the last one names who answered.

        Raises PolicyRefused, BudgetRefused or NoBackend when nobody answered, BackendError when a stream fails
        after its first token or the answer was filtered, UnknownName for a route or backend that is none.
        """
        names, policy = self._names(route, backend)
        prompt = replace(prompt, egress=narrowest(prompt.egress, policy))
        climb = _Climb()
        for place, name in enumerate(names):
            step = self._steps.get(name)
            if step is None:
                climb.pass_over(name, "could not be set up", hint="see nanoide doctor")
                continue
            why = self._why_not(step, prompt, climb)
            if why is not None:
                climb.pass_over(name, *why)
                continue
            leave = await step.gate.clear(prompt, consent)
            if isinstance(leave, Held):
                climb.pass_over(name, leave.why, leave.kind, leave.hint)
                continue
            with leave:
                now = self._clock()
                permit = None if step.breaker is None else step.breaker.admit(now)
                if step.breaker is not None and permit is None:  # it opened while the person was asked
                    climb.pass_over(name, step.breaker.refusal(now))
                    continue
                rung = climb.begin(step.gate, first=place == 0)
                attempt = Try(step.gate, rung, step.limits, record, self._clock, step.breaker, permit)
                try:
                    async with aclosing(attempt.run(leave)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                except BackendError as error:
                    if attempt.spoke or error.outcome == "content_filter":
                        raise
                    climb.troubles.append(Trouble(name, phrase(error, name), error.outcome, error.hint))
                    continue
            if attempt.silent is None:
                return
            climb.silent = (climb.tried, rung, attempt.silent)
            climb.troubles.append(Trouble(name, "had nothing to say"))
        if climb.silent is None:
            raise ladder.nobody(climb.troubles)
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

    def _why_not(self, step: _Step, prompt: Prompt, climb: _Climb) -> tuple[str, str] | None:
        """Why the rung is passed over and of which kind that is; None when it may be tried."""
        candidate = step.candidate(prompt, self._clock())
        count = None if candidate.window is None else sum(tokens.count(text) for text in texts(prompt))
        kept = "" if candidate.objection else ladder.kept_here(candidate, prompt.egress)
        if kept:  # told before its health: a rung that may not be asked is no broken rung
            return kept, "policy"
        why = ladder.why_not(candidate, models=climb.models, tokens=count, max_output=prompt.max_output)
        return (why, "") if why else None

    def _line(self, step: _Step, health: Health) -> BackendLine:
        return line(step.gate, health, step.model, step.breaker, self._clock())


def _policies(settings: Settings, name: str) -> frozenset[Egress]:
    """Of every route that leads to the backend; one that none leads to can be asked by name, under the default."""
    routes = [settings.route_for(route) or Route() for route in {"", *settings.route}]
    policies: set[Egress] = {route.egress for route in routes if name in route.ladder}
    return frozenset(policies or {(settings.route_for("") or Route()).egress})
