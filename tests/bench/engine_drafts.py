"""What drafts bring where an answer copies: the same questions with drafts and without, one after the other.

`python -m tests.bench.engine_drafts MODEL COUNT` prints JSON. The model is the twin that copies (`gguf`), so how much
of a draft is right is the prompt's to decide: it holds the answer, broken at some places.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from nanoide.backends.engine_process import SPIN
from nanoide.core.chat import Fill
from nanoide.engine.context import Library
from nanoide.engine.protocol import Done, Job, Load, Piece, Reply
from nanoide.engine.runner import Runner
from tests.bench.figure import Figure
from tests.bench.gguf import SEED, Shape, circle, made
from tests.bench.running import environ

OUTPUT = 96
"""Tokens of an answer."""

LEAD = 4
"""Words of the copy that the prompt ends with: the answer goes on from there."""

KINDS = {"whole": None, "often": (8, 16), "seldom": (4, 6), "never": (1, 1)}
"""After how many words a copy is broken, at least and at most: a draft is right whole, to about 70 %, 30 %, never."""


def figures(folder: Path, shape: Shape, count: int) -> Iterator[Figure]:
    """A row for each kind of copy."""
    model = made(folder, replace(shape, copies=True))
    argv = [sys.executable, "-m", "tests.bench.engine_drafts", str(model), str(count)]
    home = Path(__file__).parents[2]
    spinning = {"GOMP_SPINCOUNT": SPIN}
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, env=environ(home) | spinning, cwd=home)
    for kind, found in json.loads(done.stdout).items():
        told = (
            f"{found['with']:.0f} tokens/s beside {found['without']:.0f}; {found['right']:.0%} of drafts right; "
            f"{found['steps_with']} steps beside {found['steps_without']}; "
            f"{'identical text' if found['same'] else 'THE TEXTS DIFFER'}"
        )
        yield Figure(f"drafts on / off, copied text: {kind}", found["gain"], "×", None, told)


def prompt(kind: str, number: int) -> tuple[str, str]:
    """What stands before the cursor, and what the model will say."""
    known = circle()
    dice = np.random.default_rng([SEED, number])
    start = int(dice.integers(0, len(known)))
    said = [known[(start + at) % len(known)] for at in range(LEAD + OUTPUT)]
    copy = list(said)
    gaps = KINDS.get(kind)
    at = LEAD - 1
    while gaps is not None and (at := at + int(dice.integers(gaps[0], gaps[1] + 1))) < len(copy):
        copy[at] = known[int(dice.integers(0, len(known)))]
    return "".join(f" {word}" for word in copy + said[:LEAD]), "".join(f" {word}" for word in said[LEAD:])


class Side:
    """An engine that drafts or not, and what its answers took after their first tokens."""

    def __init__(self, model: str, library: Library, *, drafts: bool) -> None:
        # The prefix stands last, so that an answer goes on from its last word.
        self._runner = Runner(Load(path=model, fim="spm"), library, cores=2, memory=lambda: 0, drafts=drafts)
        self.seconds = list[float]()
        """Of each answer."""
        self.rows: dict[int, list[float]] = {}
        """By rows: seconds of each step."""
        self.drafted, self.right = 0, 0
        """Tokens."""

    def answer(self, before: str) -> str:
        """What comes after `before`."""
        runner, replies = self._runner, list[Reply]()
        failed = runner.add(Job(id=1, fill=Fill(prefix=before), max_output=OUTPUT, priority="completion"))
        assert failed is None, failed
        while not any(isinstance(each, Piece) for each in replies):
            runner.step(replies)
        steps, (drafted, right) = list[tuple[int, float]](), runner.drafted
        while runner.busy:
            begun, known = time.perf_counter(), runner.drafted[0]
            runner.step(replies)
            steps.append((1 + runner.drafted[0] - known, time.perf_counter() - begun))
        assert isinstance(replies[-1], Done)
        runner.release("#1")
        self.seconds.append(sum(seconds for _, seconds in steps))
        for rows, seconds in steps:
            self.rows.setdefault(rows, []).append(seconds)
        self.drafted += runner.drafted[0] - drafted
        self.right += runner.drafted[1] - right
        return "".join(each.text for each in replies if isinstance(each, Piece))

    @property
    def steps(self) -> int:
        """After the first tokens."""
        return sum(map(len, self.rows.values()))

    @property
    def told(self) -> str:
        """Milliseconds of a step, by its rows."""
        return ", ".join(f"{rows}: {median(each) * 1000:.0f}" for rows, each in sorted(self.rows.items()))

    def clear(self) -> None:
        """Count from here on."""
        self.seconds, self.rows, self.drafted, self.right = [], {}, 0, 0


def measure(model: str, count: int) -> dict[str, dict[str, Any]]:
    """For each kind of copy: how many times as fast drafts are in the median of all answers, and what came of them."""
    library = Library(lambda line: None)
    sides = off, on = [Side(model, library, drafts=drafts) for drafts in (False, True)]
    found = dict[str, dict[str, Any]]()
    for at, kind in enumerate(["warm", *KINDS]):
        same = True
        for number in range(1 if kind == "warm" else count):
            before, expected = prompt(kind, 100 * at + number)
            # One right after the other, each first in turn: what else runs slows both.
            for side in sides if number % 2 else sides[::-1]:
                same = side.answer(before) == expected and same
        gains = [without / drafting for without, drafting in zip(off.seconds, on.seconds, strict=True)]
        found[kind] = {
            "gain": median(gains),
            "with": (OUTPUT - 1) / median(on.seconds),
            "without": (OUTPUT - 1) / median(off.seconds),
            "steps_with": on.steps,
            "steps_without": off.steps,
            "right": on.right / max(1, on.drafted),
            "same": same,
            "rows": f"{off.told} beside {on.told}",
        }
        for side in sides:
            side.clear()
    del found["warm"]
    return found


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
