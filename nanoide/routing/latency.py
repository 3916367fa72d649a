"""How long backends took to their first token, lately: what is slow is told, and a hedge knows when to begin. Pure."""

from collections import deque
from collections.abc import Sequence
from math import ceil

REMEMBERED = 64
"""First tokens of one backend that are remembered."""

ENOUGH = 20
"""So many must have been seen before anything follows from them."""


class Latency:
    """The first tokens of one backend, in seconds."""

    def __init__(self) -> None:
        self._seen = deque[float](maxlen=REMEMBERED)

    def note(self, seconds: float) -> None:
        """A first token came after so long, or had not come by then: a wait that was given up counts as it stood."""
        self._seen.append(seconds)

    @property
    def count(self) -> int:
        """How many are remembered."""
        return len(self._seen)

    @property
    def p50(self) -> float | None:
        """The median; None when there are too few to tell."""
        return self._share(0.50)

    @property
    def p95(self) -> float | None:
        """What only one in twenty took longer than; None when there are too few to tell."""
        return self._share(0.95)

    def slow(self, limit: float) -> str:
        """That it is slow, as a phrase, when one in twenty takes longer than `limit`; empty when it is not."""
        worst = self.p95
        return "" if worst is None or worst < limit else f"is slow: first token after up to {worst:.1f} s"

    def _share(self, share: float) -> float | None:
        return percentile(self._seen, share) if len(self._seen) >= ENOUGH else None


def percentile(seen: Sequence[float] | deque[float], share: float) -> float:
    """The smallest of `seen` that at least a `share` of them does not exceed. There must be one."""
    return sorted(seen)[max(0, ceil(share * len(seen)) - 1)]
