"""A backend is cut off on purpose: the sessions go on, and it is back however the drill ends."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from nanoide import wire
from nanoide.client.asking import Asking, ask
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.core.errors import HubError, UnknownName, UsageError
from nanoide.core.events import AttemptEnded, SessionEvent, TurnFinished, TurnStarted
from nanoide.paths import Paths
from tests.backends.servers import Running, chat, serve, stream
from tests.routing.two_servers import config

GIVEN = (wire.Input(kind="stdin", label="a", text="def a(): ..."),)


def write(paths: Paths, far: Running, near: Running) -> None:
    """Two servers on the default ladder."""
    paths.prepare()
    paths.config.write_text(config(far=far.url, near=near.url))


async def answered(connection: Connection) -> list[SessionEvent]:
    """All of one turn."""
    return [each async for each in ask(connection, wire.Ask(skill="explain-code", inputs=GIVEN))]


def tried(events: list[SessionEvent]) -> list[tuple[str, str, str]]:
    """Who was tried, how that ended and why."""
    attempts = [each.attempt for each in events if isinstance(each, AttemptEnded)]
    return [(each.backend, each.outcome, each.reason) for each in attempts]


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds that nobody tells of."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a server tells nobody what it was asked
            await asyncio.sleep(0.005)


async def until_back(connection: Connection) -> wire.HubStatus:
    """The status as soon as the ladder is whole again."""
    async with asyncio.timeout(20):
        while (status := await connection.call(wire.ReadStatus())).mode != "full":  # noqa: ASYNC110 - no window is open
            await asyncio.sleep(0.01)
    return status


async def test_sessions_go_on_while_a_backend_is_cut_off_and_it_comes_back(paths: Paths) -> None:
    """The one under way, and the ones that come; when the one who drills goes away, all is as it was."""
    never = asyncio.Event()
    async with (
        serve(stream(never), stream(*chat("from far"), "[DONE]")) as far,
        serve(stream(*chat("from near"), "[DONE]")) as near,
    ):
        write(paths, far, near)
        async with await connect(paths, client="test") as hub:
            asking = await Asking.start(hub, wire.Ask(skill="explain-code", inputs=GIVEN))
            events = asking.events()
            seen: list[SessionEvent] = []
            async for event in events:
                seen.append(event)
                if isinstance(event, TurnStarted):
                    break
            await until(lambda: far.requests)
            async with await connect(paths, client="drill") as driller:
                drilling = asyncio.create_task(driller.call(wire.Drill(backend="far", seconds=600)))
                seen += [event async for event in events]
                assert isinstance(seen[-1], TurnFinished)
                assert seen[-1].text == "from near"
                assert tried(seen)[0] == ("far", "cut", "drill: the connection broke in mid-answer")
                later = await answered(hub)
                assert isinstance(later[-1], TurnFinished)
                assert later[-1].backend == "near"
                assert ("far", "connect_error", "drill: no connection") in tried(later)
                status = await hub.call(wire.ReadStatus())
                assert (status.mode, status.mode_backend) == ("degraded", "far")
                assert "drill" in status.mode_reason
                with pytest.raises(UsageError, match="a drill on 'far' is under way"):
                    await hub.call(wire.Drill(backend="near"))
                with pytest.raises(UsageError, match="a drill on 'far' is under way"):
                    await hub.call(wire.PlanDrill())
                egress = await hub.call(wire.ReadEgress())
                assert [line.backend for line in egress] == ["far"]
            assert isinstance((await asyncio.gather(drilling, return_exceptions=True))[0], HubError)
            back = await until_back(hub)
            assert back.mode_since is not None
            assert status.mode_since is not None
            assert back.mode_since > status.mode_since
            assert tried(await answered(hub)) == [("far", "ok", "")]
        never.set()


async def test_the_drill_reports_when_its_time_is_over(paths: Paths) -> None:
    """For how long, and what it broke; then another one may begin."""
    async with serve(stream(*chat("x"), "[DONE]")) as far, serve(stream(*chat("y"), "[DONE]")) as near:
        write(paths, far, near)
        async with await connect(paths, client="test") as hub:
            plan = await hub.call(wire.PlanDrill())
            assert (plan.backend, plan.where, plan.below) == ("far", "lan", ("near", "reflex"))
            for _ in range(2):
                report = await hub.call(wire.Drill(backend="far", seconds=0.05))
                assert (report.backend, report.broken) == ("far", 0)
                assert report.seconds >= 0.05
            assert (await hub.call(wire.ReadStatus())).mode == "full"
            assert far.requests == []


async def test_what_cannot_be_drilled_is_said(hub: Connection) -> None:
    """A name that is none, a time that is none; without a model elsewhere the first one is meant."""
    plan = await hub.call(wire.PlanDrill())
    assert (plan.backend, plan.where, plan.chats) == ("nano", "device", False)
    with pytest.raises(UnknownName, match="unknown backend 'nanno'"):
        await hub.call(wire.PlanDrill(backend="nanno"))
    for seconds in (0.0, -1.0, 1e9):
        with pytest.raises(UsageError, match="a drill of"):
            await hub.call(wire.Drill(backend="nano", seconds=seconds))


async def test_a_hub_that_is_told_to_leave_does_not_wait_for_a_drill(paths: Paths) -> None:
    """It goes away at once; whoever drilled hears either the end of the drill or that of the hub."""
    async with await connect(paths, client="test") as hub, await connect(paths, client="drill") as driller:
        drilling = asyncio.create_task(driller.call(wire.Drill(backend="nano", seconds=600)))
        await hub.call(wire.StopHub())
        async with asyncio.timeout(20):
            (outcome,) = await asyncio.gather(drilling, return_exceptions=True)
    assert isinstance(outcome, wire.Drilled | HubError)


async def test_a_hub_that_is_killed_in_a_drill_leaves_no_backend_shut(paths: Paths) -> None:
    """Breakers outlive a hub, but not what a drill did to them."""
    async with serve(stream(*chat("x"), "[DONE]")) as far, serve(stream(*chat("y"), "[DONE]")) as near:
        write(paths, far, near)
        async with await connect(paths, client="test") as hub:
            drilling = asyncio.create_task(hub.call(wire.Drill(backend="far", seconds=600)))
            for _ in range(3):
                await answered(hub)
            kept = paths.database.with_name("breakers.json")
            await until(lambda: kept.exists() and b"drill" in kept.read_bytes())
            pid = (await hub.call(wire.ReadStatus())).pid
            os.kill(pid, signal.SIGKILL)
            await asyncio.gather(drilling, return_exceptions=True)
        async with await connect(paths, client="test") as hub:
            status = await hub.call(wire.ReadStatus())
            assert (status.mode, status.pid == pid) == ("full", False)
            assert tried(await answered(hub)) == [("far", "ok", "")]
