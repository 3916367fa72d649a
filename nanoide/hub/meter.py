"""What the hub and its children cost the machine."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


class Meter:
    """Processor time and memory of the hub and its children."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}

    def read(self, children: list[int]) -> tuple[float, int]:
        """Percent of one core since the last reading, and bytes held now."""
        import psutil

        percent, memory = 0.0, 0
        for pid in {os.getpid(), *children}:
            try:
                process = self._processes.get(pid) or psutil.Process(pid)
                self._processes[pid] = process
                percent += process.cpu_percent(None)
                memory += process.memory_info().rss
            except psutil.Error:
                self._processes.pop(pid, None)
        for gone in self._processes.keys() - {os.getpid(), *children}:
            del self._processes[gone]
        return round(percent, 1), memory
