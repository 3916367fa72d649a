from typing import Literal

import pytest

from nanoide.core.errors import BudgetRefused, NoBackend, PolicyRefused
from nanoide.core.policy import Egress, Where
from nanoide.routing.ladder import Candidate, Trouble, kept_here, limits, may_wait, nobody, obstacle, why_not
from nanoide.routing.modes import mode
from nanoide.settings import BackendTable, Timeout
from nanoide.wire import BackendLine


def _line(name: str, where: Where = "device", state: Literal["ready", "cooling", "off"] = "ready") -> BackendLine:
    return BackendLine(name=name, kind="openai", where=where, tier="model", state=state, reason="no connection")


REFLEX = BackendLine(name="reflex", kind="reflex", where="device", tier="reflex", state="asleep")


@pytest.mark.parametrize("where", ["lan", "remote"])
def test_local_only_keeps_from_everything_but_the_device(where: Where) -> None:
    """The local network is not this machine."""
    assert kept_here(Candidate("x", where, "model"), "local-only")
    assert not kept_here(Candidate("x", "device", "model"), "local-only")
    assert not kept_here(Candidate("x", where, "model"), "ask")


def test_a_rung_is_passed_over_with_the_first_reason_that_holds() -> None:
    """Its own objection, too many models, its breaker, its window."""
    rung = Candidate("x", "device", "model", objection="completes code only", refusal="rests", window=100)
    assert why_not(rung, models=3, tokens=90, max_output=20) == "completes code only"
    rung = Candidate("x", "device", "model", refusal="rests", window=100)
    assert why_not(rung, models=3, tokens=90, max_output=20) == "3 models were tried already"
    assert why_not(rung, models=2, tokens=90, max_output=20) == "rests"
    rung = Candidate("x", "device", "model", window=100)
    assert "window of 100" in why_not(rung, models=0, tokens=90, max_output=20)
    assert why_not(rung, models=0, tokens=80, max_output=20) == ""
    assert why_not(Candidate("r", "device", "reflex"), models=3, tokens=None, max_output=1) == ""


def test_what_keeps_a_rung_out_says_of_which_kind_it_is() -> None:
    """A rest passes, a window that is too short can be trimmed for, anything else is as it is."""
    rung = Candidate("x", "device", "model", refusal="rests for 4 s")
    assert obstacle(rung, models=0, tokens=None, max_output=20) == ("rests for 4 s", "rests", "")
    rung = Candidate("x", "device", "model", window=8_192)
    found = obstacle(rung, models=0, tokens=12_000, max_output=256)
    assert found is not None
    why, kind, hint = found
    assert (kind, why) == ("context", "about 12,000 tokens and 256 for the answer are over its window of 8,192")
    assert hint == "give it less: it has about 12,000 tokens and 256 for the answer, the window 8,192"
    rung = Candidate("x", "device", "model", spared="is not loaded, and memory is short", refusal="rests")
    assert obstacle(rung, models=0, tokens=None, max_output=1) == ("is not loaded, and memory is short", "", "")
    assert obstacle(Candidate("x", "device", "model"), models=0, tokens=9, max_output=1) is None


def test_after_an_overflow_only_longer_windows_are_tried() -> None:
    """One that is not known may be long enough."""
    for window, tried in ((4_096, False), (8_192, False), (8_193, True), (None, True)):
        rung = Candidate("x", "device", "model", window=window)
        assert (why_not(rung, models=1, tokens=10, max_output=1, overflown=8_192) == "") == tried


def test_a_rung_is_worth_waiting_for_only_when_it_rests_or_asked_for_a_rest() -> None:
    """What the request itself may have caused is not tried twice."""
    assert [
        may_wait(Trouble("x", "", kind)) for kind in ("rests", "overloaded", "server_error", "auth", "policy", "")
    ] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_that_it_is_too_long_is_what_a_person_is_told_to_mend() -> None:
    """Whatever else went wrong on the way."""
    troubles = [
        Trouble("a", "the key was refused (401)", "auth", "export A_KEY"),
        Trouble("b", "prompt is too long", "context", "give it less: it has 9 tokens, and the window 8"),
    ]
    assert nobody(troubles).hint == "give it less: it has 9 tokens, and the window 8"


def test_nobody_left_is_told_in_one_line() -> None:
    """Each rung with its reason; policy and budget make it a refusal."""
    troubles = [Trouble("nano", "completes code only"), Trouble("sonnet", "no connection", "connect_error")]
    error = nobody([*troubles, Trouble("reflex", "skill x has no reflex")])
    assert isinstance(error, NoBackend)
    assert error.message == (
        "no backend could answer: nano: completes code only; sonnet: no connection; reflex: skill x has no reflex"
    )
    assert isinstance(nobody([*troubles, Trouble("gpt", "local-only", "policy")]), PolicyRefused)
    assert isinstance(nobody([*troubles, Trouble("gpt", "used up", "budget")]), BudgetRefused)


@pytest.mark.parametrize(
    ("ladder", "every", "policy", "expected"),
    [
        ([_line("nano"), REFLEX], [], "ask", "full"),
        ([_line("nano"), _line("far", "remote")], [], "ask", "full"),
        ([_line("nano"), _line("far", "remote", "cooling")], [], "ask", "degraded"),
        ([_line("nano", state="off"), REFLEX], [], "ask", "reflex only"),
        ([REFLEX], [], "ask", "reflex only"),
        ([_line("nano"), _line("far", "remote")], [], "local-only", "local only"),
        ([_line("nano")], [_line("nano"), _line("far", "remote")], "ask", "local only"),
    ],
)
def test_the_mode_says_how_the_ladder_stands(
    ladder: list[BackendLine], every: list[BackendLine], policy: Egress, expected: str
) -> None:
    """Two words, and a reason whenever they are not "full"."""
    words, reason = mode(ladder, every, policy)
    assert words == expected
    assert bool(reason) == (words != "full")


def test_a_model_on_this_machine_may_take_its_time_unless_told_otherwise() -> None:
    """It has to load and to wait for its turn; config.toml has the last word."""
    assert limits(BackendTable(name="nano", kind="llama", model="nano")).first_token > Timeout().first_token
    told = BackendTable(name="nano", kind="llama", model="nano", timeout=Timeout(first_token=3.0))
    assert limits(told).first_token == 3.0
    assert limits(BackendTable(name="x", kind="openai")) == Timeout()
