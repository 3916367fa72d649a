"""The hub's whole state: the parts, the work under way, the clients. `hub.bootstrap` makes one."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from nanoide.backends.base import Backend
from nanoide.backends.discovery import Found
from nanoide.backends.llama import LlamaBackend
from nanoide.core.errors import UnknownName, UsageError
from nanoide.core.events import SessionId
from nanoide.core.session import Session
from nanoide.hub.broker import Subscriber
from nanoide.hub.completing import Completions
from nanoide.hub.generating import Generations
from nanoide.hub.meter import Meter
from nanoide.hub.parts import Parts
from nanoide.hub.turn import Turns
from nanoide.routing.cutter import Cutter
from nanoide.routing.modes import Spell


@dataclass(slots=True, kw_only=True)
class Workshop(Parts):
    """What the handlers of requests work with."""

    turns: Turns
    completions: Completions
    started: datetime
    next_number: int
    """Of the next session."""
    generations: Generations = field(default_factory=Generations)
    spell: Spell
    """Since when the present mode holds."""
    cutter: Cutter
    """The drill's switch; it outlasts every reload of config.toml."""
    found: Found | None = None
    """What discovery found last; None before it looked."""
    drill: str = ""
    """The backend that is cut off by a drill; empty while none is under way."""
    drill_ends: float = 0.0
    """When that ends, of `time.monotonic`."""
    meter: Meter = field(default_factory=Meter)
    clients: set[Subscriber] = field(default_factory=set[Subscriber])
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the hub is to end."""

    chores: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    """Short tasks that nobody waits for; cancelled at the end."""
    retired: list[Backend] = field(default_factory=list[Backend])
    """Backends that config.toml no longer names; closed as soon as no turn is under way."""

    def warm(self) -> None:
        """Load the models that complete code, before the first key asks for them."""
        for backend in self.rungs.backends.values():
            if isinstance(backend, LlamaBackend):
                task = asyncio.create_task(backend.warm(), name=f"warm {backend.name}")
                self.chores.add(task)
                task.add_done_callback(self.chores.discard)

    def session(self, id: SessionId) -> Session:
        """The session with this id. Raises UnknownName."""
        session = self.journal.sessions.get(id)
        if session is None:
            raise UnknownName.among("session", id, (each.name for each in self.journal.sessions.values()))
        return session

    def find(self, name: str) -> Session:
        """The session that a person's `name` stands for: number, name, or the beginning of an id.

        Raises UnknownName when there is none, UsageError when there are several.
        """
        sessions = self.journal.sessions.values()
        for session in sessions:
            if name in {session.name, session.id} or (name.isdecimal() and int(name) == session.number):
                return session
        begins = [each for each in sessions if len(name) >= 4 and each.id.startswith(name)]
        if len(begins) > 1:
            raise UsageError(f"{name!r} stands for {len(begins)} sessions", hint="use the number or the name")
        if not begins:
            raise UnknownName.among("session", name, (each.name for each in sessions))
        return begins[0]
