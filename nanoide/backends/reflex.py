"""The deterministic answer that a skill carries with it: its reflex.py, run in a child process.

A child starts with the first question, stays warm for the next, and ends when nobody asks for a while.
A script that hangs is ended with its child; the next question gets a new one.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from time import monotonic

import msgspec

from nanoide.backends.base import Health
from nanoide.backends.keys import scrubbed
from nanoide.backends.reflex_worker import HEAD, LARGEST, Broke, Finished, Piece, Ready, Said
from nanoide.core.chat import Chunk, End, Prompt, Reflex, Text
from nanoide.core.errors import BackendError
from nanoide.core.policy import Tier, Where
from nanoide.core.sanitize import clean_line
from nanoide.core.usage import Usage

_START = 20.0
"""Seconds that a child may take to start, on a machine under load."""


class ReflexBackend:
    """Runs the script that a prompt names."""

    def __init__(self, name: str, *, limit_s: float = 5.0, idle_s: float = 120.0, children: int = 2) -> None:
        """`limit_s` is what one answer may take.

        At most `children` run side by side, for a hang in one must not hold up all; unused ones end after `idle_s`.
        """
        self.name = name
        self.kind = "reflex"
        self.where: Where = "device"
        self.tier: Tier = "reflex"
        self.host = ""
        self._limit = limit_s
        self._idle = idle_s
        self._places = asyncio.Semaphore(children)
        self._resting: list[_Child] = []
        """Warm and unused, the last used one last."""
        self._leaving: list[_Child] = []
        """Told to end, and perhaps not ended yet."""
        self._running = 0
        self._queued = 0

    def resumes(self, prompt: Prompt) -> bool:
        """Never: a script knows nothing of what another said."""
        del prompt
        return False

    def objection(self, prompt: Prompt) -> str:
        """Unless the skill has a reflex."""
        if prompt.reflex is not None:
            return ""
        return f"skill {prompt.skill} has no reflex" if prompt.skill else "there is no reflex"

    async def stream(self, prompt: Prompt) -> AsyncIterator[Chunk]:
        """Run the script and give on what it says; nothing said is an answer too."""
        if prompt.reflex is None:
            raise BackendError(self.objection(prompt), outcome="bad_request")
        self._queued += 1
        try:
            await self._places.acquire()
        finally:
            self._queued -= 1
        child: _Child | None = None
        self._running += 1
        try:
            child = self._take() or await self._start()
            until = monotonic() + self._limit
            await child.ask(prompt.reflex)
            while True:
                said = await _next(child, until, f"its script took over {self._limit:g} s")
                match said:
                    case Piece():
                        yield Text(said.text)
                    case Broke():
                        self._rest(child)
                        child = None
                        raise BackendError(clean_line(said.message), outcome="crashed")
                    case Finished():
                        self._rest(child)
                        child = None
                        break
                    case Ready():
                        pass
        finally:
            self._running -= 1
            self._places.release()
            if child is not None:  # left in the middle of an answer: the script may still run
                child.kill()
                self._part(child)
        yield End(usage=Usage(), model="reflex")

    def health(self) -> Health:
        """Asleep while no child is warm."""
        awake = self._running > 0 or any(child.alive for child in self._resting)
        return Health(
            state="ready" if awake else "asleep",
            model="reflex",
            pid=next((child.pid for child in reversed(self._resting) if child.alive), None),
            running=self._running,
            queued=self._queued,
        )

    async def probe(self) -> Health:
        """Start a child when none is there."""
        if not self._resting and not self._running:
            try:
                self._rest(await self._start())
            except BackendError as error:
                return Health(state="off", reason=error.message, model="reflex")
        return self.health()

    async def aclose(self) -> None:
        """End the children that rest, and wait for those that were told to end."""
        children = [*self._resting, *self._leaving]
        self._resting, self._leaving = [], []
        for child in children:
            await child.aclose()

    def _take(self) -> "_Child | None":
        while self._resting:
            child = self._resting.pop()
            child.keep()
            if child.alive:
                return child
            self._part(child)
        return None

    def _rest(self, child: "_Child") -> None:
        self._resting.append(child)
        child.leave_after(self._idle, self._part)

    def _part(self, child: "_Child") -> None:
        self._resting = [each for each in self._resting if each is not child]
        self._leaving = [child, *(each for each in self._leaving if each.alive)]

    async def _start(self) -> "_Child":
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # never a module from the folder that happens to be current
                "-m",
                "nanoide.backends.reflex_worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=scrubbed(os.environ),
                limit=LARGEST,
            )
        except OSError as error:
            raise BackendError(f"no process for it: {error.strerror}", outcome="unavailable") from error
        child = _Child(process)
        try:
            await _next(child, monotonic() + _START, f"its process did not start within {_START:g} s")
        except BaseException:
            child.kill()
            self._part(child)
            raise
        return child


async def _next(child: "_Child", until: float, why: str) -> Said:
    limit = asyncio.timeout(max(0.0, until - monotonic()))
    try:
        async with limit:
            return await child.next()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise BackendError(why, outcome="timeout") from error


class _Child:
    """One worker process, for one question at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._decoder = msgspec.msgpack.Decoder(Said)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, question: Reflex) -> None:
        """Send the question. Raises BackendError when the process is gone."""
        stdin = self._process.stdin
        assert stdin is not None
        frame = msgspec.msgpack.encode(question)
        try:
            stdin.write(HEAD.pack(len(frame)) + frame)
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise BackendError("its process has ended", outcome="crashed") from error

    async def next(self) -> Said:
        """The next frame. Raises BackendError when the process ends."""
        stdout = self._process.stdout
        assert stdout is not None
        try:
            (size,) = HEAD.unpack(await stdout.readexactly(HEAD.size))
            if size > LARGEST:
                raise BackendError("its process sent too much at once", outcome="crashed")
            return self._decoder.decode(await stdout.readexactly(size))
        except asyncio.IncompleteReadError as error:
            code = await self._process.wait()
            how = f"signal {-code}" if code < 0 else f"status {code}"
            raise BackendError(f"its process ended with {how}", outcome="crashed") from error
        except msgspec.DecodeError as error:
            raise BackendError("its process sent nonsense", outcome="crashed") from error

    def leave_after(self, seconds: float, leaving: Callable[["_Child"], None]) -> None:
        """End after so many seconds of rest; `leaving` is told first."""

        def leave() -> None:
            leaving(self)
            if self._process.stdin is not None:
                self._process.stdin.close()

        self._timer = asyncio.get_running_loop().call_later(seconds, leave)

    def keep(self) -> None:
        """Rest no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def kill(self) -> None:
        """End it now, whatever it does."""
        self.keep()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def aclose(self) -> None:
        """End it, and wait until it has."""
        self.keep()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(2.0):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
