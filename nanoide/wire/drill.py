"""The drill: one backend is cut off for a while, and everything else is real."""

from nanoide.core.policy import Where
from nanoide.core.value import Value
from nanoide.wire.request import Request


class DrillPlan(Value, frozen=True):
    """What a drill would cut, and who is there instead."""

    backend: str
    where: Where
    below: tuple[str, ...] = ()
    """The rungs below it on the default ladder."""
    chats: bool = True
    """False for a backend that completes code only."""


class PlanDrill(Request[DrillPlan], frozen=True):
    """Which backend a drill would cut. Refused while another drill is under way."""

    METHOD = "drill.plan"
    REPLY = DrillPlan

    backend: str = ""
    """Empty means: the first model of the default ladder that is not on this device, or else its first model."""


class Drilled(Value, frozen=True):
    """The drill is over, and the backend is back."""

    backend: str
    seconds: float
    """For which it was cut off."""
    broken: int
    """Answers that were under way on it and were cut."""


class Drill(Request[Drilled], frozen=True):
    """Cut a backend off for a while. Ends early when whoever asks for it goes away, or the hub does."""

    METHOD = "drill"
    REPLY = Drilled

    backend: str
    seconds: float = 60.0
