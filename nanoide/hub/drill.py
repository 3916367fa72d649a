"""The drill: a backend is cut off for a while, to see what the sessions do. Only the line to it is not real."""

import asyncio
from contextlib import suppress
from time import monotonic

from nanoide import wire
from nanoide.core.chat import Message, Prompt
from nanoide.core.errors import UnknownName, UsageError
from nanoide.hub import status
from nanoide.hub.workshop import Workshop
from nanoide.routing.cutter import DRILL

LONGEST = 3_600.0
"""Seconds; nobody means a longer drill."""


def plan(workshop: Workshop, name: str) -> wire.DrillPlan:
    """Which backend is cut, and who is below it. Raises UsageError while another drill is under way."""
    _check_alone(workshop)
    lines = {line.name: line for line in workshop.rungs.router.lines()}
    route = workshop.rungs.settings.route_for("")
    ladder = [each for each in (route.ladder if route is not None else ()) if each in lines]
    models = [each for each in ladder if lines[each].tier == "model"]
    away = [each for each in models if lines[each].where != "device"]
    chosen = name or next(iter((*away, *models)), "")
    if not chosen:
        raise UsageError("the default ladder has no model to cut off", hint="name a backend")
    if chosen not in lines:
        raise UnknownName.among("backend", chosen, lines)
    below = ladder[ladder.index(chosen) + 1 :] if chosen in ladder else ladder
    chats = not workshop.rungs.backends[chosen].objection(Prompt(messages=(Message("user", "?"),)))
    return wire.DrillPlan(backend=chosen, where=lines[chosen].where, below=tuple(below), chats=chats)


async def run(workshop: Workshop, request: wire.Drill) -> wire.Drilled:
    """Cut the backend off; bring it back when the time is over, the caller goes away or the hub leaves."""
    name = plan(workshop, request.backend).backend
    if not 0 < request.seconds <= LONGEST:
        raise UsageError(f"a drill of {request.seconds:g} s", hint=f"more than 0 and at most {LONGEST:g} seconds")
    began = monotonic()
    workshop.drill, workshop.drill_ends = name, began + request.seconds
    broken = workshop.cutter.cut(name)
    try:
        workshop.broker.tell_status(await status.read(workshop))
        with suppress(TimeoutError):
            async with asyncio.timeout(request.seconds):
                await workshop.leave.wait()
    finally:
        workshop.cutter.restore(name)
        workshop.rungs.router.forgive(name, DRILL)
        workshop.drill = ""
    workshop.broker.tell_status(await status.read(workshop))
    return wire.Drilled(backend=name, seconds=monotonic() - began, broken=broken)


def _check_alone(workshop: Workshop) -> None:
    if workshop.drill:
        raise UsageError(
            f"a drill on {workshop.drill!r} is under way",
            hint="wait for its end, or end it with ctrl+c where it was started",
        )
