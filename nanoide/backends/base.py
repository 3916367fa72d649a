"""What every backend can do. A rung of the ladder, a pool and the router itself all look like this."""

from collections.abc import AsyncIterator
from typing import Literal, Protocol, runtime_checkable

from nanoide.core.chat import Chunk, Prompt
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Usage
from nanoide.core.value import Value


class Health(Value, frozen=True):
    """What a backend knows about itself without being asked anything."""

    state: Literal["ready", "starting", "asleep", "down", "off"] = "ready"
    """asleep: starts when asked. down: the last try failed. off: cannot run on this machine."""
    reason: str = ""
    """Why it is not ready, or what is not as it should be, as a phrase; empty when all is well."""
    model: str = ""
    pid: int | None = None
    memory_bytes: int = 0
    running: int = 0
    """Prompts being answered."""
    queued: int = 0
    """Prompts that wait."""
    tokens_per_s: float = 0.0
    device: str = ""
    """What computes, as a phrase; empty where that is not known."""
    parked: int = 0
    """Sequences that rest outside of the KV cache, in RAM or in files."""
    kv_used: int = 0
    """Tokens in the KV cache."""
    kv_size: int = 0
    """Tokens that it can hold; 0 where nothing is known of it."""
    prefix_hits: int = 0
    """Prompts whose beginning was known already, since the engine started."""
    disk_bytes: int = 0
    """Of sequences that rest in files."""


class Backend(Protocol):
    """One way to ask."""

    @property
    def name(self) -> str:
        """As in config.toml."""
        ...

    @property
    def kind(self) -> str:
        """openai, anthropic, llama, reflex or scripted."""
        ...

    @property
    def where(self) -> Where:
        """Where it runs."""
        ...

    @property
    def tier(self) -> Tier:
        """model, or reflex for the deterministic rung."""
        ...

    @property
    def host(self) -> str:
        """Whom a prompt is sent to, for the person to read; empty on this device."""
        ...

    def objection(self, prompt: Prompt) -> str:
        """Why this backend cannot answer `prompt`, as a phrase ("completes code only"); empty when it can.

        Does no I/O: the ladder asks every rung for every prompt.
        """
        ...

    def resumes(self, prompt: Prompt) -> bool:
        """True when it takes up the text of an answer and goes on exactly behind it: see `Prompt.partial`.

        False when that is not certain. Does no I/O.
        """
        ...

    def stream(self, prompt: Prompt) -> AsyncIterator[Chunk]:
        """Answer `prompt`: `Text`s, then exactly one `End`.

        Raises BackendError with the outcome for every failure, foreign errors included. Closing the
        iterator (aclose, or cancelling the task that reads it) stops the work and frees what it held.
        """
        ...

    def health(self) -> Health:
        """How it is, as far as it knows; no I/O."""
        ...

    async def probe(self) -> Health:
        """Find out how it is, by the cheapest request there is."""
        ...

    async def aclose(self) -> None:
        """End what it started: connections, processes."""
        ...


class Call(Protocol):
    """One prompt on its way to one server. Either `stream` is read, or it is given up with `drop`."""

    @property
    def host(self) -> str:
        """Whom exactly this prompt is sent to; empty on this device."""
        ...

    def stream(self) -> AsyncIterator[Chunk]:
        """See `Backend.stream`. Once."""
        ...

    def told(self) -> Usage | None:
        """The usage as far as the server has told it, however the stream ended; None when it has not."""
        ...

    def drop(self) -> None:
        """It is not sent after all."""
        ...


@runtime_checkable
class Calls(Protocol):
    """A backend that knows before it sends where a prompt goes, and in mid-answer what it has used."""

    def call(self, prompt: Prompt) -> Call:
        """Make ready to answer `prompt`; nothing is sent yet. Raises BackendError when nobody can be asked."""
        ...
