"""The one place where the workshop is joined."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import assert_never

from nanoide import settings as config
from nanoide.backends.anthropic import AnthropicBackend
from nanoide.backends.base import Backend
from nanoide.backends.keys import read_key
from nanoide.backends.llama import LlamaBackend
from nanoide.backends.openai import OpenAIBackend
from nanoide.backends.pool import Pool
from nanoide.backends.reflex import ReflexBackend
from nanoide.backends.remote import HttpBackend
from nanoide.backends.residency import Residency
from nanoide.core.errors import SettingsError
from nanoide.core.events import TurnFailed
from nanoide.core.session import ACTIVE, Session
from nanoide.hub.broker import Broker
from nanoide.hub.completing import Completions
from nanoide.hub.consent import changed
from nanoide.hub.journal import Journal, now
from nanoide.hub.parts import Rungs
from nanoide.hub.turn import Turns
from nanoide.hub.workshop import Workshop
from nanoide.paths import Paths, bundled_model, bundled_skills
from nanoide.routing.budget import Purse
from nanoide.routing.cutter import DRILL, Cutter
from nanoide.routing.failover import Router
from nanoide.routing.memory import Memory
from nanoide.routing.modes import Spell
from nanoide.settings import BackendTable, Settings
from nanoide.skills.library import Library
from nanoide.store.database import Database
from nanoide.store.index import Index
from nanoide.store.ledger import Ledger
from nanoide.store.sessions import SessionStore

log = logging.getLogger(__name__)


async def build(paths: Paths) -> Workshop:
    """Open the store, load the sessions, make the backends. Raises StoreError or SettingsError."""
    settings = config.load(paths.config)
    database = await Database.open(paths.database)
    try:
        store = SessionStore(database)
        ledger = Ledger(database)
        broker = Broker()
        seq, sessions = await store.load()
        journal = Journal(store, broker, seq, sessions)
        cutter, started = Cutter(), now()
        rungs = assemble(settings, paths, ledger, cutter=cutter)
        for name in rungs.backends:
            rungs.router.forgive(name, DRILL)  # a hub before this one was killed in the middle of a drill
        await _end_interrupted(journal, store, sessions)
        return Workshop(
            paths=paths,
            database=database,
            store=store,
            ledger=ledger,
            index=Index(paths.index),
            library=Library(
                bundled=bundled_skills(),
                user=paths.skills,
                agents=paths.agent_skills,
                trust_file=paths.database.with_name("trust.json"),
            ),
            broker=broker,
            journal=journal,
            turns=Turns(),
            completions=Completions(),
            rungs=rungs,
            started=started,
            spell=Spell(started),
            cutter=cutter,
            next_number=await store.next_number(),
        )
    except BaseException:
        await database.aclose()
        raise


async def dismantle(workshop: Workshop) -> None:
    """Close everything, in the order in which it was used: work first, the database last."""
    for chore in workshop.chores:
        chore.cancel()
    await workshop.turns.aclose()
    await workshop.generations.aclose()
    await workshop.rungs.router.aclose()
    for backend in workshop.retired:
        await backend.aclose()
    await workshop.journal.settle()
    await workshop.index.aclose()
    await workshop.database.aclose()


async def reload(workshop: Workshop) -> None:
    """Take up a changed config.toml; what it says wrongly is kept for the doctor, and the old holds on.

    Backends whose table did not change go on as they are, models and connections included.
    """
    old = workshop.rungs
    try:
        settings = config.load(workshop.paths.config)
    except SettingsError as error:
        log.warning("config.toml is not taken up: %s", error)
        workshop.rungs = Rungs(settings=old.settings, backends=old.backends, router=old.router, problem=str(error))
        return
    if settings == old.settings:
        workshop.rungs = Rungs(settings=settings, backends=old.backends, router=old.router)
        return
    workshop.rungs = assemble(settings, workshop.paths, workshop.ledger, before=old, cutter=workshop.cutter)
    stale = changed(old.settings, settings)
    old.router.customs.stale = stale  # turns under way go on here, and do not leave under a policy of before
    workshop.turns.consents.withdraw(stale, "config.toml changed before you answered")
    kept = set(map(id, workshop.rungs.backends.values()))
    workshop.retired.extend(each for each in old.backends.values() if id(each) not in kept)
    log.info("config.toml was taken up")


def assemble(
    settings: Settings, paths: Paths, ledger: Ledger, *, before: Rungs | None = None, cutter: Cutter | None = None
) -> Rungs:
    """The backends of `settings` and the router over them; those that did not change are taken from `before`."""
    same: dict[BackendTable, Backend] = {}
    if before is not None and before.settings.hub == settings.hub:
        same = {table: before.backends[table.name] for table in before.settings.backends()}
    known = before.backends.values() if before is not None else ()
    residency = next((each.residency for each in known if isinstance(each, LlamaBackend)), None) or Residency()
    backends = {
        table.name: same.get(table) or _backend(table, settings, paths, residency) for table in settings.backends()
    }

    async def spent() -> int:
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        return await ledger.spent(midnight)

    purse = _purse(settings, ledger, spent) if before is None else before.router.purse
    purse.budget = settings.budget  # what is reserved for turns under way stays
    router = Router(
        backends,
        settings,
        audit=ledger.add_egress,
        spent=spent,
        spent_since=ledger.spent,
        cutter=cutter,
        purse=purse,
        memory=Memory(paths.database.with_name("breakers.json")) if before is None else before.router.memory,
    )
    return Rungs(settings=settings, backends=backends, router=router)


def _purse(settings: Settings, ledger: Ledger, spent: Callable[[], Awaitable[int]]) -> Purse:
    def calendar() -> datetime:
        return datetime.now().astimezone()

    return Purse(settings.budget, spent=spent, spent_since=ledger.spent, clock=calendar, of_session=ledger.of_session)


def _backend(table: BackendTable, settings: Settings, paths: Paths, residency: Residency) -> Backend:
    match table.kind:
        case "llama":
            return LlamaBackend(
                table,
                model=model_path(table.model, paths),
                log=paths.log / f"engine-{table.name}.log",
                unload_after_s=settings.hub.unload_after_min * 60,
                parking=paths.database.parent / "parked" / table.name,
                residency=residency,
            )
        case "openai" | "anthropic":
            servers = [_server(each) for each in table.replicas()]
            return servers[0] if len(servers) == 1 else Pool(table, servers)
        case "reflex":
            return ReflexBackend(table.name)
        case _:
            assert_never(table.kind)


def _server(table: BackendTable) -> HttpBackend:
    kind = AnthropicBackend if table.kind == "anthropic" else OpenAIBackend
    return kind(table, lambda: read_key(table.key) if table.key else "")


def model_path(model: str, paths: Paths) -> Path:
    """The file behind a model's name: `nano` is bundled, others are paths or names in the models folder."""
    if model == "nano":
        return bundled_model()
    path = Path(model).expanduser()
    if path.is_absolute():
        return path
    named = paths.models / (model if model.endswith(".gguf") else f"{model}.gguf")
    return named if named.exists() else path.absolute()


async def _end_interrupted(journal: Journal, store: SessionStore, sessions: tuple[Session, ...]) -> None:
    """Say of every turn that a dead hub left behind that it was interrupted."""
    for session in sessions:
        if session.state not in ACTIVE:
            continue
        for turn in await store.turns(session.id, 1):
            if turn.state in {"done", "failed", "cancelled"}:
                continue
            await journal.commit(
                TurnFailed(
                    session=session.id,
                    at=now(),
                    turn=turn.id,
                    text=turn.text,
                    error="Interrupted",
                    message="interrupted: the hub ended before the answer was whole",
                    hint="ask again",
                )
            )
