"""A repository to look at."""

import os
import subprocess
from pathlib import Path

QUIET = {
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "n@x",
    "GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "n@x",
}  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    """What git says in `folder`."""
    command = ["git", "-C", str(folder), "-c", "init.defaultBranch=main", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **QUIET}).stdout


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A repository with `files` in its first commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    write(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first", "--allow-empty")
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    """Write `files` below `folder`."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
