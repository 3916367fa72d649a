"""The main screens as pictures: three themes, two sizes. `pytest --snapshot-update` takes them anew."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from nanoide import wire
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
                await on.until(lambda: "nothing has left" in " ".join(on.text().split()))
                await on.until(lambda: not hub.offers or "set up what was found" in on.text())
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


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_brownout_and_what_was_found(looks: Callable[..., bool], size: tuple[int, int]) -> None:
    """Whose fault it is and when that is tried again; and what this machine offers."""

    def short(hub: ScriptedHub) -> None:
        hub.status = replace(
            hub.status,
            mode="degraded",
            mode_reason="sonnet: no connection to api.example",
            mode_backend="sonnet",
            next_probe_s=12.0,
        )
        hub.offers = (
            wire.Offer("ollama", "server", "Ollama at 127.0.0.1:11434", "qwen3:8b, llama3.2", "ollama", True),
            wire.Offer("coder", "file", "coder-1b.gguf", "812 MB in /home/ada/models", "coder", False),
            wire.Offer("anthropic", "key", "Anthropic", "its key is in ANTHROPIC_API_KEY", "anthropic", True),
        )

    assert looks(size=size, scene=short)


def test_without_unicode(looks: Callable[..., bool]) -> None:
    """ASCII glyphs and borders."""
    assert looks(size=NARROW, ascii=True)
