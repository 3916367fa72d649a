"""Bytes of a stream → bodies of messages, unimpressed by nonsense: it is skipped, never waited for.

Header names in any case and bare line feeds are accepted. A length that cannot be meant, and bytes that
are no header at all, are passed over up to the next `Content-Length`.
"""

import re

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of one message; a whole file may come in one."""

_HEADER_LIMIT = 8 * 1024
_LENGTH = re.compile(rb"content-length[ \t]*:[ \t]*(\d{1,20})[ \t]*\r?\n", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")


class Framer:
    """Cuts a stream into message bodies."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._length: int | None = None
        """Of the body that is under way; None while headers are read."""

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes."""
        self._waiting += data
        bodies: list[bytes] = []
        while True:
            if self._length is None and not self._headers():
                return bodies
            if self._length is None:
                continue
            if len(self._waiting) < self._length:
                return bodies
            bodies.append(bytes(self._waiting[: self._length]))
            del self._waiting[: self._length]
            self._length = None

    def _headers(self) -> bool:
        """Read one block of headers. False when more bytes are needed for that."""
        found = _LENGTH.search(self._waiting)
        if found is None:
            # What is waiting can at most be the beginning of a header.
            if len(self._waiting) > _HEADER_LIMIT:
                del self._waiting[:-64]
            return False
        # The line's own end may already be the first half of the empty line.
        end = _END.search(self._waiting, found.end() - 2)
        if end is None or end.start() - found.end() > _HEADER_LIMIT:
            if len(self._waiting) - found.end() > _HEADER_LIMIT:
                del self._waiting[: found.end()]
                return True
            return False
        length = int(found[1])
        if length > BODY_LIMIT:
            del self._waiting[: found.end()]
            return True
        del self._waiting[: end.end()]
        self._length = length
        return True
