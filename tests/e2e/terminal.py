"""A terminal that a test can read and type into: a real pty, drawn by pyte."""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

LIMIT = 30.0
"""Seconds to wait for something to appear; a stuck program fails the test, a slow machine does not."""

ALT = "\x1b"
ENTER = "\r"
ESCAPE = "\x1b"
CTRL_D = "\x04"
CTRL_P = "\x10"
CTRL_X = "\x18"


class Terminal:
    """A program on a pty of its own."""

    def __init__(
        self, argv: Sequence[str], environ: Mapping[str, str], folder: Path, *, columns: int = 160, lines: int = 45
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.seen = bytearray()
        """All bytes the program wrote."""
        self._stream = pyte.ByteStream(self.screen)
        self._changed = asyncio.Event()
        self._pid, self._handle = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(folder)
                os.execve(argv[0], list(argv), {**environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"})
            finally:
                os._exit(127)
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        os.set_blocking(self._handle, False)
        asyncio.get_running_loop().add_reader(self._handle, self._read)
        self.code: int | None = None
        """Exit code; None while the program runs."""

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(self.screen.display)

    def background(self, column: int, line: int) -> str:
        """The background colour of a cell."""
        return self.screen.buffer[line][column].bg

    def press(self, keys: str) -> None:
        """Type `keys`, as a terminal sends them."""
        os.write(self._handle, keys.encode())

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until `holds` is true of the screen."""
        try:
            async with asyncio.timeout(LIMIT):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"never came true: {what}\n{self.text}") from None

    async def shows(self, *texts: str) -> None:
        """Wait until all `texts` stand on the screen."""
        await self.until(lambda: all(text in self.text for text in texts), f"{texts} on the screen")

    async def ends(self) -> int:
        """Wait for the program's end; its exit code."""
        await self.until(lambda: self.code is not None, "the program ends")
        return self.code if self.code is not None else -1

    def _read(self) -> None:
        try:
            data = os.read(self._handle, 65_536)
        except BlockingIOError:
            return
        except OSError:  # EIO: the program closed its side
            data = b""
        if data:
            self.seen += data
            self._stream.feed(data)
        else:
            asyncio.get_running_loop().remove_reader(self._handle)
            self._reap()
        self._changed.set()

    async def __aenter__(self) -> Self:
        """The running program."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the program if it still runs."""
        if self.code is None:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.kill(self._pid, signal.SIGKILL)
            self._reap()
        os.close(self._handle)

    def _reap(self) -> None:
        self.code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
