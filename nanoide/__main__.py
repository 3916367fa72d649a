"""The front door: choose a door; everything heavy is imported behind the door."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanoide.paths import Paths
    from nanoide.settings import Settings


def main() -> None:
    """Run the command in sys.argv and exit with its code (contract: 0, 1, 2, 3, 4 or 130)."""
    if sys.argv[1:] == ["--version"] and _told_version():
        return
    from nanoide.cli.door import Doors
    from nanoide.cli.main import run

    sys.exit(run(sys.argv[1:], Doors(tui=_tui, lsp=_lsp, hub=_hub, gateway=_gateway)))


def _told_version() -> bool:
    """Print the version, fast; False when nobody reads it, which the long way knows how to say."""
    from nanoide import __version__

    try:
        sys.stdout.write(f"nanoide {__version__}\n")
        sys.stdout.flush()
    except (OSError, AttributeError):  # None when it came closed
        return False
    return True


def _tui(paths: "Paths", settings: "Settings", folder: str) -> int:
    from nanoide.tui.app import run

    return run(paths, settings, folder=folder) or 0


def _lsp(paths: "Paths") -> int:
    from nanoide.lsp.server import run

    return run(paths)


def _hub(paths: "Paths") -> int:
    from nanoide.hub.lifetime import run

    return run(paths)


def _gateway(paths: "Paths", host: str, port: int, token_file: "Path | None", say: "Callable[[str], None]") -> int:
    from nanoide.gateway.server import run

    return run(paths, host, port, token_file, say)


if __name__ == "__main__":
    main()
