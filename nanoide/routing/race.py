"""Two attempts side by side until one of them speaks; from there on it is the only one."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from nanoide.core.chat import End, RoutedChunk, Rung, Text
from nanoide.core.errors import BackendError
from nanoide.routing.attempt import Try
from nanoide.routing.egress import Pass
from nanoide.routing.hedge import FASTER

CLOSE_S = 0.05
"""Seconds that the first words of the faster one wait for the other one to be closed."""


class Runner:
    """One attempt, read one chunk at a time in a task, so that two can be waited for."""

    def __init__(self, attempt: Try, leave: Pass) -> None:
        self.attempt = attempt
        self.leave = leave
        self.chunks = attempt.run(leave)
        self.task: asyncio.Task[Rung | Text | End] | None = None

    @property
    def pending(self) -> bool:
        """False when something came that was not taken yet."""
        return self.task is None or not self.task.done()

    def read(self) -> asyncio.Task[Rung | Text | End]:
        """The next chunk; asked for once until it was `taken`."""
        if self.task is None:
            self.task = asyncio.create_task(anext(self.chunks), name=f"ask {self.attempt.rung.backend}")
        return self.task

    def taken(self) -> Rung | Text | End:
        """What the finished task brought. Raises BackendError, or StopAsyncIteration at the end."""
        task, self.task = self.task, None
        assert task is not None
        return task.result()

    async def stop(self, why: str = "") -> None:
        """Leave the attempt, wherever it is; it is recorded then, with `why` as the reason."""
        self.attempt.left = why
        task, self.task = self.task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                with suppress(BackendError, StopAsyncIteration):
                    task.result()
        await self.chunks.aclose()
        self.leave.give_back()


class Race:
    """`first` runs; a second one begins when it did not speak in time. Whoever speaks is the only one from then on."""

    def __init__(
        self,
        first: Runner,
        patience: float,
        second: Callable[[], Awaitable[Runner | None]],
        fail: Callable[[Try, BackendError], None],
    ) -> None:
        """`second` begins after `patience` seconds, and may say None. One of two that fails is told to `fail`."""
        self.attempt = first.attempt
        """Whose words are given out, or whose error was raised."""
        self._first = first
        self._patience = patience
        self._second = second
        self._fail = fail

    async def run(self) -> AsyncGenerator[RoutedChunk, None]:
        """The chunks of one rung, as if there were no other. Raises BackendError when no one is left."""
        runners, asked = [self._first], False
        given: Rung | None = None
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        stopping: asyncio.Task[None] | None = None
        try:
            while True:
                tasks = [runner.read() for runner in runners]
                timeout = None if asked else max(0.0, until - loop.time())
                done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    asked = True
                    if (other := await self._second()) is not None:
                        runners.append(other)
                    continue
                runner = next(each for each in runners if each.task in done)
                self.attempt = runner.attempt
                try:
                    chunk = runner.taken()
                except BackendError as error:
                    if len(runners) == 1:
                        raise
                    runners.remove(runner)
                    await runner.stop()
                    self._fail(runner.attempt, error)
                    runner = runners[0]
                    chunk = runner.attempt.rung
                if isinstance(chunk, Rung):
                    if runner is runners[0] and chunk != given:
                        given = chunk
                        yield chunk
                    continue
                if len(runners) > 1:
                    runners.remove(runner)
                    stopping = asyncio.create_task(runners[0].stop(f"{FASTER}{runner.attempt.rung.backend} was faster"))
                    runners = [runner]
                    await asyncio.wait({stopping}, timeout=CLOSE_S)
                    if given != runner.attempt.rung:
                        yield runner.attempt.rung
                yield chunk
                async for following in runner.chunks:
                    yield following
                return
        finally:
            for runner in runners:
                await runner.stop()
            if stopping is not None:
                await stopping
