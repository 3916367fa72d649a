"""When to stop asking a backend that fails, and when to try it again. Pure: the time is always given.

closed ──(failures in a row, or one that says "not now")──▶ open
open ──(its rest is over)──▶ half-open ──(one probe speaks, or ends well)──▶ closed, or open for longer

A key that was refused has no rest: nothing but another key can help.
"""

from collections.abc import Callable
from math import inf
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


class Kept(Value, frozen=True):
    """What is worth knowing of a breaker that is not closed when the hub ends."""

    rest: float | None
    """Seconds until a probe may go, 0 when one may go now; None means not before the key changes."""
    rests: int
    """Rests taken in a row."""
    reason: str
    """Why it opened, as a phrase."""


_NEUTRAL: frozenset[Outcome] = frozenset({"bad_request", "context", "content_filter"})
"""The backend is there and answers; it only does not like this prompt."""

_AT_ONCE: frozenset[Outcome] = frozenset({"overloaded", "auth", "quota", "not_found", "unavailable"})
"""Asking again at once cannot help."""

_NOBODY: frozenset[Outcome] = frozenset({"cancelled", "refused"})
"""Says nothing about the backend."""


class Breaker:
    """The breaker of one backend. Every attempt that was admitted is reported once with `ended`."""

    def __init__(self, patience: Patience | None = None, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change` is called whenever someone who waits should look again, and what is kept is not the same."""
        self._patience = patience or Patience()
        self._on_change = on_change
        self._failures = 0
        self._rests = 0
        """Rests taken in a row."""
        self._until: float | None = None
        """End of the present rest; None while closed, infinite when only another key can help."""
        self._probe: Leave | None = None
        """Whose attempt finds out whether the backend is back; None while nobody's does."""
        self._dry = False
        """True when it rests for an allowance that is used up: then an earlier attempt that ends well says nothing."""
        self.reason: str = ""
        """Why it opened, as a phrase; empty while closed."""

    def state(self, now: float) -> BreakerState:
        """How it stands."""
        if self._until is None:
            return "closed"
        return "open" if now < self._until else "half-open"

    @property
    def locked(self) -> bool:
        """True when the key was refused: no time heals that."""
        return self._until == inf

    def rest(self, now: float) -> float:
        """Seconds until a probe may go; 0 when one may go now, or none is needed; infinite when `locked`."""
        return 0.0 if self._until is None else max(0.0, self._until - now)

    def refusal(self, now: float) -> str:
        """Why no attempt may go now, as a phrase; empty when one may."""
        because = f" after: {self.reason}" if self.reason else ""
        match self.state(now):
            case "closed":
                return ""
            case "open" if self.locked:
                return f"waits for another key{because}"
            case "open":
                return f"rests for {_seconds(self.rest(now))}{because}"
            case "half-open":
                return "" if self._probe is None else f"is being tried by another turn{because}"

    def admit(self, now: float) -> Leave | None:
        """Leave to try, or None. In half-open exactly one gets it, until its attempt has ended."""
        match self.state(now):
            case "closed":
                return Leave(probe=False)
            case "open":
                return None
            case "half-open":
                if self._probe is not None:
                    return None
                self._probe = Leave(probe=True)
                return self._probe

    def spoke(self, leave: Leave) -> None:
        """The attempt that was given `leave` has its first token. A probe's is enough: the others may come."""
        if self._probe is leave:
            self._probe = None
            # One failure, this one's included, and it rests again, for longer than before.
            self._until, self._dry, self._failures = None, False, self._patience.failures - 1
            self._on_change()

    def ended(
        self, leave: Leave, outcome: Outcome, now: float, *, retry_after: float | None = None, reason: str = ""
    ) -> None:
        """The attempt that was given `leave` ended with `outcome`."""
        probe, before = self._probe is leave, (self._until, self._probe)
        if probe:
            self._probe = None
        self._judge(outcome, now, retry_after, reason, probe=probe)
        if (self._until, self._probe) != before:
            self._on_change()

    def exhausted(self, rest: float, now: float) -> None:
        """It answered, and said that it takes no more questions for `rest` seconds."""
        until = now + min(max(rest, 0.1), self._patience.told)
        if self._until is None or self._until < until:
            self._until, self._dry, self.reason = until, True, "its allowance is used up"
            self._on_change()

    def forget(self) -> None:
        """Whatever it knew holds no more: the backend is another one, or has another key."""
        if self._until is not None:
            self._close()
            self._on_change()
        self._failures = 0

    def kept(self, now: float) -> Kept | None:
        """What a later breaker of the same backend should `take_up`; None while closed."""
        if self._until is None:
            return None
        return Kept(rest=None if self.locked else self.rest(now), rests=self._rests, reason=self.reason)

    def take_up(self, kept: Kept, now: float) -> None:
        """Go on where another one ended."""
        rest = inf if kept.rest is None else min(max(kept.rest, 0.0), self._patience.told)
        self._until, self._rests, self.reason = now + rest, max(0, kept.rests), kept.reason

    def _judge(self, outcome: Outcome, now: float, retry_after: float | None, reason: str, *, probe: bool) -> None:
        if outcome in _NOBODY or (outcome == "crashed" and not self._patience.crashes):
            return
        if outcome == "ok" or outcome in _NEUTRAL:
            # Also an attempt from before the opening: when it ends well, the backend is back.
            if probe or not self._dry:
                self._close()
            return
        self._failures += 1
        if retry_after is not None:
            told = min(max(retry_after, 0.1), self._patience.told)
            self._until, self.reason = max(self._until or 0.0, now + told), reason
        elif outcome == "auth":
            self._until, self.reason = inf, reason
        elif self.state(now) == "open":
            return  # attempts under way when it opened fail too; they do not lengthen the rest
        elif outcome in _AT_ONCE or self._until is not None or self._failures >= self._patience.failures:
            rest = min(self._patience.longest, self._patience.rest * 2.0 ** min(self._rests, 16))
            self._rests += 1
            self._until, self.reason = now + rest, reason

    def _close(self) -> None:
        self._failures, self._rests, self._until, self._dry, self.reason = 0, 0, None, False, ""


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else "a moment"
