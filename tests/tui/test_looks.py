"""The main screens as pictures: three themes, two sizes. `pytest --snapshot-update` takes them anew."""

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from nanoide.settings import UiTable
from tests.tui.scenes import app_for, cockpit, ledger, skills
from tests.tui.scripted_hub import ScriptedHub
from tests.tui.stage import Stage, empty

WIDE = (160, 45)
NARROW = (80, 24)

Compare = Callable[..., bool]


@pytest.fixture
def looks(snap_compare: Compare, home: Path) -> Callable[..., bool]:
    """Compare the app, attached and after some keys, with its picture."""

    def compare(
        *keys: str,
        size: tuple[int, int],
        theme: str = "dusk",
        scene: Callable[[ScriptedHub], None] = cockpit,
        ascii: bool = False,
    ) -> bool:
        hub = ScriptedHub()
        hub.once = True
        skills(hub)
        ledger(hub)
        scene(hub)
        app = app_for(hub, home, UiTable(theme=theme, ascii=ascii))

        async def before(pilot: Pilot[int]) -> None:
            on = Stage(hub, app, pilot, home)
            await on.settled()
            if scene is cockpit:
                await on.until(lambda: app.deck.pane is not None and app.deck.pane.composer.has_focus)
                await on.until(lambda: "idle" in str(app.deck.pane and app.deck.pane.border_title))
            else:
                await on.until(lambda: "nothing has left" in on.text())
            for key in keys:
                await on.press(key)
            if "u" in keys:
                await on.until(lambda: "inline-completion" in on.text())
            await pilot.pause()

        return snap_compare(app, terminal_size=size, run_before=before)

    return compare


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("theme", ["dusk", "paper", "contrast"])
def test_the_deck(looks: Callable[..., bool], theme: str, size: tuple[int, int]) -> None:
    """Four panes and the sidebar: done, streaming, code, a question."""
    assert looks(size=size, theme=theme)


@pytest.mark.parametrize(
    "keys", [("alt+7",), ("alt+z",), ("ctrl+p",), ("ctrl+x",), ("f1",), ("escape", "u"), ("alt+n",)], ids="-".join
)
def test_the_other_screens(looks: Callable[..., bool], keys: tuple[str, ...]) -> None:
    """A question with the focus, a zoomed pane, palette, leader, help, usage, skills."""
    assert looks(*keys, size=WIDE)


def test_the_welcome(looks: Callable[..., bool]) -> None:
    """What works before there is any session."""
    assert looks(size=WIDE, scene=empty)


def test_without_unicode(looks: Callable[..., bool]) -> None:
    """ASCII glyphs and borders."""
    assert looks(size=NARROW, ascii=True)
