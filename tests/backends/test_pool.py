import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest
from msgspec.structs import replace

from nanoide.backends.anthropic import AnthropicBackend
from nanoide.backends.openai import OpenAIBackend
from nanoide.backends.pool import Pool
from nanoide.core.chat import Fill, Message, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.hub.bootstrap import build, dismantle
from nanoide.paths import locate
from nanoide.settings import BackendTable, Timeout
from tests.backends import servers
from tests.backends.servers import Running, Script, chat, closed_port, respond, serve, silence, stream
from tests.routing.rig import Rig

PROMPT = Prompt(skill="explain", messages=(Message("user", "Why?"),))
PATIENT = Timeout(connect=20.0, headers=30.0)


def good(name: str) -> Script:
    """Answers with its name."""
    return stream(*chat(name), "[DONE]")


class Clock:
    """A time that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def _table(urls: list[str], limits: Timeout = PATIENT, kind: str = "openai") -> BackendTable:
    return BackendTable(name="farm", kind=kind, base_urls=tuple(urls), model="m", timeout=limits)  # type: ignore[arg-type]


def _pool(urls: list[str], clock: Callable[[], float], limits: Timeout = PATIENT, kind: str = "openai") -> Pool:
    table = _table(urls, limits, kind)
    made = AnthropicBackend if kind == "anthropic" else OpenAIBackend
    return Pool(table, [made(each, lambda: "") for each in table.replicas()], clock=clock)


@asynccontextmanager
async def _farm(*scripts: Script, limits: Timeout = PATIENT) -> AsyncIterator[tuple[Pool, list[Running], Clock]]:
    """A pool with one real server for each script."""
    clock = Clock()
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(serve(each)) for each in scripts]
        pool = _pool([each.url for each in running], clock, limits)
        try:
            yield pool, running, clock
        finally:
            await pool.aclose()


async def _ask(pool: Pool, session: str = "") -> str:
    async with aclosing(pool.stream(replace(PROMPT, session=session))) as chunks:
        return "".join([chunk.text async for chunk in chunks if isinstance(chunk, Text)])


async def _fails(pool: Pool, session: str = "") -> BackendError:
    with pytest.raises(BackendError) as caught:
        await _ask(pool, session)
    return caught.value


async def test_prompts_spread_over_all_replicas() -> None:
    """With nobody busy they take turns."""
    async with _farm(good("a"), good("b"), good("c")) as (pool, _, _clock):
        assert [await _ask(pool) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_both_kinds_pool(kind: str) -> None:
    """The protocol is the replicas' own."""
    words = {"openai": lambda name: good(name), "anthropic": lambda name: stream(*servers.claude(name))}[kind]
    async with serve(words("a")) as one, serve(words("b")) as two:
        root = (lambda url: url.removesuffix("/v1")) if kind == "anthropic" else (lambda url: url)
        pool = _pool([root(one.url), root(two.url)], monotonic, kind=kind)
        assert (pool.name, pool.kind, pool.where, pool.tier) == ("farm", kind, "device", "model")
        assert [await _ask(pool) for _ in range(2)] == ["a", "b"]
        await pool.aclose()


async def test_the_least_busy_replica_is_asked() -> None:
    """While one works on long answers the other gets the next prompts."""
    gate = asyncio.Event()
    slow = stream(*chat("slow", finish=None), gate, *chat(""), "[DONE]")
    async with _farm(slow, good("quick")) as (pool, (busy, idle), _clock):
        first = pool.stream(PROMPT)
        assert await anext(first) == Text("slow")
        assert pool.health().running == 1
        assert [await _ask(pool) for _ in range(3)] == ["quick"] * 3
        gate.set()
        await first.aclose()
        assert (len(busy.requests), len(idle.requests)) == (1, 3)


async def test_a_session_stays_where_its_beginning_is_known() -> None:
    """Whatever the others are asked meanwhile."""
    async with _farm(good("a"), good("b"), good("c")) as (pool, _, _clock):
        homes = {name: await _ask(pool, name) for name in ("x", "y", "z")}
        assert sorted(homes.values()) == ["a", "b", "c"]
        for name in ("z", "x", "x", "y", "z", "x"):
            assert await _ask(pool, name) == homes[name]


async def test_a_session_leaves_a_replica_that_is_clearly_busier() -> None:
    """Two prompts more are borne, three are not; it is then at home where it went."""
    gate = asyncio.Event()
    slow = stream(*chat("a", finish=None), gate, *chat(""), "[DONE]")
    async with _farm(slow, good("b")) as (pool, _, _clock):
        home = [pool.stream(replace(PROMPT, session="x")) for _ in range(3)]
        assert [await anext(each) for each in home] == [Text("a")] * 3
        assert await _ask(pool, "x") == "b"
        gate.set()
        for each in home:
            await each.aclose()
        assert await _ask(pool, "x") == "b"


async def test_a_dead_replica_leaves_and_the_others_answer() -> None:
    """One attempt fails, told as a part; from then on nobody notices but who looks at its health."""
    port = await closed_port()
    clock = Clock()
    async with serve(good("b")) as one, serve(good("c")) as two:
        pool = _pool([f"http://127.0.0.1:{port}/v1", one.url, two.url], clock)
        error = await _fails(pool)
        assert (error.outcome, error.part, error.retry_after) == ("connect_error", True, None)
        assert error.message == f"no connection to 127.0.0.1:{port}"
        assert [await _ask(pool) for _ in range(4)] == ["b", "c", "b", "c"]
        health = pool.health()
        assert (health.state, health.reason) == ("ready", f"2 of 3 replicas; no connection to 127.0.0.1:{port}")
        await pool.aclose()


async def test_a_replica_comes_back_after_its_rest_by_one_request_of_its_own() -> None:
    """No prompt is sent to find out: the models are listed, once, beside the prompts."""
    port = await closed_port()
    clock = Clock()
    async with serve(good("b")) as other:
        pool = _pool([f"http://127.0.0.1:{port}/v1", other.url], clock)
        await _fails(pool)
        asked = asyncio.Event()

        async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            await respond(200, {"data": []})(reader, writer)

        async with serve(back, good("a"), port=port) as revived:
            clock.now += 4.9
            assert await _ask(pool) == "b"
            assert revived.requests == []
            clock.now += 0.1
            assert await asyncio.gather(*(_ask(pool) for _ in range(20))) == ["b"] * 20
            await asked.wait()
            await asyncio.gather(*pool.tries)
            assert [(each.method, each.path) for each in revived.requests] == [("GET", "/v1/models")]
            assert pool.health().reason == ""
            assert {await _ask(pool) for _ in range(2)} == {"a", "b"}
        await pool.aclose()


async def test_each_rest_is_longer_and_a_replica_on_probation_leaves_at_its_first_failure() -> None:
    """5 s, then 10 s: listing models is no proof that it answers."""

    async def ill(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await respond(200 if running[0].requests[-1].method == "GET" else 500)(reader, writer)

    running: list[Running] = []
    async with _farm(ill, good("b")) as (pool, found, clock):
        running.extend(found)
        assert (await _fails(pool)).part is False
        assert await _ask(pool) == "b"
        assert (await _fails(pool)).part is True
        for rest in (5.0, 10.0, 20.0):
            clock.now += rest - 0.1
            assert [await _ask(pool) for _ in range(3)] == ["b"] * 3
            assert pool.health().reason.startswith("1 of 2 replicas; 127.0.0.1:")
            clock.now += 0.1
            assert await _ask(pool) == "b"
            await asyncio.gather(*pool.tries)
            assert pool.health().reason == ""
            assert (await _fails(pool)).part is True


async def test_when_all_are_out_the_answer_comes_at_once_and_says_when() -> None:
    """Nobody is asked; after the rest the next prompt itself finds out, alone."""
    first, second = await closed_port(), await closed_port()
    clock = Clock()
    pool = _pool([f"http://127.0.0.1:{port}/v1" for port in (first, second)], clock)
    assert (await _fails(pool)).part is True
    clock.now += 1.0
    last = await _fails(pool)
    assert (last.part, last.retry_after) == (False, 4.0)
    clock.now += 1.0
    none = await _fails(pool)
    assert (none.outcome, none.retry_after, none.part) == ("connect_error", 3.0, False)
    assert none.message == (
        "all 2 replicas are out, the next is tried in 3 s: "
        f"no connection to 127.0.0.1:{first}; no connection to 127.0.0.1:{second}"
    )
    assert pool.health().state == "down"
    async with serve(good("back"), port=first) as server:
        clock.now += 3.0
        assert await _ask(pool) == "back"
        assert [each.method for each in server.requests] == ["POST"]
        assert pool.health().reason.startswith("1 of 2 replicas")
    await pool.aclose()


async def test_a_replica_that_asks_for_a_rest_gets_it_and_the_others_go_on() -> None:
    """Retry-After is the replica's, not the pool's."""
    async with _farm(respond(429, {}, ["retry-after: 30"]), good("b")) as (pool, (busy, _), clock):
        error = await _fails(pool)
        assert (error.outcome, error.part, error.retry_after) == ("overloaded", True, None)
        clock.now += 29.0
        assert await _ask(pool) == "b"
        assert len(busy.requests) == 1
        clock.now += 1.0
        assert await _ask(pool) == "b"
        await asyncio.gather(*pool.tries)
        assert [each.method for each in busy.requests] == ["POST", "GET"]


async def test_a_silent_replica_leaves_though_the_router_only_stops_waiting() -> None:
    """The limit for the first token is the router's, which ends in a cancel."""
    limits = Timeout(connect=20.0, headers=30.0, first_token=0.3)
    async with serve(silence) as silent, serve(good("b")) as other:
        table = _table([silent.url, other.url], limits)
        pool = Pool(table, [OpenAIBackend(each, lambda: "") for each in table.replicas()])
        rig = Rig(pool, tables=[table])
        with pytest.raises(Exception, match=r"first token over 0.3 s"):
            await rig.ask()
        assert pool.health().reason.startswith("1 of 2 replicas; 127.0.0.1:")
        assert (await rig.ask()).text == "b"
        await rig.router.aclose()


async def test_a_person_who_stops_says_nothing_about_the_replica() -> None:
    """A cancel long before the limit is no failure."""
    async with _farm(silence, good("b")) as (pool, _, _clock):
        task = asyncio.create_task(_ask(pool))
        await asyncio.wait({task}, timeout=0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert pool.health().reason == ""
        assert pool.health().running == 0


async def test_what_is_wrong_with_the_prompt_or_the_key_is_no_failure_of_a_replica() -> None:
    """Every replica would say the same; the router hears it as it is."""
    async with _farm(respond(400), respond(401)) as (pool, _, _clock):
        errors = [await _fails(pool) for _ in range(4)]
        assert [each.outcome for each in errors] == ["bad_request", "auth", "bad_request", "auth"]
        assert not any(each.part for each in errors)
        assert pool.health().reason == ""


async def test_the_breaker_of_the_pool_stays_closed_while_a_replica_is_left() -> None:
    """Three of four replicas are found dead, one a turn; the rung below helps, and the pool is asked again."""
    ports = [await closed_port() for _ in range(3)]
    async with serve(good("alive")) as alive, serve(good("below")) as below:
        table = _table([*(f"http://127.0.0.1:{port}/v1" for port in ports), alive.url])
        pool = Pool(table, [OpenAIBackend(each, lambda: "") for each in table.replicas()])
        under = BackendTable(name="under", kind="openai", base_url=below.url, model="m", timeout=PATIENT)
        rig = Rig(pool, OpenAIBackend(under, lambda: ""), tables=[table, under])
        assert [(await rig.ask()).text for _ in range(6)] == ["below"] * 3 + ["alive"] * 3
        assert rig.router.lines()[0].breaker == "closed"
        assert rig.router.lines()[0].reason.startswith("1 of 4 replicas; ")
        await rig.router.aclose()


async def test_a_pool_that_is_out_opens_the_breaker_for_just_as_long() -> None:
    """The next turn passes it over without asking, and the reason names the replicas."""
    ports = [await closed_port() for _ in range(2)]
    table = _table([f"http://127.0.0.1:{port}/v1" for port in ports])
    async with serve(good("below")) as below:
        pool = Pool(table, [OpenAIBackend(each, lambda: "") for each in table.replicas()])
        under = BackendTable(name="under", kind="openai", base_url=below.url, model="m", timeout=PATIENT)
        rig = Rig(pool, OpenAIBackend(under, lambda: ""), tables=[table, under])
        assert [(await rig.ask()).text for _ in range(3)] == ["below"] * 3
        assert rig.outcomes == [("farm", "connect_error"), ("under", "ok")] * 2 + [("under", "ok")]
        line = rig.router.lines()[0]
        assert line.breaker == "open"
        assert line.recovers_in_s == pytest.approx(5.0, abs=1.0)
        await rig.router.aclose()


async def test_a_probe_by_a_person_asks_all_and_takes_them_back() -> None:
    """`nanoide backends` finds out at once, whatever rest is left."""
    port = await closed_port()
    clock = Clock()
    async with serve(respond(200, {"data": []})) as other:
        pool = _pool([f"http://127.0.0.1:{port}/v1", other.url], clock)
        health = await pool.probe()
        assert (health.state, health.reason) == ("ready", f"1 of 2 replicas; no connection to 127.0.0.1:{port}")
        async with serve(respond(200, {"data": []}), port=port):
            assert (await pool.probe()).reason == ""
        await pool.aclose()


async def test_sessions_are_forgotten_in_the_order_in_which_they_were_asked() -> None:
    """The map is bounded."""
    async with _farm(good("a"), good("b")) as (pool, _, _clock):
        pool.homes_kept = 2
        for name in ("x", "y", "x", "z"):
            await _ask(pool, name)
        assert list(pool.homes) == ["x", "z"]


async def test_a_prompt_goes_to_a_replica_that_can_answer_it() -> None:
    """One that has told that it cannot fill in is passed over for that."""
    fills = Prompt(fill=Fill(prefix="def f("))
    async with _farm(respond(404), stream('{"choices": [{"text": "x"}]}', "[DONE]")) as (pool, _, _clock):
        with pytest.raises(BackendError):
            async for _ in pool.stream(fills):
                pass
        assert pool.objection(fills) == ""
        for _ in range(3):
            async with aclosing(pool.stream(fills)) as chunks:
                assert await anext(chunks) == Text("x")
        assert pool.objection(Prompt()) != ""


async def test_the_hub_makes_a_pool_of_several_addresses(tmp_path: Path) -> None:
    """One line of `nanoide backends` for all of them; a list of one address is no pool."""
    paths = locate({"NANOIDE_HOME": str(tmp_path)})
    paths.prepare()
    async with serve(good("a")) as one, serve(good("b")) as two:
        paths.config.write_text(
            f'[[backend]]\nname = "farm"\nkind = "openai"\nbase_urls = ["{one.url}", "{two.url}"]\nmodel = "m"\n'
            f'[[backend]]\nname = "box"\nkind = "openai"\nbase_urls = ["{one.url}"]\nmodel = "m"\n'
        )
        workshop = await build(paths)
        try:
            farm, box = workshop.rungs.backends["farm"], workshop.rungs.backends["box"]
            assert isinstance(farm, Pool)
            assert isinstance(box, OpenAIBackend)
            assert {await _ask(farm) for _ in range(2)} == {"a", "b"}
        finally:
            await dismantle(workshop)


async def test_whom_a_prompt_may_go_to_is_told_whole() -> None:
    """The person who is asked for consent reads every host."""
    table = _table(["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1"])
    pool = Pool(table, [OpenAIBackend(each, lambda: "") for each in table.replicas()])
    assert (pool.where, pool.host) == ("lan", "10.0.0.1:8000, 10.0.0.2:8000")
    await pool.aclose()


async def test_a_replica_that_dies_under_many_turns_costs_only_those_that_were_on_their_way_to_it() -> None:
    """Sixty turns at once, twice: each is answered once, and the second time nobody is sent to the dead one."""
    port = await closed_port()
    async with serve(good("alive")) as alive, serve(good("below")) as below:
        table = _table([f"http://127.0.0.1:{port}/v1", alive.url])
        pool = Pool(table, [OpenAIBackend(each, lambda: "") for each in table.replicas()])
        under = BackendTable(name="under", kind="openai", base_url=below.url, model="m", timeout=PATIENT)
        rig = Rig(pool, OpenAIBackend(under, lambda: ""), tables=[table, under])

        async def turns() -> list[str]:
            asked = (rig.ask(replace(PROMPT, session=str(number))) for number in range(60))
            return [each.text for each in await asyncio.gather(*asked)]

        first = await turns()
        assert set(first) == {"alive", "below"}
        assert first.count("below") <= 30
        assert await turns() == ["alive"] * 60
        failed = [each for each in rig.attempts if each.outcome != "ok"]
        assert {each.outcome for each in failed} == {"connect_error"}
        assert len(failed) == first.count("below") == len(below.requests)
        assert pool.health().running == 0
        await rig.router.aclose()
