"""The parts that a turn and a completion work with: what lasts, and who can be asked."""

from dataclasses import dataclass

from nanoide.backends.base import Backend
from nanoide.hub.broker import Broker
from nanoide.hub.journal import Journal
from nanoide.paths import Paths
from nanoide.routing.failover import Router
from nanoide.settings import Settings
from nanoide.skills.library import Library
from nanoide.store.database import Database
from nanoide.store.index import Index
from nanoide.store.ledger import Ledger
from nanoide.store.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class Rungs:
    """What config.toml says, and the backends that came of it. Replaced as a whole when the file changes."""

    settings: Settings
    backends: dict[str, Backend]
    router: Router
    problem: str = ""
    """Why the file as it is now is not in force; empty when it is."""


@dataclass(slots=True)
class Parts:
    """Everything that lasts."""

    paths: Paths
    database: Database
    store: SessionStore
    ledger: Ledger
    index: Index
    library: Library
    broker: Broker
    journal: Journal
    rungs: Rungs
