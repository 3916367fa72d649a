"""How long a program takes until a text stands on its terminal."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyte

COLUMNS, LINES = 120, 40
QUIET_S = 0.7
"""With no byte for this long the start is over."""
LIMIT_S = 20.0


def painted(argv: Sequence[str], environ: Mapping[str, str], folder: Path, marks: Sequence[str]) -> list[float | None]:
    """Seconds from starting `argv` on a new terminal until each mark was first on the screen; None for never.

    The bytes are taken with their times first and drawn afterwards, so that drawing costs the program nothing.
    """
    chunks = _record(argv, environ, folder)
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    found: list[float | None] = [None] * len(marks)
    for at, chunk in chunks:
        stream.feed(chunk)
        text = "\n".join(screen.display)
        found = [at if before is None and mark in text else before for before, mark in zip(found, marks, strict=True)]
    return found


def _record(argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> list[tuple[float, bytes]]:
    start = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            os.execve(argv[0], list(argv), dict(environ))
        finally:
            os._exit(127)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    chunks: list[tuple[float, bytes]] = []
    try:
        while time.perf_counter() - start < LIMIT_S:
            ready, _, _ = select.select([terminal], [], [], QUIET_S if chunks else LIMIT_S)
            if not ready:
                break
            try:
                chunk = os.read(terminal, 65_536)
            except OSError:  # the program has ended
                break
            if not chunk:
                break
            chunks.append((time.perf_counter() - start, chunk))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    return chunks
