"""`nanoide gateway` on the command line, and what the other rooms load of it: nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.house import gateway


def run(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "nanoide", "gateway", *words],
        env={**os.environ, "NANOIDE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2"])
def test_any_other_host_is_refused(home: Path, host: str) -> None:
    """As wrong usage, before anything is made or started."""
    done = run(home, "--port", "0", "--host", host)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"nanoide: the gateway does not listen on '{host}'")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("words", [(), ("--port", "65536"), ("--port", "http")])
def test_a_port_is_needed(home: Path, words: tuple[str, ...]) -> None:
    """One that there is."""
    done = run(home, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_a_token_file_that_others_may_read_is_refused(home: Path, tmp_path: Path) -> None:
    """With what mends it, and without what is in it."""
    path = tmp_path / "token"
    path.write_text("a-token-of-some-length")
    path.chmod(0o644)
    done = run(home, "--port", "0", "--token-file", str(path))
    assert done.returncode == 2
    assert "chmod 600" in done.stderr
    assert "a-token-of-some-length" not in done.stderr


async def test_it_says_one_line_and_nothing_secret(home: Path, tmp_path: Path) -> None:
    """Where it is, and where the token is that it made."""
    path = tmp_path / "token"
    process = await gateway({**os.environ, "NANOIDE_HOME": str(home)}, "--token-file", str(path))
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")
    assert str(path) in line
    assert path.read_text().strip() not in line
    assert path.stat().st_mode & 0o777 == 0o600
    assert not (home / "state" / "gateway.token").exists()


async def test_a_mistake_in_the_settings_is_told_at_the_start(home: Path) -> None:
    """Not at the first request."""
    (home / "config.toml").write_text("[nonsense]\n")
    process = await gateway({**os.environ, "NANOIDE_HOME": str(home)})
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert b"config.toml" in err


@pytest.mark.parametrize("module", ["nanoide.hub.bootstrap", "nanoide.cli.main", "nanoide.cli.gateway"])
def test_nobody_else_loads_the_server(module: str) -> None:
    """Starlette and uvicorn are loaded when a gateway starts, and not before."""
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"starlette", "uvicorn", "openai", "h11"} & set(done.stdout.split())
