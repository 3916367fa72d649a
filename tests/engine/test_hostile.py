"""Model files that lie, in front of the real engine process: a clear line or a crash of its own, never a hang."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from nanoide.backends.llama import LlamaBackend
from nanoide.core.chat import End, Fill, Message, Prompt
from nanoide.core.errors import BackendError
from nanoide.paths import bundled_model
from nanoide.settings import BackendTable
from tests.engine.gguf import CHATML, variant

MUTATIONS = 200
AT_ONCE = 4
LIMIT_S = 40.0
"""A load of the bundled model and a few tokens take a second; beyond this it hangs."""

HUGE = (2**63 - 1, 2**64 - 1, 2**32, 2**31, 10**9, 0)
"""What a length may pretend to be."""

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9

Make = Callable[..., LlamaBackend]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make backends over a file; closed at the end."""
    made = list[LlamaBackend]()

    def build(model: Path) -> LlamaBackend:
        table = BackendTable(name="other", kind="llama", model=str(model), threads=1)
        made.append(LlamaBackend(table, model=model, log=tmp_path / "engine.log", unload_after_s=0.0))
        return made[-1]

    yield build
    for each in made:
        await each.aclose()


class Lengths:
    """Where the header of the bundled model says how long something is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.places = [8, 16]
        """Offsets of 64-bit numbers: counts, lengths, dimensions, offsets."""
        at = 24
        tensors, keys = struct.unpack_from("<QQ", data, 8)
        for _ in range(keys):
            at = self._skip_string(at)
            (kind,) = struct.unpack_from("<I", data, at)
            at = self._skip(kind, at + 4)
        for _ in range(tensors):
            at = self._skip_string(at)
            (count,) = struct.unpack_from("<I", data, at)
            self.places += [at + 4 + 8 * each for each in range(count)] + [at + 8 + 8 * count]
            at += 16 + 8 * count
        self.end = at

    def _skip(self, kind: int, at: int) -> int:
        if kind == _STRING:
            return self._skip_string(at)
        if kind != _ARRAY:
            return at + _SIZES[kind]
        inner, count = struct.unpack_from("<IQ", self._data, at)
        self.places.append(at + 4)
        at += 12
        if inner != _STRING:
            return at + count * _SIZES[inner]
        for _ in range(count):
            (length,) = struct.unpack_from("<Q", self._data, at)
            at += 8 + length
        return at

    def _skip_string(self, at: int) -> int:
        (length,) = struct.unpack_from("<Q", self._data, at)
        self.places.append(at)
        return at + 8 + length


def mutated(number: int, data: bytes, lengths: Lengths) -> bytes:
    """The bundled model, damaged: cut, with flipped bits, with lengths that lie, in turns."""
    dice = random.Random(number)
    kind = number % 4
    if kind == 0:
        return data[: dice.randrange(1, len(data) if dice.random() < 0.5 else lengths.end)]
    damaged = bytearray(data)
    if kind == 3:
        struct.pack_into("<Q", damaged, dice.choice(lengths.places), dice.choice(HUGE))
        return bytes(damaged)
    # Half of them in the first kilobytes, where the shape of the model stands, half anywhere in the header.
    end = 2_048 if kind == 1 else lengths.end
    for _ in range(dice.randrange(1, 9)):
        damaged[dice.randrange(4, end)] ^= 1 << dice.randrange(8)
    return bytes(damaged)


async def tried(backend: LlamaBackend) -> tuple[str, str]:
    """Ask for a few tokens: the outcome and its line, "ok" when there is an answer. Raises TimeoutError at a hang."""
    prompt = Prompt(fill=Fill("def add(a, b):\n    return "), messages=(Message("user", "hello"),), max_output=4)
    try:
        async with asyncio.timeout(LIMIT_S):
            async for chunk in backend.stream(prompt):
                if isinstance(chunk, End):
                    return "ok", ""
    except BackendError as error:
        return error.outcome, error.message
    raise AssertionError("the stream ended without its End")


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_no_damaged_file_hangs_or_harms(make: Make, tmp_path: Path) -> None:
    """Two hundred damaged files: each is refused with a line, crashes its own process, or works."""
    data = bundled_model().read_bytes()
    lengths = Lengths(data)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> tuple[str, str]:
        async with gate:
            path = tmp_path / f"{number}.gguf"
            path.write_bytes(mutated(number, data, lengths))
            backend = make(path)
            try:
                return await tried(backend)
            except TimeoutError:
                return "hangs", f"mutation {number}"
            finally:
                await backend.aclose()
                path.unlink()

    ends = await asyncio.gather(*(one(number) for number in range(MUTATIONS)))
    outcomes = [outcome for outcome, _ in ends]
    told = {each: outcomes.count(each) for each in outcomes}
    lines = [line for outcome, line in ends if outcome != "ok"]
    assert all(len(line) > 20 and "Traceback" not in line and "\n" not in line for line in lines), lines
    assert set(told) <= {"unavailable", "crashed", "server_error", "bad_request", "context", "ok"}, told
    assert told["unavailable"] >= MUTATIONS // 3, "every file that was cut is refused in words"
    assert told.get("crashed", 0) <= MUTATIONS // 10, f"the header is read before native code does: {told}"


async def test_a_model_larger_than_memory_is_told(make: Make, tmp_path: Path) -> None:
    """A file that no memory here can hold is refused with both sizes, before anything is started."""
    path = tmp_path / "vast.gguf"
    path.write_bytes(bundled_model().read_bytes())
    with path.open("r+b") as file:
        file.truncate(psutil.virtual_memory().total * 4)
    backend = make(path)
    with pytest.raises(BackendError, match=r"needs about .*GB; this machine has .*GB") as caught:
        async for _ in backend.stream(Prompt(fill=Fill("a = "), max_output=1)):
            pass
    assert caught.value.outcome == "unavailable"
    assert backend.health().state == "down"
    assert "GB" in backend.health().reason


async def test_a_prompt_longer_than_the_window_says_both_numbers(make: Make, tmp_path: Path) -> None:
    """It is refused whole with its length and the window's, never cut; the next turn is answered."""
    backend = make(variant(tmp_path / "chat.gguf", template=CHATML))
    long = Prompt(messages=(Message("user", "word " * 5_000),), max_output=4)
    with pytest.raises(BackendError, match=r"the prompt has \d{4,} tokens; the window has 2048") as caught:
        async for _ in backend.stream(long):
            pass
    assert caught.value.outcome == "context"
    assert (await tried(backend))[0] == "ok"
