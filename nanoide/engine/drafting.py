"""What an answer may copy next: the tokens that followed when its last few stood in the prompt before. Pure.

A draft costs rows in a step and is only ever checked against what the model says itself. So the answer is
the same with it and without; whether it is faster depends on how much is copied, and on what a row costs.
"""

GRAM = 3
"""Tokens that must agree before the next ones are taken for a copy."""

DRAFT_MIN = 3
"""Rows of a first draft; it grows as long as all of it is right."""

DRAFT_MAX = 7

PAUSE_MAX = 16
"""Steps without a draft after several that were wrong."""

REACH = 8192
"""Tokens back to which copies are looked for."""

PARAMETERS_MIN = 100_000_000
"""Of models that draft. In a smaller one a row more costs as much as a step more: there is nothing to win."""


class Drafter:
    """Drafts for one answer."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}
        """Where the last occurrence of a gram ends."""
        self._indexed = 0
        self._size = DRAFT_MIN
        self._pause = 0
        self._misses = 0

    def propose(self, tokens: list[int], most: int) -> list[int]:
        """At most `most` tokens that may come after `tokens`; none when nothing speaks for any."""
        if self._pause > 0:
            self._pause -= 1
            return []
        # The gram at the very end is what is looked for; it is not its own past.
        start = max(self._indexed, GRAM, len(tokens) - REACH)
        for at in range(start, len(tokens)):
            self._after[tuple(tokens[at - GRAM : at])] = at
        self._indexed = max(self._indexed, len(tokens))
        found = self._after.get(tuple(tokens[-GRAM:]))
        if found is None:
            return []
        return tokens[found : found + min(self._size, most)]

    def note(self, proposed: int, accepted: int) -> None:
        """So many of the proposed tokens were right."""
        if accepted == proposed:
            self._misses = 0
            self._size = min(DRAFT_MAX, 2 * self._size)
        elif accepted >= proposed // 2:
            self._misses = 0
            self._size = max(DRAFT_MIN, accepted)
        else:
            self._misses += 1
            self._size = DRAFT_MIN
            self._pause = min(PAUSE_MAX, 1 << self._misses)
