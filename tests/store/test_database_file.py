"""The database's file: whose it is, which versions are refused, and what damage, other programs and a kill do to it."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from nanoide.core.errors import StoreError
from nanoide.store.database import Database
from nanoide.store.migrations import APPLICATION_ID, MIGRATIONS
from nanoide.store.sql import rows
from tests.store.lines import count, put


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


WRITER = """
import asyncio, sys
from pathlib import Path
from nanoide.store.database import Database
from nanoide.store.sql import rows

async def main():
    database = await Database.open(Path(sys.argv[1]))

    async def one(number):
        insert = "INSERT INTO grants (skill, backend, at) VALUES ('k', ?, 0)"
        await database.write(lambda c: rows(c, insert, (f"{number:06}",)))
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
