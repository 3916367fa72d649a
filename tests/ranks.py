"""Makes nanoide/models/nano.ranks out of the vocabulary of nanoide/models/nano.gguf.

Run `python -m tests.ranks` after the bundled model was replaced; tests/test_tokens.py holds the two together.
The file has a line per token, its bytes in base64 and its rank, as tiktoken reads it.
"""

import base64
import struct
from pathlib import Path
from typing import BinaryIO

from nanoide.paths import bundled_model

_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_CONTROL = 3
"""Token type of <|endoftext|> and its like; they never stand for text."""


def ranks(model: Path) -> bytes:
    """The ranks of a GGUF with a byte-level BPE: token ids in their order, without the control tokens."""
    metadata = _metadata(model)
    letters = {letter: byte for byte, letter in _letters().items()}
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list)
    assert isinstance(kinds, list)
    texts = [token for token, kind in zip(tokens, kinds, strict=True) if kind != _CONTROL]
    lines = [
        base64.b64encode(bytes(letters[letter] for letter in text)) + b" %d\n" % rank for rank, text in enumerate(texts)
    ]
    return b"".join(lines)


def _letters() -> dict[int, str]:
    """How GPT-2's tokenizer writes each byte as a letter that can be seen."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(rest)}


def _metadata(model: Path) -> dict[str, object]:
    with model.open("rb") as file:
        assert file.read(4) == b"GGUF", f"{model} is no GGUF"
        _, _, count = struct.unpack("<IQQ", file.read(20))
        return {str(_value(file, _STRING)): _value(file, _number(file, "I")) for _ in range(count)}


def _value(file: BinaryIO, kind: int) -> object:
    if kind == _STRING:
        return file.read(_number(file, "Q")).decode()
    if kind == _ARRAY:
        inner, count = _number(file, "I"), _number(file, "Q")
        return [_value(file, inner) for _ in range(count)]
    return _number(file, _FORMATS[kind])


def _number(file: BinaryIO, form: str) -> int:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]


if __name__ == "__main__":
    target = bundled_model().with_suffix(".ranks")
    target.write_bytes(ranks(bundled_model()))
