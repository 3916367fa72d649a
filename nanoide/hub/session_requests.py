"""What is asked about sessions and their turns: open, find, name, hide, park, ask, stop, agree, remove."""

import secrets

from msgspec.structs import replace

from nanoide import wire
from nanoide.core.errors import InputError, UnknownName, UsageError
from nanoide.core.events import (
    DraftSaved,
    Fact,
    SessionHidden,
    SessionId,
    SessionOpened,
    SessionPinned,
    SessionRemoved,
    SessionRenamed,
    SessionSeen,
    SessionWoken,
    TurnAsked,
    TurnId,
)
from nanoide.core.session import Session, outline
from nanoide.hub import idle, status
from nanoide.hub.broker import Subscriber
from nanoide.hub.completing import check_position
from nanoide.hub.journal import now
from nanoide.hub.turn import resolve_route
from nanoide.hub.watch import branch_of
from nanoide.hub.workshop import Workshop

ASKED_LIMIT = 200_000
"""Characters of a question; more belongs into an input."""


async def attach(workshop: Workshop, client: Subscriber, _: wire.Attach) -> wire.Attached:
    """All sessions as outlines, and their Facts from then on."""
    current = await status.read(workshop)
    client.attached = True
    sessions = sorted(workshop.journal.sessions.values(), key=lambda each: each.number)
    return wire.Attached(seq=workshop.journal.seq, sessions=tuple(outline(each) for each in sessions), status=current)


async def watch(workshop: Workshop, client: Subscriber, request: wire.Watch) -> wire.Watching:
    """Whole sessions, and all their events from then on."""
    for session in request.sessions:
        await workshop.journal.load(session)
    client.watched = frozenset(request.sessions)
    held = [workshop.journal.sessions[each] for each in request.sessions if each in workshop.journal.sessions]
    workshop.journal.shed()
    return wire.Watching(seq=workshop.journal.seq, sessions=tuple(_tail(each, request.turns) for each in held))


async def open_session(workshop: Workshop, _: Subscriber, request: wire.OpenSession) -> Session:
    """A new session of a skill that exists."""
    workshop.library.find(request.skill, request.folder)
    if request.route:
        _check_route(workshop, request.route)
    fact = _opening(workshop, request.skill, request.folder, request.name, request.route, request.ambient)
    await workshop.journal.commit(fact)
    return workshop.session(fact.session)


async def find_session(workshop: Workshop, _: Subscriber, request: wire.FindSession) -> Session:
    """The session behind a name, whole."""
    session = workshop.find(request.name)
    await workshop.journal.load(session.id)
    whole = _tail(workshop.session(session.id), request.turns)
    workshop.journal.shed()
    return whole


async def rename_session(workshop: Workshop, _: Subscriber, request: wire.RenameSession) -> wire.Done:
    """Another name, if nobody has it."""
    session = workshop.session(request.session)
    if request.name != session.name:
        _check_name(workshop, request.name)
        await workshop.journal.commit(SessionRenamed(session=session.id, at=now(), name=request.name))
    return wire.Done()


async def hide_session(workshop: Workshop, _: Subscriber, request: wire.HideSession) -> wire.Done:
    """Hide or show a pane."""
    session = workshop.session(request.session)
    if session.hidden != request.hidden:
        await workshop.journal.commit(SessionHidden(session=session.id, at=now(), hidden=request.hidden))
    return wire.Done()


async def pin_session(workshop: Workshop, _: Subscriber, request: wire.PinSession) -> wire.Done:
    """Pin or unpin."""
    session = workshop.session(request.session)
    if session.pinned != request.pinned:
        await workshop.journal.commit(SessionPinned(session=session.id, at=now(), pinned=request.pinned))
    return wire.Done()


async def park_session(workshop: Workshop, _: Subscriber, request: wire.ParkSession) -> wire.Done:
    """Park a session that does nothing."""
    session = workshop.session(request.session)
    if session.active:
        raise UsageError(f"session {session.name!r} is {session.state}", hint="stop its turn first")
    await idle.park(workshop, session)
    return wire.Done()


async def wake_session(workshop: Workshop, _: Subscriber, request: wire.WakeSession) -> wire.Done:
    """Wake a parked session."""
    session = workshop.session(request.session)
    if session.state == "parked":
        await workshop.journal.commit(SessionWoken(session=session.id, at=now()))
    return wire.Done()


async def see_session(workshop: Workshop, _: Subscriber, request: wire.SeeSession) -> wire.Done:
    """The person saw what there was."""
    session = workshop.session(request.session)
    if session.state in {"done", "failed"}:
        await workshop.journal.commit(SessionSeen(session=session.id, at=now()))
    return wire.Done()


async def remove_session(workshop: Workshop, _: Subscriber, request: wire.RemoveSession) -> wire.Done:
    """Delete a session; its turn is cancelled first."""
    session = workshop.session(request.session)
    await workshop.turns.cancel(session.id)
    await workshop.journal.commit(SessionRemoved(session=session.id, at=now()))
    idle.release(workshop, session)
    return wire.Done()


async def save_draft(workshop: Workshop, _: Subscriber, request: wire.SaveDraft) -> wire.Done:
    """Keep the composer's text."""
    session = workshop.session(request.session)
    if session.draft != request.text:
        _check_length(request.text)
        await workshop.journal.commit(DraftSaved(session=session.id, at=now(), text=request.text))
    return wire.Done()


async def ask(workshop: Workshop, client: Subscriber, request: wire.Ask) -> wire.Asked:
    """Store the question, begin the turn, and say which it is."""
    _check_length(request.text)
    facts: list[Fact] = []
    session = _asked_session(workshop, request)
    if session is None:
        skill = workshop.library.find(request.skill, request.folder)
        fact = _opening(workshop, skill.name, request.folder, request.name, request.route, request.ambient)
        facts.append(fact)
        id = fact.session
    else:
        skill = workshop.library.find(session.skill, session.folder)
        id = session.id
        if workshop.turns.busy(id) or session.active:
            raise UsageError(f"session {session.name!r} is still {session.state}", hint="wait for it, or stop it first")
        await workshop.journal.load(id)
    resolve_route(workshop.rungs.settings, request.route or (session.route if session else ""), skill)
    check_backend(workshop, request.backend)
    if request.document is not None:
        check_position(request.document)
    turn = TurnId(secrets.token_hex(6))
    inputs = tuple(each.label for each in request.inputs)
    facts.append(TurnAsked(session=id, at=now(), turn=turn, text=request.text, inputs=inputs))
    if request.watch:
        client.watched |= {id}
    await workshop.journal.commit(*facts)
    session = workshop.session(id)
    workshop.turns.start(workshop, session, turn, skill, request)
    return wire.Asked(session=outline(session), turn=turn)


async def cancel_turn(workshop: Workshop, _: Subscriber, request: wire.CancelTurn) -> wire.Done:
    """Stop a turn."""
    await workshop.turns.cancel(workshop.session(request.session).id)
    return wire.Done()


async def give_consent(workshop: Workshop, _: Subscriber, request: wire.GiveConsent) -> wire.Done:
    """Answer a session's question."""
    workshop.turns.consents.answer(workshop.session(request.session).id, request.choice, request.question)
    return wire.Done()


def check_backend(workshop: Workshop, backend: str) -> None:
    """Raises UnknownName when there is no such backend."""
    if backend and backend not in workshop.rungs.backends:
        raise UnknownName.among("backend", backend, workshop.rungs.backends)


def _asked_session(workshop: Workshop, request: wire.Ask) -> Session | None:
    """The session to go on with; None when one is to be opened."""
    if request.session is not None:
        return workshop.session(request.session)
    if request.name:
        try:
            session = workshop.find(request.name)
        except UnknownName:
            session = None
        if session is not None:
            if request.skill and request.skill != session.skill:
                raise UsageError(
                    f"session {session.name!r} is bound to skill {session.skill!r}, not {request.skill!r}",
                    hint="choose another session name",
                )
            return session
    if not request.skill:
        raise UsageError("neither a session nor a skill was named")
    return None


def _opening(workshop: Workshop, skill: str, folder: str, name: str, route: str, ambient: bool) -> SessionOpened:
    number = workshop.next_number
    if name:
        _check_name(workshop, name)
    else:
        name = f"{skill}-{number}"
        if any(each.name == name for each in workshop.journal.sessions.values()):
            name = f"{name}-{secrets.token_hex(2)}"
    workshop.next_number = number + 1
    return SessionOpened(
        session=SessionId(secrets.token_hex(6)),
        at=now(),
        number=number,
        name=name,
        skill=skill,
        folder=folder,
        branch=branch_of(folder),
        route=route,
        ambient=ambient,
    )


def _check_name(workshop: Workshop, name: str) -> None:
    if not 1 <= len(name) <= 64 or not name.isprintable() or name != name.strip() or name.isdecimal():
        raise UsageError(
            f"{name!r} cannot be a session's name",
            hint="1 to 64 printable characters, not digits alone, no space at the ends",
        )
    if any(each.name == name for each in workshop.journal.sessions.values()):
        raise UsageError(f"there is a session {name!r} already", hint="choose another name")


def _check_route(workshop: Workshop, route: str) -> None:
    settings = workshop.rungs.settings
    if settings.route_for(route) is None:
        raise UnknownName.among("route", route, {*settings.route, "default"})


def _check_length(text: str) -> None:
    if len(text) > ASKED_LIMIT:
        raise InputError(
            f"a question of {len(text):,} characters is over the limit of {ASKED_LIMIT:,}",
            hint="give long text as a file or on standard input",
        )


def _tail(session: Session, turns: int) -> Session:
    if len(session.turns) <= turns:
        return session
    return replace(session, turns=session.turns[-turns:] if turns > 0 else ())
