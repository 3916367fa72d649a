"""The front door: choose a door; everything heavy is imported behind the door."""

import sys


def main() -> None:
    """Run the command in sys.argv and exit with its code (contract: 0, 1, 2, 3, 4 or 130)."""
    if sys.argv[1:] == ["--version"]:
        from nanoide import __version__

        sys.stdout.write(f"nanoide {__version__}\n")
        return
    from nanoide.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
