"""One turn on its ladder: whom it can ask, how far it has come, and what stands of its answer."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from nanoide.core.chat import Attempt, End, Passed, Prompt, Rung
from nanoide.core.errors import BackendError, NanoideError
from nanoide.routing import ladder
from nanoide.routing.attempt import Try, phrase
from nanoide.routing.breaker import Breaker
from nanoide.routing.conditions import Conditions, Place, spared
from nanoide.routing.egress import Gate, Recorded
from nanoide.routing.hedge import FASTER
from nanoide.routing.ladder import Candidate, Trouble
from nanoide.routing.latency import Latency
from nanoide.routing.memory import Keeper
from nanoide.routing.resume import HOPS, Leg
from nanoide.settings import BackendTable


class Step:
    """One rung of any ladder, with what the router knows of it."""

    def __init__(
        self, gate: Gate, table: BackendTable | None, breaker: Breaker | None, keeper: Keeper | None = None
    ) -> None:
        self.gate = gate
        self.breaker = breaker
        """None for a reflex: one bad script says nothing about the others."""
        self.keeper = keeper
        """Minds the breaker over restarts; None where there is no breaker or no table."""
        self.latency = Latency()
        self.limits = ladder.limits(table)
        self.model = "" if table is None else table.model
        self.window = table.context if table is not None and table.kind in {"openai", "anthropic"} else None
        """llama minds its window itself: it knows how it cuts a prompt."""

    def noting(self, record: Callable[[Attempt], Recorded]) -> Callable[[Attempt], Recorded]:
        """`record`, and how long the first token took, or would have taken at least."""

        def noted(attempt: Attempt) -> Recorded:
            if attempt.ttft_ms is not None:
                self.latency.note(attempt.ttft_ms / 1000)
            elif attempt.outcome == "timeout" or attempt.reason.startswith(FASTER):
                self.latency.note(attempt.ms / 1000)
            return record(attempt)

        return noted

    @property
    def place(self) -> Place:
        """What its place on the ladder depends on."""
        sleeps = self.gate.kind == "llama" and self.gate.health().state == "asleep"
        return Place(self.gate.name, self.gate.where, self.gate.tier, self.gate.price, sleeps)

    def candidate(self, prompt: Prompt, now: float, conditions: Conditions) -> Candidate:
        """As it stands at this moment, for this prompt."""
        return Candidate(
            name=self.gate.name,
            where=self.gate.where,
            tier=self.gate.tier,
            objection=self.gate.objection(prompt),
            refusal="" if self.breaker is None else self.breaker.refusal(now),
            window=self.window,
            spared=spared(self.place, prompt.priority, conditions) if conditions.spares else "",
        )


class Climb:
    """How far one turn has come on its ladder."""

    def __init__(self, names: Sequence[str], why: str = "", conditions: Conditions | None = None) -> None:
        """`why` the rungs are in this order, when it is not that of the route; `conditions` of the machine."""
        self.names = tuple(names)
        self.conditions = conditions or Conditions()
        self.overflown: int | None = None
        """The longest window that turned out to be too short, in tokens."""
        self.gave_up_at: float | None = None
        """Time of the event loop at which it waits for nobody any more; None before it waits."""
        self._why = why
        self._waited = ""
        self.troubles: list[Trouble] = []
        self.passed: list[Passed] = []
        self.models = 0
        self.tried = 0
        self.silent: tuple[int, Rung, End] | None = None
        """A reflex that had nothing to say, and the how-manieth try it was: the answer if nobody else has one."""
        self.said = ""
        """What stands of the answer: given out by rungs that then failed."""
        self.anew = False
        """What stands cannot be gone on with: the next rung begins from nothing."""
        self.hops = 0
        self._below = deque(names)
        self._broke: BackendError | None = None
        """Why the answer that stands broke off."""
        self._broken = ""
        """Whose stream that was."""
        self._again = False
        """Whoever broke off was asked to go on itself."""
        self._since = 0
        """Troubles before it broke off."""

    def rungs(self) -> Iterator[str]:
        """Whom to look at next. Whoever broke off is asked to go on itself, once, when nobody else is left."""
        while True:
            if self._below:
                yield self._below.popleft()
            elif self.said and self._broken and not self._again:
                self._again = True
                yield self._broken
            else:
                return

    def beneath(self) -> tuple[str, ...]:
        """Who was not looked at yet."""
        return tuple(self._below)

    def take(self, name: str) -> None:
        """The rung is asked out of turn."""
        self._below.remove(name)

    def may_wait_for(self, name: str) -> bool:
        """False when the rung said something in this turn that no waiting changes."""
        own = [each for each in self.troubles if each.backend == name]
        return bool(own) and all(ladder.may_wait(each) for each in own)

    def look_again(self, names: Sequence[str], waited: str) -> None:
        """Begin anew with those that were waited for; that they rested is no trouble any more."""
        again = set(names)
        self.troubles = [each for each in self.troubles if each.backend not in again or each.kind != "rests"]
        self.passed = [each for each in self.passed if each.backend not in again]
        self._below.extend(names)
        self._waited = waited

    def bars(self, gate: Gate) -> str:
        """Why the rung cannot go on with what stands, as a phrase; empty when it can, or when nothing stands."""
        if not self.said:
            return ""
        if gate.tier == "reflex":
            return "cannot go on with an answer that another began"
        return f"the answer went on {HOPS} times already" if self.hops >= HOPS else ""

    def pass_over(self, name: str, why: str, kind: str = "", hint: str = "") -> None:
        """The rung is not tried."""
        self.passed.append(Passed(backend=name, reason=why))
        self.troubles.append(Trouble(backend=name, why=why, kind=kind, hint=hint))

    def begin(self, step: Step, leg: Leg, why: str = "") -> Rung:
        """An attempt begins; unless its leg continues, what stood is void. `why` is told in place of what is known."""
        gate = step.gate
        self.tried += 1
        self.models += gate.tier == "model"
        if leg.continues:
            self.hops += 1
        else:
            self.said, self.anew, self._broke, self._broken = "", False, None, ""
        passed, self.passed = tuple(self.passed), []
        reasons = (self._why, why or self._waited or ladder.because(self.troubles, first=False))
        self._why = self._waited = ""
        reason = "; ".join(filter(None, (*reasons, step.latency.slow(step.limits.first_token))))
        return Rung(gate.name, gate.where, gate.tier, reason, passed, continues=leg.continues)

    def fail(self, attempt: Try, error: BackendError) -> None:
        """The attempt failed. Raises `error` when nobody else may be asked."""
        name = attempt.rung.backend
        if error.outcome == "content_filter" or (attempt.spoke and not attempt.goes_on):
            raise error
        if attempt.lost:  # it is well, it only did not take up the text: it is asked anew
            self.anew = True
            self._below.appendleft(name)
        elif attempt.spoke:
            self.said += attempt.said
            self._since = len(self.troubles) + 1
            self._broke, self._broken = error, name
        self.troubles.append(Trouble(name, phrase(error, name), error.outcome, error.hint))

    def silence(self, rung: Rung, end: End) -> None:
        """A reflex had nothing to say."""
        self.silent = (self.tried, rung, end)
        self.troubles.append(Trouble(rung.backend, "had nothing to say"))

    def nobody(self) -> NanoideError:
        """The error at the foot of the ladder: why the answer that stands broke off, or why there is none."""
        broke = self._broke
        if broke is None:
            return ladder.nobody(self.troubles)
        others = "; ".join(f"{each.backend}: {each.why}" for each in self.troubles[self._since :])
        said = f"{broke.message}; nobody could go on: {others}" if others else broke.message
        return BackendError(said, outcome=broke.outcome, retry_after=broke.retry_after, hint=broke.hint)
