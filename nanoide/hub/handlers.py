"""One function per request, in one table. What a request means is told here; how it is done, elsewhere.

What is asked about sessions stands in `session_requests`.
"""

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from nanoide import wire
from nanoide.core.errors import InputError, UnknownName
from nanoide.core.events import SessionId
from nanoide.hub import drill, examine, session_requests, status
from nanoide.hub.broker import Subscriber
from nanoide.hub.completing import check_position
from nanoide.hub.workshop import Workshop


async def dispatch(workshop: Workshop, client: Subscriber, request: wire.Request[object]) -> object:
    """The reply to `request`. Raises NanoideError."""
    return await HANDLERS[type(request)](workshop, client, request)


async def complete(workshop: Workshop, _: Subscriber, request: wire.Complete) -> wire.Completed:
    """An inline completion."""
    check_position(request.document)
    session_requests.check_backend(workshop, request.backend)
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
    from nanoide.hub import setup  # seldom asked for, and not needed to start

    return await setup.look(workshop, request.folder)


async def plan_setup(workshop: Workshop, _: Subscriber, request: wire.PlanSetUp) -> wire.SetUpPlan:
    """The lines for what was found."""
    from nanoide.hub import setup

    return await setup.plan(workshop, request.offers)


async def set_up(workshop: Workshop, _: Subscriber, request: wire.SetUp) -> wire.Done:
    """Write them."""
    from nanoide.hub import setup

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
    wire.Attach: session_requests.attach,
    wire.Watch: session_requests.watch,
    wire.OpenSession: session_requests.open_session,
    wire.FindSession: session_requests.find_session,
    wire.RenameSession: session_requests.rename_session,
    wire.HideSession: session_requests.hide_session,
    wire.PinSession: session_requests.pin_session,
    wire.ParkSession: session_requests.park_session,
    wire.WakeSession: session_requests.wake_session,
    wire.SeeSession: session_requests.see_session,
    wire.RemoveSession: session_requests.remove_session,
    wire.SaveDraft: session_requests.save_draft,
    wire.Ask: session_requests.ask,
    wire.CancelTurn: session_requests.cancel_turn,
    wire.GiveConsent: session_requests.give_consent,
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


def _check_folder(folder: str) -> None:
    if not Path(folder).is_dir():
        raise InputError(f"{folder!r} is no folder")
