"""A second rung beside a slow first one: whoever speaks first is heard, the other is gone at once."""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from time import monotonic

import pytest
from msgspec.structs import replace

from nanoide.backends.openai import OpenAIBackend
from nanoide.backends.scripted import Fail, Pause, ScriptedBackend, Step
from nanoide.core.chat import Attempt
from nanoide.core.errors import BackendError, NoBackend
from nanoide.core.policy import Tier, Where
from nanoide.routing.latency import ENOUGH
from nanoide.settings import BackendTable, Budget, PriceTable, Timeout
from tests.backends.servers import Running, Script, chat, serve, stream
from tests.routing.rig import PROMPT, Answer, Rig

QUICK: list[list[Step]] = [["quick"]] * ENOUGH


def _scripted(name: str, *scripts: list[Step], where: Where = "device") -> ScriptedBackend:
    return ScriptedBackend(*scripts, name=name, where=where)


async def _warm(rig: Rig) -> None:
    """As many first tokens as it takes to know what is slow."""
    for _ in range(ENOUGH):
        await rig.ask()
    rig.attempts.clear()


async def _until(holds: Callable[[], object]) -> None:
    """Let the others run until it `holds`."""
    async with asyncio.timeout(10):
        while True:
            if holds():
                return
            await asyncio.sleep(0)


def _stuck(gone: asyncio.Event) -> Script:
    """Headers and then nothing, until whoever asked has left."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await writer.drain()
        await reader.read()
        gone.set()
        writer.close()

    return play


def _real(name: str, server: Running, where: Where) -> tuple[OpenAIBackend, BackendTable]:
    price = None if where == "device" else PriceTable(input="1", output="2")
    table = BackendTable(name=name, kind="openai", base_url=server.url, model="m", where=where, price=price)
    return OpenAIBackend(table, lambda: ""), table


@pytest.mark.parametrize("where", ["device", "remote"])
async def test_a_server_that_is_slower_than_ever_is_hedged_and_left_at_once(where: Where) -> None:
    """The second one's answer goes on only when the first one's connection is closed; both are in the books."""
    gone = asyncio.Event()
    quick = stream(*chat("quick"), "[DONE]")
    words = chat("all ", "well")
    async with (
        serve(*[quick] * ENOUGH, _stuck(gone)) as slow,
        serve(stream(*words[:2], gone, *words[2:], "[DONE]")) as other,
    ):
        (one, first), (two, second) = _real("one", slow, where), _real("two", other, where)
        rig = Rig(one, two, tables=[first, second], hedge=True)
        await _warm(rig)
        answer = await rig.ask()
        await rig.router.aclose()
    assert answer.text == "all well"
    assert [rung.backend for rung in answer.rungs] == ["one", "two"]
    assert answer.rungs[1].reason.startswith("hedge: one gave no token for ")
    assert rig.outcomes == [("one", "cancelled"), ("two", "ok")]
    left, won = rig.attempts
    assert left.reason == "hedge: two was faster"
    assert left.usage.estimated == (where == "remote"), "it may have been billed for what it read"
    assert bool(left.cost_nano) == (where == "remote")
    assert won.reason.startswith("hedge: ")
    assert len(other.requests) == 1


async def test_a_first_rung_that_speaks_after_all_wins_and_the_second_is_left() -> None:
    """The person sees one rung only."""
    late, never = asyncio.Event(), asyncio.Event()
    one, two = _scripted("one", *QUICK, [late, "from ", "one"]), _scripted("two", [late, never, "from two"])
    rig = Rig(one, two, hedge=True)
    await _warm(rig)
    asking = asyncio.create_task(rig.ask())
    await _until(lambda: two.prompts)
    late.set()
    answer = await asking
    assert answer.text == "from one"
    assert [rung.backend for rung in answer.rungs] == ["one"]
    assert sorted(rig.outcomes) == [("one", "ok"), ("two", "cancelled")]
    assert two.finished == 1
    assert next(each for each in rig.attempts if each.backend == "two").reason == "hedge: one was faster"


@pytest.mark.parametrize("fails", ["one", "two"])
async def test_one_of_two_that_fails_leaves_the_turn_to_the_other(fails: str) -> None:
    """Its failure is recorded, and the other goes on as if it had been alone."""
    broken, well = asyncio.Event(), asyncio.Event()
    sick: list[Step] = [broken, Fail("server_error", "broken")]
    scripts: dict[str, list[Step]] = {name: sick if name == fails else [well, "well"] for name in ("one", "two")}
    one, two = _scripted("one", *QUICK, scripts["one"]), _scripted("two", scripts["two"])
    rig = Rig(one, two, hedge=True)
    await _warm(rig)
    asking = asyncio.create_task(rig.ask())
    await _until(lambda: two.prompts)
    broken.set()
    await _until(lambda: rig.attempts)
    well.set()
    answer = await asking
    assert answer.text == "well"
    assert answer.rungs[-1].backend != fails
    assert rig.outcomes == [(fails, "server_error"), ("two" if fails == "one" else "one", "ok")]


async def test_both_may_fail_and_the_ladder_goes_on_below() -> None:
    """Three attempts, three records, and the third one answers."""
    broken = asyncio.Event()
    one = _scripted("one", *QUICK, [broken, Fail("server_error", "broken")])
    two = _scripted("two", [broken, Fail("server_error", "broken too")])
    rig = Rig(one, two, _scripted("three", ["well"]), hedge=True)
    await _warm(rig)
    asking = asyncio.create_task(rig.ask())
    await _until(lambda: two.prompts)
    broken.set()
    assert (await asking).text == "well"
    assert rig.outcomes == [("one", "server_error"), ("two", "server_error"), ("three", "ok")]


async def test_a_filtered_first_rung_is_final_and_the_second_is_left() -> None:
    """Nobody else may answer what one provider refuses, not even one that was asked already."""
    refuses = asyncio.Event()
    one = _scripted("one", *QUICK, [refuses, Fail("content_filter", "no")])
    two = _scripted("two", [refuses, Pause(30.0), "from two"])
    rig = Rig(one, two, hedge=True)
    await _warm(rig)
    asking = asyncio.create_task(rig.ask())
    await _until(lambda: two.prompts)
    refuses.set()
    with pytest.raises(BackendError) as caught:
        await asking
    assert caught.value.outcome == "content_filter"
    assert sorted(rig.outcomes) == [("one", "content_filter"), ("two", "cancelled")]


async def test_a_person_who_leaves_leaves_both() -> None:
    """Each is closed and recorded once, as stopped."""
    never = asyncio.Event()
    one, two = _scripted("one", *QUICK, [never]), _scripted("two", [never])
    rig = Rig(one, two, hedge=True)
    await _warm(rig)
    asking = asyncio.create_task(rig.ask())
    await _until(lambda: two.prompts)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert sorted(rig.outcomes) == [("one", "cancelled"), ("two", "cancelled")]
    assert {attempt.reason for attempt in rig.attempts} == {"stopped"}
    assert (one.finished, two.finished) == (ENOUGH + 1, 1)


async def test_after_its_first_word_the_winner_is_streamed_as_ever() -> None:
    """Cut in the middle of a race that is over, it is gone on with like any other."""
    never = asyncio.Event()
    one = _scripted("one", *QUICK, [never])
    two = ScriptedBackend(["half ", Fail("cut", "gone")], name="two")
    three = ScriptedBackend(["half an answer"], name="three", resumes=True)
    rig = Rig(one, two, three, hedge=True)
    await _warm(rig)
    answer = Answer()
    async with aclosing(rig.router.stream(PROMPT, record=rig.attempts.append)) as chunks:
        async for chunk in chunks:
            answer.add(chunk)
    assert answer.text == "half an answer"
    assert rig.outcomes == [("one", "cancelled"), ("two", "cut"), ("three", "ok")]


@pytest.mark.parametrize(
    "case", ["off", "too few seen", "ambient", "consent", "resting", "budget", "alone", "only a reflex below"]
)
async def test_a_second_rung_is_not_asked_when(case: str) -> None:
    """It was not asked for, nothing is known, nobody waits, somebody would have to be asked, or it may not be."""
    late = asyncio.Event()
    seen = ENOUGH - 1 if case == "too few seen" else ENOUGH
    one = _scripted("one", *QUICK[:seen], [late, "one"], where="device")
    where: Where = "remote" if case in {"consent", "budget"} else "device"
    rests: list[list[Step]] = [[Fail("overloaded", retry_after=60.0)]] if case == "resting" else []
    tier: Tier = "reflex" if case == "only a reflex below" else "model"
    two = ScriptedBackend(*rests, ["two"], name="two", where=where, tier=tier)
    rig = Rig(
        one,
        two,
        hedge=case != "off",
        egress="ask" if case == "consent" else "remote",
        budget=Budget(day_usd="1", on_breach="stop") if case == "budget" else None,
        spent=2_000_000_000 if case == "budget" else 0,
    )
    for _ in range(seen):
        await rig.ask(backend="one" if case == "alone" else "")
    if case == "resting":
        with pytest.raises(NoBackend):
            await rig.ask(replace(PROMPT, priority="completion"), backend="two")
    before = len(two.prompts)
    prompt = replace(PROMPT, priority="ambient") if case == "ambient" else PROMPT
    asking = asyncio.create_task(rig.ask(prompt, backend="one" if case == "alone" else ""))
    done, _ = await asyncio.wait({asking}, timeout=0.1)
    assert not done
    late.set()
    assert (await asking).text == "one"
    assert len(two.prompts) == before
    assert rig.departures == []


async def test_a_thousand_turns_that_grow_ever_slower_ask_five_in_a_hundred_twice() -> None:
    """The share holds whatever comes; every leg is one record, and nobody's answer is mixed with another's."""
    luck = random.Random(7)
    slow: list[list[Step]] = [[Pause(0.001 + number * 1e-5 * luck.random()), "one"] for number in range(1_000)]
    one, two = _scripted("one", *slow), _scripted("two", ["two"])
    rig = Rig(one, two, hedge=True)
    answers: list[str] = []
    for _ in range(100):
        answers += [answer.text for answer in await asyncio.gather(*(rig.ask() for _ in range(10)))]
    assert set(answers) == {"one", "two"}
    assert 10 <= len(two.prompts) <= 50
    asked = len(one.prompts) + len(two.prompts)
    assert asked <= len(rig.attempts) <= 1_050, "one may be left before its request went out"
    assert sum(attempt.outcome == "ok" for attempt in rig.attempts) == 1_000
    assert one.finished + two.finished == asked


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_storm_of_turns_leaves_every_book_in_order(seed: int) -> None:
    """Slow, busy, broken, cut and left at any moment: whole answers or an error, three models a turn, one row each."""
    luck = random.Random(seed)

    def script() -> list[Step]:
        begin: list[Step] = [Pause(luck.choice([0.0, 0.0, 0.001, 0.01]))]
        return [
            *begin,
            *luck.choice(
                [
                    ["an ", "answer"],
                    ["an ", "answer"],
                    ["an ", "answer"],
                    [Fail("overloaded", "busy", retry_after=0.02)],
                    [Fail("server_error", "broken")],
                    ["an ", Fail("cut", "gone")],
                ]
            ),
        ]

    limits = Timeout(total=1.0)
    tables = [
        BackendTable(name=name, kind="openai", base_url="http://127.0.0.1:1", model="m", timeout=limits)
        for name in ("one", "two", "three")
    ]
    rungs = [
        ScriptedBackend(
            *(QUICK if table.name == "one" else []),
            *(script() for _ in range(1_000)),
            name=table.name,
            resumes=True,
        )
        for table in tables
    ]
    rig = Rig(*rungs, tables=tables, hedge=True, clock=monotonic)
    await _warm(rig)
    before = sum(len(each.prompts) for each in rungs)
    ended: list[str] = []
    booked: list[int] = []

    async def turn(leaves: float | None) -> None:
        answer, records = Answer(), list[Attempt]()
        try:
            async with asyncio.timeout(leaves), aclosing(rig.router.stream(PROMPT, record=records.append)) as chunks:
                async for chunk in chunks:
                    answer.add(chunk)
        except TimeoutError:
            ended.append("left")
        except (NoBackend, BackendError) as error:
            ended.append(type(error).__name__)
        else:
            ended.append(answer.text)
        booked.append(len(records))
        rig.attempts += records
        assert sum(attempt.outcome == "ok" for attempt in records) <= 1

    for _ in range(20):
        for table in tables:
            rig.router.forgive(table.name, "")
        await asyncio.gather(*(turn(0.01 if luck.random() < 0.1 else None) for _ in range(20)))
    assert set(ended) <= {"an answer", "left", "NoBackend", "BackendError"}
    assert ended.count("an answer") > 200
    assert max(booked) <= 3
    assert any("was faster" in attempt.reason for attempt in rig.attempts), "some were hedged"
    asked = sum(len(each.prompts) for each in rungs) - before
    assert asked <= sum(booked)
    assert sum(each.finished for each in rungs) == before + asked, "nothing streams on behind anybody's back"
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("ask ")]
