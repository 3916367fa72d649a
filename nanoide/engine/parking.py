"""Where sequences rest that nobody works on: in RAM, then in files, each bounded by bytes.

What rests here is a convenience, never the truth: whatever is missing, damaged or of another model is
computed again, and no failure here is an error of anyone.
"""

import contextlib
import hashlib
import os
import struct
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

import msgspec

from nanoide.core.value import Value
from nanoide.engine.prefixes import PrefixTree, common_length

RAM_BYTES = 256 * 1024 * 1024
"""Bytes of sequences that rest in RAM; what is more goes to files."""

RESERVE_BYTES = 512 * 1024 * 1024
"""Bytes that stay free on the disk."""

SUFFIX = ".kv"

_MAGIC = b"nanoide kv 1\n"
_LENGTH = struct.Struct("<I")
_HEAD_LIMIT = 8 * 1024 * 1024


class Head(Value, frozen=True):
    """The beginning of a file, enough to know what is in it."""

    key: str
    made_by: str
    """Model, its parameters and the library: only the same can read the state."""
    tokens: bytes
    size: int
    """Bytes of the state, which follow."""
    check: int
    """Their CRC-32: a file that was cut or damaged is noticed."""


class Entry:
    """One sequence at rest."""

    __slots__ = ("check", "data", "gone", "key", "lasting", "path", "size", "tokens", "writing")

    def __init__(self, key: str, tokens: "array[int]", size: int, *, lasting: bool) -> None:
        self.key = key
        self.tokens = tokens
        self.size = size
        self.lasting = lasting
        """May go to a file."""
        self.data: bytes | None = None
        self.path: Path | None = None
        self.check: int | None = None
        self.writing = False
        self.gone = False


class Parking:
    """All sequences at rest, one for each key. One thread uses it; another one writes the files."""

    def __init__(
        self,
        made_by: str,
        *,
        folder: Path | None,
        disk_bytes: int,
        log: Callable[[str], None],
        ram_bytes: int = RAM_BYTES,
    ) -> None:
        """Take up what rests in `folder`; None keeps everything in RAM. What does not fit this model is deleted."""
        self._made_by = made_by
        self._folder = folder if disk_bytes > 0 else None
        self._ram_limit = ram_bytes
        self._disk_limit = disk_bytes
        self._log = log
        self._entries = OrderedDict[str, Entry]()  # least recently used first
        self._tree = PrefixTree[str]()
        self._ram = 0
        self._disk = 0
        self._lock = Lock()
        self._jobs = SimpleQueue[Entry | None]()
        self._writer: Thread | None = None
        self._pending = 0
        if self._folder is not None:
            self._take_up(self._folder)

    @property
    def count(self) -> int:
        """Sequences at rest."""
        return len(self._entries)

    @property
    def writing(self) -> bool:
        """True while files are being written."""
        return self._pending > 0

    @property
    def ram_bytes(self) -> int:
        """Of them in RAM."""
        return self._ram

    @property
    def disk_bytes(self) -> int:
        """Of them in files."""
        return self._disk

    def put(self, key: str, tokens: list[int], data: bytes, *, lasting: bool, now: bool = False) -> None:
        """Let a sequence rest, in place of what rested under its key. `now`: write its file at once."""
        self.drop(key)
        if not key or not tokens or len(data) > self._ram_limit:
            return
        entry = Entry(key, array("i", tokens), len(data), lasting=lasting and self._folder is not None)
        entry.data = data
        self._ram += entry.size
        self._entries[key] = entry
        self._tree.add(key, entry.tokens)
        if now and entry.lasting:
            self._write_soon(entry)
        self._trim()

    def longest(self, key: str, tokens: list[int], *, whole: bool) -> tuple[Entry | None, int]:
        """What rests and has the longest common beginning with `tokens`; of `key` itself if it is as good."""
        holder, common = self._tree.longest(tokens, whole=whole)
        if holder is None:
            return None, 0
        own = self._entries.get(key)
        if own is not None:
            same = common_length(own.tokens, array("i", tokens[: len(own.tokens)]))
            if same >= common and (same == len(own.tokens) or not whole):
                return own, same
        return self._entries[holder], common

    def load(self, entry: Entry) -> bytes | None:
        """The state; None when it cannot be read any more, and then the entry is gone."""
        if entry.key in self._entries:
            self._entries.move_to_end(entry.key)
        if entry.data is not None:
            return entry.data
        data = _state(entry) if entry.path is not None else None
        if data is None:
            self._log(f"what rested of {entry.key!r} cannot be read; it is computed again")
            self.drop(entry.key)
            return None
        with contextlib.suppress(OSError):
            os.utime(entry.path or "")  # the order of use outlives the process
        return data

    def woken(self, entry: Entry) -> None:
        """The entry's own key works again: its copy in RAM is not needed, its file stays until it rests anew."""
        if self._entries.get(entry.key) is not entry:
            return
        if entry.path is not None:
            self._forget_data(entry)
        elif not entry.writing:
            self.drop(entry.key)

    def settle(self, key: str) -> None:
        """What rests under `key` is to last: write its file, if it has none yet."""
        entry = self._entries.get(key)
        if entry is not None and entry.lasting and entry.path is None and not entry.writing:
            self._write_soon(entry)

    def drop(self, key: str) -> None:
        """Forget what rests under `key`, its file included."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._tree.remove(key)
        self._forget_data(entry)
        with self._lock:
            entry.gone = True
            if entry.path is not None:
                with contextlib.suppress(OSError):
                    entry.path.unlink()
                self._disk -= entry.size
                entry.path = None

    def flush(self) -> None:
        """Write all that may last to files, and wait for that."""
        for entry in list(self._entries.values()):
            if entry.lasting and entry.path is None and not entry.writing:
                self._write_soon(entry)
        if self._writer is not None:
            self._jobs.put(None)
            self._writer.join()
            self._writer = None
        self._trim()

    def _trim(self) -> None:
        """Hold both limits, the least recently used first."""
        leaving = 0
        for entry in list(self._entries.values()):
            if self._ram - leaving <= self._ram_limit:
                break
            if entry.data is None:
                continue
            if entry.path is not None:
                self._forget_data(entry)
            elif entry.lasting and (not leaving or leaving + entry.size <= self._ram_limit // 4):
                if not entry.writing:
                    self._write_soon(entry)
                leaving += entry.size
            else:
                self.drop(entry.key)
        for entry in list(self._entries.values()):
            if self._disk <= self._disk_limit:
                break
            if entry.path is not None:
                self.drop(entry.key)

    def _forget_data(self, entry: Entry) -> None:
        if entry.data is not None:
            entry.data = None
            self._ram -= entry.size

    def _write_soon(self, entry: Entry) -> None:
        entry.writing = True
        with self._lock:
            self._pending += 1
        if self._writer is None:
            self._writer = Thread(target=self._write_all, name="parking", daemon=True)
            self._writer.start()
        self._jobs.put(entry)

    def _write_all(self) -> None:
        """The writer's thread."""
        while (entry := self._jobs.get()) is not None:
            data = entry.data
            if data is not None and self._folder is not None and not entry.gone:
                try:
                    self._write(file_of(self._folder, entry.key), entry, data)
                except OSError as error:
                    self._log(f"a sequence could not be parked on disk: {error.strerror}")
                    entry.lasting = False
            entry.writing = False
            with self._lock:
                self._pending -= 1

    def _write(self, path: Path, entry: Entry, data: bytes) -> None:
        space = os.statvfs(path.parent)
        if space.f_bavail * space.f_frsize < entry.size + RESERVE_BYTES:
            raise OSError(28, "the disk is nearly full")
        head = Head(
            key=entry.key, made_by=self._made_by, tokens=entry.tokens.tobytes(), size=entry.size, check=zlib.crc32(data)
        )
        part = path.with_suffix(".part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                body = msgspec.msgpack.encode(head)
                file.write(_MAGIC + _LENGTH.pack(len(body)) + body)
                file.write(data)
            with self._lock:
                if entry.gone:
                    part.unlink()
                    return
                part.replace(path)
                entry.check = head.check
                entry.path = path
                self._disk += entry.size
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    def _take_up(self, folder: Path) -> None:
        """Know what rests in `folder`, oldest first."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = sorted((each.stat().st_mtime, each) for each in folder.iterdir() if each.is_file())
        except OSError as error:
            self._log(f"nothing can be parked in {str(folder)!r}: {error.strerror}")
            self._folder = None
            return
        for _, path in found:
            head = _head(path) if path.suffix == SUFFIX else None
            if head is None or head.made_by != self._made_by or path != file_of(folder, head.key):
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            entry = Entry(head.key, array("i", head.tokens), head.size, lasting=True)
            entry.path = path
            entry.check = head.check
            self._disk += entry.size
            self._entries[entry.key] = entry
            self._tree.add(entry.key, entry.tokens)
        self._trim()


def file_of(folder: Path, key: str) -> Path:
    """The file in which the sequence of `key` rests."""
    return folder / (hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:40] + SUFFIX)


def fingerprint(path: Path) -> str:
    """What tells a model file from others: its size, its time, and a hash of its beginning and of samples."""
    status = path.stat()
    digest = hashlib.sha256(struct.pack("<QQ", status.st_size, status.st_mtime_ns))
    with path.open("rb") as file:
        for at in _places(status.st_size):
            file.seek(at)
            digest.update(file.read(65536))
    return digest.hexdigest()[:32]


def _places(size: int) -> Iterator[int]:
    yield from range(0, min(size, 1 << 20), 65536)
    yield from range(1 << 20, size, max(65536, size // 64))


def _head(path: Path) -> Head | None:
    """The head of a file that is as long as it says; None of any other."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC) + _LENGTH.size)
            if not start.startswith(_MAGIC):
                return None
            (length,) = _LENGTH.unpack(start[len(_MAGIC) :])
            if length > _HEAD_LIMIT:
                return None
            head = msgspec.msgpack.decode(file.read(length), type=Head)
        whole = len(start) + length + head.size == path.stat().st_size
        return head if whole and head.size > 0 and head.tokens and not len(head.tokens) % 4 else None
    except (OSError, struct.error, msgspec.DecodeError):
        return None


def _state(entry: Entry) -> bytes | None:
    """The state out of the entry's file, checked."""
    assert entry.path is not None
    try:
        with entry.path.open("rb") as file:
            file.seek(-entry.size, os.SEEK_END)
            data = file.read(entry.size)
    except OSError:
        return None
    return data if len(data) == entry.size and zlib.crc32(data) == entry.check else None
