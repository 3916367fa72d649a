"""While everybody who could answer rests, a turn waits, says for whom, and goes on with the first who is back."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from time import monotonic

import pytest
from msgspec.structs import replace

from nanoide.backends.keys import read_key
from nanoide.backends.openai import OpenAIBackend
from nanoide.backends.pool import Pool
from nanoide.backends.scripted import Fail, Hang, ScriptedBackend
from nanoide.core.chat import Prompt, Rung
from nanoide.core.errors import NoBackend
from nanoide.routing.memory import Memory
from nanoide.routing.waiting import Hope, best, patience, told
from nanoide.settings import BackendTable, Key, Timeout
from tests.backends.servers import chat, respond, serve, stream
from tests.routing.rig import PROMPT, Answer, Rig

CURSOR = replace(PROMPT, priority="completion")
"""A prompt that waits for nobody."""

BUSY = Fail("overloaded", "busy", retry_after=0.1)


def _table(name: str, **fields: object) -> BackendTable:
    return BackendTable(name=name, kind="openai", base_url="http://127.0.0.1:1", model="m", **fields)  # type: ignore[arg-type]


async def _rest(rig: Rig) -> None:
    """Have the first backend say that it wants a rest."""
    with pytest.raises(NoBackend):
        await rig.ask(CURSOR)


async def test_a_turn_waits_for_the_only_rung_and_says_so() -> None:
    """One that asked for a rest in this very turn, and one that rested already; two attempts each, no more."""
    rig = Rig(ScriptedBackend([BUSY], ["well"], [BUSY], ["again"], name="a"), clock=monotonic)
    answer = await rig.ask()
    assert answer.text == "well"
    assert [rung.reason for rung in answer.rungs][:2] == ["", "waits 1 s for a: busy"]
    assert rig.outcomes == [("a", "overloaded"), ("a", "ok")]
    await _rest(rig)
    answer = await rig.ask()
    assert answer.text == "again"
    assert answer.rungs[0].reason == "waits 1 s for a: busy"
    assert rig.outcomes[2:] == [("a", "overloaded"), ("a", "ok")]


async def test_fifty_who_wait_send_one_probe_and_follow_when_it_speaks() -> None:
    """Until the probe's first word nobody else asks; its answer need not be whole for that."""
    back, on = asyncio.Event(), asyncio.Event()
    sick = ScriptedBackend([BUSY], [back, "we", on, "ll"], ["well"], name="a")
    rig = Rig(sick, clock=monotonic)
    await _rest(rig)
    told: set[int] = set()
    all_wait = asyncio.Event()

    async def turn(number: int) -> Answer:
        answer = Answer()
        async with aclosing(rig.router.stream(PROMPT, record=rig.attempts.append)) as chunks:
            async for chunk in chunks:
                answer.add(chunk)
                if isinstance(chunk, Rung) and "another turn tries" in chunk.reason:
                    told.add(number)
                    if len(told) == 49:
                        all_wait.set()
        return answer

    turns = [asyncio.create_task(turn(number)) for number in range(50)]
    await all_wait.wait()
    assert len(sick.prompts) == 2
    back.set()
    done, pending = await asyncio.wait(turns, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 49:
        done, pending = await asyncio.wait(turns, timeout=0.05)
    assert len(pending) == 1, "the probe itself still speaks"
    on.set()
    assert {(await each).text for each in turns} == {"well"}
    assert len(sick.prompts) == 51
    assert [attempt.outcome for attempt in rig.attempts] == ["overloaded", *["ok"] * 50]


async def test_real_callers_come_back_to_a_server_that_was_busy() -> None:
    """Over HTTP, with Retry-After in milliseconds: nobody fails, and one request finds out that it is back."""
    async with serve(respond(429, {}, ["retry-after-ms: 150"]), stream(*chat("back"), "[DONE]")) as server:
        table = BackendTable(name="a", kind="openai", base_url=server.url, model="m")
        rig = Rig(OpenAIBackend(table, lambda: ""), tables=[table], clock=monotonic)
        await _rest(rig)
        answers = await asyncio.gather(*(rig.ask() for _ in range(20)))
        await rig.router.aclose()
    assert {answer.text for answer in answers} == {"back"}
    assert len(server.requests) == 21


async def test_a_prompt_with_a_reflex_does_not_wait() -> None:
    """It is answered by rule at once."""
    rig = Rig(
        ScriptedBackend([Fail("overloaded", retry_after=9.0)], name="a"),
        ScriptedBackend(["by rule"], name="reflex", tier="reflex"),
    )
    for _ in range(2):
        answer = await rig.ask()
        assert answer.text == "by rule"
        assert not any("waits" in rung.reason for rung in answer.rungs)


async def test_who_recovers_too_late_is_not_waited_for() -> None:
    """The error says at once how long it takes; an ambient turn has more time, one at the cursor none."""
    rig = Rig(ScriptedBackend([Fail("overloaded", retry_after=60.0)], name="a"))
    await _rest(rig)
    for prompt in (PROMPT, CURSOR):
        with pytest.raises(NoBackend) as caught:
            await rig.ask(prompt)
        assert caught.value.retry_after == 60.0
        assert "rests for 60 s" in caught.value.message
    async with aclosing(rig.router.stream(replace(PROMPT, priority="ambient"), record=rig.attempts.append)) as chunks:
        first = await anext(chunks)
    assert isinstance(first, Rung)
    assert first.reason.startswith("waits 60 s for a")
    assert len(rig.attempts) == 1, "waiting is no attempt, and neither is leaving while one waits"


async def test_a_turn_that_waits_for_another_one_s_probe_gives_up_at_its_deadline() -> None:
    """A probe that hangs holds the others no longer than they would have waited anyway."""
    tables = [_table("a", timeout=Timeout(total=0.3))]
    sick = ScriptedBackend([Fail("overloaded", retry_after=1.0)], [Hang()], name="a")
    rig = Rig(sick, tables=tables)
    await _rest(rig)
    rig.now += 1.0
    async with aclosing(rig.router.stream(PROMPT, record=rig.attempts.append)) as probe:
        await anext(probe)
        with pytest.raises(NoBackend, match="is being tried by another turn"):
            await rig.ask()
    assert rig.outcomes == [("a", "overloaded"), ("a", "cancelled")]


async def test_nobody_waits_for_what_no_waiting_changes() -> None:
    """A wrong key, an empty account, an unknown model, a request that is refused: the error comes at once."""
    for outcome in ("auth", "quota", "not_found", "bad_request", "connect_error"):
        rig = Rig(ScriptedBackend([Fail(outcome)], name="a"))  # type: ignore[arg-type]
        with pytest.raises(NoBackend):
            await rig.ask()
        assert rig.outcomes == [("a", outcome)]


async def test_never_more_than_three_attempts_however_often_it_recovers() -> None:
    """A backend that is busy each time it is asked."""
    rig = Rig(ScriptedBackend([BUSY], name="a"), clock=monotonic)
    with pytest.raises(NoBackend, match="busy"):
        await rig.ask()
    assert rig.outcomes == [("a", "overloaded")] * 3


async def test_an_answer_that_broke_off_waits_too_and_goes_on() -> None:
    """What was said stays while it waits."""
    sick = ScriptedBackend(["half ", BUSY], ["an answer"], name="a", resumes=True)
    rig = Rig(sick, clock=monotonic)
    answer = await rig.ask()
    assert answer.text == "half an answer"
    assert any(rung.reason.startswith("waits") and rung.continues for rung in answer.rungs)
    assert rig.outcomes == [("a", "overloaded"), ("a", "ok")]


async def test_a_key_that_was_refused_is_asked_with_again_when_it_is_another_one(tmp_path: Path) -> None:
    """Over HTTP: one request with the old key, none until the file has a new one, then an answer."""
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text("old-key-old-key-old")
    async with serve(respond(401), stream(*chat("welcome"), "[DONE]")) as server:
        table = BackendTable(name="a", kind="openai", base_url=server.url, model="m", key=Key(file=str(path)))
        rig = Rig(OpenAIBackend(table, lambda: read_key(Key(file=str(path)))), tables=[table])
        for _ in range(5):
            with pytest.raises(NoBackend, match=r"the key was refused \(401\)"):
                await rig.ask()
            rig.now += 3_600.0
        assert len(server.requests) == 1
        line = rig.router.lines()[0]
        assert (line.breaker, line.recovers_in_s) == ("open", None)
        assert rig.router.standing().next_probe_s is None
        path.write_text("new-key-new-key-new")
        assert (await rig.ask()).text == "welcome"
        assert server.requests[1].headers["authorization"] == "Bearer new-key-new-key-new"
        await rig.router.aclose()


async def test_what_a_server_says_of_its_allowance_keeps_everybody_away_until_then() -> None:
    """An answer that is good and the last one for now: the next turn goes elsewhere without asking."""
    whole = {"choices": [{"message": {"content": "the last"}, "finish_reason": "stop"}]}
    limits = ["x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 40s"]
    async with serve(respond(200, whole, limits)) as server:
        table = BackendTable(name="a", kind="openai", base_url=server.url, model="m")
        rig = Rig(OpenAIBackend(table, lambda: ""), ScriptedBackend(["elsewhere"], name="b"), tables=[table])
        assert (await rig.ask()).text == "the last"
        answer = await rig.ask()
        assert answer.text == "elsewhere"
        assert answer.rungs[0].reason == "a: rests for 40 s after: its allowance is used up"
        rig.now += 40.0
        assert (await rig.ask()).text == "the last"
        assert len(server.requests) == 2
        await rig.router.aclose()


async def test_a_replica_whose_allowance_is_used_up_leaves_its_pool_and_the_pool_goes_on() -> None:
    """Only when the last one is out does the whole backend rest, until the first is back."""
    whole = {"choices": [{"message": {"content": "one"}, "finish_reason": "stop"}]}
    limits = ["x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 90s"]
    async with serve(respond(200, whole, limits)) as one, serve(respond(200, whole, limits)) as two:
        table = BackendTable(name="farm", kind="openai", base_urls=(one.url, two.url), model="m")
        pool = Pool(table, [OpenAIBackend(each, lambda: "") for each in table.replicas()])
        rig = Rig(pool, tables=[table])
        assert [(await rig.ask()).text for _ in range(2)] == ["one", "one"]
        with pytest.raises(NoBackend, match=r"rests for (90|89) s after: its allowance is used up"):
            await rig.ask()
        assert (len(one.requests), len(two.requests)) == (1, 1)
        await rig.router.aclose()


async def test_a_probe_that_finds_a_backend_ready_unlocks_it() -> None:
    """Someone may have mended the account and not the key: `nanoide backends` sees it."""
    rig = Rig(ScriptedBackend([Fail("auth", "the key was refused (401)")], ["welcome back"], name="a"))
    await _rest(rig)
    with pytest.raises(NoBackend, match="a: waits for another key after: the key was refused"):
        await rig.ask()
    assert (await rig.router.probe())[0].breaker == "closed"
    assert (await rig.ask()).text == "welcome back"


async def test_a_rest_outlives_the_hub(tmp_path: Path) -> None:
    """A new router over the same file asks nobody who rests, and does when the table is another one."""
    path = tmp_path / "breakers.json"
    first = Rig(ScriptedBackend([Fail("overloaded", retry_after=600.0)], name="a"), memory=Memory(path))
    await _rest(first)
    await first.router.aclose()
    asked = ScriptedBackend(["hello"], name="a")
    second = Rig(asked, memory=Memory(path))
    with pytest.raises(NoBackend, match="a: rests for"):
        await second.ask()
    assert asked.prompts == []
    assert second.router.lines()[0].breaker == "open"
    third = Rig(asked, memory=Memory(path), tables=[replace(_table("a"), model="another")])
    assert (await third.ask()).text == "hello"


def test_how_long_a_turn_waits_depends_on_who_waits() -> None:
    """A person half a minute at most, and no longer than an answer may take; nobody's work two minutes."""
    assert [patience(each, 120.0) for each in ("completion", "focused", "visible", "background", "ambient")] == [
        0.0,
        30.0,
        30.0,
        120.0,
        120.0,
    ]
    assert patience("focused", 12.0) == 12.0


def test_the_first_who_recovers_in_time_is_waited_for() -> None:
    """One that may be asked now comes before all; one that takes too long is none."""
    slow = Hope("slow", 20.0, "rests", "busy", 120.0)
    soon = Hope("soon", 4.0, "rests", "overloaded (529)", 120.0)
    tried = Hope("tried", 0.0, "is being tried", "", 120.0)
    free = Hope("free", 0.0, "", "", 120.0)
    assert best([slow, soon], 30.0) == soon
    assert best([slow, soon, free, tried], 30.0) == free
    assert best([slow], 10.0) is None
    assert best([free], 0.0) == free
    assert best([], 30.0) is None
    assert told(soon) == "waits 4 s for soon: overloaded (529)"
    assert told(tried) == "waits for tried, which another turn tries"


async def test_three_models_and_a_wait_leave_no_trouble_behind_that_is_over() -> None:
    """What is told at the end are the troubles there were, not that it once rested."""
    sick = ScriptedBackend([BUSY], [Fail("server_error", "broken")], name="a")
    rig = Rig(sick, clock=monotonic)
    await _rest(rig)
    with pytest.raises(NoBackend) as caught:
        await rig.ask(Prompt(messages=PROMPT.messages))
    assert caught.value.message == "no backend could answer: a: broken"
