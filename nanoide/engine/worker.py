"""The engine's process: commands in on stdin, replies out on what was stdout.

`python -m nanoide.engine.worker`. The reader thread takes commands, also while a step computes, and answers
pings; the main thread owns the native context. When stdin closes, the process parks what it holds and ends.
"""

import os
import sys
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import assert_never

from nanoide.engine.heart import Heart
from nanoide.engine.protocol import (
    Cancel,
    Command,
    Job,
    Load,
    Loading,
    Park,
    Ping,
    ProtocolError,
    Ready,
    Release,
    Reply,
    Unusable,
    frame,
    read_command,
)

VITALS_S = 0.5
"""Seconds between reports while the engine works."""

RAM_LEAST = 64 * 1024 * 1024

RAM_MOST = 1024 * 1024 * 1024
"""Bytes of sequences that rest in RAM, at most: a sixteenth of the machine's memory, between these."""

STOW_S = 1.5
"""Seconds that the process may take to park what it holds when its parent is gone; after that it ends at once."""

EXIT_FATAL = 3
"""Exit code when the native context is beyond use; the parent starts another process."""


def main() -> int:
    """Load and serve until stdin closes."""
    # Native code prints to fd 1: the pipe moves elsewhere before any of it is loaded.
    out = os.dup(1)
    os.dup2(2, 1)
    inbox = SimpleQueue[Command | None]()
    heart, voice = Heart(), _Voice(out)
    Thread(target=_read, args=(inbox, heart, voice), name="commands", daemon=True).start()
    first = inbox.get()
    if not isinstance(first, Load):
        _log("the first command was not Load")
        return 1
    return _serve(first, inbox, voice.say, heart)


def _serve(load: Load, inbox: "SimpleQueue[Command | None]", say: Callable[[list[Reply]], None], heart: Heart) -> int:
    import psutil

    from nanoide.engine.context import Library, NativeError

    try:
        library = Library(_log)
    except (ImportError, OSError, RuntimeError) as error:
        say([Unusable(reason=f"llama-cpp-python does not load: {error}", broken=True)])
        return 0
    from nanoide.engine.computing import Fatal
    from nanoide.engine.runner import ROWS, Runner

    process = psutil.Process()
    cores = min(psutil.cpu_count(logical=False) or 1, _usable_cores())
    try:
        runner = Runner(
            load,
            library,
            cores=max(1, cores),
            memory=lambda: process.memory_info().rss,
            log=_log,
            ram_bytes=min(max(psutil.virtual_memory().total // 16, RAM_LEAST), RAM_MOST),
            progress=_Progress(say).note,
            beat=heart.beat,
        )
    except NativeError as error:
        say([Unusable(reason=str(error))])
        return 0
    begun = time.monotonic()
    runner.warm()
    heart.note(ROWS, time.monotonic() - begun)
    say([Ready(facts=runner.facts), runner.vitals()])
    reported = time.monotonic()
    settling = False
    while True:
        replies = list[Reply]()
        began = runner.busy
        tell = settling and not began
        heart.rest()
        commands = _commands(inbox, wait=not began, timeout=VITALS_S if settling else None)
        heart.beat()
        for command in commands:
            match command:
                case Job():
                    failed = runner.add(command)
                    if failed is not None:
                        replies.append(failed)
                case None:
                    runner.stow()
                    return 0
                case Cancel():
                    runner.cancel(command.id)
                case Park():
                    runner.park(command.key)
                    tell = True
                case Release():
                    runner.release(command.key)
                    tell = True
                case Load():
                    _log("a second Load was ignored")
                case Ping():
                    pass  # answered by the reader
                case _:
                    assert_never(command)
        try:
            runner.step(replies)
        except Fatal as error:
            _log(f"fatal: {error}")
            say(replies)
            return EXIT_FATAL
        now = time.monotonic()
        settling = runner.settling  # looked at first: what ends from here on is told the next time
        if tell or runner.busy != began or now - reported > VITALS_S:
            reported = now
            replies.append(runner.vitals())
        if replies:
            say(replies)


class _Progress:
    """Tells of a load, each percent once."""

    def __init__(self, say: Callable[[list[Reply]], None]) -> None:
        self._say = say
        self._told = -1

    def note(self, percent: int) -> None:
        if percent > self._told:
            self._told = percent
            self._say([Loading(percent=percent)])


def _commands(inbox: "SimpleQueue[Command | None]", *, wait: bool, timeout: float | None) -> list[Command | None]:
    """All commands that are there; waits for one when asked to, at most for `timeout`. None: no more will come."""
    commands = list[Command | None]()
    try:
        if wait:
            commands.append(inbox.get(timeout=timeout))
        while True:
            commands.append(inbox.get_nowait())
    except Empty:
        return commands


class _Voice:
    """The way out, for two threads."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._lock = Lock()

    def say(self, replies: list[Reply]) -> None:
        """Say it, in its turn."""
        with self._lock:
            _write(self._out, replies)

    def answer(self, reply: Reply) -> None:
        """Say it now, or not at all: while the main thread speaks, that is a sign of life."""
        if self._lock.acquire(blocking=False):
            try:
                _write(self._out, [reply])
            finally:
                self._lock.release()


def _read(inbox: "SimpleQueue[Command | None]", heart: Heart, voice: _Voice) -> None:
    """Commands from stdin, until it closes: then the process ends, soon, whatever it computes."""
    stream = sys.stdin.buffer
    try:
        while (command := read_command(stream.read)) is not None:
            if isinstance(command, Ping):
                voice.answer(heart.pulse)
            else:
                inbox.put(command)
    except (OSError, ProtocolError) as error:
        _log(f"the commands ended: {error}")
    inbox.put(None)
    Event().wait(STOW_S)
    os._exit(0)


def _write(out: int, replies: list[Reply]) -> None:
    view = memoryview(frame(replies))
    try:
        while view:
            view = view[os.write(out, view) :]
    except BrokenPipeError:
        os._exit(0)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _log(line: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), line, file=sys.stderr, flush=True)  # noqa: T201 -- stderr is its log


if __name__ == "__main__":
    # Not sys.exit: the reader thread waits in stdin, and the interpreter would wait for it.
    os._exit(main())
