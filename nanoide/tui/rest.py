"""What one person's screen was like, kept beside the database: focus, zoom, theme. Best effort."""

import os
from pathlib import Path

import msgspec

from nanoide.core.value import Value


class Rest(Value, frozen=True):
    """What detaching leaves behind."""

    focused: str = ""
    """A session's id."""
    zoomed: bool = False
    sidebar: bool = True
    theme: str = ""
    """Empty means as the settings say."""
    pulled: tuple[str, ...] = ()
    """Ambient sessions that the person put on the deck."""


def load(path: Path) -> Rest:
    """What was left behind; the defaults when that cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Rest)
    except (OSError, msgspec.DecodeError):
        return Rest()


def save(path: Path, rest: Rest) -> None:
    """Leave it behind, 0600, whole or not at all. A full disk is no reason to fail."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(rest))
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
