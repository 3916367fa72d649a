"""What an answer may copy next: the tokens that followed when its last few stood in the prompt before. Pure.

A draft costs rows in a step and is only ever checked against what the model says itself. So the answer is
the same with it and without; whether it is faster depends on how much is copied, and on what a row costs.
"""

from collections.abc import Callable

GRAM = 3
"""Tokens that must agree before the next ones are taken for a copy."""

SIZES = (3, 7, 15)
"""Tokens of a draft. With the row before them they are whole groups, which cost no more than what is left of one."""

HOPE = (9.0, 1.0)
"""Tokens that were right, and drafts that ended in a wrong one, before anything is known."""

MEMORY = 0.8
"""How much of what was seen before a draft still counts after it: an answer goes from copying to new text and back."""

GROW = 4
"""So many drafts of a size that were all right, and the next larger one is tried: what it costs is only known then."""

GAIN = 1.25
"""Times as fast as without drafts, as far as is known: below that larger ones are not tried, what they cost is much."""

RETRY = 48
"""Places for a draft that are passed over while drafts do not pay, before one is tried again."""

REACH = 8192
"""Tokens back to which copies are looked for."""

PARAMETERS_MIN = 100_000_000
"""Of models that draft. In a smaller one a row more costs nearly as much as a step more: there is little to win."""


class Drafter:
    """Drafts for one answer."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        """Where the last occurrence of a gram ends."""
        self._indexed = 0
        self._right, self._wrong = HOPE
        self._passed = 0
        self._streak = 0
        """Drafts in a row that were all right."""

    def propose(self, tokens: list[int], most: int, cost: Callable[[int], float]) -> list[int]:
        """At most `most` tokens that may come after `tokens`; none when nothing speaks for any, or it would not pay.

        `cost` says what a step of so many rows costs, in any unit; 0 means that nothing is known of it.
        """
        # The gram at the very end is what is looked for; it is not its own past.
        start = max(self._indexed, GRAM, len(tokens) - REACH)
        for at in range(start, len(tokens)):
            self._after[tuple(tokens[at - GRAM : at])] = at
        self._indexed = max(self._indexed, len(tokens))
        found = self._after.get(tuple(tokens[-GRAM:]))
        if found is None:
            return []
        size = self._best(cost)
        if not size:
            self._passed += 1
            if self._passed < RETRY:
                return []
            size = SIZES[0]
        self._passed = 0
        return tokens[found : found + min(size, most)]

    def note(self, proposed: int, accepted: int) -> None:
        """So many of the proposed tokens were right."""
        self._right = MEMORY * self._right + accepted
        self._wrong = MEMORY * self._wrong + (accepted < proposed)
        self._streak = self._streak + 1 if accepted == proposed else 0

    def _best(self, cost: Callable[[int], float]) -> int:
        """The size with the most tokens for its cost, as far as drafts were right lately; 0 when none pays."""
        alone = cost(1)
        if alone <= 0:
            return 0
        right = self._right / (self._right + self._wrong)
        best, gain = 0, 1.0
        for size in SIZES:
            # One token comes anyway, each further one if all before it were right.
            tokens = sum(right**count for count in range(size + 1))
            if tokens * alone > gain * cost(size + 1):
                best, gain = size, tokens * alone / cost(size + 1)
        if best in SIZES[:-1] and gain >= GAIN and self._streak % (GROW + 1) == GROW:
            return SIZES[SIZES.index(best) + 1]
        return best
