"""Which files stay on this machine whatever the policy: secrets by name, what git ignores, what .nanoideignore hides.

Asked at the gate, for backends elsewhere only. A file that is not there any more is judged by its name.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic

from nanoide.core.ignore import is_secret
from nanoide.store.index import IGNORE_FILE, hidden_in

REMEMBERED = 10.0
"""Seconds that an answer holds: a person who types asks for the same file several times a second."""

_MANY = 512
"""Files that are remembered."""


class Stays:
    """Says why one of several files must not leave."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, str]] = {}

    async def why(self, files: Sequence[str]) -> str:
        """What keeps the first of `files` that stays, as a sentence; empty when all may leave."""
        now = self._clock()
        new = [each for each in files if now - self._known.get(each, (-REMEMBERED, ""))[0] >= REMEMBERED]
        if new:
            reasons = await asyncio.to_thread(reasons_for, new)
            if len(self._known) > _MANY:
                self._known.clear()
            self._known.update({each: (now, reasons.get(each, "")) for each in new})
        for each in files:
            reason = self._known[each][1]
            if reason:
                return f"{each!r} stays on this machine: {reason}"
        return ""


def reasons_for(files: Iterable[str]) -> dict[str, str]:
    """Why each of these absolute paths stays, as a phrase; those that may leave are not in it."""
    reasons: dict[str, str] = {}
    asked: dict[Path, dict[str, str]] = {}
    for file in files:
        for path in dict.fromkeys((_linked(file), Path(os.path.realpath(file)))):
            top = _repository(path)
            if is_secret(str(path)):
                reasons[file] = "by its name it holds secrets"
            elif hidden_in(str(path.parent))(path.name):
                reasons.setdefault(file, f"{IGNORE_FILE} hides it")
            elif top is not None and os.path.lexists(path):
                asked.setdefault(top, {})[str(path)] = file
    for top, paths in asked.items():
        for path, reason in _ask_git(top, tuple(paths)).items():
            reasons.setdefault(paths[path], reason)
    return reasons


def _linked(file: str) -> Path:
    """The path itself, also where it is a link, below folders that are none."""
    path = Path(file)
    return Path(os.path.realpath(path.parent), path.name)


def _repository(path: Path) -> Path | None:
    return next((folder for folder in path.parents if (folder / ".git").exists()), None)


def _ask_git(top: Path, paths: Sequence[str]) -> dict[str, str]:
    """Those that git ignores. Where there is a repository and git does not answer, none of them may leave."""
    command = ["git", "-C", str(top), "-c", "core.fsmonitor=false", "check-ignore", "-z", "--stdin"]
    given = b"\0".join(map(os.fsencode, paths))
    try:
        run = subprocess.run(command, input=given, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return dict.fromkeys(paths, "git cannot be asked whether it ignores it")
    if run.returncode not in {0, 1}:
        return dict.fromkeys(paths, "git does not say whether it ignores it")
    return {os.fsdecode(each): "git ignores it" for each in run.stdout.split(b"\0") if each}
