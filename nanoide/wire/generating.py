"""Answers without a session: asked by other programs, told in pieces, to the connection that asked and to it alone."""

from nanoide.core.chat import Attempt, Fill, Finish, Message, Rung, Source
from nanoide.core.policy import Egress, Tier, Where
from nanoide.core.usage import Usage
from nanoide.core.value import Value
from nanoide.wire.request import Done, Request


class Generated(Value, frozen=True):
    """The answer is whole. Its text went before, in pieces."""

    finish: Finish
    backend: str
    where: Where
    tier: Tier
    model: str = ""
    """As the backend names it."""
    usage: Usage = Usage()
    """Of all attempts."""
    cost_nano: int | None = 0
    """Of all attempts; None when any is unpriced."""
    ttft_ms: int | None = None
    total_ms: int = 0


class Generate(Request[Generated], frozen=True):
    """One answer without a session. Nobody can be asked about it: the policy "ask" keeps it on this machine.

    A setting that is None is as the skill says, or as it is for everybody.
    """

    METHOD = "generate"
    REPLY = Generated

    key: str
    """Names the pieces; the client's own choice, in use by none of its other requests."""
    skill: str = ""
    """Ask in the manner of this skill, by its route; empty for a plain prompt."""
    route: str = ""
    """Empty means as the skill says, else the default."""
    backend: str = ""
    """Ask this one alone."""
    system: str = ""
    messages: tuple[Message, ...] = ()
    fill: Fill | None = None
    """Either this or `messages` is set."""
    beside: tuple[Source, ...] = ()
    """From other files, nearest first: what a reflex may copy from to fill in. No model is told of it."""
    session: str = ""
    """Requests with the same one go to the same place, where their common beginning is known."""
    max_output: int | None = None
    """Tokens."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    json_schema: str = ""
    egress: Egress | None = None
    """May narrow the policy in force."""


class CancelGenerate(Request[Done], frozen=True):
    """Stop the answer with this key, of the same connection. Done when it has stopped; without one nothing happens."""

    METHOD = "generate.cancel"
    REPLY = Done

    key: str


class Piece(Value, frozen=True):
    """The parameters of the notification `piece`: exactly one of text, rung and attempt is set."""

    key: str
    text: str = ""
    """The next piece of the answer."""
    rung: Rung | None = None
    """This rung is asked from here on. All text before it is void, unless it says that it continues."""
    attempt: Attempt | None = None
    """An attempt has ended; it stands in the ledger too."""
