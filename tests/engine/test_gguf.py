"""A model file's header, told before native code reads it."""

import random
import struct
from pathlib import Path

import pytest

from nanoide.engine.gguf import fault
from nanoide.paths import bundled_model
from tests.engine.gguf import CHATML, variant

DATA = bundled_model().read_bytes()


def told(path: Path, data: bytes) -> str:
    """What is said of a file with this content."""
    path.write_bytes(data)
    return fault(path)


def test_a_whole_model_has_no_fault(tmp_path: Path) -> None:
    """The bundled model and one with a template are sound."""
    assert fault(bundled_model()) == ""
    assert fault(variant(tmp_path / "chat.gguf", template=CHATML)) == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes"),
        (b"PK\x03\x04" + bytes(40), "first bytes"),
        (b"GGUF" + struct.pack("<IQQ", 9, 1, 1), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), "which no model has"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 1 << 60), "claims a text"),
        (DATA[:5000], "more than the file can hold"),
        (DATA[:100], "cut short"),
        (DATA[:-1000], "cut short: the tensor"),
        (DATA.replace(b"llama.block_count\x04\x00\x00\x00", b"llama.block_count\x05\x00\x00\x00", 1)[:-4], "cut short"),
    ],
    ids=["empty", "zip", "version", "tensors", "text", "header", "start", "weights", "end"],
)
def test_what_is_wrong_is_said(tmp_path: Path, data: bytes, said: str) -> None:
    """Each fault has words of its own, and the file's numbers where they help."""
    assert said in told(tmp_path / "bad.gguf", data)


def test_a_number_to_divide_by_is_not_zero(tmp_path: Path) -> None:
    """A model of no heads is refused before anything divides by them."""
    key = next(each for each in (b".attention.head_count",) if each in DATA)
    at = DATA.index(key) + len(key) + 4
    assert "head_count is 0" in told(tmp_path / "bad.gguf", DATA[:at] + bytes(4) + DATA[at + 4 :])


def test_no_mutation_is_an_accident(tmp_path: Path) -> None:
    """Whatever the bytes are, there is an answer in words or none, never an exception."""
    dice = random.Random(7)
    for _ in range(200):
        data = bytearray(DATA[: dice.choice([dice.randrange(100_000), 100_000])])
        for _ in range(dice.choice([1, 3, 30])):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        assert told(tmp_path / "bad.gguf", bytes(data))
