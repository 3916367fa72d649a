"""Folders that come from outside: whether they are any, and which repository they belong to."""

from pathlib import Path


def is_folder(path: str) -> bool:
    """True for a folder; a path that the system cannot even look at is none."""
    try:
        return bool(path) and Path(path).is_dir()
    except OSError:
        return False


def root_of(folder: str) -> Path | None:
    """The repository around `folder`, or the folder itself outside of one; None when it is no absolute folder."""
    start = Path(folder)
    if not start.is_absolute() or not is_folder(folder):
        return None
    return next((each for each in (start, *start.parents) if (each / ".git").exists()), start)
