"""The hub in one line, for status bars and scripts."""

import os
from datetime import datetime
from time import monotonic

from nanoide import wire
from nanoide.core.usage import nano_from_usd
from nanoide.hub.journal import now
from nanoide.hub.workshop import Workshop
from nanoide.routing.modes import Standing


def note_mode(workshop: Workshop) -> wire.Mode:
    """How the ladder stands now; the hub remembers since when."""
    mode = workshop.rungs.router.standing().mode
    workshop.spell.note(mode, now())
    return mode


async def read(workshop: Workshop) -> wire.HubStatus:
    """What holds now. Processor time is counted since the last reading."""
    tz_minutes = round((datetime.now().astimezone().utcoffset() or datetime.resolution * 0).total_seconds() / 60)
    nano, unpriced, per_minute = await workshop.ledger.today(tz_minutes)
    standing = workshop.rungs.router.standing()
    lines = workshop.rungs.router.lines()
    cpu, memory = workshop.meter.read([line.pid for line in lines if line.pid is not None])
    sessions = workshop.journal.sessions.values()
    day = workshop.rungs.settings.budget.day_usd
    levels = await workshop.rungs.router.purse.levels()
    return wire.HubStatus(
        pid=os.getpid(),
        uptime_s=(now() - workshop.started).total_seconds(),
        mode=standing.mode,
        mode_reason=standing.reason,
        mode_since=workshop.spell.note(standing.mode, now()),
        mode_backend=standing.backend,
        next_probe_s=_next_probe(workshop, standing),
        tokens_per_min=per_minute,
        today_nano=nano,
        today_unpriced=unpriced,
        cpu_percent=cpu,
        memory_bytes=memory,
        sessions=len(sessions),
        active=sum(each.active for each in sessions),
        needy=sum(each.unread for each in sessions),
        parked=sum(each.state == "parked" for each in sessions),
        clients=len(workshop.clients),
        budget_day_nano=None if day is None else nano_from_usd(day),
        notices=tuple(str(each) for each in levels if each.near),
    )


def _next_probe(workshop: Workshop, standing: Standing) -> float | None:
    """What a drill cut off is not tried before the drill's end."""
    if workshop.drill and standing.backend == workshop.drill:
        return max(0.0, workshop.drill_ends - monotonic())
    return standing.next_probe_s
