"""The child process that runs reflex scripts: questions in, pieces of text out, one after the other.

A script defines `answer(context: nanoide.core.chat.Context) -> str | Iterator[str]`. It is loaded once
and again when its file changes. The process ends when its standard input does, also while a script runs.
"""

import importlib.util
import os
import queue
import struct
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import msgspec

from nanoide.core.chat import Reflex
from nanoide.core.value import Value

HEAD = struct.Struct(">I")
"""Before each frame: its length."""

LARGEST = 64 * 1024 * 1024
"""Bytes of one frame."""


class Ready(Value, frozen=True, tag="ready"):
    """The process has started; said once."""


class Piece(Value, frozen=True, tag="piece"):
    """The next piece of the answer; never empty."""

    text: str


class Finished(Value, frozen=True, tag="finished"):
    """The answer is whole."""


class Broke(Value, frozen=True, tag="broke"):
    """The script failed."""

    message: str
    """One line: the script, the line, the exception."""


Said = Ready | Piece | Finished | Broke


class Scripts:
    """The scripts loaded so far, by path, each as its file was."""

    def __init__(self) -> None:
        self._loaded: dict[str, tuple[tuple[int, int, int], ModuleType]] = {}

    def get(self, path: str) -> ModuleType:
        """The script's module, loaded anew when the file has changed."""
        status = Path(path).stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._loaded.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        spec = importlib.util.spec_from_file_location(f"reflex_{abs(hash(path)):x}", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        # A class of the script that is decorated looks its module up by name.
        sys.modules[module.__name__] = module
        spec.loader.exec_module(module)
        self._loaded[path] = (stamp, module)
        return module


def pieces(scripts: Scripts, question: Reflex) -> Iterator[Said]:
    """What the script says to `question`; never raises for anything the script does."""
    try:
        answer: object = scripts.get(question.script).answer(question.context)
        if isinstance(answer, str):
            if answer:
                yield Piece(answer)
        elif isinstance(answer, Iterator):
            for piece in answer:  # pyright: ignore[reportUnknownVariableType]  # a script is not typed
                if not isinstance(piece, str):
                    raise TypeError(f"answer() gave {type(piece).__name__}, not text")  # pyright: ignore[reportUnknownArgumentType]
                if piece:
                    yield Piece(piece)
        else:
            raise TypeError(f"answer() returned {type(answer).__name__}, not text")
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001  # also SystemExit: the script ends, not the worker
        yield Broke(_line(question.script, error))
    else:
        yield Finished()


def _line(script: str, error: BaseException) -> str:
    path = Path(script)
    name = f"{path.parent.name}/{path.name}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == script]
    if isinstance(error, SyntaxError) and error.filename == script:
        lines = [error.lineno]
    place = f"{name}:{lines[-1]}" if lines and lines[-1] else name
    text = " ".join(str(error).split())[:200]
    return f"{place}: {type(error).__name__}: {text}" if text else f"{place}: {type(error).__name__}"


def _read(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _listen(source: BinaryIO, questions: "queue.SimpleQueue[Reflex]") -> None:
    decoder = msgspec.msgpack.Decoder(Reflex)
    try:
        while True:
            (size,) = HEAD.unpack(_read(source, HEAD.size))
            questions.put(decoder.decode(_read(source, size)))
    except (EOFError, OSError, msgspec.DecodeError):
        os._exit(0)  # nobody is left to answer; a script that still runs, or hangs, ends with us


def main() -> None:
    """Answer until standard input ends."""
    sys.dont_write_bytecode = True
    # Frames get a descriptor of their own; whatever a script prints must not fall between them.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    questions: queue.SimpleQueue[Reflex] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(source, questions), daemon=True).start()
    scripts = Scripts()
    encoder = msgspec.msgpack.Encoder()

    def say(said: Said) -> None:
        frame = encoder.encode(said)
        out.write(HEAD.pack(len(frame)) + frame)
        out.flush()

    say(Ready())
    while True:
        for said in pieces(scripts, questions.get()):
            say(said)


if __name__ == "__main__":
    main()
