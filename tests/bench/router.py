"""What the router costs: ours over our OpenAI backend, beside LiteLLM's, both beyond a bare httpx2 client.

One server in a process of its own streams to all of them; each client is a process of its own too and rests while
another one is measured. They take turns, round after round, so that a noisy moment meets all alike.

    a call   time from asking to the end of an answer of one chunk, one call after the other
    a chunk  processor time of the client for each chunk of an answer whose chunks come one by one
    held     from the server's write to the client's hands, with many streams at once; the server stamps each chunk
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from tests.bench import peers
from tests.bench.figure import Figure
from tests.bench.router_ours import alone
from tests.bench.running import environ

REPOSITORY = Path(__file__).parents[2]
HERE = Path(__file__).parent
PEERS = ("litellm",)

APART_S = 0.002
"""Between two chunks, where what a chunk costs is measured: each comes alone."""

STREAMS = 64
STREAM_APART_S = 0.05
"""Between two chunks of each of the streams: 1,280 chunks a second in all."""

SPREAD_S = 0.01
"""Between the beginnings of two streams."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    warming: int
    calls: int
    """In each round, as all of these."""
    chunks: int
    stream_chunks: int
    alone: int


WHOLE = Size(rounds=10, warming=50, calls=100, chunks=300, stream_chunks=40, alone=3_000)
QUICK = Size(rounds=2, warming=5, calls=20, chunks=50, stream_chunks=10, alone=300)


class Client:
    """One client's process, and what was measured of it."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.calls: list[float] = []
        """Milliseconds."""
        self.chunks: list[float] = []
        """Microseconds a chunk, of each round."""
        self.held: list[float] = []
        """Milliseconds of every chunk."""
        self._process = process

    def ask(self, **order: object) -> list[float]:
        """Have it measure."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with code {self._process.wait()}")
        return json.loads(line)

    @property
    def call(self) -> float:
        """The median."""
        return median(self.calls)

    @property
    def chunk(self) -> float:
        """The median of the rounds."""
        return median(self.chunks)


@dataclass
class _Field:
    """All clients; LiteLLM's is missing when it cannot be made."""

    bare: Client
    ours: Client
    away: Client
    peer: Client | None
    problem: str = ""
    clients: list[Client] = field(init=False)

    def __post_init__(self) -> None:
        self.clients = [each for each in (self.bare, self.ours, self.away, self.peer) if each is not None]

    def beside(self, ours: float, of: Callable[[Client], float], unit: str) -> str:
        """What ours is compared with, in words."""
        bare = of(self.bare)
        told = f"ours {of(self.ours):.2f}, bare httpx2 {bare:.2f} {unit}"
        if self.peer is None:
            return f"{told}; {self.problem}"
        peer = of(self.peer) - bare
        ratio = f", {peer / ours:.1f} times ours" if ours > 0 else ""
        return f"{told}; LiteLLM {peer:+.2f} {unit} beyond bare{ratio}"


def figures(*, quick: bool = False) -> Iterator[Figure]:
    """All figures of the router, each as soon as it is known."""
    size = QUICK if quick else WHOLE
    yield Figure("load before measuring", os.getloadavg()[0], "", None, f"{os.cpu_count()} cores")
    call, chunk = asyncio.run(alone(size.alone))
    yield Figure("the router alone, a call", call, "µs", None, "its own processor time, without any network")
    yield Figure("the router alone, a chunk", chunk, "µs", None, "likewise")
    with _running() as field_:
        for each in field_.clients:
            each.ask(measure="calls", count=size.warming)
        yield from _calls(field_, size)
        yield from _chunks(field_, size)
        yield from _held(field_, size)


def _calls(all_: _Field, size: Size) -> Iterator[Figure]:
    for _ in range(size.rounds):
        for each in all_.clients:
            each.calls += each.ask(measure="calls", count=size.calls)
    ours = all_.ours.call - all_.bare.call
    told = all_.beside(ours, lambda each: each.call, "ms")
    yield Figure("a call beyond bare, p50", ours, "ms", 0.3, f"{told}; {len(all_.ours.calls)} calls each")
    away = all_.away.call - all_.bare.call
    yield Figure("a call beyond bare, to elsewhere", away, "ms", None, "with redaction and budget; nothing is stored")


def _chunks(all_: _Field, size: Size) -> Iterator[Figure]:
    for _ in range(size.rounds):
        for each in all_.clients:
            each.chunks += each.ask(measure="chunks", count=size.chunks, apart=APART_S)
    ours = all_.ours.chunk - all_.bare.chunk
    told = all_.beside(ours, lambda each: each.chunk, "µs")
    yield Figure("a chunk beyond bare", ours, "µs", 15.0, f"{told}; {size.rounds} × {size.chunks} chunks each")


def _held(all_: _Field, size: Size) -> Iterator[Figure]:
    for _ in range(max(1, size.rounds // 3)):
        for each in all_.clients:
            each.held += each.ask(
                measure="streams", at_once=STREAMS, count=size.stream_chunks, apart=STREAM_APART_S, spread=SPREAD_S
            )
    told = "; ".join(
        f"{each.name} p99 {quantiles(each.held, n=100)[98]:.1f}, longest {max(each.held):.1f} ms"
        for each in all_.clients
        if each is not all_.ours
    )
    p99 = quantiles(all_.ours.held, n=100)[98]
    yield Figure(f"{STREAMS} streams, a chunk held, p99", p99, "ms", None, f"{len(all_.ours.held)} chunks")
    yield Figure(f"{STREAMS} streams, a chunk held, longest", max(all_.ours.held), "ms", 20.0, told)


@contextmanager
def _running() -> Iterator[_Field]:
    """The server and all clients; ended at the end."""
    with ExitStack() as stack:
        server = stack.enter_context(_process([sys.executable, str(HERE / "router_server.py")]))
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        made = {
            kind: Client(
                name,
                stack.enter_context(_process([sys.executable, "-m", "tests.bench.router_ours", port, kind])),
            )
            for kind, name in (
                ("bare", "bare httpx2"),
                ("router", "ours"),
                ("egress", "ours to elsewhere"),
            )
        }
        peer, problem = None, ""
        try:
            program = peers.python(REPOSITORY, ".peers-litellm", PEERS)
            argv = [str(program), str(HERE / "router_litellm.py"), port]
            peer = Client("LiteLLM", stack.enter_context(_process(argv, quiet=True)))
        except (OSError, subprocess.CalledProcessError) as error:
            problem = f"LiteLLM cannot be installed here: {error}"
        yield _Field(made["bare"], made["router"], made["egress"], peer, problem)


@contextmanager
def _process(argv: list[str], *, quiet: bool = False) -> Iterator[subprocess.Popen[str]]:
    """With `quiet` what it says on standard error is not shown."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        cwd=REPOSITORY,
        env=environ(REPOSITORY / ".cache" / "none"),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
