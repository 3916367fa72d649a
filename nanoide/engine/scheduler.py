"""Who computes in the next step: admit, prefill in slices, decode, preempt, cancel.

Pure: it decides on tokens and lines and never sees native code. A sequence that decodes has exactly
one token that is not in the cache yet, the one sampled last; one that prefills has more. To preempt
is therefore only to give the line back: what was generated is prefilled again later, nothing is lost.
"""

from collections.abc import Callable

from nanoide.core.chat import PRIORITIES, Priority
from nanoide.core.value import Value
from nanoide.engine.cells import Line
from nanoide.engine.kvcache import SHARE_MIN, KvCache
from nanoide.engine.pace import GROUP, TILE

HEADROOM = 32
"""Tokens of its answer for which a sequence must find room when it is admitted."""

PATIENCE = 8
"""Steps that work lets pass for each level of those who go first, before it takes part in one: it never starves."""

GUEST_ROWS = 16
"""Prefill rows for lower work in a step that it shares with higher work."""

CROWD = 4
"""So many sequences that wait for their first token, and at least a quarter as many as decode, go first: each row of
their prompts is cheaper in a step of its own, and the more decode together later, the cheaper is each of theirs."""

FILLS = 3
"""Steps for such a crowd, after which those who decode have one: their streams slow down and never stand still."""

DECODING = TILE - GROUP
"""Sequences that decode in one step."""

AGEING = 256
"""Steps after which one that waits for a line moves up a level among those who wait; never to the highest."""


class Sequence:
    """One job under way."""

    __slots__ = (
        "arrival",
        "computed",
        "id",
        "key",
        "lasting",
        "level",
        "limit",
        "line",
        "passed",
        "priority",
        "prompt",
        "since",
        "standing",
        "tokens",
    )

    def __init__(
        self, id: int, key: str, tokens: list[int], limit: int, priority: Priority, *, lasting: bool = False
    ) -> None:
        self.id = id
        self.key = key
        self.tokens = tokens
        """The prompt and what was generated so far."""
        self.prompt = len(tokens)
        self.limit = limit
        """Most tokens it may come to: prompt and answer, within the window."""
        self.priority: Priority = priority
        self.level = PRIORITIES.index(priority)
        """0 goes first."""
        self.standing = self.level
        """The level up to which it may be preempted: what waited for long keeps what it waited for."""
        self.lasting = lasting
        """Its line may be parked on disk."""
        self.arrival = 0
        self.since = 0
        """The step in which it began to wait."""
        self.passed = 0
        """Steps of others since it last took part in one."""
        self.line: Line | None = None
        """None while it waits."""
        self.computed = 0
        """Tokens of the prompt that were computed for it, those that were lost and computed again twice."""

    @property
    def ahead(self) -> int:
        """Tokens that are not in the cache yet."""
        return len(self.tokens) - (len(self.line.tokens) if self.line is not None else 0)

    @property
    def reused(self) -> int:
        """Tokens of the prompt that were there already, at the beginning or because another one computed them."""
        return max(0, self.prompt - self.computed)

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller comes first."""
        return (self.level, self.arrival)

    @property
    def due(self) -> int:
        """Its level in the next step: one less for each few steps that passed without it."""
        return max(0, self.level - self.passed // PATIENCE)


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
        self._steps = 0
        self._fills = 0
        """Steps for a crowd since those who decode had one."""
        self._filling = False
        """The step that is being planned is for a crowd."""

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
        if not self._waiting:
            return
        self._waiting.sort(key=self._turn)
        while self._waiting:
            sequence = self._waiting[0]
            line = self._cache.claim(sequence.key, sequence.tokens) if self._fits(sequence) else None
            if line is None:
                lowest = self._lowest()
                if lowest.standing <= sequence.level:
                    return
                self.preempt(lowest)
                continue
            self._waiting.pop(0)
            line.lasting = sequence.lasting
            sequence.line = line
            sequence.standing = self._aged(sequence)
            sequence.passed = 0
            self._running.append(sequence)
            self._running.sort(key=lambda each: each.rank)

    def preempt(self, sequence: Sequence) -> None:
        """Take the line away; the sequence waits, with all it has generated, and what it computed rests."""
        assert sequence.line is not None
        self._running.remove(sequence)
        self._cache.stash(sequence.line)
        sequence.line = None
        self._wait(sequence)

    def plan(self, alone: int, beside: Callable[[int], int] | None = None) -> list[Rows]:
        """The next step. Prefill gets at most `alone` rows, and `beside(n)` where `n` sequences decode.

        A completion that nobody decodes beside gets all rows. Every decoding sequence of the step has its row
        before any prefill takes one. Sequences are preempted, lowest first, when the cache has no room for the step.
        """
        while True:
            step = self._choose(alone, beside or (lambda decoding: alone))
            if self._cache.room(sum(each.count for each in step)) or len(self._running) == 1:
                break
            self.preempt(self._lowest())
        self._steps += 1
        self._fills = self._fills + 1 if self._filling else 0
        for each in self._running:
            each.passed += 1
        for rows in step:
            rows.sequence.passed = 0
        return step

    def _choose(self, alone: int, beside: Callable[[int], int]) -> list[Rows]:
        members = self._members()
        top = members[0].level if members else 0
        for each in members:
            if each.ahead > 1 and each.line is not None:
                # What others computed meanwhile of its beginning is its own.
                self._cache.adopt(each.line, each.tokens)
        decoding = [each for each in members if each.ahead == 1]
        if len(decoding) > DECODING:
            # Whoever was passed over goes first; after them all others round and round, lest some wait twice as often.
            at = self._steps * DECODING % len(decoding)
            decoding = sorted(decoding[at:] + decoding[:at], key=lambda each: -each.passed)
        prefilling = [each for each in members if each.ahead > 1]
        self._filling = self._crowded(sum(each.level == top for each in prefilling), len(decoding))
        if self._filling:
            decoding = []
        step = [Rows(each, len(each.tokens) - 1, 1) for each in decoding[: min(self._rows, DECODING)]]
        left = self._rows - len(step)
        if step:
            left = min(left, beside(len(step)))
            if left >= GROUP:
                left -= (len(step) + left) % GROUP
        elif top > 0:  # nobody to hold up yet, but a completion that comes now waits for the step to end
            left = min(left, alone)
        leaders = list[Sequence]()
        for each in prefilling:
            if each.level > top:
                left = min(left, GUEST_ROWS)
            if left < 1 or _follows(each, leaders):
                continue
            count = min(each.ahead, left)
            step.append(Rows(each, len(each.tokens) - each.ahead, count))
            left -= count
            leaders.append(each)
        return step

    def _crowded(self, prefilling: int, decoding: int) -> bool:
        """True when the next step is for a crowd that waits for its first token."""
        return 0 < decoding <= 4 * prefilling and prefilling >= CROWD and self._fills < FILLS

    def _members(self) -> list[Sequence]:
        """Who shares the next step: the highest level, and those who waited long enough for it."""
        if not self._running:
            return []
        top = self._running[0].level
        return [each for each in self._running if each.due <= top]

    def _fits(self, sequence: Sequence) -> bool:
        """True when the cache has room for it beside those who run. Alone it always fits."""
        if not self._running:
            return True
        promised = sum(_need(each) for each in self._running)
        known = self._cache.known(sequence.key, sequence.tokens)
        return self._cache.room(promised + _need(sequence) - known)

    def _lowest(self) -> Sequence:
        """Who makes way first."""
        return max(self._running, key=lambda each: (each.standing, *each.rank))

    def _aged(self, sequence: Sequence) -> int:
        """Its level among those who wait. What waits for long moves up, but never to that of a completion."""
        aged = sequence.level - (self._steps - sequence.since) // AGEING
        return max(min(1, sequence.level), aged)

    def _turn(self, sequence: Sequence) -> tuple[int, int]:
        return (self._aged(sequence), sequence.arrival)

    def _wait(self, sequence: Sequence) -> None:
        sequence.since = self._steps
        self._waiting.append(sequence)
        self._waiting.sort(key=self._turn)


def _follows(sequence: Sequence, leaders: list[Sequence]) -> bool:
    """True when another one computes in this step what `sequence` needs next: it copies that afterwards."""
    assert sequence.line is not None
    reach = len(sequence.line.tokens) + SHARE_MIN
    beginning = sequence.tokens[:reach]
    return any(len(each.tokens) > reach and each.tokens[:reach] == beginning for each in leaders)


def _need(sequence: Sequence) -> int:
    """Cells that it will still take, as far as is promised to it."""
    return sequence.ahead + min(sequence.limit - len(sequence.tokens), HEADROOM)
