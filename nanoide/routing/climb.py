"""One turn on its ladder: whom it can ask, how far it has come, and what stands of its answer."""

from collections import deque
from collections.abc import Iterator, Sequence

from nanoide.core.chat import End, Passed, Prompt, Rung
from nanoide.core.errors import BackendError, NanoideError
from nanoide.routing import ladder
from nanoide.routing.attempt import Try, phrase
from nanoide.routing.breaker import Breaker
from nanoide.routing.egress import Gate
from nanoide.routing.ladder import Candidate, Trouble
from nanoide.routing.resume import HOPS, Leg
from nanoide.settings import BackendTable


class Step:
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
        """As it stands at this moment, for this prompt."""
        return Candidate(
            name=self.gate.name,
            where=self.gate.where,
            tier=self.gate.tier,
            objection=self.gate.objection(prompt),
            refusal="" if self.breaker is None else self.breaker.refusal(now),
            window=self.window,
        )


class Climb:
    """How far one turn has come on its ladder."""

    def __init__(self, names: Sequence[str]) -> None:
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

    def begin(self, gate: Gate, leg: Leg) -> Rung:
        """An attempt begins; unless its leg continues, what stood is void."""
        self.tried += 1
        self.models += gate.tier == "model"
        if leg.continues:
            self.hops += 1
        else:
            self.said, self.anew, self._broke, self._broken = "", False, None, ""
        passed, self.passed = tuple(self.passed), []
        reason = ladder.because(self.troubles, first=False)
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
