"""The base of every value that nanoide passes around: frozen, compared by content, cheap to encode."""

import msgspec


class Value(msgspec.Struct, frozen=True):
    """A frozen record. Change means `msgspec.structs.replace`.

    Unknown fields are ignored when decoding, so that an older client can read a newer hub's
    additions within one protocol version.
    """
