"""What the person allows to leave: the open questions, and what was agreed to.

A yes is bound to what was shown. For a session or for good it holds for one skill, one backend and the host that
stood in the question; a yes to going over a budget holds for the session at most. An answer names the question
that it was given to, so that none is taken for another's.
"""

import asyncio
from collections.abc import Callable, Iterable

from nanoide.core.errors import UnknownName, UsageError
from nanoide.core.events import ConsentAsked, ConsentChoice, ConsentGiven, SessionId, TurnId
from nanoide.core.session import Session
from nanoide.core.value import Value
from nanoide.hub.journal import now
from nanoide.hub.parts import Parts
from nanoide.routing.egress import Departure, Held
from nanoide.settings import Settings


class _Agreed(Value, frozen=True):
    """A yes for the rest of a session."""

    session: SessionId
    backend: str
    host: str
    over: str = ""
    """The budget that it goes over; empty means that it is about leaving at all."""


class _Question:
    """A question that a turn waits for."""

    def __init__(self, skill: str, departure: Departure) -> None:
        self.skill = skill
        self.departure = departure
        self.answer: asyncio.Future[ConsentChoice | Held] = asyncio.get_running_loop().create_future()


class Consents:
    """The questions that are open, at most one a session, and the answers that still hold."""

    def __init__(self) -> None:
        self._open: dict[SessionId, _Question] = {}
        self._agreed: set[_Agreed] = set()

    async def ask(
        self, parts: Parts, session: Session, turn: TurnId, departure: Departure, *, interactive: bool
    ) -> ConsentChoice | Held:
        """What the person says to `departure`: said before, or asked now. Nobody there means stay."""
        while (before := self._open.get(session.id)) is not None:  # two rungs of one turn: one after the other
            await asyncio.wait({before.answer})
        if (said := await self._said(parts, session, departure)) is not None:
            return said
        if not interactive:
            return Held("would leave this machine, and nobody is there to be asked", "policy")
        question = self._open[session.id] = _Question(session.skill, departure)
        try:
            await parts.journal.commit(_asked(session.id, turn, departure))
            answer = await question.answer
        finally:
            self._close(session.id, question)
        if isinstance(answer, Held):
            await parts.journal.commit(
                ConsentGiven(session=session.id, at=now(), turn=turn, choice="stay", why=answer.why)
            )
            return answer
        choice = "session" if answer == "always" and departure.over else answer
        if choice == "session":
            self._agree(session.id, departure)
        elif choice == "always":
            await parts.store.grant(session.skill, departure.backend, departure.host)
            self._spread(session.skill, departure)
        await parts.journal.commit(ConsentGiven(session=session.id, at=now(), turn=turn, choice=choice))
        return choice

    def answer(self, session: SessionId, choice: ConsentChoice, digest: str = "") -> None:
        """Answer the session's question. Raises UsageError when it has none, or another one than `digest`'s."""
        question = self._open.get(session)
        if question is None or question.answer.done():
            raise UsageError("this session asks nothing", hint="it may have been answered from another window")
        if digest and digest != question.departure.digest:
            raise UsageError("this session asks something else by now", hint="look at the question again")
        question.answer.set_result(choice)

    def withdraw(self, stale: Callable[[str], bool], why: str) -> None:
        """Take back the questions about every backend that is `stale`; their turns go on below."""
        for question in self._open.values():
            if stale(question.departure.backend) and not question.answer.done():
                question.answer.set_result(Held(why, "policy", hint="ask again"))

    async def forget(self, parts: Parts, skill: str, backend: str) -> None:
        """Take back what was allowed for good, and for sessions of the skill. Raises UnknownName when nothing was."""
        sessions = {each.id for each in parts.journal.sessions.values() if each.skill == skill}
        held = {each for each in self._agreed if each.session in sessions and each.backend == backend}
        known = [f"{each.skill} {each.backend}" for each in await parts.store.grants()]
        if not await parts.store.forget(skill, backend) and not held:
            raise UnknownName.among("grant", f"{skill} {backend}", known)
        self._agreed -= held

    async def _said(self, parts: Parts, session: Session, departure: Departure) -> ConsentChoice | None:
        """What was agreed to before and covers `departure`; None when nothing does."""
        if _agreement(session.id, departure) in self._agreed:
            return "session"
        if departure.over:
            return None
        grants = await parts.store.grants()
        place = (session.skill, departure.backend, departure.host)
        return "always" if any((each.skill, each.backend, each.host) == place for each in grants) else None

    def _agree(self, session: SessionId, departure: Departure) -> None:
        self._agreed.add(_agreement(session, departure))
        self._agreed.add(_agreement(session, departure, over=""))

    def _spread(self, skill: str, departure: Departure) -> None:
        """A yes for good answers the same question in other sessions."""
        for other in self._open.values():
            same = (other.skill, other.departure.backend, other.departure.host)
            if (
                same == (skill, departure.backend, departure.host)
                and not other.departure.over
                and not other.answer.done()
            ):
                other.answer.set_result("always")

    def _close(self, session: SessionId, question: _Question) -> None:
        if self._open.get(session) is question:
            del self._open[session]
        question.answer.cancel()  # whoever waits behind it looks again


def changed(old: Settings, new: Settings) -> Callable[[str], bool]:
    """Whether what is asked about a backend may mean something else under the `new` settings."""
    tables = {each.name: each for each in old.backends()}
    same: Iterable[str] = (
        ()
        if (old.route, old.budget) != (new.route, new.budget)
        else (each.name for each in new.backends() if tables.get(each.name) == each)
    )
    kept = frozenset(same)
    return lambda backend: backend not in kept


def _agreement(session: SessionId, departure: Departure, over: str | None = None) -> _Agreed:
    return _Agreed(session, departure.backend, departure.host, departure.over if over is None else over)


def _asked(session: SessionId, turn: TurnId, departure: Departure) -> ConsentAsked:
    return ConsentAsked(
        session=session,
        at=now(),
        turn=turn,
        backend=departure.backend,
        host=departure.host,
        what=departure.what,
        tokens=departure.tokens,
        hidden=departure.hidden,
        cost_nano=departure.cost_nano,
        over=departure.over,
        digest=departure.digest,
    )
