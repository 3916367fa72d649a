"""The gateway as a process: from the port to the last answer."""

import asyncio
import errno
import logging
import logging.handlers
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from nanoide.core.errors import NanoideError, UsageError
from nanoide.gateway import token_file
from nanoide.gateway.app import Gateway
from nanoide.gateway.desk import Desk
from nanoide.gateway.guard import Guard
from nanoide.gateway.limits import Limits
from nanoide.paths import Paths

LOOPBACK = "127.0.0.1"

GRACE = 3
"""Seconds that answers under way have to say that they break off."""

LOG_BYTES = 1_000_000


def run(paths: Paths, host: str, port: int, token_path: Path | None, say: Callable[[str], None]) -> int:
    """Answer until told to leave. `say` gets one line when all is ready.

    Raises UsageError for a host that is not loopback and for a token file that cannot be used, NanoideError when
    the port cannot be had, HubError when the hub cannot be reached.
    """
    listening = listen(host, port)
    with listening:
        paths.prepare()
        where = (token_path or paths.database.with_name("gateway.token")).absolute()
        token = token_file.keep(where)
        _log_to(paths.log / "gateway.log")
        asyncio.run(_live(paths, listening, where, token, say))
    return 0


def listen(host: str, port: int) -> socket.socket:
    """The port, bound: on loopback and nowhere else."""
    if host != LOOPBACK:
        raise UsageError(
            f"the gateway does not listen on {host!r}", hint=f"it listens on {LOOPBACK} only; leave --host out"
        )
    # TCP by name: asyncio sets TCP_NODELAY only then, and without it every answer waits 40 ms for an ACK.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise NanoideError(
                f"port {port} is in use", hint="choose another one, or 0 for any that is free"
            ) from error
        raise NanoideError(f"cannot listen on port {port}: {error.strerror}") from error
    return listening


def serving(gateway: Gateway) -> uvicorn.Server:
    """The server for `gateway`; it is told where to listen when it starts."""
    return _Server(
        uvicorn.Config(
            gateway,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
    )


class _Server(uvicorn.Server):
    """Leaves the signals to us: we end at once and with exit code 0."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _live(paths: Paths, listening: socket.socket, where: Path, token: str, say: Callable[[str], None]) -> None:
    desk = Desk(paths)
    port: int = listening.getsockname()[1]
    server = serving(Gateway(desk, Guard(port, token), Limits()))

    def leave() -> None:
        server.should_exit = True
        desk.leave()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, leave)
    try:
        await desk.link.reach()
        say(f"gateway on http://{LOOPBACK}:{port}/v1, its token in {where}")
        await server.serve(sockets=[listening])
    finally:
        await desk.link.aclose()


def _log_to(path: Path) -> None:
    """Warnings and worse; never what was asked or answered."""
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    path.chmod(0o600)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
