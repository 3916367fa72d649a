"""Engines that are killed, crash or stop in mid-stream: the others do not notice, every turn ends with a reason."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from pathlib import Path

import psutil
import pytest

from nanoide.backends.llama import LlamaBackend
from nanoide.backends.scripted import ScriptedBackend
from nanoide.core.chat import Attempt, End, Fill, Prompt, Rung, Text
from nanoide.core.errors import BackendError
from nanoide.paths import bundled_model
from nanoide.settings import BackendTable, Timeout
from tests.routing.rig import Rig

FAULTS = 50
SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)
STALL_S = 0.4
"""How long the router waits for a silent engine here."""

LONG = Prompt(fill=Fill("numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, "), max_output=1500, temperature=1.5, seed=7)
"""Goes on for long enough to be interrupted."""

Make = Callable[..., LlamaBackend]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make backends with an engine of their own each; closed at the end."""
    made = list[LlamaBackend]()

    def build(name: str, **more: object) -> LlamaBackend:
        table = BackendTable(name=name, kind="llama", model="nano", threads=1)
        log = tmp_path / f"{name}.log"
        made.append(LlamaBackend(table, model=bundled_model(), log=log, unload_after_s=0.0, **more))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for each in made:
        await each.aclose()


async def finished(backend: LlamaBackend, prompt: Prompt) -> str:
    """The whole text."""
    parts = list[str]()
    async for chunk in backend.stream(prompt):
        if isinstance(chunk, Text):
            parts.append(chunk.text)
    return "".join(parts)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_fifty_faults_in_mid_stream_harm_nobody_else(make: Make) -> None:
    """Each turn on the struck engine ends with a reason; the engine beside answers on, in the same process."""
    now = [0.0]
    struck = make("struck", clock=lambda: now[0])
    beside = make("beside")
    await beside.warm()
    pid = beside.health().pid
    question = Prompt(fill=Fill("def double(n):\n    return "), max_output=24, temperature=0.0)
    expected = await finished(beside, question)
    # A turn that waits for a silent engine is ended by the router: its limits are what a person would wait.
    limits = Timeout(first_token=20.0, idle=STALL_S)
    table = BackendTable(name="struck", kind="llama", model="nano", timeout=limits)
    for number in range(FAULTS):
        # Three crashes a minute are its own test; here each is a minute after the last one.
        now[0] += 61
        sign = SIGNALS[number % len(SIGNALS)]
        rig = Rig(struck, tables=(table,))
        rig.now += 1_000 * number
        turn = asyncio.create_task(until_struck(rig, struck, sign))
        other = asyncio.create_task(finished(beside, question))
        async with asyncio.timeout(60):
            attempt = await turn
            assert await other == expected
        if sign is signal.SIGSTOP:
            assert attempt.outcome in {"timeout", "cut"}, attempt.outcome
            revive(struck)
        else:
            assert sign.name in attempt.reason
            assert attempt.outcome == "crashed"
    assert beside.health().pid == pid
    assert beside.health().state == "ready"


async def until_struck(rig: Rig, backend: LlamaBackend, sign: signal.Signals) -> Attempt:
    """Run a turn, strike its engine at its first text, and tell how that attempt ended. Who goes on is not asked."""
    stream = rig.router.stream(LONG, record=rig.attempts.append, consent=rig.consent)
    struck = False
    with suppress(BackendError):
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Text) and not struck:
                    struck = True
                    os.kill(backend.health().pid or 0, sign)
                if isinstance(chunk, Rung) and struck:
                    break
                assert not isinstance(chunk, End), "the engine was not struck in time"
    return rig.attempts[0]


def revive(backend: LlamaBackend) -> None:
    """Let a stopped engine go on: what it is asked next it answers."""
    pid = backend.health().pid
    if pid is not None:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).resume()


async def test_a_crash_before_the_first_token_fails_over(make: Make) -> None:
    """The rung below answers, and says why it was asked."""
    struck = make("struck")
    await struck.warm()
    os.kill(struck.health().pid or 0, signal.SIGSTOP)
    table = BackendTable(name="struck", kind="llama", model="nano", timeout=Timeout(first_token=0.2))
    rig = Rig(struck, ScriptedBackend(("fine",), name="below"), tables=(table,))
    answer = await rig.ask(LONG)
    assert answer.text == "fine"
    assert [backend for backend, _ in rig.outcomes] == ["struck", "below"]
    assert answer.rungs[1].reason.startswith("struck")
    revive(struck)


@pytest.mark.long
async def test_three_crashes_in_a_minute_are_down(make: Make) -> None:
    """After the third nobody starts it for a minute, and the next turn goes below with that reason."""
    struck = make("struck")
    for _ in range(3):
        await until_struck(Rig(struck), struck, signal.SIGSEGV)
    assert struck.health().state == "down"
    assert "3 times within a minute" in struck.health().reason
    rig = Rig(struck, ScriptedBackend(("fine",), name="below"))
    assert (await rig.ask(LONG)).text == "fine"
