"""Every place is known before anything is made, and nobody else may look in."""

import os
import stat
from pathlib import Path

import pytest

from nanoide import paths
from nanoide.core.errors import HubError, UsageError
from nanoide.paths import SOCKET_LIMIT, locate


def test_nanoide_home_holds_everything(tmp_path: Path) -> None:
    """As the contract has it."""
    found = locate({"NANOIDE_HOME": str(tmp_path)})
    assert found.config == tmp_path / "config.toml"
    assert found.skills == tmp_path / "skills"
    assert found.themes == tmp_path / "themes"
    assert found.models == tmp_path / "models"
    assert found.database == tmp_path / "state" / "nanoide.db"
    assert found.log == tmp_path / "log"
    assert found.socket == tmp_path / "run" / "hub.sock"


def test_without_it_the_platforms_folders_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the person's home, each absolute."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    found = locate({})
    assert all(getattr(found, field).is_absolute() for field in found.__struct_fields__)
    assert found.agent_skills == tmp_path / ".agents" / "skills"
    assert found.config.parent.name == "nanoide"


def test_a_relative_home_becomes_absolute() -> None:
    """The hub does not run in the folder of the command that started it."""
    assert locate({"NANOIDE_HOME": "here"}).config.is_absolute()


def test_locating_makes_nothing(tmp_path: Path) -> None:
    """`--help` in a read-only place must work."""
    locate({"NANOIDE_HOME": str(tmp_path / "new")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o022])
def test_folders_are_the_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """0700, also one that stood open before."""
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    (home / "run").chmod(0o777)
    found = locate({"NANOIDE_HOME": str(home)})
    before = os.umask(umask)
    try:
        found.prepare()
        found.prepare()
    finally:
        os.umask(before)
    for folder in (found.config.parent, found.database.parent, found.log, found.socket.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """One line with the folder and what to try."""
    (tmp_path / "state").write_text("a file stands here")
    with pytest.raises(UsageError, match="cannot make the folder") as caught:
        locate({"NANOIDE_HOME": str(tmp_path)}).prepare()
    assert "NANOIDE_HOME" in caught.value.hint


def test_a_socket_path_that_is_too_long() -> None:
    """The limit counts bytes, and is said."""
    with pytest.raises(HubError, match=f"{SOCKET_LIMIT} are possible") as caught:
        locate({"NANOIDE_HOME": "/tmp/" + "ü" * 60})
    assert "shorter" in caught.value.hint
    fits = "/" + "x" * (SOCKET_LIMIT - len("/run/hub.sock") - 1)
    assert len(os.fsencode(locate({"NANOIDE_HOME": fits}).socket)) == SOCKET_LIMIT


@pytest.mark.parametrize("home", ["relative/place", "/nonexistent-home-of-nobody"])
def test_with_no_home_at_all(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to set."""
    monkeypatch.setenv("HOME", home)
    with pytest.raises(UsageError, match="no home folder") as caught:
        locate({})
    assert "NANOIDE_HOME" in caught.value.hint


def test_what_travels_with_nanoide_is_there() -> None:
    """Skills, themes and the model, in a checkout as in a wheel."""
    assert paths.bundled_skills().is_dir()
    assert paths.bundled_themes().is_dir()
    assert paths.bundled_model().is_file()
