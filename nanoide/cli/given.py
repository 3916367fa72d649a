"""What is given with a question: files and standard input, read once, with a limit, and never half."""

import os
import select
import stat
import sys
from pathlib import Path

from nanoide.cli.printer import complain
from nanoide.core.errors import InputError
from nanoide.wire import Input

LIMIT = 4 * 1024 * 1024
"""Bytes of one file or of standard input: half a frame, because JSON may double a text."""

PATIENCE = 2.0
"""Seconds that a silent pipe on standard input may take for its first byte. Whoever inherited an open
pipe would wait for ever otherwise; `-f -` waits as long as it takes."""


def read_file(name: str, folder: str) -> Input:
    """The text of one file. Raises InputError when it is missing, unreadable, binary or too large."""
    path = Path(folder, name)
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot read {name!r}: {reason}", hint=_reading_hint(error)) from error
    inside = path.is_relative_to(folder) and ".." not in path.parts
    label = path.relative_to(folder).as_posix() if inside else os.path.normpath(path)
    label = os.fsencode(label).decode(errors="replace")  # a name need not be UTF-8; what is told of it must
    return Input(kind="file", label=label, text=decode(data, repr(name)))


def read_stdin(*, wait: bool = False) -> Input | None:
    """All of standard input; None when it is a terminal, closed, empty, or (without `wait`) silent.

    Raises InputError when it is binary or too large.
    """
    data = _drain(wait=wait)
    if data is None or not data:
        return None
    return Input(kind="stdin", label="standard input", text=decode(data, "standard input"))


def decode(data: bytes, origin: str) -> str:
    """`data` as text. Raises InputError that names `origin` when it is too large or no UTF-8 text."""
    if len(data) > LIMIT:
        raise InputError(f"{origin} has more than {LIMIT // 1024 // 1024} MiB", hint="give a part of it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{origin} is binary or not UTF-8", hint="give a text") from error
    if "\0" in text:
        raise InputError(f"{origin} is binary", hint="give a text")
    return text


def _drain(*, wait: bool) -> bytes | None:
    try:
        handle = sys.stdin.fileno()
        kind = os.fstat(handle).st_mode
    except (OSError, ValueError, AttributeError):
        return None  # closed, as a daemon's is
    if os.isatty(handle) and not wait:
        return None
    piped = stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)
    if piped and not wait and not select.select([handle], [], [], PATIENCE)[0]:
        complain(f"nothing came on standard input for {PATIENCE:.0f} s; going on without it (-f - waits for it)")
        return None
    data = bytearray()
    try:
        while len(data) <= LIMIT and (part := os.read(handle, 65536)):
            data += part
    except OSError as error:
        raise InputError(f"cannot read standard input: {error.strerror}") from error
    return bytes(data)


def _reading_hint(error: Exception) -> str:
    if isinstance(error, IsADirectoryError):
        return "name a file in it"
    if isinstance(error, PermissionError):
        return "look at its permissions"
    return "look at the path"
