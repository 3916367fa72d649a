"""What can be told of a GGUF before native code reads it: whether its header is whole and fits the file.

The file is hostile: every length and count is held against what is left of it. What is in the tensors is not
looked at.
"""

import mmap
import struct
from pathlib import Path

VERSIONS = (2, 3)

KEYS_LIMIT = 65_536
TENSORS_LIMIT = 65_536
TEXT_LIMIT = 1 << 26
"""Bytes of one text; chat templates and whole vocabularies are far shorter."""

ALIGNMENT_LIMIT = 1 << 20

_STRING, _ARRAY = 8, 9
_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
"""Of single values, by type."""

_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Weights and bytes of a block, by the type of a tensor. Of others the size is not known here."""

_POSITIVE = ("block_count", "embedding_length", "context_length", "attention.head_count")
"""Numbers that an architecture has, and that llama.cpp divides by or allocates with."""

_NUMBER_LIMIT = 1 << 24


class _Fault(Exception):
    """The header is not what it should be."""


def fault(path: Path) -> str:
    """Why the file cannot be loaded, as a phrase; empty when its header is sound."""
    try:
        size = path.stat().st_size
        if size < 24:
            return f"it has {size} bytes, which is no GGUF"
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Header(data).check()
    except _Fault as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return ""


class _Header:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._size = len(data)
        self._at = 0

    def check(self) -> None:
        """Raises _Fault."""
        if self._data[:4] != b"GGUF":
            raise _Fault("it is not a GGUF: its first bytes are others")
        self._at = 4
        version = self._number("<I", "the version")
        if version not in VERSIONS:
            raise _Fault(f"it is a GGUF of version {version}; versions 2 and 3 can be read")
        tensors, keys = self._number("<Q", "the header"), self._number("<Q", "the header")
        if not 0 < tensors <= TENSORS_LIMIT or keys > KEYS_LIMIT:
            raise _Fault(f"it claims {tensors} tensors and {keys} keys, which no model has")
        values = self._keys(keys)
        _check_numbers(values)
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= ALIGNMENT_LIMIT or alignment & (alignment - 1):
            raise _Fault(f"its alignment is {alignment!r}, which is no power of two")
        self._tensors(tensors, alignment)

    def _keys(self, count: int) -> dict[str, object]:
        """Texts and numbers by key; arrays are stepped over."""
        values = dict[str, object]()
        for _ in range(count):
            name = self._text("a key").decode("utf-8", "replace")
            if name in values:
                raise _Fault(f"it has the key {name[:80]!r} twice")
            kind = self._number("<I", name)
            if kind == _STRING:
                values[name] = self._text(name)
            elif kind == _ARRAY:
                self._array(name)
                values[name] = None
            elif kind in _FORMATS:
                values[name] = self._number(_FORMATS[kind], name)
            else:
                raise _Fault(f"the key {name[:80]!r} has the unknown type {kind}")
        return values

    def _array(self, name: str) -> None:
        kind, count = self._number("<I", name), self._number("<Q", name)
        if kind in _FORMATS:
            self._step(count * struct.calcsize(_FORMATS[kind]), name)
        elif kind == _STRING:
            if count * 8 > self._size - self._at:
                raise _Fault(f"the key {name[:80]!r} claims {count} texts, more than the file can hold")
            for _ in range(count):
                self._text(name)
        else:
            raise _Fault(f"the key {name[:80]!r} is a list of the unknown type {kind}")

    def _tensors(self, count: int, alignment: int) -> None:
        ends = list[tuple[str, int]]()
        for _ in range(count):
            name = self._text("a tensor").decode("utf-8", "replace")[:80]
            dimensions = self._number("<I", name)
            if not 0 < dimensions <= 4:
                raise _Fault(f"the tensor {name!r} has {dimensions} dimensions; 1 to 4 are possible")
            shape = [self._number("<Q", name) for _ in range(dimensions)]
            kind, offset = self._number("<I", name), self._number("<Q", name)
            weights, width = _BLOCKS.get(kind, (1, 0))
            total = 1
            for each in shape:
                total *= each
            if total == 0 or shape[0] % weights:
                raise _Fault(f"the tensor {name!r} has the shape {shape}, which its type cannot have")
            if offset % alignment:
                raise _Fault(f"the tensor {name!r} does not begin at a multiple of {alignment}")
            ends.append((name, offset + total // weights * width))
        start = -(-self._at // alignment) * alignment
        name, end = max(ends, key=lambda each: each[1])
        if start + end > self._size:
            raise _Fault(f"it is cut short: the tensor {name!r} ends at byte {start + end}, the file at {self._size}")

    def _text(self, what: str) -> bytes:
        length = self._number("<Q", what)
        if length > TEXT_LIMIT:
            raise _Fault(f"it claims a text of {length} bytes at {what[:80]!r}")
        start = self._at
        self._step(length, what)
        return self._data[start : self._at]

    def _number(self, form: str, what: str) -> int:
        start = self._at
        self._step(struct.calcsize(form), what)
        return struct.unpack_from(form, self._data, start)[0]

    def _step(self, count: int, what: str) -> None:
        if count > self._size - self._at:
            raise _Fault(f"its header is cut short at {what[:80]!r}")
        self._at += count


def _check_numbers(values: dict[str, object]) -> None:
    """Raises _Fault for a number that native code would stumble over."""
    name = values.get("general.architecture")
    if not isinstance(name, bytes) or not name:
        raise _Fault("it does not name its architecture")
    architecture = name.decode("utf-8", "replace")
    for each in _POSITIVE:
        number = values.get(f"{architecture}.{each}")
        if isinstance(number, int) and not 0 < number <= _NUMBER_LIMIT:
            raise _Fault(f"its {each} is {number}; allowed: 1 to {_NUMBER_LIMIT}")
