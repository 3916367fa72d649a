"""The bearer token: read from its file, or made there. It is never printed and never logged."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from nanoide.core.errors import UsageError

SHORTEST = 16
"""Characters; a shorter one can be guessed."""

_LONGEST = 512


def keep(path: Path) -> str:
    """The token in the file at `path`; one is made, 0600 whatever the umask, when there is none.

    Raises UsageError when the file is not this user's alone, or holds no token.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"the token file {str(path)!r} cannot be read: {error.strerror}") from error
    try:
        _make(path)
        return _read(path)
    except OSError as error:
        raise UsageError(
            f"the token file {str(path)!r} cannot be made: {error.strerror}", hint="name another one with --token-file"
        ) from error


def _make(path: Path) -> None:
    """Write a token beside `path` and give it the name: nobody ever sees half of one."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            os.fchmod(handle, 0o600)
            file.write(secrets.token_urlsafe(32) + "\n")
        with suppress(FileExistsError):  # another gateway was faster: its token is as good
            os.link(draft, path)
    finally:
        draft.unlink()


def _read(path: Path) -> str:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise UsageError(f"the token file {str(path)!r} is no plain file")
        if info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise UsageError(f"the token file {str(path)!r} is open to others", hint=f"run: chmod 600 {path}")
        token = file.read(_LONGEST + 2).strip()
    if not SHORTEST <= len(token) <= _LONGEST or not all(0x21 <= byte <= 0x7E for byte in token):
        raise UsageError(
            f"the token file {str(path)!r} holds no token: {SHORTEST} to {_LONGEST} characters without a space",
            hint="remove the file, and a new one is made",
        )
    return token.decode("ascii")
