"""One turn, told top to bottom: gather, build, ask the ladder, stream, keep what came of it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import monotonic
from typing import assert_never

from msgspec.structs import replace

from nanoide import wire
from nanoide.completion.shape import multiline, shape
from nanoide.core.chat import Attempt, Context, End, Prompt, RoutedChunk, Rung, Seam, Text
from nanoide.core.errors import Interrupted, NanoideError, StoreError, UnknownName
from nanoide.core.events import (
    AttemptEnded,
    ConsentChoice,
    NoticeGiven,
    SessionId,
    TextArrived,
    TurnCancelled,
    TurnFailed,
    TurnFinished,
    TurnId,
    TurnStarted,
)
from nanoide.core.policy import Egress, narrowest
from nanoide.core.session import Session, sewn
from nanoide.core.usage import Usage
from nanoide.hub.consent import Consents
from nanoide.hub.journal import Journal, now
from nanoide.hub.parts import Parts
from nanoide.routing.egress import Departure, Held
from nanoide.settings import Settings
from nanoide.skills.context import Given, gather
from nanoide.skills.prompt import build
from nanoide.skills.skill import Skill

log = logging.getLogger(__name__)

FLUSH_EVERY = 0.016
"""Seconds between two TextArrived of one turn; the first goes out at once."""

CONTEXT_BUDGET = 6_000
"""Tokens of gathered context for a turn."""


class Pen:
    """Writes an answer as it arrives: keeps the whole, tells it in few pieces."""

    def __init__(self, journal: Journal, session: SessionId, turn: TurnId) -> None:
        self.text = ""
        self.first_at: float | None = None
        """Monotonic time of the first text; None before it."""
        self.seams: tuple[Seam, ...] = ()
        """Where one rung went on with what another had begun."""
        self._void = ""
        """The last answer that broke off and was begun anew."""
        self._void_seams: tuple[Seam, ...] = ()
        self._journal = journal
        self._session = session
        self._turn = turn
        self._told = 0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, text: str) -> None:
        """Add `text` to the answer."""
        self.text += text
        time = monotonic()
        if self.first_at is None:
            self.first_at = time
        if self._timer is not None:
            return
        if time - self._last >= FLUSH_EVERY:
            self.flush()
        else:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_EVERY, self.flush)

    def flush(self) -> None:
        """Tell what was not told yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if len(self.text) > self._told:
            piece = self.text[self._told :]
            self._journal.tell(
                TextArrived(session=self._session, at=now(), turn=self._turn, offset=self._told, text=piece)
            )
            self._told = len(self.text)
            self._last = monotonic()

    def begin(self, rung: Rung) -> int:
        """A rung begins. How much of the answer stands, in code points."""
        self.flush()
        if rung.continues:
            self.seams = sewn(self.seams, Seam(len(self.text), rung.backend, rung.reason))
            return len(self.text)
        if self.text:
            self._void, self._void_seams = self.text, self.seams
        self.text, self.seams = "", ()
        self._told = 0
        self.first_at = None
        return 0

    def close(self) -> None:
        """No more comes, and the answer is not whole: keep what stands, or what stood before it began anew."""
        self.flush()
        if not self.text:
            self.text, self.seams = self._void, self._void_seams
        self.seams = tuple(each for each in self.seams if each.after < len(self.text))  # else nobody went on there


class Turns:
    """The turns under way, at most one a session."""

    def __init__(self) -> None:
        self._tasks: dict[SessionId, asyncio.Task[None]] = {}
        self.consents = Consents()
        self._stopping = False

    @property
    def active(self) -> int:
        """How many are under way."""
        return len(self._tasks)

    def busy(self, session: SessionId) -> bool:
        """True while a turn of `session` is under way."""
        return session in self._tasks

    def start(self, parts: Parts, session: Session, turn: TurnId, skill: Skill, ask: wire.Ask) -> None:
        """Begin the turn in a task of its own."""
        task = asyncio.create_task(self._run(parts, session, turn, skill, ask), name=f"turn {session.name}")
        self._tasks[session.id] = task

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.pop(session.id, None)
            parts.journal.shed()
            parts.journal.on_change()

        task.add_done_callback(ended)

    async def cancel(self, session: SessionId) -> None:
        """Stop the session's turn and wait until that is stored."""
        task = self._tasks.get(session)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def aclose(self) -> None:
        """Stop all turns; each is stored as interrupted."""
        self._stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, parts: Parts, session: Session, turn: TurnId, skill: Skill, ask: wire.Ask) -> None:
        """The whole turn. Ends with exactly one of TurnFinished, TurnFailed, TurnCancelled."""
        began = monotonic()
        journal = parts.journal
        pen = Pen(journal, session.id, turn)
        attempts: list[Attempt] = []
        sources: tuple[str, ...] = ()

        def spent() -> int:
            return round((monotonic() - began) * 1000)

        def record(attempt: Attempt) -> asyncio.Future[None]:
            attempts.append(attempt)
            return journal.submit(
                AttemptEnded(session=session.id, at=now(), turn=turn, attempt=attempt),
                rows=(ledger_row(session, turn, len(attempts), attempt),),
                owe=True,
            )

        try:
            prompt, route, context = await _prepare(parts, session, skill, ask)
            sources = tuple(source.label for source in context.sources)

            async def agree(departure: Departure) -> ConsentChoice | Held:
                return await self.consents.ask(parts, session, turn, departure, interactive=ask.interactive)

            stream = parts.rungs.router.stream(prompt, route=route, backend=ask.backend, record=record, consent=agree)
            try:
                rung, end = await _follow(stream, journal, session.id, turn, pen)
            finally:
                if not self._stopping:
                    await self._notice(parts, session, turn, attempts)
            pen.flush()
            if end.finish == "length" and prompt.fill is None:
                told = f"the answer stops at its limit of {prompt.max_output:,} tokens"
                await journal.commit(NoticeGiven(session=session.id, at=now(), turn=turn, text=told), owe=True)
            if context.document is not None and prompt.fill is not None:
                pen.text = shape(pen.text, context.document)
            await journal.commit(
                TurnFinished(
                    session=session.id,
                    at=now(),
                    turn=turn,
                    text=pen.text,
                    backend=rung.backend,
                    where=rung.where,
                    tier=rung.tier,
                    finish=end.finish,
                    usage=sum((each.usage for each in attempts), Usage()),
                    cost_nano=total_cost(attempts),
                    ttft_ms=None if pen.first_at is None else round((pen.first_at - began) * 1000),
                    total_ms=spent(),
                    sources=sources,
                    seams=pen.seams,
                )
            )
        except asyncio.CancelledError:
            pen.close()
            if self._stopping:
                fault = Interrupted("the hub was stopped before the answer was whole", hint="ask again")
                await journal.commit(_failed(session.id, turn, pen, fault, spent()), owe=True)
            else:
                await journal.commit(
                    TurnCancelled(
                        session=session.id, at=now(), turn=turn, text=pen.text, total_ms=spent(), seams=pen.seams
                    ),
                    owe=True,
                )
        except NanoideError as error:
            pen.close()
            await journal.commit(_failed(session.id, turn, pen, error, spent()), owe=True)
        except Exception as error:
            log.exception("turn %s of %s failed", turn, session.name)
            pen.close()
            fault = NanoideError(f"internal error: {type(error).__name__}: {error}", hint="see nanoide hub log")
            await journal.commit(_failed(session.id, turn, pen, fault, spent()), owe=True)

    async def _notice(self, parts: Parts, session: Session, turn: TurnId, attempts: Sequence[Attempt]) -> None:
        """Tell, before the turn ends, what its attempts did to the budgets."""
        try:
            told = await parts.rungs.router.purse.notices(session.skill, attempts)
        except StoreError as error:  # the answer is there all the same
            log.warning("the budgets cannot be read: %s", error)
            return
        for text in told:
            await parts.journal.commit(NoticeGiven(session=session.id, at=now(), turn=turn, text=text), owe=True)


async def _follow(
    stream: AsyncGenerator[RoutedChunk, None], journal: Journal, session: SessionId, turn: TurnId, pen: Pen
) -> tuple[Rung, End]:
    """Read `stream` to its end, telling what arrives. Returns the rung that answered and how it ended."""
    rung: Rung | None = None
    end: End | None = None
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            match chunk:
                case Rung():
                    rung = chunk
                    after = pen.begin(rung)
                    journal.tell(
                        TurnStarted(
                            session=session,
                            at=now(),
                            turn=turn,
                            backend=rung.backend,
                            where=rung.where,
                            tier=rung.tier,
                            reason=rung.reason,
                            after=after,
                        )
                    )
                case Text():
                    pen.write(chunk.text)
                case End():
                    end = chunk
                case _:
                    assert_never(chunk)
    if rung is None or end is None:
        raise NanoideError("the answer stopped without an end")
    return rung, end


def ledger_row(session: Session, turn: TurnId, number: int, attempt: Attempt) -> wire.LedgerRow:
    """The ledger's row for the attempt with this `number` (from 1) of a session's turn."""
    return wire.LedgerRow(
        at=now().isoformat(),
        turn=turn,
        number=number,
        session=session.id,
        skill=session.skill,
        project=session.folder,
        branch=session.branch,
        attempt=attempt,
    )


def total_cost(attempts: Sequence[Attempt]) -> int | None:
    """Nano-dollars of all attempts; None when any is unpriced."""
    total = 0
    for attempt in attempts:
        if attempt.cost_nano is None:
            return None
        total += attempt.cost_nano
    return total


def resolve_route(settings: Settings, named: str, skill: Skill) -> tuple[str, Egress]:
    """The route to take and its policy: `named` by the person or the session, else the skill's.

    A skill may name a route that this config.toml does not have; it then takes the default one.
    Raises UnknownName when `named` is no route.
    """
    if named and settings.route_for(named) is None:
        raise UnknownName.among("route", named, {*settings.route, "default"})
    name = named or (skill.route if settings.route_for(skill.route) else "default")
    route = settings.route_for(name)
    return name, "ask" if route is None else route.egress


async def _prepare(parts: Parts, session: Session, skill: Skill, ask: wire.Ask) -> tuple[Prompt, str, Context]:
    """The prompt, the route it takes, and what went into it."""
    route, policy = resolve_route(parts.rungs.settings, ask.route or session.route, skill)
    given = Given(text=ask.text, folder=session.folder, inputs=ask.inputs, document=ask.document)
    context = await gather(skill, given, index=parts.index, budget=CONTEXT_BUDGET)
    earlier = parts.journal.sessions[session.id].turns[:-1] if skill.session == "keep" else ()
    prompt = build(
        skill,
        context,
        earlier,
        session=session.id,
        priority=ask.priority,
        egress=narrowest(policy, skill.egress, ask.egress),
    )
    if prompt.fill is not None and context.document is not None and multiline(context.document):
        prompt = replace(prompt, stop=("\n\n",))
    return prompt, route, context


def _failed(session: SessionId, turn: TurnId, pen: Pen, error: NanoideError, total_ms: int) -> TurnFailed:
    return TurnFailed(
        session=session,
        at=now(),
        turn=turn,
        text=pen.text,
        seams=pen.seams,
        error=type(error).__name__,
        message=error.message,
        hint=error.hint,
        total_ms=total_ms,
    )
