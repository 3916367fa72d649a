"""One function per request, in one table. What a request means is told here; how it is done, elsewhere."""

import contextlib
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

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
from nanoide.hub import drill, examine, idle, setup, status
from nanoide.hub.broker import Subscriber
from nanoide.hub.completing import check_position
from nanoide.hub.journal import now
from nanoide.hub.turn import resolve_route
from nanoide.hub.watch import branch_of
from nanoide.hub.workshop import Workshop

ASKED_LIMIT = 200_000
"""Characters of a question; more belongs into an input."""


async def dispatch(workshop: Workshop, client: Subscriber, request: wire.Request[object]) -> object:
    """The reply to `request`. Raises NanoideError."""
    return await HANDLERS[type(request)](workshop, client, request)


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
    _check_backend(workshop, request.backend)
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


async def complete(workshop: Workshop, _: Subscriber, request: wire.Complete) -> wire.Completed:
    """An inline completion."""
    check_position(request.document)
    _check_backend(workshop, request.backend)
    return await workshop.completions.complete(workshop, request)


async def generate(workshop: Workshop, client: Subscriber, request: wire.Generate) -> wire.Generated:
    """An answer without a session, told to this connection."""
    return await workshop.generations.generate(workshop, client, request)


async def cancel_generate(workshop: Workshop, client: Subscriber, request: wire.CancelGenerate) -> wire.Done:
    """Stop such an answer."""
    await workshop.generations.cancel(client, request.key)
    return wire.Done()


async def list_skills(workshop: Workshop, _: Subscriber, request: wire.ListSkills) -> tuple[wire.SkillLine, ...]:
    """All skills seen from a folder."""
    return workshop.library.lines(request.folder)


async def show_skill(workshop: Workshop, _: Subscriber, request: wire.ShowSkill) -> wire.SkillText:
    """One skill."""
    return workshop.library.text(request.name, request.folder)


async def check_skill(_: Workshop, __: Subscriber, request: wire.CheckSkill) -> tuple[wire.Check, ...]:
    """Whether a folder holds a skill that loads."""
    return examine.check_skill(Path(request.path))


async def trust(workshop: Workshop, _: Subscriber, request: wire.Trust) -> wire.Done:
    """Trust a repository's skills as they are now."""
    _check_folder(request.folder)
    workshop.library.trust(request.folder)
    return wire.Done()


async def list_backends(workshop: Workshop, _: Subscriber, request: wire.ListBackends) -> tuple[wire.BackendLine, ...]:
    """Health of the rungs."""
    router = workshop.rungs.router
    return await router.probe() if request.probe else router.lines()


async def read_usage(workshop: Workshop, _: Subscriber, request: wire.ReadUsage) -> wire.UsageReport:
    """The ledger, grouped, up to now: what is being written is waited for."""
    await workshop.journal.settle()
    report = await workshop.ledger.report(request)
    levels = await workshop.rungs.router.purse.levels()
    budgets = tuple(
        wire.BudgetLine(each.label, each.spent_nano, each.limit_nano, str(each) if each.near else "") for each in levels
    )
    report = replace(report, budgets=budgets)
    if request.by != "session":
        return report
    names = {id: session.name for id, session in workshop.journal.sessions.items()}
    rows = tuple(replace(row, label=names.get(SessionId(row.key), "")) for row in report.rows)
    return replace(report, rows=rows)


async def read_egress(workshop: Workshop, _: Subscriber, request: wire.ReadEgress) -> tuple[wire.EgressLine, ...]:
    """What left this machine. A session that was removed can still be asked for by its id."""
    if request.session:
        with contextlib.suppress(UnknownName):
            request = replace(request, session=workshop.find(request.session).id)
    lines = await workshop.ledger.egress(request)
    names = {id: session.name for id, session in workshop.journal.sessions.items()}
    return tuple(replace(each, label=names.get(SessionId(each.session), "")) for each in lines)


async def list_grants(workshop: Workshop, _: Subscriber, __: wire.ListGrants) -> tuple[wire.GrantLine, ...]:
    """What is allowed for good."""
    return await workshop.store.grants()


async def forget_grant(workshop: Workshop, _: Subscriber, request: wire.ForgetGrant) -> wire.Done:
    """Take a yes back."""
    await workshop.turns.consents.forget(workshop, request.skill, request.backend)
    return wire.Done()


async def plan_drill(workshop: Workshop, _: Subscriber, request: wire.PlanDrill) -> wire.DrillPlan:
    """What a drill would cut."""
    return drill.plan(workshop, request.backend)


async def run_drill(workshop: Workshop, _: Subscriber, request: wire.Drill) -> wire.Drilled:
    """Cut a backend off for a while."""
    return await drill.run(workshop, request)


async def discover(workshop: Workshop, _: Subscriber, request: wire.Discover) -> wire.Discovered:
    """What this machine offers."""
    return await setup.look(workshop, request.folder)


async def plan_setup(workshop: Workshop, _: Subscriber, request: wire.PlanSetUp) -> wire.SetUpPlan:
    """The lines for what was found."""
    return await setup.plan(workshop, request.offers)


async def set_up(workshop: Workshop, _: Subscriber, request: wire.SetUp) -> wire.Done:
    """Write them."""
    await setup.write(workshop, request)
    return wire.Done()


async def doctor(workshop: Workshop, _: Subscriber, request: wire.Examine) -> tuple[wire.Check, ...]:
    """What works and what does not."""
    return await examine.checks(workshop, request.folder)


async def read_status(workshop: Workshop, _: Subscriber, __: wire.ReadStatus) -> wire.HubStatus:
    """The hub in one line."""
    return await status.read(workshop)


async def stop_hub(workshop: Workshop, _: Subscriber, __: wire.StopHub) -> wire.Done:
    """Finish writing and leave."""
    workshop.leave.set()
    return wire.Done()


Handler = Callable[[Workshop, Subscriber, Any], Awaitable[object]]

HANDLERS: dict[type[wire.Request[Any]], Handler] = {
    wire.Attach: attach,
    wire.Watch: watch,
    wire.OpenSession: open_session,
    wire.FindSession: find_session,
    wire.RenameSession: rename_session,
    wire.HideSession: hide_session,
    wire.PinSession: pin_session,
    wire.ParkSession: park_session,
    wire.WakeSession: wake_session,
    wire.SeeSession: see_session,
    wire.RemoveSession: remove_session,
    wire.SaveDraft: save_draft,
    wire.Ask: ask,
    wire.CancelTurn: cancel_turn,
    wire.GiveConsent: give_consent,
    wire.Complete: complete,
    wire.Generate: generate,
    wire.CancelGenerate: cancel_generate,
    wire.ListSkills: list_skills,
    wire.ShowSkill: show_skill,
    wire.CheckSkill: check_skill,
    wire.Trust: trust,
    wire.ListBackends: list_backends,
    wire.PlanDrill: plan_drill,
    wire.Drill: run_drill,
    wire.Discover: discover,
    wire.PlanSetUp: plan_setup,
    wire.SetUp: set_up,
    wire.ReadUsage: read_usage,
    wire.ReadEgress: read_egress,
    wire.ListGrants: list_grants,
    wire.ForgetGrant: forget_grant,
    wire.Examine: doctor,
    wire.ReadStatus: read_status,
    wire.StopHub: stop_hub,
}
"""By request. `Initialize` is the server's own: a connection is not a client's before it."""


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


def _check_backend(workshop: Workshop, backend: str) -> None:
    if backend and backend not in workshop.rungs.backends:
        raise UnknownName.among("backend", backend, workshop.rungs.backends)


def _check_folder(folder: str) -> None:
    if not Path(folder).is_dir():
        raise InputError(f"{folder!r} is no folder")


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
