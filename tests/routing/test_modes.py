"""The mode of the whole ladder: whose fault it is, when that one is tried again, and since when it holds."""

from datetime import UTC, datetime, timedelta

import pytest

from nanoide.routing.modes import Mode, Spell, Standing, standing
from nanoide.wire import BackendLine

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

NEAR = BackendLine("nano", "llama", "device", "model")
FAR = BackendLine("sonnet", "anthropic", "remote", "model")
RESTS = BackendLine(
    "sonnet", "anthropic", "remote", "model", state="cooling", breaker="open", reason="503", recovers_in_s=12.0
)
RESTED = BackendLine("sonnet", "anthropic", "remote", "model", breaker="half-open", reason="503", recovers_in_s=0.0)
FAILED = BackendLine("sonnet", "anthropic", "remote", "model", state="down", reason="no connection")
OFF = BackendLine("nano", "llama", "device", "model", state="off", reason="no llama.cpp")
REFLEX = BackendLine("reflex", "reflex", "device", "reflex")


@pytest.mark.parametrize(
    ("ladder", "stands"),
    [
        ((FAR, NEAR, REFLEX), Standing("full")),
        ((RESTS, NEAR, REFLEX), Standing("degraded", "sonnet: 503", "sonnet", 12.0)),
        ((RESTED, NEAR, REFLEX), Standing("degraded", "sonnet: 503", "sonnet", 0.0)),
        ((FAILED, NEAR, REFLEX), Standing("degraded", "sonnet: no connection", "sonnet", 0.0)),
        ((RESTS, OFF, REFLEX), Standing("reflex only", "sonnet: 503; nano: no llama.cpp", "sonnet", 12.0)),
        ((OFF, REFLEX), Standing("reflex only", "nano: no llama.cpp", "nano", None)),
        ((REFLEX,), Standing("reflex only", "no model is on the ladder")),
    ],
    ids=["well", "rests", "rested but not tried", "failed once", "all down", "cannot run", "no model"],
)
def test_the_mode_says_whose_fault_it_is(ladder: tuple[BackendLine, ...], stands: Standing) -> None:
    """Whoever was not tried since it failed is not back yet, and nothing but the countdown changes with time."""
    assert standing(ladder, ladder, "ask") == stands


def test_a_mode_lasts_from_its_first_moment() -> None:
    """Seen again it is no younger; another one begins anew, also one that was there before."""
    spell = Spell(NOON)
    later = [NOON + timedelta(minutes=minutes) for minutes in range(5)]
    modes: tuple[Mode, ...] = ("full", "full", "degraded", "degraded", "full")
    noted = [spell.note(mode, at) for mode, at in zip(modes, later, strict=True)]
    assert noted == [NOON, NOON, later[2], later[2], later[4]]
