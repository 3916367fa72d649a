"""A router over given backends, and everything that comes out of it."""

from collections.abc import Callable, Sequence
from contextlib import aclosing

from msgspec.structs import replace

from nanoide.backends.base import Backend
from nanoide.core.chat import Attempt, Context, End, Message, Prompt, Reflex, RoutedChunk, Rung, Text
from nanoide.core.events import ConsentChoice
from nanoide.core.policy import Egress
from nanoide.routing.conditions import Conditions, Machine
from nanoide.routing.cutter import Cutter
from nanoide.routing.egress import Departure
from nanoide.routing.failover import Router
from nanoide.routing.memory import Memory
from nanoide.settings import BackendTable, Budget, Route, Settings
from nanoide.wire import EgressLine

PROMPT = Prompt(skill="explain", messages=(Message("user", "why?"),), reflex=Reflex("/reflex.py", Context()))


class Rig:
    """Routes over `backends` in their order; `tables` are what config.toml says of them."""

    def __init__(
        self,
        *backends: Backend,
        egress: Egress = "remote",
        tables: Sequence[BackendTable] = (),
        budget: Budget | None = None,
        spent: int = 0,
        clock: Callable[[], float] | None = None,
        hedge: bool = False,
        memory: Memory | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        """The router's time is `now`, which a test moves, unless there is a `clock`; `conditions` of the machine."""
        self.now = 1_000.0
        self.attempts: list[Attempt] = []
        self.audit: list[EgressLine] = []
        self.departures: list[Departure] = []
        self.choice: ConsentChoice = "once"
        self.cutter = Cutter()
        told = {table.name for table in tables}
        others = tuple(
            BackendTable(name=each.name, kind="openai", base_url="http://127.0.0.1:1", model="m", where=each.where)
            for each in backends
            if each.name not in told
        )
        route = Route(ladder=tuple(each.name for each in backends), egress=egress, hedge=hedge)
        settings = Settings(backend=(*tables, *others), route={"default": route}, budget=budget or Budget())

        async def audit(line: EgressLine) -> None:
            self.audit.append(line)

        async def today() -> int:
            return spent

        self.router = Router(
            {each.name: each for each in backends},
            settings,
            audit=audit,
            spent=today,
            clock=clock or (lambda: self.now),
            cutter=self.cutter,
            memory=memory,
            machine=Machine(lambda: conditions or Conditions()),
        )

    async def consent(self, departure: Departure) -> ConsentChoice:
        """The person's answer."""
        self.departures.append(departure)
        return self.choice

    async def ask(
        self, prompt: Prompt = PROMPT, *, backend: str = "", alone: bool = False, egress: Egress = "remote"
    ) -> "Answer":
        """One turn. With `alone` nobody can be asked."""
        answer = Answer()
        prompt = replace(prompt, egress=egress)
        stream = self.router.stream(
            prompt, backend=backend, record=self.attempts.append, consent=None if alone else self.consent
        )
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                answer.add(chunk)
        return answer

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Of all attempts so far: who, and how it ended."""
        return [(attempt.backend, attempt.outcome) for attempt in self.attempts]


class Answer:
    """What came of one turn."""

    def __init__(self) -> None:
        self.rungs: list[Rung] = []
        self.text = ""
        self.ends: list[End] = []

    def add(self, chunk: RoutedChunk) -> None:
        """Take the next chunk."""
        match chunk:
            case Rung():
                self.rungs.append(chunk)
                if not chunk.continues:
                    self.text = ""
            case Text():
                self.text += chunk.text
            case End():
                self.ends.append(chunk)
