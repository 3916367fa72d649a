"""The database: opened, migrated, written by one thread, read by another.

WAL with `synchronous=FULL`: what was acknowledged survives a power cut. The hub is the only opener.
SQLite's errors are translated here, once, into StoreError: what, where, what to try.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import apsw

from nanoide.core.errors import InputError, StoreError
from nanoide.store.migrations import APPLICATION_ID, MIGRATIONS
from nanoide.store.sql import rows
from nanoide.store.threads import Reader, Worker, Writer

T = TypeVar("T")

OLDEST_SQLITE = (3, 51, 3)
"""Older ones can lose a commit when the write-ahead log is reset."""

BUSY_MS = 5000
"""How long to wait for another process that holds the file, such as a backup."""

_MAGIC = b"SQLite format 3\x00"


class Database:
    """One SQLite file. Made by `open`."""

    def __init__(self, path: Path, writer: Writer, reader: Reader) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader

    @classmethod
    async def open(cls, path: Path) -> "Database":
        """Open the database at `path`, making it (0600) or bringing its schema up to date as needed.

        Raises StoreError when it is from a newer nanoide (nothing is touched then), damaged, of another
        program, or cannot be written.
        """
        return await asyncio.to_thread(cls._open, path)

    async def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in a transaction of its own, after all that was queued before; durable when this returns.

        When `work` raises, all it did is undone and the error comes out here. It must have no effect but
        on the connection: it runs again when a commit that it shared with others fails.
        """
        return await self._submit(self._writer, work)

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work`, which only reads, on one unchanging state of the database."""
        return await self._submit(self._reader, work)

    async def aclose(self) -> None:
        """Finish what is queued, then close. Closing twice does nothing."""
        await asyncio.to_thread(self._reader.close)
        await asyncio.to_thread(self._writer.close)

    async def _submit(self, worker: Worker, work: Callable[[apsw.Connection], T]) -> T:
        try:
            return cast("T", await asyncio.wrap_future(worker.submit(work)))
        except apsw.Error as error:
            raise translated(self.path, error) from error
        except UnicodeEncodeError as error:
            raise InputError(f"a text that is not valid Unicode cannot be stored: {error.reason}") from error

    @classmethod
    def _open(cls, path: Path) -> "Database":
        check_version(apsw.sqlite_lib_version())
        _create(path)
        _check_header(path)
        try:
            connection = apsw.Connection(str(path))
            try:
                _check_schema(connection, path)
                _configure(connection)
                _migrate(connection)
                reading = apsw.Connection(str(path))
            except BaseException:
                connection.close()
                raise
            reading.set_busy_timeout(BUSY_MS)
            rows(reading, "PRAGMA query_only = ON")
        except apsw.Error as error:
            raise translated(path, error) from error
        return cls(path, Writer(connection, "store-writer"), Reader(reading, "store-reader"))


def check_version(version: str) -> None:
    """Raises StoreError when the SQLite library is too old to be trusted with a write-ahead log."""
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(
            f"SQLite {version} is too old: {oldest} is needed", hint="install the apsw that nanoide asks for"
        )


def translated(path: Path, error: apsw.Error) -> StoreError:
    """The StoreError for what SQLite said about the database at `path`."""
    where = f"database {str(path)!r}"
    match error:
        case apsw.FullError():
            return StoreError(
                f"{where}: the disk is full; nothing stored before is lost, this was not stored",
                hint="free some space and try again",
            )
        case apsw.CorruptError() | apsw.NotADBError():
            return StoreError(
                f"{where} is damaged: {error}",
                hint="move the file away, or put a backup there; nanoide makes a new one",
            )
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError() | apsw.AuthError():
            return StoreError(
                f"{where} cannot be opened for writing: {error}", hint="check who owns the file and its folder"
            )
        case apsw.BusyError() | apsw.LockedError():
            return StoreError(f"{where} is held by another program", hint="close what else has it open")
        case apsw.IOError():
            return StoreError(f"{where}: reading or writing failed: {error}", hint="check the disk")
        case _:
            return StoreError(f"{where}: {type(error).__name__}: {error}")


def _create(path: Path) -> None:
    """Make the file with 0600 whatever the umask; SQLite gives its companions the same mode."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(handle)
            if status.st_uid == os.getuid() and status.st_mode & 0o777 != 0o600:
                os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreError(
            f"database {str(path)!r} cannot be opened for writing: {error.strerror}",
            hint="check who owns the file and its folder",
        ) from error


def _check_header(path: Path) -> None:
    """Look at the file's first bytes before SQLite does: a foreign or newer one is not touched at all."""
    with path.open("rb") as file:
        header = file.read(100)
    if not header:
        return
    if not header.startswith(_MAGIC) or len(header) < 100:
        raise StoreError(
            f"database {str(path)!r} is damaged: it does not begin as a database does",
            hint="move the file away, or put a backup there; nanoide makes a new one",
        )
    # Zeros may mean that the rest is still in the write-ahead log: what is there is checked below.
    _check_numbers(path, int.from_bytes(header[60:64], "big"), int.from_bytes(header[68:72], "big"), empty=True)


def _check_schema(connection: apsw.Connection, path: Path) -> None:
    """The same check on what SQLite sees, its write-ahead log included."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    version, application, empty = rows(
        connection,
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id),"
        " NOT EXISTS (SELECT 1 FROM sqlite_schema)",
    )[0]
    _check_numbers(path, int(version), int(application), empty=bool(empty))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


def _check_numbers(path: Path, version: int, application: int, *, empty: bool) -> None:
    if application in {0, APPLICATION_ID} and version > len(MIGRATIONS):
        raise StoreError(
            f"database {str(path)!r} has schema version {version}; this nanoide knows {len(MIGRATIONS)} at most;"
            " nothing was changed",
            hint="update nanoide, or set NANOIDE_HOME to another folder",
        )
    if application != APPLICATION_ID and not (application == 0 and version == 0 and empty):
        raise StoreError(
            f"database {str(path)!r} is another program's", hint="move the file away; nanoide makes a new one"
        )


def _configure(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(BUSY_MS)
    rows(connection, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
    # On macOS only this reaches the disk; elsewhere it says nothing new.
    rows(connection, "PRAGMA fullfsync = ON; PRAGMA journal_size_limit = 16777216")


def _migrate(connection: apsw.Connection) -> None:
    """Apply what is missing, all of it or nothing."""
    rows(connection, "BEGIN IMMEDIATE")
    try:
        version = int(rows(connection, "PRAGMA user_version")[0][0])
        for step in MIGRATIONS[version:]:
            rows(connection, step)
        if version < len(MIGRATIONS):
            rows(connection, f"PRAGMA application_id = {APPLICATION_ID}")
            rows(connection, f"PRAGMA user_version = {len(MIGRATIONS)}")
        rows(connection, "COMMIT")
    except BaseException:
        if connection.in_transaction:
            rows(connection, "ROLLBACK")
        raise
