"""A model made of dice: half a billion random weights in the llama shape, the same on every machine, no download.

Its words are all the four-letter words of the kind "bake", one token each with the space before it, so that a
prompt has exactly as many tokens as wanted. Only such words can come out (all other rows of the output are zero):
an answer never ends by itself, and read back as text it becomes the same tokens again.

Its twin that copies has the same shape and cost, but what it says is known: after each word the next one of `circle`.
"""

import itertools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

VOCABULARY = 32_000
WINDOW = 16_384
SEED = 20_261_121


@dataclass(frozen=True)
class Shape:
    """How large a model is."""

    width: int = 1024
    heads: int = 16
    heads_kv: int = 2
    layers: int = 24
    hidden: int = 4864
    copies: bool = False
    """True for the twin."""

    @property
    def tensors(self) -> Iterator[tuple[str, tuple[int, ...], int]]:
        """Name, shape (fastest dimension first) and type of each."""
        keys = self.width // self.heads * self.heads_kv
        yield "token_embd.weight", (self.width, VOCABULARY), _Q4_0
        yield "output_norm.weight", (self.width,), _PLAIN
        yield "output.weight", (self.width, VOCABULARY), _Q4_0
        for layer in range(self.layers):
            yield f"blk.{layer}.attn_norm.weight", (self.width,), _PLAIN
            yield f"blk.{layer}.attn_q.weight", (self.width, self.width), _Q4_0
            yield f"blk.{layer}.attn_k.weight", (self.width, keys), _Q4_0
            yield f"blk.{layer}.attn_v.weight", (self.width, keys), _Q4_0
            yield f"blk.{layer}.attn_output.weight", (self.width, self.width), _Q4_0
            yield f"blk.{layer}.ffn_norm.weight", (self.width,), _PLAIN
            yield f"blk.{layer}.ffn_gate.weight", (self.width, self.hidden), _Q4_0
            yield f"blk.{layer}.ffn_up.weight", (self.width, self.hidden), _Q4_0
            yield f"blk.{layer}.ffn_down.weight", (self.hidden, self.width), _Q4_0


HALF_BILLION = Shape()
"""480 million parameters, 272 MB."""

TOY = Shape(width=256, heads=4, heads_kv=2, layers=4, hidden=768)
"""For trying the benchmark itself."""

SPECIAL = (
    "<|endoftext|>",
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|im_start|>",
    "<|im_end|>",
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TAIL = "<|im_start|>assistant\n"

_ALIGNMENT = 32
_U32, _F32, _BOOL, _STRING, _ARRAY, _I32 = 4, 6, 7, 8, 9, 5
_PLAIN, _Q4_0 = 0, 2
_CONTROL, _UNUSED, _NORMAL = 3, 5, 1
_BLOCK = 32
_NIBBLE_STD = 4.32
"""Standard deviation of a uniform nibble from 1 to 15: what one unit of a block's scale is worth."""


def words() -> list[str]:
    """All words of the model, in the order of their tokens."""
    syllables = ["".join(pair) for pair in itertools.product("bcdfghjklmnpqrstvwxz", "aeiouy")]
    return ["".join(pair) for pair in itertools.product(syllables, repeat=2)]


def text(count: int, number: int) -> str:
    """Words of exactly `count` tokens, other ones for each number from the first word on."""
    known = words()
    dice = np.random.default_rng([SEED, number])
    picked = dice.integers(0, len(known), count)
    # Not left to chance: two texts differ in their very first token.
    picked[:1] = number % len(known)
    return "".join(f" {known[index]}" for index in picked)


def circle() -> list[str]:
    """All words in the order in which the model that copies says them, round and round."""
    known = words()
    return [known[index] for index in _circle()]


def made(folder: Path, shape: Shape) -> Path:
    """The model in `folder`, made when it is not there; that takes some seconds."""
    path = folder / f"{'copy' if shape.copies else 'dice'}-{shape.layers}x{shape.width}-{SEED}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        _write(unfinished, shape)
        unfinished.replace(path)
    return path


def _write(path: Path, shape: Shape) -> None:
    tensors = list(shape.tensors)
    keys = list(_metadata(shape))
    names = list[bytes]()
    offset = 0
    for name, sides, kind in tensors:
        names.append(
            _text(name) + struct.pack(f"<I{len(sides)}Q", len(sides), *sides) + struct.pack("<IQ", kind, offset)
        )
        offset += _padded(_size(sides, kind))
    with path.open("wb") as file:
        file.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys)) + b"".join(keys + names))
        file.write(b"\0" * (-file.tell() % _ALIGNMENT))
        for number, (name, sides, kind) in enumerate(tensors):
            data = _ones(sides) if kind == _PLAIN else _random(name, sides, number, shape)
            file.write(data + b"\0" * (_padded(len(data)) - len(data)))
        file.flush()
        os.fsync(file.fileno())


def _random(name: str, sides: tuple[int, ...], number: int, shape: Shape) -> bytes:
    """Blocks of 32 nibbles and their scale, so scaled that every layer's output is about one in size."""
    columns, rows = sides
    spread = 1.0 if name.startswith("token_embd") else 4.0 if name == "output.weight" else 1.0
    if "attn_output" in name or "ffn_down" in name:
        # In the twin the layers are computed and hardly heard: what counts is the last token.
        spread /= (2 * shape.layers) ** 0.5 * (16 if shape.copies else 1)
    fan = 1 if name.startswith("token_embd") else columns
    scale = np.float16(spread / (fan**0.5 * _NIBBLE_STD))
    blocks = np.empty((rows, columns // _BLOCK, 2 + _BLOCK // 2), np.uint8)
    # 0 is left out: the mean is then nothing, and no direction is common to all rows. With one, every answer is a word
    # that repeats for ever.
    nibbles = np.random.default_rng([SEED, number]).integers(1, 16, (*blocks.shape[:2], _BLOCK), np.uint8)
    blocks[..., 2:] = nibbles[..., ::2] | nibbles[..., 1::2] << 4
    blocks[..., :2] = np.frombuffer(scale.tobytes(), np.uint8)
    if name == "output.weight" and shape.copies:
        # The row of a word is the embedding of the one before it.
        twin = np.frombuffer(_random("token_embd.weight", sides, 0, shape), np.uint8).reshape(blocks.shape)
        order = _first_spoken() + _circle()
        blocks[np.roll(order, -1), :, 2:] = twin[order, :, 2:]
    if name == "output.weight":
        spoken = np.zeros(rows, bool)
        spoken[_first_spoken() :][: len(words())] = True
        blocks[~spoken, :, :2] = 0
    return blocks.tobytes()


def _circle() -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.random.default_rng([SEED, 1_000]).permutation(len(words()))


def _ones(sides: tuple[int, ...]) -> bytes:
    return np.ones(sides, np.float32).tobytes()


def _size(sides: tuple[int, ...], kind: int) -> int:
    count = int(np.prod(sides))
    return count * 4 if kind == _PLAIN else count // _BLOCK * (2 + _BLOCK // 2)


def _padded(size: int) -> int:
    return size + -size % _ALIGNMENT


def _first_spoken() -> int:
    """The token of the first word with its space."""
    return len(SPECIAL) + 256 + 120 + len(words())


def _vocabulary() -> tuple[list[str], list[str], list[int]]:
    """Tokens, merges and the kinds of the tokens."""
    syllables = list(dict.fromkeys(word[:2] for word in words()))
    tokens = [*SPECIAL, *_bytes(), *syllables, *words(), *(f"Ġ{word}" for word in words())]
    merges = [f"{each[0]} {each[1]}" for each in syllables]
    merges += [f"{word[:2]} {word[2:]}" for word in words()]
    merges += [f"Ġ {word}" for word in words()]
    kinds = [_CONTROL] * len(SPECIAL) + [_NORMAL] * (len(tokens) - len(SPECIAL))
    unused = VOCABULARY - len(tokens)
    tokens += [f"<unused{number}>" for number in range(unused)]
    return tokens, merges, kinds + [_UNUSED] * unused


def _bytes() -> list[str]:
    """All bytes as the letters that byte-level vocabularies write for them."""
    plain = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = itertools.count(256)
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


def _metadata(shape: Shape) -> Iterator[bytes]:
    tokens, merges, kinds = _vocabulary()
    yield _key("general.architecture", _STRING, _text("llama"))
    yield _key("general.name", _STRING, _text("dice"))
    for name, value in (
        ("context_length", WINDOW),
        ("embedding_length", shape.width),
        ("block_count", shape.layers),
        ("feed_forward_length", shape.hidden),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.heads_kv),
        ("rope.dimension_count", shape.width // shape.heads),
        ("vocab_size", VOCABULARY),
    ):
        yield _key(f"llama.{name}", _U32, struct.pack("<I", value))
    yield _key("llama.attention.layer_norm_rms_epsilon", _F32, struct.pack("<f", 1e-6))
    yield _key("llama.rope.freq_base", _F32, struct.pack("<f", 10_000.0))
    yield _key("tokenizer.ggml.model", _STRING, _text("gpt2"))
    yield _key("tokenizer.ggml.pre", _STRING, _text("qwen2"))
    yield _key("tokenizer.ggml.tokens", _ARRAY, _texts(tokens))
    yield _key("tokenizer.ggml.merges", _ARRAY, _texts(merges))
    yield _key(
        "tokenizer.ggml.token_type", _ARRAY, struct.pack("<IQ", _I32, len(kinds)) + np.array(kinds, "<i4").tobytes()
    )
    for name, token in (
        ("bos", "<|endoftext|>"),
        ("eos", "<|endoftext|>"),
        ("eot", "<|im_end|>"),
        ("padding", "<|endoftext|>"),
        ("fim_pre", "<|fim_prefix|>"),
        ("fim_suf", "<|fim_suffix|>"),
        ("fim_mid", "<|fim_middle|>"),
    ):
        yield _key(f"tokenizer.ggml.{name}_token_id", _U32, struct.pack("<I", SPECIAL.index(token)))
    yield _key("tokenizer.ggml.add_bos_token", _BOOL, b"\0")
    yield _key("tokenizer.chat_template", _STRING, _text(TEMPLATE))


def _key(name: str, kind: int, value: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _texts(texts: list[str]) -> bytes:
    return struct.pack("<IQ", _STRING, len(texts)) + b"".join(map(_text, texts))
