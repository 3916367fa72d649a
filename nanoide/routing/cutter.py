"""A switch in front of each backend, for the drill: cut, it fails as if its line were broken. No network in here."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from nanoide.core.chat import Chunk
from nanoide.core.errors import BackendError

DRILL = "drill"
"""What the reason of every attempt begins with that a drill made fail."""


class _Line:
    """One answer under way."""

    def __init__(self) -> None:
        self.broken = False
        self.waits: asyncio.Task[object] | None = None
        """The task that waits for the next chunk right now."""


class Cutter:
    """Which backends are cut off, and the answers that can be broken."""

    def __init__(self) -> None:
        self._cut: set[str] = set()
        self._lines: dict[str, set[_Line]] = {}

    def is_cut(self, name: str) -> bool:
        """True while the backend is cut off."""
        return name in self._cut

    def cut(self, name: str) -> int:
        """Cut the backend off, and break every answer it is giving. Returns how many those were."""
        self._cut.add(name)
        lines = self._lines.get(name, set())
        for line in lines:
            line.broken = True
            if line.waits is not None:
                line.waits.cancel()
        return len(lines)

    def restore(self, name: str) -> None:
        """Let the backend be asked again."""
        self._cut.discard(name)

    def check(self, name: str) -> None:
        """Raise BackendError when the backend is cut off."""
        if name in self._cut:
            raise BackendError(f"{DRILL}: no connection", outcome="connect_error")

    async def through(self, name: str, stream: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        """Give on what comes, until it ends or the line is cut."""
        self.check(name)  # it may have been cut while what leaves was written down
        line = _Line()
        lines = self._lines.setdefault(name, set())
        lines.add(line)
        try:
            while True:
                task = asyncio.current_task()
                assert task is not None
                cancelling = task.cancelling()
                line.waits = task
                try:
                    chunk = await anext(stream)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError as error:
                    # Ours alone, or was the task cancelled from elsewhere as well?
                    if line.broken and task.uncancel() <= cancelling:
                        raise _cut() from error
                    raise
                finally:
                    line.waits = None
                yield chunk
                if line.broken:  # cut while the reader was busy with the chunk before
                    raise _cut()
        finally:
            lines.discard(line)
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()


def _cut() -> BackendError:
    return BackendError(f"{DRILL}: the connection broke in mid-answer", outcome="cut")
