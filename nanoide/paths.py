"""Where everything is: config, data, state, log, socket, and what travels inside the package."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from nanoide.core.errors import HubError, UsageError
from nanoide.core.value import Value

SOCKET_LIMIT = 104
"""Bytes of a Unix socket's path that every platform takes (macOS has 104, Linux 108)."""

_PACKAGE = Path(__file__).parent


class Paths(Value, frozen=True):
    """All absolute. Nothing is created before `prepare`."""

    config: Path
    """config.toml; it need not exist."""
    skills: Path
    """The person's own skills."""
    agent_skills: Path
    """~/.agents/skills, shared with other tools."""
    themes: Path
    models: Path
    database: Path
    index: Path
    """The workspace index; can be deleted at any time."""
    log: Path
    """A folder."""
    socket: Path
    """run/hub.sock; its folder also holds hub.lock."""

    def prepare(self) -> None:
        """Create the folders, 0700 whatever the umask. Raises UsageError when one cannot be made."""
        for folder in (self.config.parent, self.database.parent, self.log, self.socket.parent):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o077:
                    folder.chmod(0o700)
            except OSError as error:
                raise UsageError(
                    f"cannot make the folder {str(folder)!r}: {error.strerror}",
                    hint="set NANOIDE_HOME to a folder that you may write",
                ) from error


def locate(environ: Mapping[str, str] = os.environ) -> Paths:
    """The places for this user. `NANOIDE_HOME` holds everything when set.

    Raises UsageError when there is neither a NANOIDE_HOME that can be used nor a home folder, HubError when the
    socket's path would be too long.
    """
    home = environ.get("NANOIDE_HOME", "")
    if home:
        try:
            root = Path(home).expanduser().absolute()
            _ = str(root).encode()
        except (RuntimeError, OSError, UnicodeEncodeError) as error:  # ~nobody, a folder that is gone, odd bytes
            raise UsageError(f"NANOIDE_HOME={home!r} names no folder", hint="set it to an absolute path") from error
        paths = _below(root, root, root / "state", root / "run", root / "log", _user_home())
    else:
        user = _user_home()
        if user is None:
            raise UsageError(
                "there is no home folder for this user", hint="set NANOIDE_HOME to a folder that you may write"
            )
        import platformdirs

        dirs = platformdirs.PlatformDirs("nanoide", appauthor=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR is common in containers, and nothing to warn of
            run = dirs.user_runtime_path
        paths = _below(dirs.user_config_path, dirs.user_data_path, dirs.user_state_path, run, dirs.user_log_path, user)
    length = len(os.fsencode(paths.socket))
    if length > SOCKET_LIMIT:
        raise HubError(
            f"the socket path {str(paths.socket)!r} has {length} bytes; {SOCKET_LIMIT} are possible",
            hint="set NANOIDE_HOME to a shorter path",
        )
    return paths


def bundled_skills() -> Path:
    """The skills that travel with nanoide: inside the wheel, or at the top of a checkout."""
    return _bundled("_skills", "skills")


def bundled_themes() -> Path:
    """The themes that travel with nanoide."""
    return _bundled("_themes", "themes")


def bundled_model() -> Path:
    """The completion model `nano`."""
    return _PACKAGE / "models" / "nano.gguf"


def _bundled(packaged: str, checkout: str) -> Path:
    inside = _PACKAGE / packaged
    return inside if inside.is_dir() else _PACKAGE.parent / checkout


def _below(config: Path, data: Path, state: Path, run: Path, log: Path, user: Path | None) -> Paths:
    return Paths(
        config=config / "config.toml",
        skills=data / "skills",
        agent_skills=(user or data) / ".agents" / "skills",
        themes=data / "themes",
        models=data / "models",
        database=state / "nanoide.db",
        index=state / "index.db",
        log=log,
        socket=run / "hub.sock",
    )


def _user_home() -> Path | None:
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_absolute() and home.is_dir() else None
