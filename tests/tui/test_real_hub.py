"""The command center on the real hub: open, ask, hide, detach, come back; and a hub that is killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from nanoide.client.launch import connect
from nanoide.paths import Paths
from nanoide.settings import Settings
from nanoide.tui.app import CommandCenter, make
from nanoide.tui.feed import Link


@asynccontextmanager
async def running(paths: Paths, folder: Path) -> AsyncIterator[tuple[CommandCenter, Pilot[int]]]:
    """The app as `run` makes it, on the hub of this home."""

    async def link() -> Link:
        return await connect(paths, client="tui")

    paths.prepare()
    app = make(link, paths, Settings(), folder=str(folder))
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.feed.attached and app.skills)
        yield app, pilot


async def until(pilot: Pilot[int], holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(30):
        while not holds():
            await pilot.pause(0.01)


async def ask(app: CommandCenter, pilot: Pilot[int], skill: str, text: str) -> None:
    """Open a session by key and ask in it."""
    before = len(app.feed.sessions)
    await pilot.press("alt+n", *skill, "enter")
    await until(pilot, lambda: len(app.feed.sessions) == before + 1 and len(app.screen_stack) == 1)
    await until(pilot, lambda: app.deck.pane is not None and app.deck.pane.session.number == before + 1)
    await until(pilot, lambda: app.deck.pane is not None and app.deck.pane.composer.has_focus)
    await pilot.press(*text, "enter")
    await until(pilot, lambda: app.deck.pane is not None and app.deck.pane.session.turns)
    await until(pilot, lambda: app.deck.pane is not None and app.deck.pane.session.turns[-1].state == "done")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with something to ask about."""
    (tmp_path / "tokens.py").write_text('def refresh():\n    """Renew the token before it ends."""\n')
    return tmp_path


@pytest.mark.long
async def test_a_working_day(paths: Paths, project: Path) -> None:
    """Two sessions answer, one is hidden, a draft is begun; after detaching all of it is there again."""
    async with running(paths, project) as (app, pilot):
        await ask(app, pilot, "file", "refresh")
        await ask(app, pilot, "explain", "tokens.py")
        pane = app.deck.pane
        assert pane is not None
        turn = pane.session.turns[-1]
        assert "refresh" in turn.text
        assert turn.backend
        await pilot.press("alt+1")
        await until(pilot, lambda: app.deck.pane is not None and app.deck.pane.session.number == 1)
        assert "tokens.py" in app.deck.pane.session.turns[-1].text if app.deck.pane else False
        await pilot.press("alt+h")
        await until(pilot, lambda: len(app.deck.members) == 1)
        await until(pilot, lambda: app.deck.pane is not None and app.deck.pane.composer.has_focus)
        await pilot.press(*"more", "ctrl+d")
        await until(pilot, lambda: app.return_code == 0)
    async with running(paths, project) as (app, pilot):
        assert len(app.feed.sessions) == 2
        assert len(app.deck.members) == 1
        await until(pilot, lambda: app.deck.pane is not None and app.deck.pane.composer.text == "more")
        await until(pilot, lambda: app.deck.pane is not None and app.deck.pane.session.turns)


@pytest.mark.long
async def test_a_killed_hub_is_started_again_and_nothing_is_lost(paths: Paths, project: Path) -> None:
    """The app notices, starts another hub, and shows what was acknowledged."""
    async with running(paths, project) as (app, pilot):
        await ask(app, pilot, "file", "refresh")
        first = app.feed.status.pid
        os.kill(first, signal.SIGKILL)
        await until(pilot, lambda: app.feed.attached and app.feed.status.pid not in {0, first})
        await until(pilot, lambda: app.deck.pane is not None and app.deck.pane.session.turns)
        pane = app.deck.pane
        assert pane is not None
        assert pane.session.turns[-1].asked == "refresh"
        assert pane.session.turns[-1].text


@pytest.mark.long
async def test_what_is_found_is_set_up_with_two_keys(paths: Paths, project: Path) -> None:
    """The welcome offers it, the lines are shown and then written, and the welcome names the new backend."""
    (project / "models").mkdir()
    (project / "models" / "own.gguf").write_bytes(b"GGUF" + bytes(100))
    async with running(paths, project) as (app, pilot):
        await until(pilot, lambda: any(each.title == "own.gguf" for each in app.offers))
        await pilot.press("o")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        place = next(place for place, each in enumerate(app.offers) if each.title == "own.gguf")
        await pilot.press(*["j"] * place)
        if not app.offers[place].usual:
            await pilot.press("space")
        shown = app.screen.query_one("#setup-lines", Static)
        await until(pilot, lambda: "own.gguf" in str(shown.content))
        assert not paths.config.exists()
        await pilot.press("enter")
        await until(pilot, lambda: any(each.name == "own" for each in app.backends))
        assert len(app.screen_stack) == 1
        assert f'model = "{project / "models" / "own.gguf"}"' in paths.config.read_text()
