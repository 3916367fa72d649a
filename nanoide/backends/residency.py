"""Which models stay in memory: room is made for the one that is asked, by those that nobody asks.

Each model is a process of its own, so that what is given up really goes back to the system.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

LOOK_S = 5.0
"""Seconds between two looks at the machine's memory while a model is loaded."""

RESERVE = 0.05
"""Part of the machine's memory that is to stay free; with less idle models are ended."""

RESERVE_BYTES = 256 * 1024 * 1024
"""At least so much of it."""

OVERHEAD_BYTES = 128 * 1024 * 1024
"""What an engine takes beside its model file: the interpreter, the library, the cache of a small model."""

_ENOUGH = 0.6
"""A load is tried when so much of what it needs is free: the file is mapped, not all of it is touched at once."""


class Resident(Protocol):
    """A model that may be in memory."""

    @property
    def loaded(self) -> bool:
        """True while its process runs."""
        ...

    @property
    def idle_s(self) -> float:
        """Seconds since it was last asked; 0 while it is being asked."""
        ...

    @property
    def memory_bytes(self) -> int:
        """What it holds."""
        ...

    async def unload(self) -> None:
        """End its process, unless it is being asked; returns when the memory is back."""
        ...


def machine() -> tuple[int, int]:
    """Bytes that are available, and bytes that there are."""
    import psutil

    memory = psutil.virtual_memory()
    return memory.available, memory.total


class Residency:
    """All models of one hub."""

    def __init__(
        self, *, memory: Callable[[], tuple[int, int]] = machine, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`memory` says what is available and what there is, in bytes."""
        self.clock = clock
        self._memory = memory
        self._residents = list[Resident]()
        self._promised: dict[int, int] = {}
        self._order = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None

    def join(self, resident: Resident) -> None:
        """From now on its memory counts."""
        if resident not in self._residents:
            self._residents.append(resident)

    def leave(self, resident: Resident) -> None:
        """It does not count any more."""
        if resident in self._residents:
            self._residents.remove(resident)
        self._promised.pop(id(resident), None)
        if not self._residents and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def admit(self, resident: Resident, size: int) -> str:
        """Make room for a model file of `size` bytes. Why it cannot be loaded, as a phrase; empty when it can.

        Say `arrived` when the load is over, however it ended.
        """
        need = size + OVERHEAD_BYTES
        async with self._order:
            available, total = self._memory()
            if need > total:
                return f"the model needs about {_gb(need)}; this machine has {_gb(total)}"
            self.join(resident)
            await self._make(need + self._spare(total), but=resident)
            available = self._memory()[0] - sum(self._promised.values())
            if available < need * _ENOUGH:
                return f"the model needs about {_gb(need)}; {_gb(max(0, available))} of memory are free"
            self._promised[id(resident)] = need
            return ""

    def arrived(self, resident: Resident) -> None:
        """The load is over: what it took is taken."""
        self._promised.pop(id(resident), None)
        if resident in self._residents:
            self._look_later()

    async def relieve(self) -> None:
        """End idle models while the machine is short of memory, the least valuable first."""
        async with self._order:
            await self._make(self._spare(self._memory()[1]), but=None)

    async def _make(self, need: int, but: Resident | None) -> None:
        tried = {id(but)}
        while self._memory()[0] - sum(self._promised.values()) < need:
            idle = [each for each in self._residents if id(each) not in tried and each.loaded and each.idle_s > 0]
            if not idle:
                return
            # Long unused and large: what is gained by it, times how little it is missed.
            least = max(idle, key=lambda each: each.idle_s * max(1, each.memory_bytes))
            tried.add(id(least))
            await least.unload()

    def _spare(self, total: int) -> int:
        return min(max(RESERVE_BYTES, int(total * RESERVE)), total // 4)

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        if not any(each.loaded for each in self._residents):
            return  # the next load begins to look again
        if self._looking is None or self._looking.done():
            available, total = self._memory()
            if available < self._spare(total):
                self._looking = asyncio.create_task(self.relieve(), name="relieve memory")
        self._look_later()


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
