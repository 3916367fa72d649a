"""`python -m tests.bench NAME [--check]`: a line per figure; with --check the exit code is 1 when one is short."""

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module

from tests.bench.figure import Figure

NAMES = {
    "house": "what every later room relies on: start-up, first frame, memory, first token",
    "engine": "dozens of sessions on one model, beside llama.cpp's own server and llama-cpp-python's",
    "router": "what the router costs a call and a chunk, beside LiteLLM's",
    "failover": "what a person waits for when the first backend is dead or silent, beside the second one alone",
}
"""Each is a module beside this one with `figures(*, quick: bool) -> Iterator[Figure]`, and what it measures."""


def main(arguments: list[str]) -> int:
    """Measure and print; 0, 1 when --check found a short figure, 2 when there is no such benchmark."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", epilog=known())
    parser.add_argument("name", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure is short")
    parser.add_argument("--quick", action="store_true", help="less of everything: to see that it works, not how fast")
    asked = parser.parse_args(arguments)
    if asked.name not in NAMES:
        print(f"no benchmark {asked.name!r}; {known()}", file=sys.stderr)
        return 2
    short = False
    figures: Iterator[Figure] = import_module(f"tests.bench.{asked.name}").figures(quick=asked.quick)
    for figure in figures:
        print(figure.line(), flush=True)
        short = short or figure.short
    return 1 if short and asked.check else 0


def known() -> str:
    """The benchmarks there are."""
    return "there are: " + "; ".join(f"{name} ({what})" for name, what in NAMES.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
