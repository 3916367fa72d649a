"""What happens to what nobody uses: sessions are parked, and an idle hub ends."""

import asyncio
from datetime import timedelta

from nanoide.backends.llama import LlamaBackend
from nanoide.core.events import SessionParked
from nanoide.core.session import Session
from nanoide.hub.journal import now
from nanoide.hub.workshop import Workshop

PARK_LOOK = 20.0
"""Seconds between two looks at who is idle."""


async def park(workshop: Workshop, session: Session) -> None:
    """Free what `session` holds. Does nothing when it is parked."""
    if session.state == "parked":
        return
    await workshop.journal.commit(SessionParked(session=session.id, at=now()))
    for backend in workshop.rungs.backends.values():
        if isinstance(backend, LlamaBackend):
            backend.park(session.id)
    workshop.journal.shed()


def release(workshop: Workshop, session: Session) -> None:
    """Drop what backends keep for `session`, which is removed."""
    for backend in workshop.rungs.backends.values():
        if isinstance(backend, LlamaBackend):
            backend.release(session.id)


async def park_the_quiet(workshop: Workshop) -> None:
    """For as long as the hub lives, park sessions that were idle for the configured time."""
    while True:
        await asyncio.sleep(PARK_LOOK)
        while workshop.retired and not _at_work(workshop):
            await workshop.retired.pop().aclose()
        minutes = workshop.rungs.settings.hub.park_after_min
        if minutes <= 0:
            continue
        limit = now() - timedelta(minutes=minutes)
        for session in list(workshop.journal.sessions.values()):
            quiet = session.state == "idle" and session.since < limit
            if quiet and not session.pinned and not workshop.broker.watched(session.id):
                await park(workshop, session)


async def leave_when_idle(workshop: Workshop) -> None:
    """End the hub once there was neither client nor work for the configured time."""
    changed = asyncio.Event()
    workshop.journal.on_change = changed.set
    while True:
        minutes = workshop.rungs.settings.hub.stop_after_min
        busy = workshop.clients or _at_work(workshop)
        changed.clear()
        if busy or minutes <= 0:
            await changed.wait()
            continue
        try:
            async with asyncio.timeout(minutes * 60):
                await changed.wait()
        except TimeoutError:
            workshop.leave.set()
            return


def _at_work(workshop: Workshop) -> bool:
    """True while anything is asked of a backend."""
    return bool(workshop.turns.active or workshop.completions.active or workshop.generations.active)
