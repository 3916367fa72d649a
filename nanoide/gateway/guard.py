"""Who may come in: our own host name, no foreign origin, the token. Pure; asked before anything else is looked at.

The host check keeps out web pages that give a name of theirs our address, the origin check those that call us by
ours, and the token everybody else. No answer ever carries a CORS header.
"""

import hmac
from collections.abc import Iterable

from nanoide.gateway.faults import Fault

OPEN = "/health"
"""Needs no token."""

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case."""


class Guard:
    """Knows what this gateway is called, and its token."""

    def __init__(self, port: int, token: str) -> None:
        self._token = token.encode()
        names = [b"127.0.0.1", b"localhost", b"[::1]"]
        self._hosts = {b"%s:%d" % (name, port) for name in names}
        if port == 80:
            self._hosts.update(names)
        self._origins = {b"http://" + host for host in self._hosts}

    def refusal(self, path: str, headers: Headers) -> Fault | None:
        """Why a request for `path` is turned away; None when it may come in."""
        said: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            said.setdefault(name, []).append(value.strip())
        hosts = [host.lower() for host in said.get(b"host", ())]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return Fault(421, "host", "this gateway answers to 127.0.0.1, localhost and [::1] with its port only")
        origins = [origin.lower() for origin in said.get(b"origin", ())]
        if any(origin not in self._origins for origin in origins):
            return Fault(403, "origin", "this gateway does not answer web pages")
        if path == OPEN or self._knows(said.get(b"authorization", [])):
            return None
        return Fault(
            401, "invalid_api_key", "the token is missing or wrong: send Authorization: Bearer, then the token"
        )

    def _knows(self, said: list[bytes]) -> bool:
        if len(said) != 1:
            return False
        scheme, _, token = said[0].partition(b" ")
        return hmac.compare_digest(token.strip(), self._token) and scheme.lower() == b"bearer"
