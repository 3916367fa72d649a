"""The one way out of the machine: policy → redact → budget → audit → send.

The router holds gates, never backends. A gate gives a `Pass` for one prompt, and only the gate that
gave it, once, sends what the pass holds: the redacted prompt, after the audit line is written.
For a backend on this device the way is short: there is nothing to decide.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import monotonic
from types import TracebackType

import msgspec
from msgspec.structs import replace

from nanoide import tokens
from nanoide.backends.base import Backend, Call, Calls, Health
from nanoide.core.chat import Attempt, Chunk, Prompt
from nanoide.core.errors import BudgetRefused, PolicyRefused
from nanoide.core.events import ConsentChoice
from nanoide.core.policy import Egress, Tier, Where, decide
from nanoide.core.usage import Price, Usage, cost
from nanoide.core.value import Value
from nanoide.routing.budget import Purse, Reservation
from nanoide.routing.cutter import Cutter
from nanoide.routing.redact import Redactor, size, texts
from nanoide.routing.stays import Stays
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
    over: str = ""
    """The budget that stands against it, as a phrase: who agrees, agrees to that too. Empty when none does."""
    content: str = ""
    """Digest of the text that would leave."""

    @property
    def digest(self) -> str:
        """What a yes is bound to: another text, receiver or price is another question."""
        return sha256(msgspec.json.encode(self)).hexdigest()[:16]


Recorded = asyncio.Future[None] | None
"""What whoever records an attempt may give back: done when it stands in the ledger."""


class Held(Value, frozen=True):
    """The prompt stays here: this rung is passed over."""

    why: str
    kind: str
    """policy or budget."""
    hint: str = ""


Consent = Callable[[Departure], Awaitable[ConsentChoice | Held]]
"""Asks the person; "stay" means no, and so does the answer that the question was withdrawn."""

LOOK_AGAIN = 60.0
"""Seconds after which the keys that we hold are read anew: one may have been replaced."""

LARGE = 50_000
"""Characters from which on a prompt is looked through beside the event loop."""


class Customs:
    """What all gates share: the audit, the purse, and the keys that must not leave."""

    def __init__(
        self,
        *,
        audit: Callable[[EgressLine], Awaitable[None]],
        purse: Purse,
        held: Callable[[], Awaitable[Iterable[str]]],
        cutter: Cutter | None = None,
        stays: Callable[[Sequence[str]], Awaitable[str]] | None = None,
    ) -> None:
        """`audit` writes a line, `held` are our keys, `stays` says why one of some files must not leave."""
        self.audit = audit
        self.purse = purse
        self.cutter = cutter or Cutter()
        self.stays = stays or Stays().why
        self.stale: Callable[[str], bool] = lambda _: False
        """Backends about which config.toml says something else by now: nothing goes there any more from here."""
        self._held = held
        self._redactor: Redactor | None = None
        self._looked = 0.0

    async def redactor(self) -> Redactor:
        """Knows the keys that we hold; they are looked up once a minute."""
        if self._redactor is None or monotonic() - self._looked > LOOK_AGAIN:
            self._looked = monotonic()
            self._redactor = Redactor(await self._held())
        return self._redactor

    async def examine(self, prompt: Prompt) -> tuple[Prompt, tuple[str, ...], int]:
        """The prompt as it may leave, what was hidden, and how many tokens it has, estimated."""
        redactor = await self.redactor()
        if sum(map(len, texts(prompt))) < LARGE:
            return _examine(redactor, prompt)
        return await asyncio.to_thread(_examine, redactor, prompt)


def _examine(redactor: Redactor, prompt: Prompt) -> tuple[Prompt, tuple[str, ...], int]:
    clean, hidden = redactor.prompt(prompt)
    return clean, hidden, sum(tokens.count(text) for text in texts(clean))


class Pass:
    """Leave for one prompt to go to one backend.

    When the attempt is recorded, its cost takes the place of what was reserved. Leaving the `with` block
    without an attempt gives that back.
    """

    def __init__(
        self, gate: "Gate", prompt: Prompt, hidden: tuple[str, ...] = (), reservation: Reservation | None = None
    ) -> None:
        self.gate = gate
        self.prompt = prompt
        self.hidden = hidden
        self.used = False
        self.call: Call | None = None
        """How it was sent; None before, and for a backend that knows nothing more of it than its stream."""
        self._reservation = reservation

    def __enter__(self) -> "Pass":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    def told(self) -> Usage | None:
        """What the prompt used, as far as the server has told it; None when it has not."""
        return None if self.call is None else self.call.told()

    def give_back(self) -> None:
        """What was reserved is free again, unless an attempt has cost it."""
        if self._reservation is not None:
            self.gate.customs.purse.release(self._reservation)

    def recording(self, record: Callable[[Attempt], Recorded]) -> Callable[[Attempt], None]:
        """`record`, and the purse told in the same breath: between the two nobody may count."""

        def recorded(attempt: Attempt) -> None:
            stored = record(attempt)
            if self._reservation is not None:
                self.gate.customs.purse.settle(self._reservation, attempt, stored)

        return recorded


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

    def resumes(self, prompt: Prompt) -> bool:
        """The backend's own: whether it goes on exactly behind what stands of an answer."""
        return self._backend.resumes(prompt)

    async def intact(self, prompt: Prompt, said: str) -> bool:
        """True when `said`, an answer to `prompt` so far, would leave for the backend with nothing hidden in it."""
        if self.where == "device":
            return True
        fill = None if prompt.fill is None else replace(prompt.fill, prefix=prompt.fill.prefix + said)
        clean, _ = (await self.customs.redactor()).prompt(replace(prompt, partial=said, fill=fill))
        return clean.partial == said and (clean.fill is None or clean.fill.prefix.endswith(said))

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
        """Policy, redaction, budget. Raises BudgetRefused when the budget, or a cap of the session, says stop."""
        if self.where == "device":
            return await self._clear_here(prompt)
        decision = decide(prompt.egress, self.where)
        if decision == "refuse":
            return Held("local-only keeps this here", "policy", hint='allow it with egress = "ask" on the route')
        if self.customs.stale(self.name):
            return Held("config.toml changed meanwhile", "policy", hint="ask again")
        if prompt.files and (why := await self.customs.stays(prompt.files)):
            return Held(why, "policy", hint="ask a backend of this machine, or leave the file out")
        clean, hidden, count = await self.customs.examine(prompt)
        bound = None if self.price is None else cost(Usage(input=count, output=clean.max_output), self.price)
        reservation = Reservation(
            skill=prompt.skill, backend=self.name, nano=bound or 0, session=prompt.session, tokens=count
        )
        breach = await self.customs.purse.reserve(reservation)
        if breach:
            match self.customs.purse.budget.on_breach:
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
            what=what_leaves(prompt),
            tokens=count,
            hidden=hidden,
            cost_nano=bound,
            over=breach,
        )
        passed = Pass(self, clean, hidden, reservation)
        if decision == "ask":
            departure = replace(departure, content=sha256("\0".join(texts(clean)).encode(errors="replace")).hexdigest())
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

    async def _clear_here(self, prompt: Prompt) -> Pass:
        """Nothing leaves: nothing is hidden, asked or paid. Only the session's caps hold, for models."""
        purse = self.customs.purse
        if self.tier == "reflex" or not (prompt.session and purse.caps):
            return Pass(self, prompt)
        count = sum(tokens.count(text) for text in texts(prompt))
        reservation = Reservation(prompt.skill, self.name, 0, session=prompt.session, tokens=count, free=True)
        await purse.reserve(reservation)
        return Pass(self, prompt, reservation=reservation)

    async def open(self, leave: Pass) -> AsyncIterator[Chunk]:
        """Write the audit line, then send. Raises PolicyRefused for a pass that is not from here or was used."""
        if leave.gate is not self or leave.used:
            raise PolicyRefused(f"{self.name}: nothing leaves without a pass of its own")
        leave.used = True
        self.customs.cutter.check(self.name)  # before the audit: what is cut off gets nothing
        if not isinstance(self._backend, Calls):
            await self._audit(leave, self._backend.host)
            return self.customs.cutter.through(self.name, self._backend.stream(leave.prompt))
        leave.call = call = self._backend.call(leave.prompt)
        try:
            await self._audit(leave, call.host)
            self.customs.cutter.check(self.name)  # it may have been cut off while that was written
        except BaseException:
            call.drop()
            raise
        return self.customs.cutter.through(self.name, call.stream())

    async def _audit(self, leave: Pass, host: str) -> None:
        """Write down what is about to leave for `host`; on this device nothing does."""
        if self.where == "device":
            return
        await self.customs.audit(
            EgressLine(
                at=datetime.now(UTC).isoformat(),
                backend=self.name,
                host=host,
                where=self.where,
                session=leave.prompt.session,
                skill=leave.prompt.skill,
                bytes=size(leave.prompt),
                hidden=leave.hidden,
            )
        )


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
        case withdrawn:
            return withdrawn


def what_leaves(prompt: Prompt) -> str:
    """The prompt in a few words, for the person to decide on."""
    sources = prompt.reflex.context.sources if prompt.reflex is not None else ()
    labels = [source.label for source in sources if source.label] or [Path(file).name for file in prompt.files]
    labels = list(dict.fromkeys(labels))
    if labels:
        more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
        said = " and the answer so far" if prompt.partial else ""
        return ", ".join(labels[:2]) + more + said
    if prompt.fill is not None:
        return f"code around the cursor in {prompt.fill.path or 'a file'}"
    count = len(prompt.messages)
    return "the question" if count <= 1 else f"a conversation of {count} messages"
