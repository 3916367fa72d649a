"""A backend that is cut off fails as if its line were broken; nothing else about the ladder changes."""

import asyncio

import pytest

from nanoide.backends.scripted import Fail, Hang, ScriptedBackend
from nanoide.core.chat import Chunk, Text
from nanoide.core.errors import BackendError
from nanoide.routing.cutter import Cutter
from tests.routing.rig import PROMPT, Rig


async def test_a_cut_breaks_the_answer_that_is_waited_for() -> None:
    """The reader gets a broken connection, and what the backend held is freed."""
    backend = ScriptedBackend(["one", asyncio.Event(), "never"], name="a")
    cutter = Cutter()
    read: list[Chunk] = []
    begun = asyncio.Event()

    async def reading() -> None:
        async for chunk in cutter.through("a", backend.stream(PROMPT)):
            read.append(chunk)
            begun.set()

    task = asyncio.create_task(reading())
    await begun.wait()
    assert cutter.cut("a") == 1
    with pytest.raises(BackendError, match="drill: the connection broke") as caught:
        await task
    assert caught.value.outcome == "cut"
    assert read == [Text("one")]
    assert backend.finished == 1


async def test_a_cut_breaks_the_answer_whose_reader_is_busy() -> None:
    """It hears of it when it comes back for more."""
    backend = ScriptedBackend(["one", "two"], name="a")
    cutter = Cutter()
    stream = cutter.through("a", backend.stream(PROMPT))
    assert await anext(stream) == Text("one")
    cutter.cut("a")
    with pytest.raises(BackendError, match="drill"):
        await anext(stream)
    assert backend.finished == 1


async def test_a_person_who_stops_the_turn_is_no_broken_line() -> None:
    """Stopped and cut in the same moment: stopped it is."""
    cutter = Cutter()
    begun = asyncio.Event()

    async def reading() -> None:
        async for _ in cutter.through("a", ScriptedBackend(["one", Hang()], name="a").stream(PROMPT)):
            begun.set()

    task = asyncio.create_task(reading())
    await begun.wait()
    cutter.cut("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_backend_is_cut_and_the_others_go_on() -> None:
    """New attempts on it are turned away before anything is written down as having left."""
    away = ScriptedBackend(["far"], name="away", where="remote", host="api.example")
    rig = Rig(away, ScriptedBackend(["near"], name="near"))
    rig.cutter.cut("away")
    answer = await rig.ask()
    assert answer.text == "near"
    assert rig.outcomes == [("away", "connect_error"), ("near", "ok")]
    assert rig.attempts[0].reason == "drill: no connection"
    assert rig.attempts[0].cost_nano in {0, None}
    assert rig.audit == []
    assert away.prompts == []
    assert (rig.router.lines()[0].state, rig.router.lines()[0].reason) == ("down", "cut off by a drill")
    assert (await rig.router.probe())[0].state == "down"
    rig.cutter.restore("away")
    assert (await rig.ask()).text == "far"


async def test_after_the_drill_its_breaker_is_closed_and_nobody_elses() -> None:
    """What the drill opened is known to be over; what a real failure opened is not."""
    rig = Rig(ScriptedBackend(["x"], name="a"), ScriptedBackend([Fail("auth", "no key")], name="b"), reflex())
    rig.cutter.cut("a")
    for _ in range(4):
        assert (await rig.ask()).text == "by heart"
    assert [line.breaker for line in rig.router.lines()] == ["open", "open", "closed"]
    standing = rig.router.standing()
    assert (standing.mode, standing.backend, standing.next_probe_s) == ("reflex only", "a", 5.0)
    rig.cutter.restore("a")
    for name in ("a", "b"):
        rig.router.forgive(name, "drill")
    assert [line.breaker for line in rig.router.lines()] == ["closed", "open", "closed"]
    assert (await rig.ask()).text == "x"


def reflex() -> ScriptedBackend:
    """The rung at the foot."""
    return ScriptedBackend(["by heart"], name="reflex", tier="reflex")
