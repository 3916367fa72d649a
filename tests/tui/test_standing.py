"""The mode in the status line: where it always stands, counting down, and told once when it changes."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from nanoide import wire
from nanoide.tui.standing import room, standing, turned
from nanoide.tui.wording import UNICODE
from tests.tui.scripted_hub import NOW, ScriptedHub
from tests.tui.stage import Stage, empty, stage

WELL = wire.HubStatus(tokens_per_min=2_520, today_nano=180_000_000)
SHORT = wire.HubStatus(
    tokens_per_min=7,
    mode="degraded",
    mode_reason="sonnet: no connection",
    mode_backend="sonnet",
    mode_since=NOW,
    next_probe_s=12.0,
)


@pytest.mark.parametrize(
    ("width", "left", "told"),
    [
        (160, 12.0, f"◐ degraded since {NOW.astimezone():%H:%M} · sonnet: no connection · tried again in 12 s"),
        (120, 9.0, f"◐ degraded since {NOW.astimezone():%H:%M} · sonnet · tried again in  9 s"),
        (80, 9.0, "◐ degraded · sonnet ·  9 s"),
        (160, 0.0, f"◐ degraded since {NOW.astimezone():%H:%M} · sonnet: no connection · tried by the next question"),
        (80, None, "◐ degraded · sonnet"),
        (160, 600.0, f"◐ degraded since {NOW.astimezone():%H:%M} · sonnet: no connection · tried again in 10 min"),
    ],
)
def test_as_much_is_told_as_there_is_room_for(width: int, left: float | None, told: str) -> None:
    """By the width of the line alone, so that nothing comes and goes with the figures."""
    assert standing(SHORT, left, width, UNICODE).plain == told


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (WELL, SHORT, "degraded: sonnet: no connection"),
        (SHORT, replace(SHORT, next_probe_s=3.0), ""),
        (SHORT, WELL, "sonnet is back: full"),
        (SHORT, replace(SHORT, mode="reflex only"), "reflex only: sonnet: no connection"),
        (WELL, replace(WELL, mode="local only", mode_reason="by choice"), "local only: by choice"),
    ],
)
def test_a_change_of_mode_is_one_line(before: wire.HubStatus, after: wire.HubStatus, told: str) -> None:
    """What happened to whom; a countdown is no change."""
    assert turned(before, after) == told


async def test_the_mode_has_a_place_of_its_own_and_counts_down() -> None:
    """Neither figures nor seconds move it, and the last line tells once that it changed."""
    async with stage(scene=_with(SHORT), size=(160, 30)) as on:
        await on.until(lambda: "tried again in 12 s" in on.text())
        assert on.app.hints.complaint == ""
        place = _line(on).index("degraded")
        on.hub.say(replace(SHORT, tokens_per_min=1_234_567, today_nano=99_000_000_000))
        await on.until(lambda: "1,234,567" in on.text())
        assert _line(on).index("degraded") == place
        on.app.status._clock = lambda: NOW + timedelta(seconds=4)  # pyright: ignore[reportPrivateUsage]
        on.app.status.tick()
        await on.until(lambda: "tried again in  8 s" in on.text())
        assert _line(on).index("degraded") == place
        on.hub.say(WELL)
        await on.until(lambda: on.app.hints.complaint == "sonnet is back: full")
        assert _line(on).index("full") == place
        await on.press("end")
        on.hub.say(replace(WELL, tokens_per_min=1))
        await on.until(lambda: "1 tok/min" in _line(on))
        assert on.app.hints.complaint == ""


@pytest.mark.parametrize("width", [20, 60, 80, 119, 120, 139, 140, 200])
def test_the_longest_standing_has_room(width: int) -> None:
    """Whatever is wrong with whom, so that nothing before it has to give way."""
    long = replace(SHORT, mode="reflex only", mode_reason="x" * 200, mode_backend="y" * 64)
    for left in (None, 0.0, 99.0, 6_000.0):
        assert len(standing(long, left, width, UNICODE).plain) <= room(width)


@pytest.mark.parametrize("width", [20, 40, 60, 80])
async def test_a_narrow_line_still_says_the_mode(width: int) -> None:
    """Everything else gives way."""
    async with stage(scene=_with(SHORT), size=(width, 24)) as on:
        await on.until(lambda: "degraded" in _line(on))
        assert len(_line(on).rstrip()) <= width


async def test_what_was_found_is_offered_in_the_welcome() -> None:
    """With its key; a key's name is told, and nothing is set up by looking."""

    def found(hub: ScriptedHub) -> None:
        hub.offers = (
            wire.Offer("server:a", "server", "Ollama at 127.0.0.1:11434", "qwen3", "ollama", True),
            wire.Offer("key:K", "key", "Anthropic", "its key is in K", "anthropic", True),
        )

    async with stage(scene=found, size=(120, 30)) as on:
        await on.until(lambda: "what was found" in on.text())
        shown = " ".join(on.text().split())
        assert "Ollama at 127.0.0.1:11434, a key for Anthropic; not used until you set them up" in shown
        assert "o set up what was found" in shown
        assert not on.hub.of(wire.SetUp)
    async with stage(scene=empty) as on:
        await on.until(lambda: on.hub.of(wire.Discover))
        assert "found" not in on.text()


def _with(status: wire.HubStatus) -> Callable[[ScriptedHub], None]:
    def scene(hub: ScriptedHub) -> None:
        hub.status = status

    return scene


def _line(on: Stage) -> str:
    return on.text().split("\n")[0]
