"""Variants of the bundled model, made by editing its header: with a chat template, under another name."""

import struct
from pathlib import Path

from nanoide.paths import bundled_model

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_HEADER = struct.Struct("<4sIQQ")
_STRING = 8
_ALIGNMENT = 32


def variant(path: Path, *, template: str = "", name: str = "") -> Path:
    """Write a copy to `path`; a `name` has as many bytes as the model's own."""
    data = bundled_model().read_bytes()
    if name:
        assert len(name) == len("nano-base")
        data = data.replace(b"nano-base", name.encode(), 1)
    if template:
        magic, version, tensors, keys = _HEADER.unpack_from(data)
        # The data section is aligned: what is put in front of it is a multiple of that.
        size = len(_entry(template))
        entry = _entry(template + "\n" * (-size % _ALIGNMENT))
        data = _HEADER.pack(magic, version, tensors, keys + 1) + entry + data[_HEADER.size :]
    path.write_bytes(data)
    return path


def _entry(template: str) -> bytes:
    return _string("tokenizer.chat_template") + struct.pack("<I", _STRING) + _string(template)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw
