"""Models make room for each other, and their memory goes back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from nanoide.backends import llama
from nanoide.backends.llama import LlamaBackend
from nanoide.backends.residency import OVERHEAD_BYTES, Residency
from nanoide.core.chat import End, Fill, Prompt, Waits
from nanoide.core.errors import BackendError
from nanoide.paths import bundled_model
from nanoide.settings import BackendTable

QUESTION = Prompt(fill=Fill(prefix="numbers = [1, 2, 3, "), max_output=4, temperature=0.0)

GIB = 1 << 30


class Sleeper:
    """A model that only says how large it is and how long it is idle."""

    def __init__(self, size: int, idle_s: float, free: list[int]) -> None:
        self.loaded = True
        self.memory_bytes = size
        self.idle_s = idle_s
        self._free = free

    async def unload(self) -> None:
        """Give the memory back."""
        await asyncio.sleep(0)
        self.loaded = False
        self._free[0] += self.memory_bytes


async def test_the_least_valuable_goes_first() -> None:
    """Room is made by what is large and long unused, as much as is needed, and never by one that is asked."""
    free = [2 * GIB]
    residency = Residency(memory=lambda: (free[0], 16 * GIB))
    busy, small, large, fresh = (
        Sleeper(8 * GIB, 0.0, free),
        Sleeper(GIB, 100.0, free),
        Sleeper(3 * GIB, 90.0, free),
        Sleeper(3 * GIB, 5.0, free),
    )
    for each in (busy, small, large, fresh):
        residency.join(each)
    new = Sleeper(0, 0.0, free)
    assert await residency.admit(new, 3 * GIB) == ""
    assert [each.loaded for each in (busy, small, large, fresh)] == [True, True, False, True]
    free[0] = 0
    await residency.relieve()
    assert [each.loaded for each in (busy, small, fresh)] == [True, False, False]
    for each in (busy, small, large, fresh, new):
        residency.leave(each)


async def test_what_can_never_fit_is_told_with_both_numbers() -> None:
    """A model larger than the machine, or than what is free, is refused before anything is started."""
    residency = Residency(memory=lambda: (4 * GIB, 8 * GIB))
    model = Sleeper(0, 0.0, [0])
    assert await residency.admit(model, 9 * GIB) == "the model needs about 9.8 GB; this machine has 8.6 GB"
    assert "4.3 GB of memory are free" in await residency.admit(model, 7 * GIB)
    residency.leave(model)


async def test_two_loads_at_once_count_together() -> None:
    """While one model loads, what it will take is not promised to another."""
    residency = Residency(memory=lambda: (4 * GIB, 64 * GIB))
    first, second = Sleeper(0, 0.0, [0]), Sleeper(0, 0.0, [0])
    assert await residency.admit(first, 3 * GIB) == ""
    assert "free" in await residency.admit(second, 3 * GIB)
    residency.arrived(first)
    assert await residency.admit(second, 3 * GIB) == ""
    residency.leave(first)
    residency.leave(second)


Make = Callable[..., LlamaBackend]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make backends of one residency that are closed at the end."""
    made = list[LlamaBackend]()

    def build(name: str, residency: Residency, **changes: object) -> LlamaBackend:
        table = BackendTable(name=name, kind="llama", model="nano")
        arguments = {"model": bundled_model(), "log": tmp_path / f"{name}.log", "unload_after_s": 0.0, **changes}
        made.append(LlamaBackend(table, residency=residency, **arguments))
        return made[-1]

    yield build
    for each in made:
        await each.aclose()


async def test_a_new_model_takes_the_place_of_an_idle_one(make: Make) -> None:
    """When memory is short the idle model's process ends before the new one starts; both answer in turn."""
    free = [OVERHEAD_BYTES * 3]
    residency = Residency(memory=lambda: (free[0], 64 * GIB))
    first, second = make("first", residency), make("second", residency)
    free[0] = 64 * GIB
    await first.warm()
    pid = first.health().pid
    assert pid is not None
    free[0] = OVERHEAD_BYTES * 2
    await second.warm()
    assert second.health().state == "ready"
    assert first.health().state == "asleep"
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert [chunk async for chunk in first.stream(QUESTION) if isinstance(chunk, End)]
    assert second.health().state == "asleep"


async def test_a_model_that_is_asked_stays(make: Make) -> None:
    """A stream that runs is never ended for another model, or for memory."""
    residency = Residency(memory=lambda: (OVERHEAD_BYTES * 2, 64 * GIB))
    backend = make("first", residency)
    stream = backend.stream(Prompt(fill=QUESTION.fill, max_output=200, temperature=1.5, seed=3))
    await anext(stream)
    await residency.relieve()
    assert backend.loaded
    assert [chunk async for chunk in stream if isinstance(chunk, End)]
    await residency.relieve()
    assert not backend.loaded


async def test_a_model_too_large_fails_its_turn_with_a_reason(make: Make) -> None:
    """A turn for a model that does not fit ends at once and says both numbers."""
    backend = make("huge", Residency(memory=lambda: (GIB, OVERHEAD_BYTES)))
    with pytest.raises(BackendError, match="the model needs about") as caught:
        await anext(backend.stream(QUESTION))
    assert caught.value.outcome == "unavailable"
    assert backend.health().state == "down"


async def test_a_turn_that_waits_for_a_load_hears_of_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the model is loaded the stream says so, and then it answers."""
    monkeypatch.setattr(llama, "TELL_S", 0.0)
    backend = make("first", Residency())
    chunks = [chunk async for chunk in backend.stream(QUESTION)]
    waits = [chunk.reason for chunk in chunks if isinstance(chunk, Waits)]
    assert waits
    assert any("loads the model" in each for each in waits)
    assert isinstance(chunks[-1], End)
