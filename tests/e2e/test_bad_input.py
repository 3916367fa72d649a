"""What goes wrong is one clear line with the exit code of the contract, never a traceback, and nothing is lost."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from nanoide.paths import Paths
from tests.backends.servers import chat, serve, stream

MOUNTS = (
    shutil.which("mount") is not None
    and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
)

SLOW = """
[[backend]]
name = "slow"
kind = "openai"
base_url = "{url}"
model = "m"

[route.default]
ladder = ["slow"]
egress = "local-only"
"""


class Ended:
    """What a command left: exit code, standard output and standard error."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code = code
        self.out = out.decode()
        self.err = err.decode()

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        assert self.err.startswith("nanoide: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("nanoide: ").rstrip("\n")

    @property
    def object(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


async def start(*words: str | bytes, folder: Path, env: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
    """A nanoide command as a process, with `env` added to the environment."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nanoide",
        *words,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )


async def end(process: asyncio.subprocess.Process) -> Ended:
    """Wait for the process."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out or b"", err or b"")


async def run(*words: str | bytes, folder: Path, env: Mapping[str, str] | None = None) -> Ended:
    """A nanoide command, run to its end."""
    return await end(await start(*words, folder=folder, env=env))


async def shell(line: str, folder: Path) -> Ended:
    """A nanoide command as a shell runs it."""
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m nanoide {line}",
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return await end(process)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small file to ask about."""
    path = tmp_path / "a.py"
    path.write_text("def add(a, b):\n    return a + b\n")
    return path


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A home on a file system of its own with room for one megabyte."""
    where = home / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)], check=True)
    yield where
    subprocess.run([sys.executable, "-m", "nanoide", "hub", "stop"], env=at(where), check=False)
    # A hub that could not start may still be closing its files: nobody waits for that one.
    deadline = time.monotonic() + 10.0
    while subprocess.run(["umount", str(where)], check=False, capture_output=True).returncode:
        assert time.monotonic() < deadline, f"something still holds {where}"
        time.sleep(0.05)


def at(home: Path) -> dict[str, str]:
    """The environment of a command whose home is `home`."""
    return {**os.environ, "NANOIDE_HOME": str(home)}


def fill(disk: Path) -> Path:
    """Use up what room there is."""
    path = disk / "filling"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return path


@pytest.mark.skipif(not MOUNTS, reason="only where a test may mount a file system")
async def test_a_full_disk_is_named_before_the_hub_starts(small_disk: Path, tmp_path: Path) -> None:
    """Even the hub's last words find no room; the client finds out all the same, and all works again afterwards."""
    full = fill(small_disk)
    said = await run("sessions", folder=tmp_path, env=at(small_disk))
    assert said.code == 1
    assert "no space left on device" in said.complaint
    assert "(free some space and try again)" in said.complaint
    full.unlink()
    assert (await run("sessions", folder=tmp_path, env=at(small_disk))).code == 0


@pytest.mark.skipif(not MOUNTS, reason="only where a test may mount a file system")
async def test_a_turn_that_ends_on_a_full_disk_is_told_and_stored_later(small_disk: Path, source: Path) -> None:
    """Whoever asked is not kept waiting; when there is room, the turn and what it cost are in the books."""
    gate = asyncio.Event()
    frames = [*chat("all ", "of it"), "[DONE]"]
    env = at(small_disk)
    async with serve(stream(*frames[:2], gate, *frames[2:])) as server:
        (small_disk / "config.toml").write_text(SLOW.format(url=server.url))
        await run("sessions", folder=source.parent, env=env)
        asking = await start("ask", "explain-code", "-f", "a.py", "--session", "one", folder=source.parent, env=env)
        assert asking.stdout is not None
        assert await asking.stdout.read(1)
        full = fill(small_disk)
        gate.set()
        said = await end(asking)
    assert said.code == 1
    assert "the disk is full" in said.complaint
    assert "filling" not in (await run("sessions", folder=source.parent, env=env)).err
    full.unlink()
    usage = (await run("usage", "--json", folder=source.parent, env=env)).object
    assert [each["outcome"] for each in usage["attempts"]] == ["ok"]
    await run("hub", "stop", folder=source.parent, env=env)
    session = (await run("session", "show", "one", "--json", folder=source.parent, env=env)).object
    assert session["history"][0]["text"] == "all of it"


async def test_a_hub_of_another_version_can_be_stopped(paths: Paths, tmp_path: Path) -> None:
    """Its refusal names both versions and the command that mends it; that command does mend it."""
    paths.prepare()
    old = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OLD_HUB, str(paths.socket), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert old.stdout is not None
        await old.stdout.readline()
        said = await run("sessions", folder=tmp_path)
        assert said.code == 1
        assert said.complaint == (
            "this hub speaks protocol 0 (nanoide 0.0.1), the client protocol 1 (run: nanoide hub stop)"
        )
        assert (await run("hub", "stop", folder=tmp_path)).code == 0
        assert await old.wait() == -signal.SIGTERM
    finally:
        if old.returncode is None:
            old.kill()
            await old.wait()
    assert (await run("sessions", folder=tmp_path)).code == 0


OLD_HUB = r"""
import fcntl, os, socket, sys
lock = os.open(os.path.dirname(sys.argv[1]) + "/hub.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
os.write(lock, b"%d\n" % os.getpid())
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen()
print("listens", flush=True)
while True:
    client, _ = door.accept()
    if client.recv(65536):
        client.sendall(
            b'{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"this hub speaks protocol 0 (nanoide 0.0.1),'
            b' the client protocol 1","data":{"name":"HubError","hint":"run: nanoide hub stop"}}}\n'
        )
    client.close()
"""


async def test_stop_returns_when_the_hub_is_gone(paths: Paths, tmp_path: Path) -> None:
    """What a script does next may take the home away."""
    await run("sessions", folder=tmp_path)
    await run("hub", "stop", folder=tmp_path)
    with paths.socket.with_name("hub.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_second_hub_is_refused(home: Path, tmp_path: Path) -> None:
    """One hub per user, whoever starts it."""
    await run("sessions", folder=tmp_path)
    said = await run("hub", "run", folder=tmp_path)
    assert (said.code, said.complaint) == (1, "a hub runs already (nanoide hub status tells which)")


async def test_closed_streams_are_no_error_of_ours(home: Path, tmp_path: Path) -> None:
    """Closed output goes nowhere, a full one is told, and the exit code is what it would have been."""
    for closed in ("<&-", ">&-", "2>&-", ">&- 2>&- <&-"):
        for words, code in (("sessions", 0), ("--version", 0), ("session show nope", 2)):
            said = await shell(f"{words} {closed}", folder=tmp_path)
            assert (said.code, "internal" in said.err, "Traceback" in said.err) == (code, False, False), (words, closed)
    for words in ("hub status", "sessions --json", "--version"):
        said = await shell(f"{words} >/dev/full", folder=tmp_path)
        assert (said.code, said.complaint) == (1, "no space left on device behind standard output")


@pytest.mark.parametrize(
    "words",
    [
        ["sessions", "--json"],
        ["usage", "--json"],
        ["ask", "explain-code", "x", "--json"],
        ["tour", "--json"],
        ["backends", "--json"],
        ["session", "show", "x", "--json"],
        ["egress", "--json"],
    ],
)
async def test_who_asks_for_json_gets_json_when_it_fails(paths: Paths, tmp_path: Path, words: list[str]) -> None:
    """One object that says what is wrong, and the same exit code."""
    paths.prepare()
    paths.config.write_text('[ui]\ncolour = "blue"\n')
    said = await run(*words, folder=tmp_path)
    assert (said.code, said.err, said.object["error"]) == (2, "", "SettingsError")
    assert "unknown key 'ui.colour'" in said.object["message"]


async def test_bytes_that_are_no_utf8(home: Path, tmp_path: Path) -> None:
    """A file may be called so; a text, a session or a folder that goes into the store may not."""
    odd = b"odd\xff.py"
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + odd))).write_text("def add(): pass\n")
    said = await run("ask", "explain-code", "-f", odd, folder=tmp_path)
    assert (said.code, "add()" in said.out) == (0, True)
    for words in (["ask", "file-query", odd], ["ask", "file-query", "where", "--session", odd], ["ask", odd, "x"]):
        said = await run(*words, folder=tmp_path)
        assert (said.code, said.complaint) == (
            2,
            "a word of the command is not UTF-8 (check the terminal's encoding)",
        )


@pytest.mark.parametrize("home", ["~nobody-of-this-name/x", "/dev/null", "/proc/nanoide", "/tmp/" + "x" * 120])
async def test_a_home_that_cannot_be(home: str, tmp_path: Path) -> None:
    """What, where, and what to try."""
    said = await run("sessions", folder=tmp_path, env={"NANOIDE_HOME": home})
    assert said.code in {1, 2}
    assert home in said.complaint
    assert "(" in said.complaint or "cannot be read" in said.complaint


async def test_a_refusal_says_how_to_be_allowed(paths: Paths, source: Path) -> None:
    """Exit code 3, nothing sent, and what in config.toml decides it."""
    paths.prepare()
    far = SLOW.replace('model = "m"', 'model = "m"\nwhere = "remote"').format(url="http://192.0.2.1/v1")
    paths.config.write_text(far)
    said = await run("ask", "explain-code", "-f", "a.py", folder=source.parent)
    assert said.code == 3
    assert "slow: local-only keeps this on this machine (" in said.complaint
    assert "egress in config.toml" in said.complaint
    assert (await run("egress", "--json", folder=source.parent)).object == {"egress": []}


async def test_ctrl_c_is_130(home: Path, tmp_path: Path) -> None:
    """A command that waits ends at once and without a word."""
    assert (await run("session", "new", "explain-code", "--name", "one", folder=tmp_path)).code == 0
    waiting = await start("wait", "one", "--until", "done", folder=tmp_path)
    while (await run("hub", "status", "--json", folder=tmp_path)).object["clients"] < 2:
        pass
    waiting.send_signal(signal.SIGINT)
    said = await end(waiting)
    assert (said.code, said.out, said.err) == (130, "", "")
