"""What breakers knew when the hub ended, in a file beside the database, so that a new hub does not ask anew.

Of a key nothing is kept but a short salted hash: enough to see that it is another one. Best effort: a file that
cannot be read or written costs a few attempts, nothing else.
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from pathlib import Path
from time import time

import msgspec

from nanoide.backends.keys import read_key
from nanoide.core.errors import BackendError
from nanoide.core.value import Value
from nanoide.routing.breaker import Breaker, Kept
from nanoide.settings import BackendTable

LOOK_S = 5.0
"""Seconds between two looks whether a key that was refused is another one by now."""

_LARGEST = 256 * 1024
"""Bytes; a larger file is not ours."""


class Note(Value, frozen=True):
    """One breaker that is not closed."""

    table: str
    """What the backend is known by; another one means another backend."""
    until: float | None
    """Wall time in seconds since 1970 at which a probe may go; None means not before the key changes."""
    rests: int = 0
    reason: str = ""
    key: str = ""
    """What the key that was refused is known by; empty when none was."""


class _File(Value, frozen=True):
    salt: str = ""
    notes: dict[str, Note] = msgspec.field(default_factory=dict[str, Note])


class Memory:
    """The notes by backend. With no path they last as long as the process."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._file = _File() if path is None else _load(path)
        if not self._file.salt:
            self._file = _File(salt=secrets.token_hex(16))
        self._written = self._file
        self._tasks = set[asyncio.Task[None]]()
        self._writing = False

    def mark(self, *parts: object) -> str:
        """What `parts` are known by: short, the same each time, and saying nothing of them."""
        return blake2b(msgspec.json.encode(parts), digest_size=8, key=self._file.salt.encode()).hexdigest()

    def recall(self, name: str) -> Note | None:
        """What is known of a backend; None when its breaker was closed."""
        return self._file.notes.get(name)

    def note(self, name: str, note: Note | None) -> None:
        """Remember it, and write it soon."""
        notes = {known: each for known, each in self._file.notes.items() if known != name}
        if note is not None:
            notes[name] = note
        self._file = msgspec.structs.replace(self._file, notes=notes)
        if self._path is not None and not self._writing:
            self._writing = True
            self.begin(self._write(self._path))

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Do `work` beside everything else; `settle` waits for it. To be called on the event loop."""
        task = asyncio.create_task(work, name="remember breakers")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Return when all is known and written."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _write(self, path: Path) -> None:
        try:
            while self._written is not self._file:
                file = self._file
                await asyncio.to_thread(_save, path, file)
                self._written = file
        finally:
            self._writing = False


class Keeper:
    """Joins one backend's breaker and the memory."""

    def __init__(
        self,
        table: BackendTable,
        breaker: Breaker,
        memory: Memory,
        clock: Callable[[], float],
        read: Callable[[BackendTable], str] | None = None,
    ) -> None:
        """Let the breaker go on where it ended. `read` looks up the key, in a thread; "" means there is none."""
        self._name = table.name
        self._table = table
        self._breaker = breaker
        self._memory = memory
        self._clock = clock
        self._read = read or _secret
        self._mark = memory.mark(table.kind, table.addresses, table.model, table.locality, table.key)
        self._looked = clock()
        self._key = ""
        """Known by, of the key that was refused; empty while that is not known."""
        note = memory.recall(table.name)
        if note is not None and note.table == self._mark and (note.until is not None or note.key):
            self._key = note.key
            self._looked -= LOOK_S  # who starts the hub anew may have brought another key
            rest = None if note.until is None else note.until - time()
            breaker.take_up(Kept(rest=rest, rests=note.rests, reason=note.reason), clock())

    def changed(self) -> None:
        """The breaker is not as it was."""
        kept = self._breaker.kept(self._clock())
        if not self._breaker.locked:
            self._key = ""
        elif not self._key:
            self._memory.begin(self.look())
        if kept is None:
            if self._memory.recall(self._name) is not None:
                self._memory.note(self._name, None)
            return
        until = None if kept.rest is None else time() + kept.rest
        self._memory.note(
            self._name, Note(table=self._mark, until=until, rests=kept.rests, reason=kept.reason, key=self._key)
        )

    async def look(self) -> None:
        """When the key was refused: see whether it is another one by now. Costs nothing else."""
        if not self._breaker.locked or (self._key and self._clock() - self._looked < LOOK_S):
            return
        self._looked = self._clock()
        key = self._memory.mark(await asyncio.to_thread(self._read, self._table))
        if not self._breaker.locked:
            return
        if not self._key:
            self._key = key
            self.changed()
        elif key != self._key:
            self._breaker.forget()


def _secret(table: BackendTable) -> str:
    try:
        return "" if table.key is None else read_key(table.key)
    except BackendError:
        return ""


def _load(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_LARGEST), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return _File()


def _save(path: Path, file: _File) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, 0o600), "wb") as out:
            out.write(msgspec.json.encode(file))
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
