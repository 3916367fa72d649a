"""Decodes what was planned, whatever the library answers: finds whose fault it was, and the others go on."""

from collections.abc import Callable, Iterator

from nanoide.core.errors import Outcome
from nanoide.core.value import Value
from nanoide.engine.context import Context
from nanoide.engine.kvcache import KvCache
from nanoide.engine.scheduler import Rows, Scheduler, Sequence

FAULTS = 3
"""Computations of a single sequence that may fail in a row before the native context counts as lost."""


class Fatal(Exception):
    """The native context is beyond use."""


class Computed(Value, frozen=True):
    """All of a sequence was computed, the last of it in `row`: its next token can be chosen, until the next decode."""

    sequence: Sequence
    row: int


class Refused(Value, frozen=True):
    """A sequence that cannot be computed, and why."""

    sequence: Sequence
    outcome: Outcome
    message: str


class Computing:
    """Rows in, logits and a true account of the cache out."""

    def __init__(self, context: Context, cache: KvCache, scheduler: Scheduler, *, beat: Callable[[int], None]) -> None:
        """`beat` hears how many rows are decoded next."""
        self._context = context
        self._cache = cache
        self._scheduler = scheduler
        self._beat = beat
        self._faults = 0
        self.whole = True
        """False when the last step was not computed at once, as it was planned: its time says nothing."""

    def run(self, step: list[Rows]) -> Iterator[Computed | Refused]:
        """Decode `step`, and tell what came of it as it comes. Raises Fatal when the context is beyond use."""
        batch = self._context.batch
        batch.clear()
        wanted = list[tuple[Rows, int]]()
        for rows in step:
            line = rows.sequence.line
            assert line is not None
            piece = rows.sequence.tokens[rows.start : rows.start + rows.count]
            wanted.append((rows, batch.add(line.slot, rows.start, piece, rows.samples)))
        self._beat(batch.size)
        code = self._context.decode()
        if code == 0:
            self._faults = 0
            for rows, row in wanted:
                line = rows.sequence.line
                assert line is not None
                self._cache.extend(line, rows.sequence.tokens[rows.start : rows.start + rows.count])
                _count(rows, rows.start + rows.count)
                if rows.samples:
                    yield Computed(rows.sequence, row)
            return
        self.whole = False
        # Whatever came of the step, the cache says what is really there.
        left = list[Rows]()
        for rows in step:
            line = rows.sequence.line
            assert line is not None
            start = self._cache.settle(line, rows.sequence.tokens)
            _count(rows, start)
            left.append(Rows(rows.sequence, start, max(1, rows.start + rows.count - start)))
        yield from self._recover(code, left)

    def check(self, rows: Rows, draft: list[int], choose: Callable[[int], tuple[int, bool]]) -> list[int]:
        """Decode one row and a draft after it: what the sequence says, which is one token more than it was right.

        `choose` says which token comes after a row and whether the answer ends with it. Nothing is said when
        the rows could not be computed; what the sequence would not have said is forgotten.
        """
        sequence, line, batch = rows.sequence, rows.sequence.line, self._context.batch
        assert line is not None
        batch.clear()
        batch.add(line.slot, rows.start, sequence.tokens[rows.start :], wanted=True)
        for at, token in enumerate(draft, start=rows.start + 1):
            batch.add(line.slot, at, [token], wanted=True)
        self._beat(batch.size)
        if self._context.decode() != 0:
            self.whole = False
            self._cache.settle(line, sequence.tokens)
            return []
        said = list[int]()
        for row, guess in enumerate([*draft, None]):
            token, ends = choose(row)
            said.append(token)
            if ends or token != guess:
                break
        right = len(said) - 1
        self._context.cut(line.slot, rows.start + 1 + right)
        self._cache.extend(line, [sequence.tokens[-1], *draft[:right]])
        return said

    def _recover(self, code: int, step: list[Rows]) -> Iterator[Computed | Refused]:
        """Find whose fault it was, by halves; the others go on.

        1: no room. 2: aborted, the rest comes in the next step. -1: an invalid row. Less: the computation failed.
        """
        if code == 2 or (code == 1 and self._cache.room(self._cache.free + 1)):
            return
        if len(step) > 1:
            half = len(step) // 2
            yield from self.run(step[:half])
            yield from self.run(step[half:])
            return
        rows = step[0]
        if code == 1 and rows.count > 1:
            yield from self.run([Rows(rows.sequence, rows.start, rows.count // 2)])
        elif code == 1 and self._scheduler.running > 1:
            self._scheduler.preempt(rows.sequence)
        elif code == 1:
            yield Refused(rows.sequence, "overloaded", "there is no room in the KV cache")
        elif code == -1:
            yield Refused(rows.sequence, "bad_request", "the model refused a token of the prompt")
        else:
            yield Refused(rows.sequence, "server_error", f"the computation failed ({code})")
            self._faults += 1
            if self._faults >= FAULTS:
                raise Fatal(f"llama_decode answered {code}, {FAULTS} times in a row")


def _count(rows: Rows, end: int) -> None:
    """The sequence was computed up to `end`; what of that is its prompt counts."""
    rows.sequence.computed += max(0, min(end, rows.sequence.prompt) - rows.start)
