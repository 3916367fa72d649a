"""Who computes in the next step: admit, prefill in slices, decode, preempt, cancel.

Pure: it decides on tokens and lines and never sees native code. A sequence that decodes has exactly
one token that is not in the cache yet, the one sampled last; one that prefills has more. To preempt
is therefore only to give the line back: what was generated is prefilled again later, nothing is lost.
"""

from nanoide.core.chat import PRIORITIES, Priority
from nanoide.core.value import Value
from nanoide.engine.kvcache import KvCache, Line

HEADROOM = 32
"""Tokens of its answer for which a sequence must find room when it is admitted."""

PATIENCE = 8
"""Steps that lower work lets pass before it takes part in one, so that it never starves."""

GUEST_ROWS = 16
"""Prefill rows for lower work in a step that it shares with higher work."""

_BAND: dict[Priority, int] = {"completion": 0, "focused": 1, "visible": 1, "background": 2, "ambient": 2}
"""Work of a lower band does not share a step with higher work: on a CPU each row makes a step longer."""


class Sequence:
    """One job under way."""

    __slots__ = ("arrival", "id", "key", "limit", "line", "priority", "prompt", "reused", "tokens")

    def __init__(self, id: int, key: str, tokens: list[int], limit: int, priority: Priority) -> None:
        self.id = id
        self.key = key
        self.tokens = tokens
        """The prompt and what was generated so far."""
        self.prompt = len(tokens)
        self.limit = limit
        """Most tokens it may come to: prompt and answer, within the window."""
        self.priority: Priority = priority
        self.arrival = 0
        self.line: Line | None = None
        """None while it waits."""
        self.reused = 0
        """Tokens of the prompt that the cache had when it was first admitted."""

    @property
    def ahead(self) -> int:
        """Tokens that are not in the cache yet."""
        return len(self.tokens) - (len(self.line.tokens) if self.line is not None else 0)

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller comes first."""
        return (PRIORITIES.index(self.priority), self.arrival)

    @property
    def band(self) -> int:
        """Which others it shares a step with."""
        return _BAND[self.priority]


class Rows(Value, frozen=True):
    """What one sequence computes in a step: `count` tokens from `start` on."""

    sequence: Sequence
    start: int
    count: int

    @property
    def samples(self) -> bool:
        """True when the next token can be sampled after the step."""
        return self.start + self.count == len(self.sequence.tokens)


class Scheduler:
    """All sequences, waiting and running."""

    def __init__(self, cache: KvCache, *, rows: int) -> None:
        """Steps of at most `rows` rows."""
        self._cache = cache
        self._rows = rows
        self._waiting: list[Sequence] = []
        self._running: list[Sequence] = []
        self._arrivals = 0
        self._passed = 0

    @property
    def running(self) -> int:
        """Sequences that have a line."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that wait for one."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """True while there is anything to do."""
        return bool(self._running or self._waiting)

    def add(self, sequence: Sequence) -> None:
        """Take on a new sequence."""
        self._arrivals += 1
        sequence.arrival = self._arrivals
        self._wait(sequence)

    def find(self, id: int) -> Sequence | None:
        """The sequence of that id; None when it has ended."""
        return next((each for each in (*self._running, *self._waiting) if each.id == id), None)

    def end(self, sequence: Sequence, *, keep: bool) -> None:
        """The sequence is done, cancelled or failed. With `keep` its line stays for the next of its key."""
        if sequence.line is None:
            self._waiting.remove(sequence)
            return
        self._running.remove(sequence)
        if keep:
            self._cache.keep(sequence.line)
        else:
            self._cache.drop(sequence.line)
        sequence.line = None

    def admit(self) -> None:
        """Give lines to those who wait, highest first, as long as they fit; lower running work makes way."""
        while self._waiting:
            sequence = self._waiting[0]
            line = self._cache.claim(sequence.key, sequence.tokens) if self._fits(sequence) else None
            if line is None:
                lowest = max(self._running, key=lambda each: each.rank)
                if lowest.band <= sequence.band:
                    return
                self.preempt(lowest)
                continue
            self._waiting.pop(0)
            sequence.line = line
            if len(sequence.tokens) == sequence.prompt:
                sequence.reused = len(line.tokens)
            self._running.append(sequence)
            self._running.sort(key=lambda each: each.rank)

    def preempt(self, sequence: Sequence) -> None:
        """Take the line away; the sequence waits, with all it has generated."""
        self.end(sequence, keep=False)
        self._wait(sequence)

    def plan(self, prefill: int) -> list[Rows]:
        """The next step. Prefill gets at most `prefill` rows, unless it is of a completion and nobody decodes.

        Every decoding sequence of the step has its row before any prefill takes one. Sequences are
        preempted, lowest first, when the cache has no room for the step.
        """
        while True:
            step = self._choose(prefill)
            if self._cache.room(sum(each.count for each in step)):
                return step
            lowest = max(self._running, key=lambda each: each.rank)
            if len(self._running) == 1:
                return step
            self.preempt(lowest)

    def _choose(self, prefill: int) -> list[Rows]:
        members = self._members()
        decoding = [each for each in members if each.ahead == 1][: self._rows]
        step = [Rows(each, len(each.tokens) - 1, 1) for each in decoding]
        left = self._rows - len(step)
        top = members[0].band if members else 0
        if decoding or top > 0:
            # Also without anyone to hold up yet: a completion that comes now waits for the step to end.
            left = min(left, prefill)
        for each in members:
            ahead = each.ahead
            if each.band > top:
                left = min(left, GUEST_ROWS)
            if ahead > 1 and left > 0:
                count = min(ahead, left)
                step.append(Rows(each, len(each.tokens) - ahead, count))
                left -= count
        return step

    def _members(self) -> list[Sequence]:
        """Who shares the next step: the highest band, and now and then everyone."""
        if not self._running:
            return []
        top = self._running[0].band
        members = [each for each in self._running if each.band == top]
        if len(members) == len(self._running):
            self._passed = 0
            return members
        self._passed += 1
        if self._passed < PATIENCE:
            return members
        self._passed = 0
        return list(self._running)

    def _fits(self, sequence: Sequence) -> bool:
        """True when the cache has room for it beside those who run. Alone it always fits."""
        if not self._running:
            return True
        promised = sum(_need(each) for each in self._running)
        known = self._cache.known(sequence.key, sequence.tokens)
        return self._cache.room(promised + _need(sequence) - known)

    def _wait(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)
        self._waiting.sort(key=lambda each: each.rank)


def _need(sequence: Sequence) -> int:
    """Cells that it will still take, as far as is promised to it."""
    return sequence.ahead + min(sequence.limit - len(sequence.tokens), HEADROOM)
