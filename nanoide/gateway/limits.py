"""How much, and for how long, the gateway bears with a client."""

from nanoide.core.value import Value


class Limits(Value, frozen=True):
    """The same for every request."""

    body: int = 8 * 1024 * 1024
    """Bytes of a request."""
    swallowed: int = 64 * 1024 * 1024
    """Bytes of a request that is too large which are read all the same: else its client never hears why."""
    arrival: float = 30.0
    """Seconds that a request may take to come in."""
    stall: float = 60.0
    """Seconds for which a client may take nothing of what is sent to it."""
