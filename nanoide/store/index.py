"""The workspace index: passages of text files in SQLite's FTS5, kept fresh by time and size of each file.

A database file of its own that can be deleted at any time. Ignored, secret and binary files stay out.
One thread writes in small batches, another reads, so that a search finds what is there already.
"""

import asyncio
import contextlib
import logging
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import cast

import apsw

from nanoide.core.chat import Source
from nanoide.core.errors import StoreError
from nanoide.core.ignore import Ignore, is_secret
from nanoide.store.passages import passages, query, searchable, words
from nanoide.store.sql import rows

log = logging.getLogger(__name__)

FILE_LIMIT = 512 * 1024
"""Bytes; larger files are data more often than text that a person wrote."""

FILES_LIMIT = 20_000
"""Files of one root; the rest of a larger one is not searched."""

BYTES_LIMIT = 300 * 1024 * 1024
"""Of all files of one root together."""

IGNORE_FILE = ".nanoideignore"

_BATCH = 50
"""Files in one transaction: small, so that a search in between finds them and stopping is quick."""

_SKIPPED = frozenset({"node_modules", "venv", "env", "__pycache__", "site-packages", "target", "dist", "build"})
"""Folders that nobody searches; only where git does not say what belongs to the project."""

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE root (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
CREATE TABLE file (
    id INTEGER PRIMARY KEY, root INTEGER NOT NULL, path TEXT NOT NULL, mtime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL, UNIQUE (root, path)
);
CREATE TABLE passage (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX passage_file ON passage (file);
CREATE VIRTUAL TABLE terms USING fts5 (
    body, path, root, content = '', contentless_delete = 1, tokenize = 'porter unicode61 remove_diacritics 2'
);
"""

_SEARCH = """
SELECT file.path, passage.line, passage.text, -bm25(terms, 1.0, 2.0, 0.0) AS score
FROM terms JOIN passage ON passage.id = terms.rowid JOIN file ON file.id = passage.file
WHERE terms MATCH ? AND file.root = ? ORDER BY score DESC LIMIT ?
"""


class Index:
    """Search in workspaces. Opened when first used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="index-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="index-read")
        self._write_to: apsw.Connection | None = None
        self._read_from: apsw.Connection | None = None
        self._refreshing: dict[str, asyncio.Task[None]] = {}
        self._stop = Event()

    async def refresh(self, root: str) -> None:
        """Bring the passages of `root` up to date. Several callers share one run; a caller may stop waiting."""
        task = self._refreshing.get(root)
        if task is None:
            task = asyncio.create_task(self._refresh(root), name=f"index {root}")
            self._refreshing[root] = task
            task.add_done_callback(lambda done: self._refreshed(root, done))
        await asyncio.shield(task)

    async def search(self, root: str, query_text: str, limit: int) -> tuple[Source, ...]:
        """The passages of `root` that answer best, best first; empty when no word of the query says anything."""
        match = query(query_text)
        if not match or limit <= 0:
            return ()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, self._search, root, match, words(query_text), limit)

    async def aclose(self) -> None:
        """Stop indexing where it is and close the database."""
        self._stop.set()
        for task in list(self._refreshing.values()):
            with contextlib.suppress(StoreError):
                await task
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reader, self._close)
        self._writer.shutdown()
        self._reader.shutdown()

    async def _refresh(self, root: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, self._update, root)

    def _refreshed(self, root: str, done: asyncio.Task[None]) -> None:
        self._refreshing.pop(root, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            log.warning("index of %s: %s", root, error)  # the one who asked may have stopped waiting

    # On the reading thread

    def _search(self, root: str, match: str, asked: frozenset[str], limit: int) -> tuple[Source, ...]:
        try:
            if self._read_from is None:
                self._read_from = _open(self._path)
            connection = self._read_from
            known = rows(connection, "SELECT id FROM root WHERE path = ?", (root,))
            if not known:
                return ()
            number = cast("int", known[0][0])
            found = rows(connection, _SEARCH, (f"{match} AND root:r{number}", number, limit * 4))
            ranked = cast("list[tuple[str, int, str, float]]", found)
        except apsw.Error as error:
            raise StoreError(f"the index cannot be searched: {error}", hint=f"delete {self._path}") from error
        return _rank(ranked, asked, limit)

    def _close(self) -> None:
        for connection in (self._read_from, self._write_to):
            if connection is not None:
                connection.close()
        self._read_from = self._write_to = None

    # On the writing thread

    def _update(self, root: str) -> None:
        try:
            if self._write_to is None:
                self._write_to = _open(self._path)
            self._bring_up_to_date(self._write_to, root)
        except apsw.Error as error:
            raise StoreError(f"the index cannot be written: {error}", hint=f"delete {self._path}") from error

    def _bring_up_to_date(self, connection: apsw.Connection, root: str) -> None:
        rows(connection, "INSERT OR IGNORE INTO root (path) VALUES (?)", (root,))
        number = cast("int", rows(connection, "SELECT id FROM root WHERE path = ?", (root,))[0][0])
        stored = rows(connection, "SELECT path, id, mtime_ns, size FROM file WHERE root = ?", (number,))
        known: dict[str, tuple[int, int, int]] = {}
        for path, file, mtime, size in cast("list[tuple[str, int, int, int]]", stored):
            known[path] = (file, mtime, size)
        changed: list[tuple[str, int, int]] = []
        for path, mtime, size in _files(root):
            if self._stop.is_set():
                return
            before = known.pop(path, None)
            if before is None or before[1:] != (mtime, size):
                changed.append((path, mtime, size))
        gone = [file for file, _, _ in known.values()]
        for start in range(0, len(gone), 500):
            with connection:
                for file in gone[start : start + 500]:
                    _drop(connection, file)
        for start in range(0, len(changed), _BATCH):
            if self._stop.is_set():
                return
            with connection:
                for path, mtime, size in changed[start : start + _BATCH]:
                    _put(connection, number, root, path, mtime, size)


def list_files(root: str) -> Iterator[str]:
    """Paths below `root`, relative: git's view of them where there is a repository, without the ignored ones."""
    ignored = hidden_in(root)
    count = 0
    for path in _from_git(root) or _from_walk(root):
        if not ignored(path) and not is_secret(path):
            yield path
            count += 1
            if count >= FILES_LIMIT:
                return


def _files(root: str) -> Iterator[tuple[str, int, int]]:
    left = BYTES_LIMIT
    for path in list_files(root):
        try:
            path.encode()  # a name that is no UTF-8 cannot be stored, nor shown
            info = os.lstat(os.path.join(root, path))  # noqa: PTH118 - 20,000 times, and strings are quicker
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(info.st_mode) and 0 < info.st_size <= FILE_LIMIT:
            left -= info.st_size
            if left < 0:
                return
            yield path, info.st_mtime_ns, info.st_size


def hidden_in(root: str) -> Callable[[str], bool]:
    """Whether the ignore files of `root`, and of the folders around it up to the repository's, leave a path out."""
    rules: list[tuple[str, Ignore]] = []
    top = Path(root)
    for folder in (top, *top.parents):
        try:
            with (folder / IGNORE_FILE).open(encoding="utf-8", errors="replace") as file:
                below = top.relative_to(folder).as_posix()
                rules.append(("" if below == "." else f"{below}/", Ignore(file.readlines(64 * 1024))))
        except OSError:
            pass
        if (folder / ".git").exists():
            break
    return lambda path: any(rule(below + path) for below, rule in rules)


def _from_git(root: str) -> Sequence[str]:
    """What git knows or would take in; empty when it has nothing to say."""
    command = ["git", "-C", root, "-c", "core.fsmonitor=false", "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if run.returncode:
        return ()
    return [os.fsdecode(each) for each in dict.fromkeys(run.stdout.split(b"\0")) if each]


def _from_walk(root: str) -> Iterator[str]:
    for top, folders, files in os.walk(root):
        folders[:] = sorted(each for each in folders if each not in _SKIPPED and not each.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(top, name), root)  # noqa: PTH118 - as above


def _open(path: Path) -> apsw.Connection:
    """The database; one that is broken or of another version is begun anew, for nothing in it is precious."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for _ in range(2):
        connection: apsw.Connection | None = None
        try:
            if not path.exists():
                path.touch(mode=0o600)
            connection = apsw.Connection(str(path))
            connection.set_busy_timeout(10_000)
            rows(connection, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -4000")
            if _version(connection) == _SCHEMA_VERSION:
                return connection
        except (apsw.NotADBError, apsw.CorruptError, apsw.SQLError):
            pass
        if connection is not None:
            connection.close()
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
    raise StoreError(f"the index {path} cannot be opened", hint="delete it; it is built again")


def _version(connection: apsw.Connection) -> object:
    """The version of the database; a new one gets its tables first, under the lock of the transaction."""
    with connection:
        version = rows(connection, "PRAGMA user_version")[0][0]
        if version == 0:
            rows(connection, f"{_SCHEMA}; PRAGMA user_version = {_SCHEMA_VERSION}")
            version = _SCHEMA_VERSION
        return version


def _drop(connection: apsw.Connection, file: int) -> None:
    rows(connection, "DELETE FROM terms WHERE rowid IN (SELECT id FROM passage WHERE file = ?)", (file,))
    rows(connection, "DELETE FROM passage WHERE file = ?", (file,))
    rows(connection, "DELETE FROM file WHERE id = ?", (file,))


def _put(connection: apsw.Connection, number: int, root: str, path: str, mtime: int, size: int) -> None:
    known = rows(connection, "SELECT id FROM file WHERE root = ? AND path = ?", (number, path))
    if known:
        _drop(connection, cast("int", known[0][0]))
    rows(connection, "INSERT INTO file (root, path, mtime_ns, size) VALUES (?, ?, ?, ?)", (number, path, mtime, size))
    file = connection.last_insert_rowid()
    text = _text(Path(root, path))
    for line, passage in passages(text):
        rows(connection, "INSERT INTO passage (file, line, text) VALUES (?, ?, ?)", (file, line, passage))
        terms = (connection.last_insert_rowid(), searchable(passage), searchable(path), f"r{number}")
        rows(connection, "INSERT INTO terms (rowid, body, path, root) VALUES (?, ?, ?, ?)", terms)


def _text(path: Path) -> str:
    """The text of the file; empty when it is binary, a link or gone."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError:
        return ""
    if b"\0" in data[:8192] or len(data) > FILE_LIMIT:
        return ""
    return data.decode("utf-8", errors="replace")


_TEST = re.compile(r"(?:^|/)(?:tests?|testing|fixtures?|vendor|third_party)/|(?:^|/)test_|_test\.|\.lock$|\.min\.")


def _rank(found: Sequence[tuple[str, int, str, float]], asked: frozenset[str], limit: int) -> tuple[Source, ...]:
    """Best first: passages of tests and vendored code behind, at most three of one file."""
    about_tests = bool(asked & {"test", "tests", "fixture", "fixtures"})
    scored: list[tuple[float, str, int, str]] = []
    for path, line, text, score in found:
        scored.append((score if about_tests or not _TEST.search(path) else score * 0.7, path, line, text))
    scored.sort(key=lambda each: (-each[0], each[1], each[2]))
    taken: dict[str, int] = {}
    out: list[Source] = []
    for score, path, line, text in scored:
        taken[path] = taken.get(path, 0) + 1
        if taken[path] <= 3:
            label = f"{path}:{line}-{line + text.count(chr(10))}"
            out.append(Source(kind="query", label=label, text=text, path=path, line=line, score=score))
        if len(out) == limit:
            break
    return tuple(out)
