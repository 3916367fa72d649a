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
    """An engine that drafts or not, and what its answers took."""

    def __init__(self, model: str, library: Library, *, drafts: bool) -> None:
        # The prefix stands last, so that an answer goes on from its last word.
        self._runner = Runner(Load(path=model, fim="spm"), library, cores=2, memory=lambda: 0, drafts=drafts)
        self._replies = list[Reply]()
        self._drafted = (0, 0)
        self._took: dict[int, list[float]] = {}
        """By rows: seconds of each step after the first tokens."""
        self.right = (0, 0)
        """Tokens that were drafted, and those that were right."""

    def begin(self, before: str) -> None:
        """Ask, up to the first token."""
        fill = Fill(prefix=before)
        failed = self._runner.add(Job(id=1, key="copy", fill=fill, max_output=OUTPUT, priority="completion"))
        assert failed is None, failed
        self._replies = list[Reply]()
        while not any(isinstance(each, Piece) for each in self._replies):
            self._runner.step(self._replies)
        self._drafted = self._runner.drafted

    def step(self) -> bool:
        """Take a step; False when there is none left."""
        if not self._runner.busy:
            return False
        begun, before = time.perf_counter(), self._runner.drafted[0]
        self._runner.step(self._replies)
        rows = 1 + self._runner.drafted[0] - before
        self._took.setdefault(rows, []).append(time.perf_counter() - begun)
        return True

    @property
    def steps(self) -> int:
        """After the first tokens."""
        return sum(map(len, self._took.values()))

    @property
    def seconds(self) -> float:
        """Of these steps, each as long as the median of its rows: what else runs makes single ones far longer."""
        return sum(len(each) * median(each) for each in self._took.values())

    @property
    def rows(self) -> str:
        """Milliseconds of a step, by its rows."""
        return ", ".join(f"{rows}: {median(each) * 1000:.0f}" for rows, each in sorted(self._took.items()))

    def end(self) -> str:
        """The whole text."""
        assert isinstance(self._replies[-1], Done)
        self._runner.release("copy")
        then, now = self._drafted, self._runner.drafted
        self.right = (self.right[0] + now[0] - then[0], self.right[1] + now[1] - then[1])
        return "".join(each.text for each in self._replies if isinstance(each, Piece))

    def clear(self) -> None:
        """Count from here on."""
        self._took, self.right = {}, (0, 0)


def measure(model: str, count: int) -> dict[str, dict[str, Any]]:
    """For each kind of copy: tokens a second with and without drafts, and what came of them.

    Both take their steps in turn: what else runs on the machine slows both.
    """
    library = Library(lambda line: None)
    sides = off, on = [Side(model, library, drafts=drafts) for drafts in (False, True)]
    found = dict[str, dict[str, Any]]()
    for at, kind in enumerate(["warm", *KINDS]):
        same = True
        for number in range(count):
            before, expected = prompt(kind, 100 * at + number)
            for side in sides:
                side.begin(before)
            while any(list(map(Side.step, sides))):
                pass
            same = same and [side.end() for side in sides] == [expected] * 2
        said = count * (OUTPUT - 1)
        found[kind] = {
            "gain": off.seconds / on.seconds,
            "with": said / on.seconds,
            "without": said / off.seconds,
            "steps_with": on.steps,
            "steps_without": off.steps,
            "right": on.right[1] / max(1, on.right[0]),
            "same": same,
            "rows": f"{off.rows} beside {on.rows}",
        }
        for side in sides:
            side.clear()
    del found["warm"]
    return found


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
