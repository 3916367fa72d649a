"""What only a look into the engine tells: Python's share of a step, and whether a batch changes an answer.

`python -m tests.bench.engine_inside share MODEL` and `… same COUNT` print JSON; each runs in a process of its own.
"""

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nanoide.backends.engine_process import SPIN
from nanoide.core.chat import Fill, Message
from nanoide.engine.context import Library
from nanoide.engine.protocol import Done, Failed, Job, Load, Piece, Reply, frame
from nanoide.engine.runner import Runner
from nanoide.paths import bundled_model
from tests.bench.figure import Figure
from tests.bench.gguf import text
from tests.bench.running import environ

SEQUENCES = 16
STEPS = 60
OUTPUT = 24


def figures(model: Path, prompts: int) -> Iterator[Figure]:
    """Both rows."""
    share = _told("share", str(model))
    told = f"{share['python_ms']:.2f} ms of a step of {share['step_ms']:.1f} ms; native: all calls of the library"
    yield Figure(f"Python in a step of {SEQUENCES} sequences", share["percent"], "%", 5.0, told)
    same = _told("same", str(prompts))
    others = "; ".join(f"no. {each['number']}: token {each['at']}, {each['gap']}" for each in same["others"])
    told = f"{prompts} prompts, bundled model, {OUTPUT} tokens; {others or 'none differs'}"
    yield Figure("greedy text alone and in a batch alike", same["percent"], "%", None, told, least=99.0)


def _told(*arguments: str) -> Any:
    argv = [sys.executable, "-m", "tests.bench.engine_inside", *arguments]
    spinning = {"GOMP_SPINCOUNT": SPIN}
    home = Path(__file__).parents[2]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, env=environ(home) | spinning, cwd=home)
    return json.loads(done.stdout)


class Clock:
    """Seconds spent in calls of the native library."""

    def __init__(self, lib: Any) -> None:
        """From now on all functions of `lib` are timed."""
        self.native = 0.0
        for name, function in vars(lib).copy().items():
            if name.startswith("llama_") and isinstance(function, ctypes._CFuncPtr):  # type: ignore[attr-defined]
                setattr(lib, name, self._timed(function))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        clock = time.perf_counter

        def call(*arguments: Any) -> Any:
            begun = clock()
            try:
                return function(*arguments)
            finally:
                self.native += clock() - begun

        return call


def share(model: str) -> dict[str, float]:
    """Milliseconds of a step of decoding sequences, and of them outside the library, replies encoded."""
    library = Library(lambda line: None)
    runner = Runner(Load(path=model), library, cores=2, memory=lambda: 0)
    for id in range(1, SEQUENCES + 1):
        message = Message("user", text(64, id))
        failed = runner.add(Job(id=id, key=f"s{id}", messages=(message,), max_output=STEPS + 40, priority="background"))
        assert failed is None, failed
    spoken = set[int]()
    while len(spoken) < SEQUENCES:
        replies = list[Reply]()
        runner.step(replies)
        spoken |= {each.id for each in replies if isinstance(each, Piece)}
    clock = Clock(library.lib)
    begun = time.perf_counter()
    for _ in range(STEPS):
        replies = []
        runner.step(replies)
        frame(replies)
    whole = time.perf_counter() - begun
    python = whole - clock.native
    return {"percent": python / whole * 100, "python_ms": python / STEPS * 1000, "step_ms": whole / STEPS * 1000}


class Gaps:
    """How far ahead of the second token the first one was, each time the library sampled greedily."""

    def __init__(self, lib: Any, size: int) -> None:
        """From now on each decode is looked at."""
        self.seen = list[float]()
        import numpy as np

        decode = lib.llama_decode

        def call(context: Any, batch: Any) -> int:
            code = decode(context, batch)
            # Alone there is one row of logits in a step at most: of the last token.
            if code == 0 and batch.logits[batch.n_tokens - 1]:
                row = lib.llama_get_logits_ith(context, batch.n_tokens - 1)
                first, second = np.sort(np.ctypeslib.as_array(row, (size,)))[:-3:-1]
                self.seen.append(float(first - second))
            return code

        lib.llama_decode = call


def same(count: int) -> dict[str, Any]:
    """Of `count` greedy completions, those that differ between a batch of all and each alone on a cold cache."""
    library = Library(lambda line: None)
    lib = library.lib

    def start() -> Runner:
        return Runner(Load(path=str(bundled_model())), library, cores=2, memory=lambda: 0)

    together = _answers(start(), range(count))
    runner = start()
    gaps = Gaps(lib, lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(runner.model.native)))
    others = list[dict[str, object]]()
    for number in range(count):
        gaps.seen.clear()
        expected = _answers(runner, range(number, number + 1))[number]
        if together[number] == expected:
            continue
        at = next(
            (at for at, (a, b) in enumerate(zip(expected, together[number], strict=False)) if a != b),
            min(len(expected), len(together[number])),
        )
        gap = f"logits {gaps.seen[at]:.4f} apart" if at < len(gaps.seen) else "ends earlier"
        others.append({"number": number, "at": at, "gap": gap})
    return {"percent": (count - len(others)) / count * 100, "others": others}


def _answers(runner: Runner, numbers: range) -> dict[int, list[str]]:
    """The pieces of the answers, computed together."""
    for number in numbers:
        failed = runner.add(Job(id=number, key=f"k{number}", fill=_fill(number), max_output=OUTPUT))
        assert failed is None, failed
    replies = list[Reply]()
    while runner.busy:
        runner.step(replies)
    assert not any(isinstance(each, Failed) for each in replies)
    assert sum(isinstance(each, Done) for each in replies) == len(numbers)
    for number in numbers:
        runner.release(f"k{number}")
    return {
        number: [each.text for each in replies if isinstance(each, Piece) and each.id == number] for number in numbers
    }


def _fill(number: int) -> Fill:
    """A place in Python, unlike any other number's."""
    kinds = (
        ("import json\n\n\ndef load_{0}(path):\n    with open(path) as file:\n        ", "\n    return data_{0}\n"),
        ("class Box{0}:\n    def __init__(self, width, height):\n        self.width = ", "\n        self.area = 0\n"),
        ("values_{0} = [{0}, {0} + 1]\ntotal = 0\nfor value in values_{0}:\n    ", "\nprint(total)\n"),
        (
            "def find_{0}(items, name):\n    for item in items:\n        if ",
            "\n            return item\n    return None\n",
        ),
        ("import os\n\nroot_{0} = os.environ.get(", "\nprint(root_{0})\n"),
    )
    prefix, suffix = kinds[number % len(kinds)]
    return Fill(prefix=prefix.replace("{0}", str(number)), suffix=suffix.replace("{0}", str(number)))


if __name__ == "__main__":
    what, argument = sys.argv[1:]
    print(json.dumps(share(argument) if what == "share" else same(int(argument))))
