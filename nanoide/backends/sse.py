"""Server-sent events out of bytes, cut anywhere. Pure."""

from nanoide.core.errors import BackendError
from nanoide.core.value import Value

LARGEST = 4 * 1024 * 1024
"""Bytes of one event; a server that sends more does not speak to us."""


class Event(Value, frozen=True):
    """One event: its name ("" for the plain kind) and its data."""

    data: str
    name: str = ""


class Events:
    """Feed bytes, get events. Raises BackendError "protocol" for what is no UTF-8 or too large."""

    def __init__(self) -> None:
        self._rest = b""
        """The line under way."""
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes."""
        # Only \n and \r\n end lines here: no server of this kind uses a lone \r, and JSON never holds one.
        self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        if len(self._rest) + self._size > LARGEST:
            raise BackendError(f"an event of the stream is over {LARGEST:,} bytes", outcome="protocol")
        events: list[Event] = []
        for line in lines:
            self._line(line.removesuffix(b"\r"), events)
        return events

    def flush(self) -> list[Event]:
        """The last event, when the stream ended without the empty line after it."""
        events: list[Event] = []
        rest, self._rest = self._rest, b""
        if rest:
            self._line(rest.removesuffix(b"\r"), events)
        self._line(b"", events)
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                events.append(Event("\n".join(self._data), self._name))
            self._name, self._data, self._size = "", [], 0
            return
        field, _, value = line.partition(b":")
        if field not in {b"data", b"event"}:
            return  # a comment, an id, a retry: nothing we use
        try:
            text = value.removeprefix(b" ").decode("utf-8")
        except UnicodeDecodeError as error:
            raise BackendError("the stream is not UTF-8", outcome="protocol") from error
        if field == b"event":
            self._name = text
            return
        self._data.append(text)
        self._size += len(line)
        if self._size > LARGEST:
            raise BackendError(f"an event of the stream is over {LARGEST:,} bytes", outcome="protocol")
