"""`uv run poe screenshots`: the pictures of the README and the docs, made by the real app over a real hub.

A small repository is made, sessions are opened and asked, and what the command center then shows is
exported as SVG into docs/screenshots/. Nothing is sent anywhere: the one remote backend is only asked about.
"""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot

from nanoide import settings, wire
from nanoide.client.asking import Asking
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.core.chat import Document
from nanoide.core.events import ConsentAsked
from nanoide.paths import Paths, locate
from nanoide.tui.app import CommandCenter, make

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "screenshots"
SIZE = (160, 45)

_FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)
"""Textual's picture would fetch its font from elsewhere; without it the reader's own monospace font is taken."""

CONFIG = """
[[backend]]
name = "sonnet"
kind = "anthropic"
base_url = "https://api.example.com"
model = "sonnet"
key = { env = "EXAMPLE_KEY" }
price = { input = "3", output = "15" }

[route.review]
ladder = ["sonnet", "reflex"]
egress = "ask"

[route.default]
ladder = ["nano", "reflex", "sonnet"]
"""


def main() -> None:
    """Make all pictures."""
    home = Path(tempfile.mkdtemp(prefix="nano-"))
    os.environ |= {"NANOIDE_HOME": str(home), "EXAMPLE_KEY": "not-a-key"}
    try:
        asyncio.run(_pictures(home / "acme"))
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _pictures(folder: Path) -> None:
    paths = locate()
    paths.prepare()
    _repository(folder)
    await _shoot(paths, folder, "welcome", _nothing)
    paths.config.write_text(CONFIG)
    async with await connect(paths, client="screenshots") as connection:
        while "sonnet" not in {line.name for line in await connection.call(wire.ListBackends())}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await _sessions(connection, folder)
        await _shoot(paths, folder, "deck", _settle)
        await _shoot(paths, folder, "usage", _press("u"))
        await _shoot(paths, folder, "help", _press("question_mark"))
        await _shoot(paths, folder, "palette", _press("ctrl+p"))
        await connection.call(wire.StopHub())
        async for _ in connection.notices():
            pass


def _repository(folder: Path) -> None:
    """Three commits of our own core, and a change at hand."""
    shutil.copytree(ROOT / "nanoide" / "core", folder / "core", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", "-C", str(folder)]
    subprocess.run([*git, "init", "-q", "-b", "feat/auth"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "feat: the core"], check=True)
    usage = folder / "core" / "usage.py"
    usage.write_text(
        usage.read_text() + '\n\ndef cents(nano: int) -> int:\n    """Whole cents."""\n    return nano // 10**7\n'
    )
    subprocess.run([*git, "add", "-A"], check=True)


async def _sessions(connection: Connection, folder: Path) -> None:
    where = str(folder)
    source = (folder / "core" / "policy.py").read_text()
    line = next(n for n, text in enumerate(source.split("\n")) if "return min(said" in text)
    document = Document(
        path="core/policy.py", text=source.replace("return min(said", "return "), line=line, character=11
    )
    file = (wire.Input(kind="file", label="core/policy.py"),)
    asks = [
        wire.Ask(skill="file-query", folder=where, text="where is money rounded?"),
        wire.Ask(skill="commit-message", folder=where),
        wire.Ask(skill="explain-code", folder=where, inputs=file),
        wire.Ask(skill="file-query", folder=where, text="who decides what leaves?", name="review", route="review"),
    ]
    for ask in asks:
        asking = await Asking.start(connection, ask)
        async for event in asking.events():
            if isinstance(event, ConsentAsked):
                break
    asking = await Asking.start(connection, wire.Ask(skill="inline-completion", folder=where, document=document))
    async for _ in asking.events():
        pass
    await connection.call(wire.HideSession(session=asking.asked.session.id))


async def _nothing(pilot: Pilot[int]) -> None:
    await pilot.pause(1.0)


async def _settle(pilot: Pilot[int]) -> None:
    await pilot.pause(1.0)
    await pilot.press("escape")
    await pilot.pause(0.3)


def _press(key: str) -> Callable[[Pilot[int]], Awaitable[None]]:
    async def act(pilot: Pilot[int]) -> None:
        await _settle(pilot)
        await pilot.press(key)
        await pilot.pause(0.7)

    return act


async def _shoot(paths: Paths, folder: Path, name: str, act: Callable[[Pilot[int]], Awaitable[None]]) -> None:
    async def link() -> Connection:
        return await connect(paths, client="tui")

    app: CommandCenter = make(link, paths, settings.load(paths.config), folder=str(folder))
    async with app.run_test(size=SIZE) as pilot:
        await act(pilot)
        picture = app.export_screenshot(title="nanoide")
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.svg").write_text(_FONT.sub("", picture))


if __name__ == "__main__":
    main()
