"""Starting and finding the hub."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.core.errors import HubError, UnknownName
from nanoide.paths import Paths


async def test_twenty_clients_at_once_start_exactly_one_hub(paths: Paths) -> None:
    """All twenty reach the same process."""
    connections = await asyncio.gather(*(connect(paths, client=f"test {n}") for n in range(20)))
    pids = {(await each.call(wire.ReadStatus())).pid for each in connections}
    for each in connections:
        await each.aclose()
    assert len(pids) == 1


async def test_without_start_a_missing_hub_is_an_error(paths: Paths) -> None:
    """Looking does not start anything."""
    with pytest.raises(HubError, match="does not run"):
        await connect(paths, client="test", start=False)


async def test_the_socket_and_its_folder_are_private(hub: Connection, paths: Paths) -> None:
    """Nobody else can reach the hub's socket, or read its database."""
    assert paths.socket.stat().st_mode & 0o777 == 0o600
    assert paths.socket.parent.stat().st_mode & 0o777 == 0o700
    assert paths.database.stat().st_mode & 0o777 == 0o600


async def test_a_socket_that_a_killed_hub_left_is_no_obstacle(hub: Connection, paths: Paths) -> None:
    """After kill -9 the next client starts a new hub in the same place."""
    pid = (await hub.call(wire.ReadStatus())).pid
    os.kill(pid, signal.SIGKILL)
    async for _ in hub.notices():
        pass
    async with await connect(paths, client="test") as again:
        assert (await again.call(wire.ReadStatus())).pid != pid


async def test_sigterm_ends_the_hub_and_takes_its_socket_away(hub: Connection, paths: Paths) -> None:
    """The hub leaves nothing behind that looks alive."""
    os.kill((await hub.call(wire.ReadStatus())).pid, signal.SIGTERM)
    async for _ in hub.notices():
        pass
    assert not paths.socket.exists()


async def test_a_hub_with_no_client_and_no_work_ends_by_itself(paths: Paths) -> None:
    """After the configured time the process is gone, and its socket with it."""
    paths.prepare()
    paths.config.write_text("[hub]\nstop_after_min = 0.005\n")
    async with await connect(paths, client="test") as connection:
        process = psutil.Process((await connection.call(wire.ReadStatus())).pid)
    await asyncio.to_thread(process.wait, 20)
    assert not paths.socket.exists()


async def test_another_protocol_version_is_refused_with_both_versions(hub: Connection, paths: Paths) -> None:
    """The error names both versions and the command that mends it."""
    reader, writer = await asyncio.open_unix_connection(paths.socket)
    writer.write(wire.request(1, wire.Initialize(protocol=999, client="test", version="9.9")))
    fault = wire.parse(await reader.readline()).error
    writer.close()
    await writer.wait_closed()
    assert fault is not None
    assert fault.code == wire.PROTOCOL_MISMATCH
    assert "protocol 1" in fault.message
    assert "protocol 999" in fault.message
    assert fault.data is not None
    assert "nanoide hub stop" in fault.data.hint


async def test_an_error_of_the_hub_is_raised_as_itself(hub: Connection) -> None:
    """Class, text and hint cross the wire."""
    with pytest.raises(UnknownName, match="unknown skill 'fle-query'") as caught:
        await hub.call(wire.ShowSkill(name="fle-query"))
    assert "file-query" in caught.value.hint


async def test_a_config_that_does_not_parse_is_told_by_the_client(home: Path, paths: Paths) -> None:
    """The hub's last word reaches whoever tried to start it."""
    (home / "config.toml").write_text("[bugdet]\n")
    with pytest.raises(HubError, match="unknown key 'bugdet'"):
        await connect(paths, client="test")


async def test_a_client_that_dies_in_mid_line_hurts_nobody(hub: Connection, paths: Paths) -> None:
    """Half a frame, nonsense and a frame over the limit end that connection alone."""
    for nonsense in (b'{"jsonrpc"', b"\xff\xfe\n", b"[]\n", b'{"id": 1}\n', b"x" * (wire.FRAME_LIMIT + 1)):
        _, writer = await asyncio.open_unix_connection(paths.socket)
        writer.write(nonsense)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert (await hub.call(wire.ReadStatus())).pid
