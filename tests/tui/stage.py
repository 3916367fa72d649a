"""The app on a scripted hub, for the length of a test."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

from textual.events import Paste
from textual.pilot import Pilot

from nanoide.core.events import SessionId
from nanoide.settings import UiTable
from nanoide.tui.app import CommandCenter
from tests.tui.scenes import app_for, cockpit, ledger, skills
from tests.tui.scripted_hub import ScriptedHub


class Stage:
    """The hub, the app, and a hand on its keys."""

    def __init__(self, hub: ScriptedHub, app: CommandCenter, pilot: Pilot[int], home: Path) -> None:
        self.hub = hub
        self.app = app
        self.pilot = pilot
        self.home = home

    async def press(self, *keys: str) -> None:
        """Press keys, and let them have their effect."""
        await self.pilot.press(*keys)

    async def write(self, text: str) -> None:
        """Write a text, all at once."""
        self.app.post_message(Paste(text))
        await self.pilot.pause()

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait until something holds on the screen."""
        async with asyncio.timeout(15):
            while not holds():  # noqa: ASYNC110 - a screen tells nobody that it has changed
                await asyncio.sleep(0.002)

    async def settled(self) -> None:
        """Wait until the app is attached, and hears from what is on screen."""
        await self.until(lambda: self.app.feed.attached and self.hub.watched() == set(self.app.deck.visible_sessions))
        await self.pilot.pause()

    async def read_mode(self) -> None:
        """Leave the composer, so that letters are keys."""
        if self.app.deck.pane is not None:
            await self.until(lambda: self.app.deck.pane is not None and self.app.deck.pane.focused)
            self.app.deck.pane.read()
            await self.pilot.pause()

    async def go(self, number: int) -> None:
        """Go to a session, and leave its composer."""
        self.app.visit(SessionId(f"s{number}"))
        await self.until(lambda: self.app.deck.current == f"s{number}" and self.app.deck.pane is not None)
        await self.read_mode()

    def text(self) -> str:
        """What is on screen, without styles."""
        return "\n".join(
            "".join(segment.text for segment in line) for line in self.app.screen._compositor.render_strips()
        )


@asynccontextmanager
async def stage(
    *,
    scene: Callable[[ScriptedHub], None] = cockpit,
    size: tuple[int, int] = (112, 30),
    ui: UiTable | None = None,
    home: Path | None = None,
    hub: ScriptedHub | None = None,
    starting: bool = True,
) -> AsyncIterator[Stage]:
    """The app, attached and quiet."""
    folder = home or Path(tempfile.mkdtemp(prefix="nano-"))
    ours = hub is None
    hub = hub or ScriptedHub()
    if ours:
        skills(hub)
        ledger(hub)
        scene(hub)
    app = app_for(hub, folder, ui, starting=starting)
    try:
        async with app.run_test(size=size) as pilot:
            it = Stage(hub, app, pilot, folder)
            if starting:
                await it.settled()
            yield it
    finally:
        if ours:
            await hub.close()
        if home is None:
            rmtree(folder, ignore_errors=True)


def empty(hub: ScriptedHub) -> None:
    """No session at all."""
