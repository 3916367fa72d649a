"""The front door: exit codes, one line for every failure, nothing heavy imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nanoide import __version__
from nanoide.cli import main
from nanoide.cli.main import COMMANDS
from tests.cli.conftest import Shell, doors


def test_version_imports_next_to_nothing() -> None:
    """`--version` loads neither click nor msgspec nor asyncio."""
    code = (
        "import sys; sys.argv = ['nanoide', '--version']; from nanoide.__main__ import main; main();"
        "print(sorted({'click', 'msgspec', 'asyncio', 'textual', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"nanoide {__version__}\n[]\n"


def test_asking_loads_no_screen_and_no_editor() -> None:
    """`ask` needs neither textual nor pygls nor rich, and enters no room of the workshop."""
    code = (
        "import sys, nanoide.cli.main, nanoide.cli.ask, nanoide.client.asking, nanoide.client.launch, nanoide.settings;"
        "rooms = ('textual', 'pygls', 'lsprotocol', 'rich', 'apsw', 'httpcore2', 'nanoide.hub', 'nanoide.store');"
        "print([room for room in rooms if room in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_command_explains_itself(shell: Shell) -> None:
    """`--help` of all and of each exits 0 and starts no hub."""
    assert all(name in shell("--help").out for name in COMMANDS)
    for name in COMMANDS:
        said = shell(name, "--help")
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("Usage: nanoide ")
    assert not (shell.home / "run").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["sesions"], "unknown command 'sesions' (did you mean 'sessions' or 'session'?)"),
        (["ask"], "missing argument 'SKILL' (try nanoide ask --help)"),
        (["ask", "x", "--nosuch"], "no such option '--nosuch' (try nanoide ask --help)"),
        (["complete", "x.py", "one", "2"], "invalid value for 'LINE': 'one' is not a valid integer range"),
        (["usage", "--since", "soon"], "--since 'soon' is no date (write 2026-11-21, or an age such as 12h, 7d, 4w)"),
        (["usage", "--json", "--csv"], "--json and --csv exclude each other"),
        (["skills", "new", "Not A Name"], "'Not A Name' is no skill name"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_2(shell: Shell, words: list[str], line: str) -> None:
    """What, and what to try."""
    said = shell(*words)
    assert said.code == 2
    assert said.complaint.startswith(line)


def test_an_unknown_command_names_the_nearest(shell: Shell) -> None:
    """And one that is near to nothing gets the list."""
    assert "there are: ask, backends" in shell("qqqqqqq").complaint


def test_no_home_at_all_is_one_line(shell: Shell) -> None:
    """Without HOME and NANOIDE_HOME there is no place for anything."""
    said = shell.process("sessions", env={"NANOIDE_HOME": "", "HOME": "/nonexistent"})
    assert said.code == 2
    assert "set NANOIDE_HOME" in said.complaint


def test_a_socket_path_too_long_is_one_line(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the length and what is possible."""
    monkeypatch.setenv("NANOIDE_HOME", str(tmp_path / ("long" * 30)))
    said = shell("sessions")
    assert said.code == 1
    assert "104 are possible" in said.complaint
    assert "shorter path" in said.complaint


def test_a_mistake_in_config_is_told_with_file_and_key(alone: Shell) -> None:
    """Before any hub is started, and by commands that never read the setting."""
    (alone.home / "config.toml").write_text('[route.default]\nlader = ["nano"]\n')
    said = alone("sessions")
    assert said.code == 2
    assert "config.toml" in said.complaint
    assert "'route.default.lader'" in said.complaint or "lader" in said.complaint
    assert not (alone.home / "run" / "hub.sock").exists()


def test_a_home_that_cannot_be_made_is_one_line(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file stands where the home should be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NANOIDE_HOME", str(tmp_path / "file" / "home"))
    said = shell("sessions")
    assert said.code == 2
    assert "cannot" in said.complaint


def test_a_reader_that_goes_away_is_no_traceback(shell: Shell) -> None:
    """As with `| head -1`."""
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [sys.executable, "-m", "nanoide", "--help"], stdout=write, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write)
        _, err = process.communicate(timeout=60)
    assert err == ""
    assert process.returncode == 1


def test_an_unexpected_error_is_one_line_and_a_traceback_in_the_log(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and nobody is frightened."""

    def stumble(*_: object) -> int:
        raise KeyError("hidden detail")

    monkeypatch.setattr(main, "_dispatch", stumble)
    code = main.run(["sessions"], doors())
    assert code == 1
    log = shell.home / "log" / "cli.log"
    assert "hidden detail" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_without_a_terminal_the_bare_command_is_the_tour(shell: Shell) -> None:
    """A pipe gets the main job instead of a screen."""
    said = shell.process()
    assert said.code == 0
    assert "4 sessions" in said.out
