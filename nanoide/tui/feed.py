"""The only bridge from the hub to the screen.

It keeps a mirror of the hub's sessions by folding events into them, tells the app at most once a frame
what changed, and when the hub goes away it attaches again by itself. A snapshot and the events around it
are joined by their sequence numbers, so nothing is missed and nothing is shown twice.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Protocol, assert_never

from textual.message import Message

from nanoide import wire
from nanoide.core.errors import HubError, NanoideError
from nanoide.core.events import SessionEvent, SessionId, SessionOpened, TextArrived, TurnStarted
from nanoide.core.session import Session, apply, opened, outline
from nanoide.tui.messages import Complaint, HubLost, SessionsChanged, SessionsReset, StatusArrived

FRAME_S = 1 / 25
"""The least time between two paints of what streams."""

_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""How long to wait after the first, second … failure; the last one is repeated."""


class Link(Protocol):
    """What the feed needs of `client.connection.Connection`."""

    async def call(self, request: wire.Request[wire.Reply], /) -> wire.Reply:
        """The hub's reply."""
        ...

    def notices(self) -> AsyncIterator[wire.Published | wire.StatusChanged]:
        """What the hub tells unasked; ends when the hub goes away."""
        ...

    async def aclose(self) -> None:
        """Close."""
        ...


class Feed:
    """A mirror of the hub's sessions, and the way to send requests."""

    def __init__(self, connect: Callable[[], Awaitable[Link]], post: Callable[[Message], object]) -> None:
        self._connect = connect
        self._post = post
        self.sessions: dict[SessionId, Session] = {}
        """By id. Watched ones with their turns, the others as outlines."""
        self.status = wire.HubStatus()
        self._link: Link | None = None
        self._watched: frozenset[SessionId] = frozenset()
        """As the hub has it."""
        self._wanted: frozenset[SessionId] = frozenset()
        self._watch_again = asyncio.Event()
        self._seqs: dict[SessionId, int] = {}
        """The sequence number that each mirrored session stands at."""
        self._since_watch: list[wire.Published] | None = None
        """What came while a snapshot was on its way; None when none is."""
        self._changed: set[SessionId] = set()
        self._outlines = False
        self._frame: asyncio.TimerHandle | None = None
        self._last_frame = 0.0
        self._sending: set[asyncio.Task[None]] = set()
        self._retry_now = asyncio.Event()

    @property
    def attached(self) -> bool:
        """True while the hub answers."""
        return self._link is not None

    async def run(self) -> None:
        """Attach and follow, again and again, until cancelled."""
        failures = 0
        while True:
            try:
                link = await self._connect()
                failures = 0
                try:
                    await self._follow(link)
                finally:
                    self._link = None
                    self._drop_frame()
                    await link.aclose()
                error: NanoideError = HubError("the hub went away")
            except NanoideError as refused:
                error = refused
            wait = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
            failures += 1
            self._post(HubLost(error, wait))
            self._retry_now.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._retry_now.wait()
            except TimeoutError:
                pass

    def retry(self) -> None:
        """Do not wait any longer before the next try."""
        self._retry_now.set()

    async def call(self, request: wire.Request[wire.Reply]) -> wire.Reply:
        """The hub's reply. Raises the hub's NanoideError, or HubError while there is no hub."""
        if self._link is None:
            raise HubError("there is no hub at the moment", hint="it is being started again")
        return await self._link.call(request)

    def send(self, request: wire.Request[wire.Done]) -> None:
        """Ask for something whose reply says nothing; a refusal becomes a Complaint."""

        async def sending() -> None:
            try:
                await self.call(request)
            except NanoideError as error:
                self._post(Complaint(error))

        task = asyncio.get_running_loop().create_task(sending(), name=f"send {request.METHOD}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def drain(self) -> None:
        """Wait until what was sent is answered."""
        if self._sending:
            await asyncio.gather(*self._sending)

    def watch(self, sessions: Collection[SessionId]) -> None:
        """From now on these sessions' answers are wanted, and no others'."""
        wanted = frozenset(sessions)
        if wanted != self._wanted:
            self._wanted = wanted
            self._watch_again.set()

    async def _follow(self, link: Link) -> None:
        notices = link.notices()
        attached = await link.call(wire.Attach())
        self._link = link
        self.sessions = {each.id: outline(each) for each in attached.sessions}
        self._seqs = dict.fromkeys(self.sessions, attached.seq)
        self._watched = frozenset()
        self._since_watch = None
        self._wanted = frozenset(each for each in self._wanted if each in self.sessions)
        self._watch_again.set()
        self.status = attached.status
        self._post(SessionsReset())
        self._post(StatusArrived(attached.status))
        watching = asyncio.create_task(self._keep_watching(link), name="watch sessions")
        try:
            async for notice in notices:
                match notice:
                    case wire.Published():
                        self._take(notice)
                    case wire.StatusChanged(status=status):
                        self.status = status
                        self._post(StatusArrived(status))
                    case _:
                        assert_never(notice)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _keep_watching(self, link: Link) -> None:
        while True:
            await self._watch_again.wait()
            self._watch_again.clear()
            wanted = frozenset(each for each in self._wanted if each in self.sessions)
            self._since_watch = []
            try:
                watching = await link.call(wire.Watch(sessions=tuple(wanted)))
            except NanoideError as error:
                self._since_watch = None
                if link is self._link:
                    self._post(Complaint(error))
                continue
            since, self._since_watch = self._since_watch, None
            for gone in self._watched - wanted:
                if gone in self.sessions:
                    self.sessions[gone] = outline(self.sessions[gone])
            self._watched = wanted
            for session in watching.sessions:
                if session.id in self.sessions:
                    self.sessions[session.id] = session
                    self._seqs[session.id] = watching.seq
                    self._mark(session.id, outlines=True)
            snapshots = {each.id for each in watching.sessions}
            for published in since or ():
                if published.event.session in snapshots:
                    self._fold(published)

    def _take(self, published: wire.Published) -> None:
        if self._since_watch is not None:
            self._since_watch.append(published)
        self._fold(published)

    def _fold(self, published: wire.Published) -> None:
        """Apply one event, unless the mirror holds it already."""
        event = published.event
        session = self.sessions.get(event.session)
        if session is None:
            if isinstance(event, SessionOpened):
                self.sessions[event.session] = opened(event)
                self._seqs[event.session] = published.seq
                self._mark(event.session, outlines=True)
            return
        if self._is_known(session, event, published.seq):
            return
        session = apply(session, event)
        if session.id not in self._watched:
            session = outline(session)
        self._seqs[session.id] = max(published.seq, self._seqs.get(session.id, 0))
        if session.removed:
            del self.sessions[session.id]
            self._seqs.pop(session.id, None)
        else:
            self.sessions[session.id] = session
        self._mark(session.id, outlines=not isinstance(event, TextArrived))

    def _is_known(self, session: Session, event: SessionEvent, seq: int) -> bool:
        """True when the mirror is past `event`; asks for a snapshot when text is missing."""
        stands_at = self._seqs.get(session.id, 0)
        turn = next((each for each in reversed(session.turns) if each.id == getattr(event, "turn", None)), None)
        match event:
            case TextArrived():
                if turn is None:
                    return session.state == "streaming"
                if turn.state not in {"working", "streaming", "queued"} or event.offset < len(turn.text):
                    return True
                if event.offset > len(turn.text):
                    self._watch_again.set()
                    return True
                return False
            case TurnStarted() if event.after:
                if turn is None or turn.state not in {"working", "streaming", "queued", "asking"}:
                    return turn is not None or seq <= stands_at
                if event.after > len(turn.text):
                    self._watch_again.set()
                return event.after != len(turn.text)  # more has come since, or some of it is missing
            case TurnStarted():
                return turn is not None and seq <= stands_at and turn.backend == event.backend and turn.text != ""
            case _:
                return seq <= stands_at

    def _mark(self, session: SessionId, *, outlines: bool) -> None:
        self._changed.add(session)
        self._outlines = self._outlines or outlines
        if self._frame is None:
            loop = asyncio.get_running_loop()
            self._frame = loop.call_at(max(loop.time(), self._last_frame + FRAME_S), self._flush)

    def _flush(self) -> None:
        self._frame = None
        self._last_frame = asyncio.get_running_loop().time()
        changed, self._changed = frozenset(self._changed), set()
        outlines, self._outlines = self._outlines, False
        self._post(SessionsChanged(changed, outlines))

    def _drop_frame(self) -> None:
        if self._frame is not None:
            self._frame.cancel()
            self._frame = None
        self._changed.clear()
