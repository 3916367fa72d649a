"""Whether an engine is alive or only there. Pure: told of ticks and of what the engine says, it knows no clock.

Patience is counted in ticks of the hub, never in seconds that passed: a time in which the hub itself stood
still, such as a laptop's sleep, is one tick however long it was, and no fault of the engine.
"""

from nanoide.core.value import Value
from nanoide.engine.protocol import Pulse, Reply


class Patience(Value, frozen=True):
    """How long an engine may be silent, in seconds; the limits of `Watchdog` are whole ticks of them."""

    tick_s: float = 1.0
    idle_s: float = 5.0
    """Between two pings while nobody asks anything: a laptop sleeps better."""
    start_s: float = 60.0
    """Until its first word: an interpreter starts, on a machine that may be busy."""
    silence_s: float = 5.0
    """Without an answer to a ping: stopped."""
    step_s: float = 60.0
    """Beyond twice what a step of that size ever took: stuck."""


class Watchdog:
    """Watches one life of an engine."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._spoke = False
        self._asked = False
        """A ping is not answered yet."""
        self._silent = 0
        """Ticks since that ping."""
        self._quiet = 0
        """Ticks since there was one."""
        self._beat: int = 0
        self._stood = 0
        """Ticks in which that beat did not end."""
        self.fault = ""
        """What became of the engine, as a phrase; empty while it is alive as far as can be told."""

    def tick(self, *, busy: bool) -> bool:
        """A tick passed. True when the engine is to be pinged now."""
        self._quiet += 1
        self._stood += 1
        if self._asked:
            self._silent += 1
            limit = self._patience.silence_s if self._spoke else self._patience.start_s
            if self._silent >= self._ticks(limit):
                self.fault = f"stopped (it gave no sign for {limit:.0f} s)"
            return False
        if not busy and self._quiet < self._ticks(self._patience.idle_s):
            return False
        self._asked, self._silent, self._quiet = True, 0, 0
        return True

    def heard(self, reply: Reply) -> None:
        """The engine said something; whatever it is, it is a sign of life."""
        self._spoke = True
        self._asked = False
        if not isinstance(reply, Pulse):
            return
        if reply.beat != self._beat or not reply.beat:
            self._beat, self._stood = reply.beat, 0
            return
        limit = self._patience.step_s + 2 * reply.usual_s
        if self._stood >= self._ticks(limit):
            self.fault = f"was stuck (one step took more than {limit:.0f} s)"

    def _ticks(self, seconds: float) -> int:
        return max(1, round(seconds / self._patience.tick_s))
