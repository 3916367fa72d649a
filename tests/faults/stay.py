"""`python -m tests.faults.stay N`: so many turns under local-only while the engine of this machine is dead.

Run below a tracer of system calls. It says what came of the turns; the tracer says what was sent.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from nanoide.backends.base import Backend
from nanoide.backends.engine_life import CRASHES
from nanoide.backends.llama import LlamaBackend
from nanoide.backends.openai import OpenAIBackend
from nanoide.core.chat import Fill, Message, Prompt
from nanoide.core.errors import NanoideError
from nanoide.paths import bundled_model
from nanoide.settings import BackendTable
from tests.backends.servers import closed_port
from tests.routing.rig import Rig

QUESTION = Prompt(messages=(Message("user", "why?"),), fill=Fill(prefix="x = "), priority="completion")
"""At the cursor nobody waits for a backend that rests: a thousand turns are soon over."""

FAR = (
    ("named", "https://models.example/v1"),
    ("numbered", "http://192.0.2.7:8000/v1"),
    ("neighbour", "http://192.168.77.7:8000/v1"),
)


async def run(turns: int, folder: Path) -> Counter[str]:
    """What came of the turns, by the error's name. Gives up by itself: whoever kills the tracer leaves us alive."""
    async with asyncio.timeout(100):
        return await _run(turns, folder)


async def _run(turns: int, folder: Path) -> Counter[str]:
    engine = LlamaBackend(
        BackendTable(name="nano", kind="llama", model="nano"),
        model=bundled_model(),
        log=folder / "engine.log",
        unload_after_s=0.0,
    )
    near = BackendTable(name="near", kind="openai", base_url=f"http://127.0.0.1:{await closed_port()}/v1", model="m")
    tables = [near, *(BackendTable(name=name, kind="openai", base_url=url, model="m") for name, url in FAR)]
    others: list[Backend] = [OpenAIBackend(table, lambda: "") for table in tables]
    rig = Rig(engine, *others, tables=tables, egress="local-only")
    try:
        for _ in range(CRASHES):  # so often that it is left alone for a while
            await engine.warm()
            pid = engine.health().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            while engine.health().state == "ready":  # noqa: ASYNC110 - a process tells no event of its end
                await asyncio.sleep(0.01)
        came: Counter[str] = Counter()
        for number in range(turns):
            try:
                await rig.ask(QUESTION, backend=FAR[number % 3][0] if number % 2 else "")
            except NanoideError as error:
                came[type(error).__name__] += 1
            else:
                came["answered"] += 1
        await rig.router.probe()  # nor does looking how they are
        return came
    finally:
        await rig.router.aclose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="nano-stay-") as home:
        told = asyncio.run(run(int(sys.argv[1]), Path(home)))
    sys.stdout.write(msgspec.json.encode(told).decode())
