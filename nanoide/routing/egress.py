"""The one way out of the machine: policy → redact → budget → audit → send.

The router holds gates, never backends. A gate gives a `Pass` for one prompt, and only the gate that
gave it, once, sends what the pass holds: the redacted prompt, after the audit line is written.
For a backend on this device the way is short: there is nothing to decide.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType

from msgspec.structs import replace

from nanoide import tokens
from nanoide.backends.base import Backend, Health
from nanoide.core.chat import Chunk, Prompt
from nanoide.core.errors import BudgetRefused, PolicyRefused
from nanoide.core.events import ConsentChoice
from nanoide.core.policy import Egress, Tier, Where, decide
from nanoide.core.usage import Price, Usage, cost
from nanoide.core.value import Value
from nanoide.routing.budget import Purse, Reservation
from nanoide.routing.cutter import Cutter
from nanoide.routing.redact import Redactor, size, texts
from nanoide.settings import Budget
from nanoide.wire import EgressLine


class Departure(Value, frozen=True):
    """What would leave this machine, for a person to agree to."""

    backend: str
    host: str
    where: Where
    what: str
    """ "staged diff and 2 files"."""
    tokens: int
    """Estimated."""
    hidden: tuple[str, ...]
    """What was redacted, a phrase each."""
    cost_nano: int | None
    """Estimated upper bound; None when unpriced."""


Consent = Callable[[Departure], Awaitable[ConsentChoice]]
"""Asks the person; "stay" means no."""


class Held(Value, frozen=True):
    """The prompt stays here: this rung is passed over."""

    why: str
    kind: str
    """policy or budget."""
    hint: str = ""


class Customs:
    """What all gates share: the audit, the purse, and the keys that must not leave."""

    def __init__(
        self,
        *,
        audit: Callable[[EgressLine], Awaitable[None]],
        purse: Purse,
        budget: Budget,
        held: Callable[[], Awaitable[Iterable[str]]],
        cutter: Cutter | None = None,
    ) -> None:
        self.audit = audit
        self.purse = purse
        self.budget = budget
        self.cutter = cutter or Cutter()
        self._held = held
        self._redactor: Redactor | None = None

    async def redactor(self) -> Redactor:
        """Knows the keys that we hold; they are looked up once."""
        if self._redactor is None:
            self._redactor = Redactor(await self._held())
        return self._redactor


class Pass:
    """Leave for one prompt to go to one backend. Leaving the `with` block gives back what was reserved."""

    def __init__(
        self, gate: "Gate", prompt: Prompt, hidden: tuple[str, ...] = (), reservation: Reservation | None = None
    ) -> None:
        self.gate = gate
        self.prompt = prompt
        self.hidden = hidden
        self.used = False
        self._reservation = reservation

    def __enter__(self) -> "Pass":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reservation is not None:
            self.gate.customs.purse.release(self._reservation)


class Gate:
    """One backend, and the only way to it."""

    def __init__(self, backend: Backend, customs: Customs, *, price: Price | None, policies: frozenset[Egress]) -> None:
        self.name = backend.name
        self.kind = backend.kind
        self.where: Where = backend.where
        self.tier: Tier = backend.tier
        self.customs = customs
        self.price = price
        self._policies = policies
        """Of the routes that lead here."""
        self._backend = backend

    def objection(self, prompt: Prompt) -> str:
        """The backend's own; asking it sends nothing."""
        return self._backend.objection(prompt)

    def health(self) -> Health:
        """As far as the backend knows."""
        health = self._backend.health()
        return _cut_off(health) if self.customs.cutter.is_cut(self.name) else health

    async def probe(self) -> Health:
        """Ask the backend how it is; one that only local-only routes lead to is not asked."""
        if all(decide(policy, self.where) == "refuse" for policy in self._policies):
            return replace(self._backend.health(), reason="not asked: local-only")
        if self.customs.cutter.is_cut(self.name):
            return _cut_off(self._backend.health())
        return await self._backend.probe()

    async def aclose(self) -> None:
        """Close the backend."""
        await self._backend.aclose()

    async def clear(self, prompt: Prompt, consent: Consent | None) -> Pass | Held:
        """Policy, redaction, budget. Raises BudgetRefused when the budget says stop."""
        if self.where == "device":
            return Pass(self, prompt)
        decision = decide(prompt.egress, self.where)
        if decision == "refuse":
            return Held("local-only keeps this here", "policy", hint='allow it with egress = "ask" on the route')
        clean, hidden = (await self.customs.redactor()).prompt(prompt)
        count = sum(tokens.count(text) for text in texts(clean))
        bound = None if self.price is None else cost(Usage(input=count, output=clean.max_output), self.price)
        reservation = Reservation(skill=prompt.skill, backend=self.name, nano=bound or 0)
        breach = await self.customs.purse.reserve(reservation)
        if breach:
            match self.customs.budget.on_breach:
                case "stop":
                    raise BudgetRefused(f"{self.name}: {breach}", hint="raise it in config.toml, or wait")
                case "local":
                    return Held(breach, "budget", hint="raise it in config.toml, or wait")
                case "ask":
                    decision = "ask"
        departure = Departure(
            backend=self.name,
            host=self._backend.host,
            where=self.where,
            what=f"{what_leaves(prompt)} ({breach})" if breach else what_leaves(prompt),
            tokens=count,
            hidden=hidden,
            cost_nano=bound,
        )
        passed = Pass(self, clean, hidden, reservation)
        if decision == "ask":
            try:
                held = await _ask(departure, consent)
            except BaseException:
                self.customs.purse.release(reservation)
                raise
            if held is not None:
                self.customs.purse.release(reservation)
                return held
        if breach:
            await self.customs.purse.reserve(reservation, force=True)
        return passed

    async def open(self, leave: Pass) -> AsyncIterator[Chunk]:
        """Write the audit line, then send. Raises PolicyRefused for a pass that is not from here or was used."""
        if leave.gate is not self or leave.used:
            raise PolicyRefused(f"{self.name}: nothing leaves without a pass of its own")
        leave.used = True
        self.customs.cutter.check(self.name)  # before the audit: what is cut off gets nothing
        if self.where != "device":
            await self.customs.audit(
                EgressLine(
                    at=datetime.now(UTC).isoformat(),
                    backend=self.name,
                    host=self._backend.host,
                    where=self.where,
                    session=leave.prompt.session,
                    skill=leave.prompt.skill,
                    bytes=size(leave.prompt),
                    hidden=leave.hidden,
                )
            )
        return self.customs.cutter.through(self.name, self._backend.stream(leave.prompt))


def _cut_off(health: Health) -> Health:
    return health if health.state == "off" else replace(health, state="down", reason="cut off by a drill")


async def _ask(departure: Departure, consent: Consent | None) -> Held | None:
    """None when it may go."""
    if consent is None:
        return Held(
            "would leave this machine, and nobody can be asked",
            "policy",
            hint='set egress = "remote" on the route to allow it, or ask where a person can answer',
        )
    match await consent(departure):
        case "stay":
            return Held("you chose to stay on this machine", "policy")
        case "once" | "session" | "always":
            return None


def what_leaves(prompt: Prompt) -> str:
    """The prompt in a few words, for the person to decide on."""
    sources = prompt.reflex.context.sources if prompt.reflex is not None else ()
    labels = list(dict.fromkeys(source.label for source in sources if source.label))
    if labels:
        more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
        return ", ".join(labels[:2]) + more
    if prompt.fill is not None:
        return f"code around the cursor in {prompt.fill.path or 'a file'}"
    count = len(prompt.messages)
    return "the question" if count <= 1 else f"a conversation of {count} messages"
