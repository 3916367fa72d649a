"""What this machine offers that config.toml does not name yet, and how it gets in there: seen first, then written."""

from typing import Literal

from nanoide.core.value import Value
from nanoide.wire.request import Done, Request


class Offer(Value, frozen=True):
    """Something that could be a backend."""

    id: str
    kind: Literal["server", "file", "key"]
    title: str
    """ "Ollama at 127.0.0.1:11434"."""
    detail: str
    """Its models, its size, or where the key is."""
    backend: str
    """The name that it would get."""
    usual: bool
    """Chosen where nobody chooses."""


class Discovered(Value, frozen=True):
    """What was found."""

    config: str
    """Where config.toml is, or would be."""
    exists: bool
    offers: tuple[Offer, ...] = ()


class Discover(Request[Discovered], frozen=True):
    """Look for what could be used: servers on loopback, model files, keys in the hub's environment. Uses none of it."""

    METHOD = "discover"
    REPLY = Discovered

    folder: str = ""
    """Absolute; models below it are found too. Empty means none."""


class SetUpPlan(Value, frozen=True):
    """What would be written."""

    config: str
    text: str
    """Exactly what is appended; empty when there is nothing to."""
    before: str
    """Stands for the file as it is now; given back with `SetUp`."""
    note: str = ""
    """What the person has to do by hand, as a sentence; empty when that is nothing."""


class PlanSetUp(Request[SetUpPlan], frozen=True):
    """The lines for some of what `Discover` found last. Writes nothing."""

    METHOD = "setup.plan"
    REPLY = SetUpPlan

    offers: tuple[str, ...] | None = None
    """Ids; None means the usual ones."""


class SetUp(Request[Done], frozen=True):
    """Append `text` to config.toml and take it up. Refused when the file changed since the plan."""

    METHOD = "setup"
    REPLY = Done

    text: str
    before: str
