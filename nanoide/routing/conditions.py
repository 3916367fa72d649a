"""How the machine stands, and what follows from that for work that nobody waits for.

Work that a person waits for keeps the order of its route. Ambient work takes what costs nothing first, and neither
ambient nor background work loads a model while the battery is low or memory is short.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from nanoide.backends.residency import RESERVE, RESERVE_BYTES
from nanoide.core.chat import Priority
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Price
from nanoide.core.value import Value

LOOK_S = 3.0
"""Seconds for which one look at the machine holds."""

LOW_BATTERY = 20.0
"""Percent."""

BUSY_CPU = 90.0
"""Percent, of all cores."""

UNWATCHED: frozenset[Priority] = frozenset({"background", "ambient"})
"""Nobody waits for it right now."""


class Conditions(Value, frozen=True):
    """The machine at one moment. As given here, all is well."""

    battery: float | None = None
    """Percent, while it runs on its battery; None when it is plugged in, or has none."""
    cpu: float = 0.0
    """Percent, of all cores, since the look before."""
    short: bool = False
    """True when there is no memory to spare."""

    @property
    def spares(self) -> str:
        """Why no model should be loaded for work that nobody waits for, as a phrase; empty when one may be."""
        if self.battery is not None and self.battery < LOW_BATTERY:
            return f"the battery is at {self.battery:.0f} %"
        return "memory is short" if self.short else ""

    @property
    def busy(self) -> bool:
        """True when whatever computes here takes from what the person does."""
        return self.cpu >= BUSY_CPU


class Place(Value, frozen=True):
    """A rung, as far as its place on the ladder depends on it."""

    name: str
    where: Where
    tier: Tier
    price: Price | None = None
    """None when it is not known; what runs on this machine is free all the same."""
    sleeps: bool = False
    """True for a model that would first have to be loaded here."""


def order(places: Sequence[Place], priority: Priority, conditions: Conditions) -> tuple[tuple[str, ...], str]:
    """The names in the order in which they are tried, and why it is not the one given; empty when it is.

    Only ambient work is ordered anew: what is free before what is priced, the cheap before the dear. Where that
    leaves a choice, the order given holds, but a busy machine loads no model while another rung here is free.
    """
    given = tuple(place.name for place in places)
    if priority != "ambient":
        return given, ""
    cheap = sorted(places, key=_cost)
    names = tuple(place.name for place in cheap)
    if conditions.busy:
        names = tuple(place.name for place in sorted(cheap, key=lambda each: (_cost(each)[0], each.sleeps)))
        if names != tuple(place.name for place in cheap):
            return names, "ambient work loads no model while the processor is busy"
    return names, "" if names == given else "ambient work takes what costs nothing"


def spared(place: Place, priority: Priority, conditions: Conditions) -> str:
    """Why the rung is passed over for now, as a phrase; empty when it is not."""
    if priority not in UNWATCHED or not place.sleeps or not conditions.spares:
        return ""
    return f"is not loaded, and {conditions.spares}"


class Machine:
    """Looks at the machine when somebody asks, at most once every few seconds."""

    def __init__(self, look: Callable[[], Conditions] | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        """`look` may take its time: it is called in a thread."""
        self._look = look or glance
        self._clock = clock
        self._seen = Conditions()
        self._at: float | None = None
        self._lock = asyncio.Lock()

    async def conditions(self) -> Conditions:
        """As they are, or were a moment ago; those who ask together look once."""
        async with self._lock:
            now = self._clock()
            if self._at is None or now - self._at >= LOOK_S:
                self._seen, self._at = await asyncio.to_thread(self._look), now
            return self._seen


def glance() -> Conditions:
    """What psutil says of this machine; what it cannot say is taken to be well."""
    import psutil

    memory = psutil.virtual_memory()
    return Conditions(
        battery=_battery(),
        cpu=psutil.cpu_percent(),
        short=memory.available < min(max(RESERVE_BYTES, int(memory.total * RESERVE)), memory.total // 4),
    )


def _battery() -> float | None:
    import psutil

    look = getattr(psutil, "sensors_battery", None)  # some platforms have none
    try:
        battery = None if look is None else look()
    except (OSError, ValueError, RuntimeError):  # a driver that says nonsense
        return None
    return None if battery is None or battery.power_plugged is not False else float(battery.percent)


def _cost(place: Place) -> tuple[int, int]:
    """Cheap first: this machine, the local network, then by price; a price that is not known comes last."""
    match place.where:
        case "device":
            return 0, 0
        case "lan":
            return 1, 0
        case "remote":
            return (3, 0) if place.price is None else (2, place.price.input + place.price.output)
