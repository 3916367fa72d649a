"""One life of an engine process: start it, talk to it, notice its end. What to do about that is `llama`'s."""

import asyncio
import contextlib
import itertools
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, assert_never

from nanoide.backends.watchdog import Patience, Watchdog
from nanoide.core.errors import BackendError
from nanoide.engine.protocol import (
    LENGTH_BYTES,
    Cancel,
    Command,
    Done,
    Facts,
    Failed,
    Job,
    Load,
    Loading,
    Park,
    Piece,
    Ping,
    ProtocolError,
    Pulse,
    Ready,
    Release,
    Reply,
    Unusable,
    Vitals,
    decode_replies,
    frame,
    length,
)

LOG_LIMIT = 1024 * 1024
"""Bytes of the engine's log; it begins anew beyond that."""

GRACE_S = 2.0
"""Seconds between asking the process to end, telling it to, and killing it."""

SPIN = "1000"
"""How long a thread of the engine spins for the others before it sleeps (libgomp's own unit). Its default
makes a step ten times as long as soon as anything else wants the cores: hub, terminal, a test run."""

_SECRET = re.compile(
    r"(^|_)(API_?KEYS?|KEYS?|TOKENS?|PAT|AUTH|CREDENTIALS?)(_|\d|$)|SECRET|PASSW(OR)?D|PASSPHRASE", re.IGNORECASE
)


class Broken(BackendError):
    """No engine can run on this machine, whatever the model."""


def scrub(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what looks like a secret: model files are hostile."""
    return {name: value for name, value in environ.items() if not _SECRET.search(name)}


Answer = Piece | Done | Failed
"""What concerns one job."""


class Feed:
    """The answers to one job, in order."""

    def __init__(self, id: int) -> None:
        self.id = id
        self._answers = deque[Answer | None]()
        self._some = asyncio.Event()

    def put(self, answer: Answer | None) -> None:
        """The next answer; None when the process has ended."""
        self._answers.append(answer)
        self._some.set()

    async def get(self) -> Answer | None:
        """The next answer; None when the process has ended. Text that is there already comes in one piece."""
        while not self._answers:
            self._some.clear()
            await self._some.wait()
        answer = self._answers.popleft()
        if not isinstance(answer, Piece):
            return answer
        text = answer.text
        while self._answers and isinstance(following := self._answers[0], Piece):
            self._answers.popleft()
            text += following.text
        return Piece(id=self.id, text=text)


class EngineProcess:
    """A started engine."""

    def __init__(
        self, process: asyncio.subprocess.Process, progress: Callable[[int], None], patience: Patience
    ) -> None:
        """Use `start`."""
        self._progress = progress
        self._patience = patience
        self._watchdog = Watchdog(patience)
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._ids = itertools.count(1)
        self._feeds: dict[int, Feed] = {}
        self._ready = asyncio.get_running_loop().create_future()
        self._stopping = False
        self.facts = Facts(name="", window=0, chats=False, fills=False)
        """Of the model; empty before it is loaded."""
        self.vitals = Vitals()
        """The last report."""
        self.ended = ""
        """How the process ended, as a phrase; empty while it runs."""
        self._pump = asyncio.create_task(self._read(), name=f"engine {process.pid}")
        self._watch = asyncio.create_task(self._mind(), name=f"watch engine {process.pid}")

    @classmethod
    async def start(
        cls,
        load: Load,
        log: Path,
        progress: Callable[[int], None] = lambda percent: None,
        *,
        patience: Patience | None = None,
    ) -> "EngineProcess":
        """Start a process and load the model; `progress` hears how many percent of it are there.

        One that shows no sign of life for longer than `patience` has it is ended, as if it had crashed.

        Raises Broken when no engine can run here, BackendError with outcome "unavailable" when the
        model cannot be loaded, or "crashed" when the process dies over it.
        """
        with _open_log(log) as stderr:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # the current folder may hold a `nanoide` of someone else
                    "-m",
                    "nanoide.engine.worker",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=stderr,
                    env={"GOMP_SPINCOUNT": SPIN} | scrub(os.environ),
                    cwd="/",
                    start_new_session=True,  # Ctrl-C in the hub's terminal is the hub's to handle
                )
            except OSError as error:
                raise Broken(
                    f"the engine process cannot be started: {error.strerror}", outcome="unavailable"
                ) from error
        engine = cls(process, progress, patience or Patience())
        try:
            engine._send(load)
            await engine._ready
        except BaseException:
            await engine.aclose()
            raise
        return engine

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while it takes jobs."""
        return not self.ended and not self._stopping

    @property
    def busy(self) -> bool:
        """True while a job is under way."""
        return bool(self._feeds)

    @property
    def running(self) -> int:
        """Jobs under way, waiting ones included."""
        return len(self._feeds)

    def submit(self, job: Job) -> Feed:
        """Send a job, under an id of its own; `forget` the feed when done with it."""
        feed = Feed(next(self._ids))
        self._feeds[feed.id] = feed
        if self.alive:
            self._send(_numbered(job, feed.id))
        else:
            feed.put(None)
        return feed

    def forget(self, feed: Feed, *, cancel: bool) -> None:
        """Nobody reads the feed any more. With `cancel` the engine stops working on the job."""
        if self._feeds.pop(feed.id, None) is not None and cancel and self.alive:
            self._send(Cancel(id=feed.id))

    def park(self, key: str) -> None:
        """Let the engine put away what it keeps for `key`."""
        if self.alive:
            self._send(Park(key=key))

    def release(self, key: str) -> None:
        """Let the engine forget what it keeps for `key`, also what is parked."""
        if self.alive:
            self._send(Release(key=key))

    async def aclose(self) -> None:
        """End the process: it is asked, told, killed."""
        self._stopping = True
        self._stdin.close()
        for insist in (self._process.terminate, self._process.kill, None):
            try:
                async with asyncio.timeout(GRACE_S):
                    await asyncio.shield(self._pump)
                break
            except TimeoutError:
                if insist is not None:
                    with contextlib.suppress(ProcessLookupError):
                        insist()

    def _send(self, command: Command) -> None:
        self._stdin.write(frame(command))

    async def _read(self) -> None:
        """Hand out replies until the process ends; then tell everyone."""
        fault = ""
        try:
            while True:
                head = await self._stdout.readexactly(LENGTH_BYTES)
                for reply in decode_replies(await self._stdout.readexactly(length(head))):
                    self._take(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except ProtocolError as error:
            fault = f"said something unknown ({error})"
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        code = await self._process.wait()
        self._watch.cancel()
        self.ended = "was stopped" if self._stopping else self._watchdog.fault or fault or _how(code)
        self._stdin.close()
        if not self._ready.done():
            self._ready.set_exception(
                BackendError(f"the engine {self.ended} while it loaded the model", outcome="crashed")
            )
            self._ready.exception()  # aclose before anyone waited is no fault
        for feed in self._feeds.values():
            feed.put(None)

    async def _mind(self) -> None:
        """Ping the process while it takes jobs, and end it when it is there but not alive."""
        while self.alive:
            await asyncio.sleep(self._patience.tick_s)
            if self._watchdog.tick(busy=self.busy or not self._ready.done()) and self.alive:
                self._send(Ping())
            if self._watchdog.fault and self.alive:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                return

    def _take(self, reply: Reply) -> None:
        self._watchdog.heard(reply)
        match reply:
            case Loading():
                self._progress(reply.percent)
            case Ready():
                self.facts = reply.facts
                if not self._ready.done():
                    self._ready.set_result(None)
            case Unusable():
                kind = Broken if reply.broken else BackendError
                if not self._ready.done():
                    self._ready.set_exception(kind(reply.reason, outcome="unavailable"))
            case Vitals():
                self.vitals = reply
            case Pulse():
                pass  # the watchdog's
            case Piece() | Done() | Failed():
                feed = self._feeds.get(reply.id)
                if feed is not None:
                    feed.put(reply)
            case _:
                assert_never(reply)


def _numbered(job: Job, id: int) -> Job:
    import msgspec

    return msgspec.structs.replace(job, id=id)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _open_log(path: Path) -> BinaryIO:
    """The log, 0600, to append to; begun anew when it has grown long. /dev/null when it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        if path.exists() and path.stat().st_size > LOG_LIMIT:
            flags |= os.O_TRUNC
        return os.fdopen(os.open(path, flags, 0o600), "ab")
    except OSError:
        return Path(os.devnull).open("ab")
