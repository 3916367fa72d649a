"""A hub that does what a test says, at the wire: a real Unix socket, no models, a clock that stands still."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.core import events
from nanoide.core.errors import HubError, NanoideError, UnknownName
from nanoide.core.events import SessionEvent, SessionId, TurnId
from nanoide.core.session import Session, Turn, apply, opened, outline
from nanoide.core.usage import Usage

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    """So many seconds before the moment at which all tests play."""
    return NOW - timedelta(seconds=seconds)


class ScriptedHub:
    """Sessions in memory; `tell` publishes an event to whoever is attached."""

    def __init__(self) -> None:
        self.sessions: dict[SessionId, Session] = {}
        self.seq = 0
        self.status = wire.HubStatus(
            tokens_per_min=2_520,
            today_nano=180_000_000,
            saved_nano=1_920_000_000,
            cpu_percent=31,
            memory_bytes=1_200_000_000,
        )
        self.skills: tuple[wire.SkillLine, ...] = ()
        self.backends: tuple[wire.BackendLine, ...] = ()
        self.offers: tuple[wire.Offer, ...] = ()
        self.report: wire.UsageReport | None = None
        self.asked: list[wire.Request[object]] = []
        """Every request but the greeting, in order."""
        self.questions: dict[SessionId, events.ConsentAsked] = {}
        """Consents that were asked, to be asked again."""
        self.refuse: dict[str, NanoideError] = {}
        """By method: answer it with this error."""
        self._folder = Path(tempfile.gettempdir(), f"nano-tui-{os.getpid()}-{id(self)}")
        self.path = self._folder / "hub.sock"
        self._server: asyncio.Server | None = None
        self.once = False
        """Listen no longer when a client has left: for a loop that nobody else will clean up."""
        self._clients: dict[asyncio.StreamWriter, frozenset[SessionId]] = {}
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Listen."""
        if self._server is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self.path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self.path, limit=wire.FRAME_LIMIT)

    async def die(self) -> None:
        """Cut every connection and listen no longer, as a killed hub does."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._clients):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        self._clients.clear()
        self.path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Be gone."""
        await self.die()
        rmtree(self._folder, ignore_errors=True)

    async def connect(self) -> Connection:
        """What the app is given as its way to the hub."""
        try:
            return await Connection.open(self.path, client="test")
        except OSError as error:
            raise HubError("the hub does not run") from error

    async def connect_starting(self) -> Connection:
        """Likewise, and the hub is started when it does not run."""
        await self.start()
        return await self.connect()

    def tell(self, event: SessionEvent) -> None:
        """Publish one event: a Fact gets the next number."""
        fact = not isinstance(event, events.TurnStarted | events.TextArrived)
        self.seq += fact
        self.fold(event)
        self.repeat(event)

    def fold(self, event: SessionEvent) -> Session:
        """Let an event happen without telling anyone."""
        if isinstance(event, events.SessionOpened):
            session = opened(event)
        else:
            session = apply(self.sessions[event.session], event)
        self.sessions[event.session] = session
        if session.removed:
            del self.sessions[event.session]
        return session

    def repeat(self, event: SessionEvent) -> None:
        """Tell an event that has happened, to whom it concerns."""
        line = wire.notification("event", wire.Published(seq=self.seq, event=event))
        for writer, watched in self._clients.items():
            if isinstance(event, events.TextArrived) and event.session not in watched:
                continue
            writer.write(line)

    def long_answer(self, session: SessionId, turn: Turn, lines: int) -> None:
        """Finish a turn with an answer of so many lines."""
        text = "\n".join(f"line {number}" for number in range(lines))
        self.tell(
            events.TurnFinished(session, NOW, turn.id, text, "nano", "device", "model", "stop", Usage(), 0, 38, 160)
        )

    def say(self, status: wire.HubStatus) -> None:
        """Publish other figures."""
        self.status = status
        for writer in self._clients:
            writer.write(wire.notification("status", wire.StatusChanged(status)))

    def watched(self) -> frozenset[SessionId]:
        """What the clients watch."""
        return frozenset().union(*self._clients.values())

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds; looks again after each request."""
        async with asyncio.timeout(10):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def of(self, kind: type[Any]) -> list[Any]:
        """The requests of one kind so far."""
        return [each for each in self.asked if isinstance(each, kind)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                frame = wire.parse(line)
                assert frame.id is not None
                assert frame.method is not None
                request = wire.read(frame.params, wire.REQUESTS[frame.method])
                if not isinstance(request, wire.Initialize):
                    self.asked.append(request)
                try:
                    if frame.method in self.refuse:
                        raise self.refuse[frame.method]
                    answer = self._answer(request, writer)
                except NanoideError as error:
                    writer.write(wire.failure(frame.id, error))
                else:
                    writer.write(wire.reply(frame.id, answer))
                await writer.drain()
                self._changed.set()
        except (ConnectionError, OSError):
            pass
        finally:
            self._clients.pop(writer, None)
            writer.close()
            if self.once and self._server is not None:
                self._server.close()
                rmtree(self._folder, ignore_errors=True)

    def _answer(self, request: object, writer: asyncio.StreamWriter) -> object:
        match request:
            case wire.Initialize():
                return wire.Initialized(wire.PROTOCOL_VERSION, "0", 1, "/")
            case wire.Attach():
                self._clients[writer] = frozenset()
                return wire.Attached(self.seq, tuple(outline(each) for each in self.sessions.values()), self.status)
            case wire.Watch(sessions=ids):
                self._clients[writer] = frozenset(ids)
                return wire.Watching(self.seq, tuple(self.sessions[each] for each in ids if each in self.sessions))
            case wire.ListSkills():
                return self.skills
            case wire.ListBackends():
                return self.backends
            case wire.ReadEgress():
                return ()
            case wire.Discover():
                return wire.Discovered("/home/ada/.config/nanoide/config.toml", False, self.offers)
            case wire.PlanSetUp(offers=ids):
                text = "\n".join(f'[[backend]]\nname = "{each}"\n' for each in ids or ())
                return wire.SetUpPlan("/home/ada/.config/nanoide/config.toml", text, "before")
            case wire.ReadUsage():
                assert self.report is not None
                return self.report
            case wire.OpenSession(skill=skill, folder=folder):
                return self._open(skill, folder)
            case wire.Ask(session=session, text=text):
                assert session is not None
                self._known(session)
                turn = TurnId(f"turn-{self.seq + 1}")
                self.tell(events.TurnAsked(session, NOW, turn, text))
                return wire.Asked(outline(self.sessions[session]), turn)
            case wire.Request():
                self._tell_of(request)
                return wire.Done()
            case _:
                raise AssertionError(request)

    def _open(self, skill: str, folder: str) -> Session:
        number = max((each.number for each in self.sessions.values()), default=0) + 1
        session = SessionId(f"s{number}")
        self.tell(events.SessionOpened(session, NOW, number, f"{skill}-{number}", skill, folder))
        return self.sessions[session]

    def _known(self, session: SessionId) -> Session:
        if session not in self.sessions:
            raise UnknownName.among("session", session, self.sessions)
        return self.sessions[session]

    def _tell_of(self, request: object) -> None:
        match request:
            case wire.HideSession(session=session, hidden=hidden):
                self.tell(events.SessionHidden(session, NOW, hidden))
            case wire.RenameSession(session=session, name=name):
                self.tell(events.SessionRenamed(session, NOW, name))
            case wire.PinSession(session=session, pinned=pinned):
                self.tell(events.SessionPinned(session, NOW, pinned))
            case wire.ParkSession(session=session):
                self.tell(events.SessionParked(session, NOW))
            case wire.WakeSession(session=session):
                self.tell(events.SessionWoken(session, NOW))
            case wire.SeeSession(session=session):
                self.tell(events.SessionSeen(session, NOW))
            case wire.RemoveSession(session=session):
                self.tell(events.SessionRemoved(session, NOW))
            case wire.SaveDraft(session=session, text=text):
                self.tell(events.DraftSaved(session, NOW, text))
            case wire.CancelTurn(session=session):
                turns = self._known(session).turns
                if turns and self.sessions[session].active:
                    self.tell(events.TurnCancelled(session, NOW, turns[-1].id, turns[-1].text))
            case wire.GiveConsent(session=session, choice=choice):
                turn = self._known(session).turns[-1]
                if turn.consent is not None:
                    self.questions[session] = turn.consent
                self.tell(events.ConsentGiven(session, NOW, turn.id, choice))
            case _:
                pass
