"""Who may be asked: egress policies and where a backend runs."""

from typing import Literal

Egress = Literal["local-only", "ask", "remote"]
"""local-only: nothing but loopback. ask: the person decides per send. remote: may leave."""

Where = Literal["device", "lan", "remote"]
"""Where a backend runs: this machine (loopback or in-process), the local network, elsewhere."""

Tier = Literal["model", "reflex"]

_WIDTH: dict[Egress, int] = {"local-only": 0, "ask": 1, "remote": 2}


def narrowest(*policies: Egress | None) -> Egress:
    """The strictest of the policies; None says nothing. With nothing said: "ask".

    A skill or a flag may narrow the route's policy; none can widen it.
    """
    said: list[Egress] = [policy for policy in policies if policy is not None]
    return min(said, key=lambda policy: _WIDTH[policy]) if said else "ask"


Decision = Literal["allow", "ask", "refuse"]


def decide(policy: Egress, where: Where) -> Decision:
    """What `policy` says about a prompt going to a backend that runs at `where`."""
    if where == "device":
        return "allow"
    match policy:
        case "local-only":
            return "refuse"
        case "ask":
            return "ask"
        case "remote":
            return "allow"
