"""When to stop asking a backend that fails, and when to try it again. Pure: the time is always given.

closed ──(failures in a row, or one that says "not now")──▶ open
open ──(its rest is over)──▶ half-open ──(one probe)──▶ closed, or open for longer
"""

from typing import Literal

from nanoide.core.errors import Outcome
from nanoide.core.value import Value

BreakerState = Literal["closed", "open", "half-open"]


class Patience(Value, frozen=True):
    """How much a breaker takes. All times in seconds."""

    failures: int = 3
    """So many in a row open it."""
    rest: float = 5.0
    """The first rest; it doubles with each probe that fails."""
    longest: float = 60.0
    """No rest of our own is longer."""
    crashes: bool = True
    """False for a backend that starts anew by itself and minds how often: a crash is then not counted here."""
    told: float = 900.0
    """At most so long is a backend's own Retry-After believed."""


class Leave(Value, frozen=True):
    """Leave to make one attempt; given back with `Breaker.ended`."""

    probe: bool


_NEUTRAL: frozenset[Outcome] = frozenset({"bad_request", "context", "content_filter"})
"""The backend is there and answers; it only does not like this prompt."""

_AT_ONCE: frozenset[Outcome] = frozenset({"overloaded", "auth", "quota", "not_found", "unavailable"})
"""Asking again at once cannot help."""

_NOBODY: frozenset[Outcome] = frozenset({"cancelled", "refused"})
"""Says nothing about the backend."""


class Breaker:
    """The breaker of one backend. Every attempt that was admitted is reported once with `ended`."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._failures = 0
        self._rests = 0
        """Rests taken in a row."""
        self._until: float | None = None
        """End of the present rest; None while closed."""
        self._probing = False
        self.reason: str = ""
        """Why it opened, as a phrase; empty while closed."""

    def state(self, now: float) -> BreakerState:
        """How it stands."""
        if self._until is None:
            return "closed"
        return "open" if now < self._until else "half-open"

    def rest(self, now: float) -> float:
        """Seconds until a probe may go; 0 when one may go now, or none is needed."""
        return 0.0 if self._until is None else max(0.0, self._until - now)

    def refusal(self, now: float) -> str:
        """Why no attempt may go now, as a phrase; empty when one may."""
        because = f" after: {self.reason}" if self.reason else ""
        match self.state(now):
            case "closed":
                return ""
            case "open":
                return f"rests for {_seconds(self.rest(now))}{because}"
            case "half-open":
                return f"is being tried by another turn{because}" if self._probing else ""

    def admit(self, now: float) -> Leave | None:
        """Leave to try, or None. In half-open exactly one gets it, until its attempt has ended."""
        match self.state(now):
            case "closed":
                return Leave(probe=False)
            case "open":
                return None
            case "half-open":
                if self._probing:
                    return None
                self._probing = True
                return Leave(probe=True)

    def ended(
        self, leave: Leave, outcome: Outcome, now: float, *, retry_after: float | None = None, reason: str = ""
    ) -> None:
        """The attempt that was given `leave` ended with `outcome`."""
        if leave.probe:
            self._probing = False
        if outcome in _NOBODY or (outcome == "crashed" and not self._patience.crashes):
            return
        if outcome == "ok" or outcome in _NEUTRAL:
            # Also an attempt from before the opening: when it ends well, the backend is back.
            self._failures, self._rests, self._until, self.reason = 0, 0, None, ""
            return
        self._failures += 1
        if retry_after is not None:
            told = min(max(retry_after, 0.1), self._patience.told)
            self._until, self.reason = max(self._until or 0.0, now + told), reason
        elif self.state(now) == "open":
            return  # attempts under way when it opened fail too; they do not lengthen the rest
        elif outcome in _AT_ONCE or self._until is not None or self._failures >= self._patience.failures:
            rest = min(self._patience.longest, self._patience.rest * 2.0 ** min(self._rests, 16))
            self._rests += 1
            self._until, self.reason = now + rest, reason


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else "a moment"
