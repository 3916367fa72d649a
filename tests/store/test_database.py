"""The database keeps what it acknowledged, and says clearly why when it cannot."""

import asyncio
import os
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
from tests.store.lines import count, put


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
