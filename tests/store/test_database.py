"""The database keeps what it acknowledged, and says clearly why when it cannot."""

import asyncio
import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from nanoide.core.errors import StoreError, UsageError
from nanoide.store.database import Database, check_version, translated
from nanoide.store.migrations import APPLICATION_ID, MIGRATIONS
from nanoide.store.sql import rows


def put(value: str, key: str = "a"):
    """A write that puts one line into a table."""

    def work(connection: apsw.Connection) -> int:
        rows(connection, "INSERT INTO grants (skill, backend, at) VALUES (?, ?, 0)", (key, value))
        return connection.last_insert_rowid()

    return work


def count(connection: apsw.Connection) -> int:
    """How many lines there are."""
    return rows(connection, "SELECT count(*) FROM grants")[0][0]


def fill_up(path: Path) -> None:
    """Write until the file system has no block left."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def test_it_is_durable_and_in_wal_mode(database: Database) -> None:
    """Journal, synchronous and foreign keys are as the ledger needs them."""

    def look(connection: apsw.Connection) -> list[object]:
        return [rows(connection, f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "foreign_keys")]

    assert await database.write(look) == ["wal", 2, 1]


async def test_the_schema_is_current_after_opening(database: Database) -> None:
    """A new database has every step applied and is marked as ours."""

    def look(connection: apsw.Connection) -> tuple[int, int]:
        return rows(connection, "PRAGMA user_version")[0][0], rows(connection, "PRAGMA application_id")[0][0]

    assert await database.read(look) == (len(MIGRATIONS), APPLICATION_ID)


async def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    """Closing and opening loses nothing and migrates nothing twice."""
    path = tmp_path / "nanoide.db"
    first = await Database.open(path)
    await first.write(put("x"))
    await first.aclose()
    second = await Database.open(path)
    assert await second.read(count) == 1
    await second.aclose()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """The file and its companions are 0600."""
    before = os.umask(umask)
    try:
        database = await Database.open(tmp_path / "nanoide.db")
        await database.write(put("x"))
    finally:
        os.umask(before)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    await database.aclose()
    assert set(modes) == {"nanoide.db", "nanoide.db-wal", "nanoide.db-shm"}
    assert set(modes.values()) == {0o600}


async def test_a_file_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    """A mode that is too wide is mended when the database is opened."""
    path = tmp_path / "nanoide.db"
    path.touch(0o644)
    await (await Database.open(path)).aclose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("application", [APPLICATION_ID, 0])
async def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path, application: int) -> None:
    """The error names both versions; not a byte and not a file changes."""
    path = tmp_path / "nanoide.db"
    await (await Database.open(path)).aclose()
    with apsw.Connection(str(path)) as connection:
        rows(connection, f"PRAGMA user_version = 999; PRAGMA application_id = {application}")
    connection.close()
    before = {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in tmp_path.iterdir()}
    with pytest.raises(StoreError, match=rf"version 999.*knows {len(MIGRATIONS)}"):
        await Database.open(path)
    assert {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in tmp_path.iterdir()} == before


async def test_a_newer_version_that_is_only_in_the_log_is_seen(tmp_path: Path) -> None:
    """A newer nanoide that crashed before its checkpoint is refused as well, and its log stays."""
    path = tmp_path / "nanoide.db"
    await (await Database.open(path)).aclose()
    other = apsw.Connection(str(path))
    rows(other, "PRAGMA user_version = 999")
    log = (tmp_path / "nanoide.db-wal").read_bytes()
    with pytest.raises(StoreError, match="version 999"):
        await Database.open(path)
    assert (tmp_path / "nanoide.db-wal").read_bytes() == log
    other.close()


async def test_a_process_killed_right_after_its_first_opening_leaves_a_good_database(tmp_path: Path) -> None:
    """A schema that is still in the write-ahead log is not taken for another program's."""
    path = tmp_path / "nanoide.db"
    program = (
        "import asyncio, os, sys; from pathlib import Path; from nanoide.store.database import Database;"
        "asyncio.run(Database.open(Path(sys.argv[1]))); os._exit(9)"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == 9
    database = await Database.open(path)
    assert await database.read(count) == 0
    await database.aclose()


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """We do not put tables into a stranger's file."""
    path = tmp_path / "nanoide.db"
    with apsw.Connection(str(path)) as connection:
        rows(connection, "CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's"):
        await Database.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"this is no database " * 20, b"SQLite format 3\x00", b"SQLite format 3\x00" * 600]
)
async def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    """One line that says what and what to try; the file stays for whoever can mend it."""
    path = tmp_path / "nanoide.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"nanoide\.db.*(damaged|another)") as caught:
        await Database.open(path)
    assert caught.value.hint
    assert path.read_bytes() == content


async def test_damage_found_while_reading_is_named(tmp_path: Path) -> None:
    """Pages that were overwritten raise a StoreError from the read that meets them."""
    path = tmp_path / "nanoide.db"
    database = await Database.open(path)
    for number in range(200):
        await database.write(put(f"x{number}" * 50))
    await database.aclose()
    content = bytearray(path.read_bytes())
    content[4096 * 12 :] = os.urandom(len(content) - 4096 * 12)
    path.write_bytes(content)
    database = await Database.open(path)
    with pytest.raises(StoreError, match="damaged"):
        await database.read(lambda connection: rows(connection, "PRAGMA quick_check; SELECT * FROM grants"))
    await database.aclose()


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """One clear line, not a traceback from deep below."""
    with pytest.raises(StoreError, match="No such file or directory"):
        await Database.open(tmp_path / "nowhere" / "nanoide.db")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """The same for a folder of somebody else."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="cannot be opened for writing"):
            await Database.open(tmp_path / "nanoide.db")
    finally:
        tmp_path.chmod(0o700)


async def test_a_full_disk_fails_the_write_and_loses_nothing(database: Database) -> None:
    """What was stored before stays, the failed call is undone, and small ones go on."""
    await database.write(put("before"))
    size = await database.write(lambda connection: rows(connection, "PRAGMA page_count")[0][0])
    await database.write(lambda connection: rows(connection, f"PRAGMA max_page_count = {size + 4}"))

    def much(connection: apsw.Connection) -> None:
        for number in range(100):
            put("y" * 4000, f"k{number}")(connection)

    with pytest.raises(StoreError, match="the disk is full") as caught:
        await database.write(much)
    assert caught.value.hint == "free some space and try again"
    assert await database.read(count) == 1
    await database.write(lambda connection: rows(connection, "PRAGMA max_page_count = 100000"))
    await database.write(put("after"))
    assert await database.read(count) == 2


async def test_a_full_disk_fails_only_the_call_that_needs_the_space(database: Database) -> None:
    """Calls that shared a commit with it are stored."""
    size = await database.write(lambda connection: rows(connection, "PRAGMA page_count")[0][0])
    await database.write(lambda connection: rows(connection, f"PRAGMA max_page_count = {size + 4}"))

    def much(connection: apsw.Connection) -> None:
        for number in range(100):
            put("y" * 4000, f"k{number}")(connection)

    calls = [database.write(put(f"x{number}")) for number in range(5)]
    results = await asyncio.gather(*calls, database.write(much), database.write(put("last")), return_exceptions=True)
    assert [isinstance(each, StoreError) for each in results] == [False] * 5 + [True, False]
    assert await database.read(count) == 6


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="mounts a small file system")
async def test_a_file_system_that_is_really_full(tmp_path: Path) -> None:
    """With no block left the call fails in one line; once there is room again all goes on."""
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(  # noqa: ASYNC221 - a moment, before the test begins
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount here")
    try:
        database = await Database.open(mount / "nanoide.db")
        await database.write(put("before"))
        fill = mount / "fill"
        fill_up(fill)
        with pytest.raises(StoreError, match=r"disk is full|writing failed"):
            await database.write(put("z" * 200_000))
        assert await database.read(count) == 1
        fill.unlink()
        await database.write(put("after"))
        assert await database.read(count) == 2
        await database.aclose()
    finally:
        subprocess.run(["umount", str(mount)], check=True)  # noqa: ASYNC221 - likewise, after it


async def test_a_call_that_raises_is_undone_and_its_neighbours_are_not(database: Database) -> None:
    """Queued calls share a commit, and each still succeeds or fails alone."""

    def bad(connection: apsw.Connection) -> None:
        put("never")(connection)
        raise UsageError("no")

    results = await asyncio.gather(
        database.write(put("1")), database.write(bad), database.write(put("2")), return_exceptions=True
    )
    assert isinstance(results[1], UsageError)
    names = await database.read(lambda connection: rows(connection, "SELECT backend FROM grants ORDER BY 1"))
    assert names == [("1",), ("2",)]


async def test_what_sqlite_refuses_is_a_store_error(database: Database) -> None:
    """No error of the library's own comes out."""
    await database.write(put("same"))
    with pytest.raises(StoreError, match="ConstraintError"):
        await database.write(put("same"))


async def test_calls_are_done_in_the_order_they_came(database: Database) -> None:
    """First in, first out, however many."""
    seen: list[int] = []
    await asyncio.gather(*(database.write(lambda _, number=number: seen.append(number)) for number in range(500)))
    assert seen == list(range(500))


async def test_queued_calls_share_a_commit(database: Database) -> None:
    """While the writer is busy calls queue up; they go into one transaction."""
    commits: list[int] = []
    await database.write(lambda connection: connection.set_commit_hook(lambda: bool(commits.append(1))))
    commits.clear()
    gate = threading.Event()
    first = asyncio.ensure_future(database.write(lambda _: gate.wait(10)))
    rest = [asyncio.ensure_future(database.write(put(f"x{number}"))) for number in range(20)]
    await asyncio.sleep(0)  # let them queue up
    gate.set()
    await asyncio.gather(first, *rest)
    assert await database.read(count) == 20
    assert len(commits) <= 2
    await database.write(lambda connection: connection.set_commit_hook(None))


async def test_a_caller_that_went_away_before_its_turn_writes_nothing(database: Database) -> None:
    """Cancelling a queued call takes it out of the queue."""
    started, gate = threading.Event(), threading.Event()

    def slow(_: apsw.Connection) -> None:
        started.set()
        gate.wait(10)

    first = asyncio.ensure_future(database.write(slow))
    assert await asyncio.to_thread(started.wait, 10)
    second = asyncio.ensure_future(database.write(put("gone")))
    third = asyncio.ensure_future(database.write(put("stays")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, third)
    assert await database.read(count) == 1


async def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    """Nothing that was handed in before is lost; afterwards one line says that it is closed."""
    path = tmp_path / "nanoide.db"
    database = await Database.open(path)
    calls = [asyncio.ensure_future(database.write(put(f"x{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    await database.aclose()
    await asyncio.gather(*calls)
    await database.aclose()
    with pytest.raises(StoreError, match="closed"):
        await database.write(put("late"))
    again = await Database.open(path)
    assert await again.read(count) == 50
    await again.aclose()
    assert [each.name for each in tmp_path.iterdir()] == ["nanoide.db"]


async def test_the_reader_cannot_write(database: Database) -> None:
    """Writing is the writer's business alone."""
    with pytest.raises(StoreError):
        await database.read(put("x"))


def test_an_old_sqlite_is_refused() -> None:
    """Its write-ahead log can lose a commit."""
    check_version("3.51.3")
    check_version("3.54.1")
    with pytest.raises(StoreError, match=r"3\.40\.1 is too old"):
        check_version("3.40.1")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (apsw.BusyError("database is locked"), "held by another program"),
        (apsw.ReadOnlyError("readonly"), "cannot be opened for writing"),
        (apsw.IOError("disk I/O error"), "reading or writing failed"),
        (apsw.CorruptError("malformed"), "damaged"),
    ],
)
def test_every_kind_of_failure_has_a_sentence(error: apsw.Error, words: str) -> None:
    """The message names the file and the trouble; the hint says what to try."""
    said = translated(Path("/x/nanoide.db"), error)
    assert words in said.message
    assert "/x/nanoide.db" in said.message
    assert said.hint


WRITER = """
import asyncio, sys
from pathlib import Path
from nanoide.store.database import Database
from nanoide.store.sql import rows

async def main():
    database = await Database.open(Path(sys.argv[1]))

    async def one(number):
        await database.write(lambda c: rows(c, "INSERT INTO grants (skill, backend, at) VALUES ('k', ?, 0)", (f"{number:06}",)))
        print(f"{number:06}", flush=True)

    for start in range(0, 10**6, 5):
        await asyncio.gather(*(one(start + each) for each in range(5)))

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 40, 400])
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, acknowledged: int) -> None:
    """Killed without warning in the middle of writing, it has every line that it said was stored."""
    path = tmp_path / "nanoide.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = [(await process.stdout.readline()).decode().strip() for _ in range(acknowledged)]
    process.kill()
    told += (await process.stdout.read()).decode().split()
    await process.wait()
    database = await Database.open(path)
    kept = await database.read(lambda c: [name for (name,) in rows(c, "SELECT backend FROM grants ORDER BY 1")])
    await database.aclose()
    whole = {name for name in told if len(name) == 6}
    assert len(whole) >= acknowledged
    assert whole <= set(kept)
