"""`python -m nanoide.hub`: how a client starts the hub. People use `nanoide hub run`."""

import os
import sys

from nanoide.core.errors import NanoideError
from nanoide.paths import locate


def main() -> int:
    """Be the hub, in a session of its own: it outlives the terminal of whoever started it."""
    if os.getpgrp() != os.getpid():
        os.setsid()
    os.chdir("/")
    try:
        paths = locate()
    except NanoideError as error:
        sys.stderr.write(f"nanoide: {error}\n")
        return error.exit_code
    from nanoide.hub.lifetime import run

    return run(paths)


if __name__ == "__main__":
    sys.exit(main())
