"""An engine that is there but not alive is noticed, told and ended; one that only works is left in peace."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.backends.llama import LlamaBackend
from nanoide.backends.scripted import ScriptedBackend
from nanoide.backends.watchdog import Patience, Watchdog
from nanoide.core.chat import Fill, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.engine.heart import Heart
from nanoide.engine.protocol import Loading, Pulse, Vitals
from nanoide.paths import bundled_model
from nanoide.settings import BackendTable
from tests.routing.rig import Rig

LONG = Prompt(fill=Fill("numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, "), max_output=1500, temperature=1.5, seed=7)
"""Goes on for long enough to be struck."""

QUICK = Patience(tick_s=0.2, silence_s=1.0, step_s=1.0)
"""For tests: an engine that works answers within a fraction of this."""


def alive() -> Watchdog:
    """Of an engine that spoke."""
    watchdog = Watchdog(Patience())
    watchdog.heard(Loading(percent=1))
    return watchdog


def test_a_silent_engine_is_stopped_after_five_ticks() -> None:
    """A ping that is not answered for five seconds' worth of ticks is the end; any word before that is not."""
    watchdog = alive()
    assert watchdog.tick(busy=True)
    assert [watchdog.tick(busy=True) for _ in range(4)] == [False] * 4
    assert not watchdog.fault
    watchdog.heard(Vitals())
    assert watchdog.tick(busy=True)
    for _ in range(5):
        assert not watchdog.fault
        watchdog.tick(busy=True)
    assert watchdog.fault == "stopped (it gave no sign for 5 s)"


def test_an_interpreter_that_starts_has_more_time() -> None:
    """Before its first word an engine may be silent for a minute."""
    watchdog = Watchdog(Patience())
    for _ in range(60):
        watchdog.tick(busy=True)
    assert not watchdog.fault
    watchdog.tick(busy=True)
    assert "60 s" in watchdog.fault


def test_an_idle_engine_is_asked_seldom() -> None:
    """Every fifth tick while nobody asks, at once when somebody does."""
    watchdog = alive()
    asked = list[bool]()
    for _ in range(10):
        asked.append(watchdog.tick(busy=False))
        if asked[-1]:
            watchdog.heard(Pulse())
    assert [at for at, each in enumerate(asked, 1) if each] == [5, 10]
    assert watchdog.tick(busy=True)


@given(usual=st.floats(0, 100), ticks=st.integers(1, 400))
def test_a_step_may_take_a_minute_more_than_twice_what_it_ever_took(usual: float, ticks: int) -> None:
    """Answering pings does not save an engine whose step does not end; before that limit nothing is said."""
    watchdog = alive()
    for _ in range(ticks):
        if watchdog.tick(busy=True):
            watchdog.heard(Pulse(beat=7, usual_s=usual))
    # The first pulse makes the step known; from then on each tick is a second of it.
    assert bool(watchdog.fault) == (ticks - 1 >= max(1, round(60 + 2 * usual)))
    assert watchdog.fault == "" or watchdog.fault.startswith("was stuck")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=400))
def test_an_engine_that_answers_and_goes_on_is_never_at_fault(moments: list[tuple[bool, int]]) -> None:
    """However work comes and goes: pings that are answered within four ticks, steps that end, and no fault."""
    watchdog, late, beat = alive(), 0, 1
    for busy, delay in moments:
        if watchdog.tick(busy=busy):
            late = delay
        elif late:
            late -= 1
        if not late:
            watchdog.heard(Pulse(beat=beat if busy else 0))
            beat += 1
        assert not watchdog.fault


def test_the_heart_tells_how_long_such_a_step_took_at_most() -> None:
    """Apart for each size of a step; a size that is new is judged by the longest of all."""
    now = [0.0]
    heart = Heart(lambda: now[0])
    assert heart.pulse == Pulse()
    for rows, seconds in ((512, 8.0), (1, 0.5), (1, 0.25), (0, 0.125)):
        heart.beat(rows)
        now[0] += seconds
        heart.rest()
        assert heart.pulse == Pulse()
    heart.beat(1)
    assert heart.pulse == Pulse(beat=5, usual_s=0.5)
    heart.beat(500)
    assert heart.pulse == Pulse(beat=6, usual_s=8.0)
    heart.beat(4)
    assert heart.pulse == Pulse(beat=7, usual_s=8.0)


Make = Callable[..., LlamaBackend]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make backends of which an engine is soon given up; closed at the end."""
    made = list[LlamaBackend]()

    def build(patience: Patience = QUICK, **more: object) -> LlamaBackend:
        table = BackendTable(name="nano", kind="llama", model="nano", threads=1)
        log = tmp_path / "engine.log"
        arguments = {"model": bundled_model(), "log": log, "unload_after_s": 0.0, "patience": patience, **more}
        made.append(LlamaBackend(table, **arguments))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for each in made:
        await each.aclose()


async def struck(backend: LlamaBackend, sign: signal.Signals = signal.SIGSTOP) -> BackendError:
    """Run a turn, stop its engine at its first text, and tell how the turn ended."""
    pid = 0
    try:
        async for chunk in backend.stream(LONG):
            if isinstance(chunk, Text) and not pid:
                pid = backend.health().pid or 0
                os.kill(pid, sign)
    except BackendError as error:
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return error
    raise AssertionError("the stream ended by itself")


async def test_a_stopped_engine_fails_its_turn_and_the_next_has_a_new_one(make: Make) -> None:
    """After SIGSTOP the turn ends as crashed and says why, the process is gone, and the next question is answered."""
    backend = make()
    error = await struck(backend)
    assert error.outcome == "crashed"
    assert "stopped (it gave no sign for 1 s)" in error.message
    assert backend.health().state == "asleep"
    assert "stopped (it gave no sign" in backend.health().reason
    short = Prompt(fill=Fill("a = ["), max_output=4)
    assert [chunk async for chunk in backend.stream(short) if isinstance(chunk, Text)]
    assert backend.health().state == "ready"


@pytest.mark.long
async def test_three_stopped_engines_in_a_minute_are_left_alone(make: Make) -> None:
    """Being given up counts as a crash."""
    backend = make(clock=lambda: 1000.0)
    for _ in range(3):
        await struck(backend)
    assert backend.health().state == "down"
    assert "3 times within a minute, the engine stopped" in backend.health().reason


async def test_an_idle_engine_that_is_stopped_is_noticed(make: Make) -> None:
    """Nobody has to ask it for that."""
    backend = make(Patience(tick_s=0.1, idle_s=0.3, silence_s=1.0))
    await backend.warm()
    os.kill(backend.health().pid or 0, signal.SIGSTOP)
    async with asyncio.timeout(20):
        while backend.health().state == "ready":  # noqa: ASYNC110 -- the watchdog tells nobody but health
            await asyncio.sleep(0.05)
    assert "stopped" in backend.health().reason


HANGS = """
import os, threading, time

def when_told():
    # The library is imported by the engine; then a decode may be made to hang.
    import ctypes, sys
    while not os.path.exists({told!r}):
        time.sleep(0.02)
    hang = ctypes.CDLL(None).pause
    sys.modules["llama_cpp.llama_cpp"].llama_decode = lambda *_: hang()
    os.unlink({told!r})

threading.Thread(target=when_told, daemon=True).start()
"""


async def test_an_engine_that_hangs_in_native_code_is_stuck(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still answers pings, but its step does not end: the turn fails over with that reason."""
    told = tmp_path / "told"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HANGS.format(told=str(told)))
    monkeypatch.setenv("PYTHONPATH", str(site))
    backend = make()
    await backend.warm()
    pid = backend.health().pid or 0
    rig = Rig(backend, ScriptedBackend(("fine",), name="below"))
    told.touch()
    async with asyncio.timeout(20):
        while told.exists():  # noqa: ASYNC110 -- another process does it
            await asyncio.sleep(0.02)
    answer = await rig.ask(LONG)
    assert answer.text == "fine"
    assert [each for each, _ in rig.outcomes] == ["nano", "below"]
    assert rig.outcomes[0][1] == "crashed"
    assert "stuck (one step took more than" in answer.rungs[1].reason
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_a_hub_that_stood_still_does_not_blame_its_engine(make: Make) -> None:
    """When the hub itself stood still for longer than its patience, the engine is the same one afterwards."""
    backend = make(Patience(tick_s=0.05, idle_s=0.05, silence_s=0.5))
    await backend.warm()
    pid = backend.health().pid
    # Both stand still, as when a laptop sleeps, and go on as if nothing had been.
    os.kill(pid or 0, signal.SIGSTOP)
    time.sleep(1.5)  # noqa: ASYNC251 -- the hub's loop is what stands still
    os.kill(pid or 0, signal.SIGCONT)
    short = Prompt(fill=Fill("a = ["), max_output=4)
    assert [chunk async for chunk in backend.stream(short) if isinstance(chunk, Text)]
    assert backend.health().pid == pid
