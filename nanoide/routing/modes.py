"""How the whole ladder stands, for the status bar and `nanoide backends`. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from nanoide.backends.base import Health
from nanoide.core.policy import Egress
from nanoide.core.value import Value
from nanoide.routing.breaker import Breaker
from nanoide.routing.egress import Gate
from nanoide.wire import BackendLine

Mode = Literal["full", "degraded", "local only", "reflex only"]

_DOWN = frozenset({"cooling", "down", "off"})


class Standing(Value, frozen=True):
    """How the whole ladder stands, for a status bar: nothing in it changes while nothing happens but the time."""

    mode: Mode
    reason: str = ""
    """Why, as a phrase; empty when all is well."""
    backend: str = ""
    """The first model of the ladder that cannot be asked; empty when all can."""
    next_probe_s: float | None = None
    """Until one of them is tried again: 0 means by the next prompt. None when nothing is waited for."""


class Spell:
    """Since when the present mode holds. It lasts as long as the hub, over every reload of config.toml."""

    def __init__(self, began: datetime) -> None:
        self.since = began
        self._mode: Mode | None = None

    def note(self, mode: Mode, at: datetime) -> datetime:
        """The ladder stands at `mode` now; since when that is so."""
        if self._mode is not None and mode != self._mode:
            self.since = at
        self._mode = mode
        return self.since


def line(gate: Gate, health: Health, model: str, breaker: Breaker | None, now: float) -> BackendLine:
    """One rung's health and breaker in one line."""
    state = "closed" if breaker is None else breaker.state(now)
    resting = breaker is not None and state == "open" and health.state != "off"
    reason = health.reason
    if breaker is not None and state != "closed":
        reason = breaker.reason or reason
    return BackendLine(
        name=gate.name,
        kind=gate.kind,
        where=gate.where,
        tier=gate.tier,
        model=health.model or model,
        state="cooling" if resting else health.state,
        reason=reason,
        breaker=state,
        recovers_in_s=None if breaker is None or state == "closed" or breaker.locked else breaker.rest(now),
        pid=health.pid,
        memory_bytes=health.memory_bytes,
        running=health.running,
        queued=health.queued,
        tokens_per_s=health.tokens_per_s,
        device=health.device,
        parked=health.parked,
        kv_used=health.kv_used,
        kv_size=health.kv_size,
        prefix_hits=health.prefix_hits,
        disk_bytes=health.disk_bytes,
    )


def mode(ladder: Sequence[BackendLine], every: Sequence[BackendLine], policy: Egress) -> tuple[Mode, str]:
    """The default ladder in two words, and why, as a phrase; empty when all is well.

    `every` are all backends there are: a ladder without a remote rung is local only by choice when there
    is one that it leaves out, and full when there is none.
    """
    models = [each for each in ladder if each.tier == "model"]
    down = [each for each in models if is_down(each)]
    if len(down) == len(models):
        return "reflex only", _told(down) or "no model is on the ladder"
    if down:
        return "degraded", _told(down)
    away = [each for each in models if each.where != "device"]
    if away and policy == "local-only":
        return "local only", "the default route keeps everything on this machine"
    if not away and any(each.where != "device" for each in every):
        return "local only", "the default route names no backend elsewhere"
    return "full", ""


def standing(ladder: Sequence[BackendLine], every: Sequence[BackendLine], policy: Egress) -> Standing:
    """The default ladder: its mode, whose fault that is, and when that one is tried again."""
    words, reason = mode(ladder, every, policy)
    down = [each for each in ladder if each.tier == "model" and is_down(each)]
    if not down:
        return Standing(mode=words, reason=reason)
    # Off stays off, and a key that was refused is not tried again by time alone.
    hopeful = [
        each for each in down if each.state != "off" and not (each.breaker == "open" and each.recovers_in_s is None)
    ]
    waits = [each.recovers_in_s or 0.0 for each in hopeful]
    return Standing(
        mode=words,
        reason="; ".join(f"{each.name}: {each.reason or each.state}" for each in down),
        backend=down[0].name,
        next_probe_s=min(waits, default=None),
    )


def is_down(line: BackendLine) -> bool:
    """True when a rung cannot be asked, or only to find out whether it is back."""
    return line.state in _DOWN or line.breaker != "closed"


def _told(down: Sequence[BackendLine]) -> str:
    parts: list[str] = []
    for each in down:
        again = f", tried again in {each.recovers_in_s:.0f} s" if each.recovers_in_s else ""
        parts.append(f"{each.name}: {each.reason or each.state}{again}")
    return "; ".join(parts)
