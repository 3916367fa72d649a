"""Answers without a session, for other programs: the same ladder, the same ledger, told to one connection alone."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import aclosing
from time import monotonic
from typing import assert_never

from msgspec.structs import replace

from nanoide import wire
from nanoide.completion import request as completion
from nanoide.core.chat import Attempt, Context, End, Fill, Prompt, Rung, Source, Text
from nanoide.core.document import at_end
from nanoide.core.errors import BackendError, Interrupted, NanoideError, NoBackend, UnknownName, UsageError
from nanoide.core.policy import Egress, narrowest
from nanoide.core.usage import Usage
from nanoide.hub.broker import Subscriber
from nanoide.hub.journal import now
from nanoide.hub.parts import Parts
from nanoide.hub.turn import CONTEXT_BUDGET, resolve_route, total_cost
from nanoide.settings import Settings
from nanoide.skills.context import Given, gather
from nanoide.skills.prompt import build
from nanoide.skills.skill import Skill

PLAIN = "gateway"
"""In whose name a prompt without a skill stands in the ledger and in budgets."""

CHAT_OUTPUT = 1024
"""Tokens of a chat's answer when nothing else is said."""

MATERIAL = frozenset({"diff", "file", "selection"})
"""What a skill works on; for a skill that wants any of it the first message is that."""

_SETTINGS = (
    "max_output",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
)
"""Fields of `wire.Generate` that mean the same in a Prompt."""


class _Answer:
    """One answer, told to whom it is for."""

    def __init__(self, parts: Parts, client: Subscriber, ask: wire.Generate) -> None:
        self.attempts: list[Attempt] = []
        self._parts = parts
        self._client = client
        self._ask = ask
        self._began = monotonic()
        self._first: float | None = None
        self._turn = secrets.token_hex(6)

    async def stream(self, prompt: Prompt, route: str) -> wire.Generated:
        """Ask the ladder and tell what comes, as it comes."""
        rung: Rung | None = None
        end: End | None = None
        router = self._parts.rungs.router
        stream = router.stream(prompt, route=route, backend=self._ask.backend, record=self._record(prompt.skill))
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                match chunk:
                    case Rung():
                        rung = chunk
                        self._tell(wire.Piece(self._ask.key, rung=chunk))
                    case Text():
                        self._first = self._first or monotonic()
                        self._tell(wire.Piece(self._ask.key, text=chunk.text))
                    case End():
                        end = chunk
                    case _:
                        assert_never(chunk)
        if rung is None or end is None:
            raise NanoideError("the answer stopped without an end")
        return wire.Generated(
            finish=end.finish,
            backend=rung.backend,
            where=rung.where,
            tier=rung.tier,
            model=end.model,
            usage=sum((each.usage for each in self.attempts), Usage()),
            cost_nano=total_cost(self.attempts),
            ttft_ms=None if self._first is None else round((self._first - self._began) * 1000),
            total_ms=round((monotonic() - self._began) * 1000),
        )

    def _record(self, skill: str) -> Callable[[Attempt], "asyncio.Future[None]"]:
        def record(attempt: Attempt) -> "asyncio.Future[None]":
            self.attempts.append(attempt)
            row = wire.LedgerRow(
                at=now().isoformat(),
                turn=self._turn,
                number=len(self.attempts),
                session=self._ask.session,
                skill=skill,
                project="",
                branch="",
                attempt=attempt,
            )
            self._tell(wire.Piece(self._ask.key, attempt=attempt))
            return self._parts.journal.submit(rows=(row,), owe=True)

        return record

    def _tell(self, piece: wire.Piece) -> None:
        self._client.put(wire.notification("piece", piece))


class Generations:
    """The answers under way, by connection and key."""

    def __init__(self) -> None:
        self._running: dict[tuple[Subscriber, str], asyncio.Task[wire.Generated]] = {}

    @property
    def active(self) -> int:
        """How many are under way."""
        return len(self._running)

    async def generate(self, parts: Parts, client: Subscriber, ask: wire.Generate) -> wire.Generated:
        """Answer `ask`, its pieces to `client`. Stops when the caller is cancelled, which is when `client` goes.

        Raises what the ladder raises, and Interrupted when it was cancelled by `cancel`.
        """
        place = (client, ask.key)
        if place in self._running:
            raise UsageError(f"the key {ask.key!r} is in use", hint="take another one for each request")
        task = asyncio.create_task(_generate(parts, client, ask), name=f"generate {ask.key}")
        self._running[place] = task

        def ended(_: "asyncio.Task[wire.Generated]") -> None:
            self._running.pop(place, None)
            parts.journal.on_change()

        task.add_done_callback(ended)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        if task.cancelled():
            raise Interrupted("stopped before the answer was whole")
        return task.result()

    async def cancel(self, client: Subscriber, key: str) -> None:
        """Stop the answer and wait until its ledger row is on its way; without one nothing happens."""
        task = self._running.get((client, key))
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def aclose(self) -> None:
        """Stop all of them."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _generate(parts: Parts, client: Subscriber, ask: wire.Generate) -> wire.Generated:
    prompt, route = await _prepare(parts, ask)
    answer = _Answer(parts, client, ask)
    try:
        return await answer.stream(prompt, route)
    except NoBackend as error:
        if answer.attempts and all(each.outcome == "context" for each in answer.attempts):
            raise BackendError(error.message, outcome="context", hint="send less at once") from error
        ladder = (ask.backend,) if ask.backend else _ladder(parts.rungs.settings, route)
        raise NoBackend(error.message, hint=error.hint, retry_after=_recovery(parts, ladder)) from error


def _recovery(parts: Parts, ladder: tuple[str, ...]) -> float | None:
    """Seconds until the first rung of the ladder that rests may be asked again; None when none rests."""
    lines = parts.rungs.router.lines()
    rests = [line.recovers_in_s for line in lines if line.name in ladder and line.recovers_in_s is not None]
    return min(rests, default=None)


def _ladder(settings: Settings, route: str) -> tuple[str, ...]:
    found = settings.route_for(route)
    return () if found is None else found.ladder


async def _prepare(parts: Parts, ask: wire.Generate) -> tuple[Prompt, str]:
    """The prompt, and the route it takes."""
    settings = parts.rungs.settings
    if ask.backend and ask.backend not in parts.rungs.backends:
        raise UnknownName.among("backend", ask.backend, parts.rungs.backends)
    if ask.fill is None and not ask.messages:
        raise UsageError("there is nothing to answer", hint="send messages, or a text to fill in")
    if ask.skill:
        skill = parts.library.find(ask.skill, "")
        route, policy = resolve_route(settings, ask.route, skill)
        egress = narrowest(policy, skill.egress, ask.egress)
        prompt = await _of_skill(parts, skill, ask, egress)
    else:
        route, policy = ask.route, _policy(settings, ask.route)
        egress = narrowest(policy, ask.egress)
        if ask.fill is not None:
            # A rung that chats or a reflex is told what a fill is as it is for an inline completion.
            prompt = _filling(parts.library.find(completion.SKILL, ""), ask.fill, ask.beside, egress)
            prompt = replace(prompt, skill=PLAIN, stop=(), max_output=Prompt().max_output)
        else:
            prompt = Prompt(skill=PLAIN, system=ask.system, messages=ask.messages, max_output=CHAT_OUTPUT)
    told = {name: value for name in _SETTINGS if (value := getattr(ask, name)) is not None}
    return replace(prompt, **told, session=ask.session, json_schema=ask.json_schema, egress=egress), route


def _policy(settings: Settings, route: str) -> Egress:
    found = settings.route_for(route)
    if found is None:
        raise UnknownName.among("route", route, {*settings.route, "default"})
    return found.egress


async def _of_skill(parts: Parts, skill: Skill, ask: wire.Generate, egress: Egress) -> Prompt:
    """What the skill would ask. What it works on comes first in a conversation, what it is asked comes last."""
    if ask.fill is not None:
        if skill.mode != "fill":
            raise UsageError(f"skill {skill.name!r} does not fill in", hint="ask it in a chat")
        return _filling(skill, ask.fill, ask.beside, egress)
    first, last = ask.messages[0], ask.messages[-1]
    if MATERIAL & set(skill.context):
        text = last.text if len(ask.messages) > 1 else ""
        given = Given(text=text, inputs=(wire.Input("stdin", "what was given", first.text),))
    else:
        given = Given(text=last.text)
    context = await gather(skill, given, index=parts.index, budget=CONTEXT_BUDGET)
    shown = replace(context, text="") if given.inputs else context
    prompt = build(skill, shown, (), session=ask.session, priority="focused", egress=egress)
    (asked,) = prompt.messages
    messages = (asked, *ask.messages[1:]) if given.inputs else (*ask.messages[:-1], asked)
    system = f"{prompt.system}\n\n{ask.system}" if ask.system else prompt.system
    reflex = None if prompt.reflex is None else replace(prompt.reflex, context=context)
    return replace(prompt, system=system, messages=messages, reflex=reflex)


def _filling(skill: Skill, fill: Fill, beside: tuple[Source, ...], egress: Egress) -> Prompt:
    """What the skill would ask about the place between the two texts."""
    place = at_end(fill.path, fill.prefix, language=fill.language)
    document = replace(place, text=fill.prefix + fill.suffix)
    context = Context(document=document, sources=beside)
    prompt = build(skill, context, (), session="", priority="completion", egress=egress)
    return replace(prompt, fill=fill)
