import asyncio
from contextlib import aclosing

import pytest

from nanoide.backends.base import Health
from nanoide.backends.scripted import Cut, Fail, Hang, Pause, ScriptedBackend, Step
from nanoide.core.chat import Context, End, Fill, Passed, Prompt, Reflex, Rung, Text
from nanoide.core.errors import BackendError, BudgetRefused, NoBackend, Outcome, PolicyRefused, UnknownName
from nanoide.core.usage import NANO, Usage
from nanoide.settings import BackendTable, Budget, PriceTable, Timeout
from tests.routing.rig import PROMPT, Rig

FILL = Prompt(fill=Fill("a"), reflex=Reflex("/reflex.py", Context()))


def _model(name: str, *script: Step, **fields: object) -> ScriptedBackend:
    return ScriptedBackend(script, name=name, **fields)  # type: ignore[arg-type]


def _reflex(*script: Step) -> ScriptedBackend:
    return ScriptedBackend(script, name="reflex", tier="reflex")


def _table(name: str, **fields: object) -> BackendTable:
    return BackendTable(name=name, kind="openai", base_url="http://127.0.0.1:1", model="m", **fields)  # type: ignore[arg-type]


async def test_the_first_rung_that_answers_is_the_answer() -> None:
    """One rung, its texts, one end, one record."""
    rig = Rig(_model("a", "hel", "lo"), _model("b", "other"))
    answer = await rig.ask()
    assert answer.text == "hello"
    assert answer.rungs == [Rung("a", "device", "model")]
    assert len(answer.ends) == 1
    assert rig.outcomes == [("a", "ok")]
    attempt = rig.attempts[0]
    assert (attempt.cost_nano, attempt.price_source, attempt.usage) == (0, "device", Usage(input=1, output=2))
    assert attempt.ttft_ms is not None


@pytest.mark.parametrize(
    "outcome",
    [
        "connect_error",
        "timeout",
        "overloaded",
        "server_error",
        "auth",
        "quota",
        "bad_request",
        "not_found",
        "context",
        "protocol",
        "cut",
        "crashed",
        "unavailable",
    ],
)
async def test_a_failure_before_the_first_token_goes_on_below(outcome: Outcome) -> None:
    """The next rung says why it is asked, and both attempts are recorded."""
    rig = Rig(_model("a", Fail(outcome, "a: went wrong")), _model("b", "fine"))
    answer = await rig.ask()
    assert answer.text == "fine"
    assert answer.rungs[1].reason == "a: went wrong"
    assert rig.outcomes == [("a", outcome), ("b", "ok")]
    assert rig.attempts[0].reason == "went wrong"


async def test_a_content_filter_is_final() -> None:
    """Nobody else is asked, not even the reflex."""
    rig = Rig(_model("a", Fail("content_filter")), _model("b", "fine"), _reflex("fine"))
    with pytest.raises(BackendError) as caught:
        await rig.ask()
    assert caught.value.outcome == "content_filter"
    assert rig.outcomes == [("a", "content_filter")]


async def test_a_filtered_answer_without_text_is_final_too() -> None:
    """As a finish reason it says the same."""
    rig = Rig(_model("a", End(finish="content_filter")), _model("b", "fine"))
    with pytest.raises(BackendError):
        await rig.ask()
    assert rig.outcomes == [("a", "content_filter")]


@pytest.mark.parametrize(("step", "outcome"), [(Cut(), "cut"), (Fail("server_error"), "server_error")])
async def test_an_answer_that_broke_off_too_early_to_go_on_begins_anew(step: Step, outcome: str) -> None:
    """Two answers are never mixed: what came before is void; what it used is estimated."""
    rig = Rig(_model("a", "half", step), _model("b", "other"))
    answer = await rig.ask()
    assert answer.text == "other"
    assert not answer.rungs[1].continues
    assert answer.rungs[1].reason.startswith("a: ")
    assert rig.outcomes == [("a", outcome), ("b", "ok")]
    assert rig.attempts[0].usage.estimated
    assert rig.attempts[0].usage.output > 0


async def test_a_stream_that_ends_without_its_end_before_a_word_goes_on_below() -> None:
    """No truncated answer is a success."""
    rig = Rig(_model("a", Cut()), _model("b", "fine"))
    assert (await rig.ask()).text == "fine"
    assert rig.outcomes == [("a", "cut"), ("b", "ok")]


@pytest.mark.parametrize(
    ("script", "limits", "why"),
    [
        ([Hang()], Timeout(first_token=0.05), "first token over 0.05 s"),
        ([Pause(0.01), Hang()], Timeout(total=0.05), "not done after 0.05 s"),
    ],
)
async def test_silence_runs_into_its_limit_and_goes_on_below(script: list[Step], limits: Timeout, why: str) -> None:
    """The reason names the limit, and what hung is closed."""
    slow = ScriptedBackend(script, name="a")
    rig = Rig(slow, _model("b", "fine"), tables=[_table("a", timeout=limits)])
    answer = await rig.ask()
    assert answer.text == "fine"
    assert answer.rungs[1].reason == f"a: {why}"
    assert rig.outcomes == [("a", "timeout"), ("b", "ok")]
    assert slow.finished == 1


async def test_silence_in_the_middle_is_a_cut_but_the_whole_limit_ends_the_turn() -> None:
    """After the first token idle and total hold; when the whole time is over there is none left for another."""
    rig = Rig(_model("a", "half", Hang()), _model("b", "other"), tables=[_table("a", timeout=Timeout(idle=0.05))])
    answer = await rig.ask()
    assert (answer.text, answer.rungs[1].reason) == ("other", "a: silent for 0.05 s")
    assert rig.outcomes == [("a", "timeout"), ("b", "ok")]
    rig = Rig(_model("a", "half", Hang()), _model("b", "other"), tables=[_table("a", timeout=Timeout(total=0.05))])
    with pytest.raises(BackendError, match=r"a: not done after 0.05 s"):
        await rig.ask()
    assert rig.outcomes == [("a", "timeout")]


async def test_three_models_are_tried_and_the_reflex_after_them() -> None:
    """A fourth model is passed over; the reflex never is."""
    rig = Rig(*(_model(name, Fail()) for name in "abcd"), _reflex("by rule"))
    answer = await rig.ask()
    assert answer.text == "by rule"
    assert [rung.backend for rung in answer.rungs] == ["a", "b", "c", "reflex"]
    assert answer.rungs[-1].passed == (Passed("d", "3 models were tried already"),)
    assert rig.attempts[-1].tier == "reflex"


async def test_a_rung_that_objects_is_passed_over_with_its_reason() -> None:
    """The rung that is taken says who was passed over."""
    rig = Rig(_model("nano", objection="completes code only"), _model("b", "fine"))
    answer = await rig.ask()
    assert answer.rungs == [
        Rung("b", "device", "model", "nano: completes code only", (Passed("nano", "completes code only"),))
    ]
    assert rig.outcomes == [("b", "ok")]


async def test_when_nobody_answers_one_line_says_why() -> None:
    """Rung by rung."""
    rig = Rig(
        _model("nano", objection="completes code only"),
        _model("sonnet", Fail("connect_error", "no connection")),
        ScriptedBackend(name="reflex", tier="reflex", objection="skill explain has no reflex"),
    )
    with pytest.raises(NoBackend) as caught:
        await rig.ask()
    assert caught.value.message == (
        "no backend could answer: nano: completes code only; sonnet: no connection; reflex: skill explain has no reflex"
    )


async def test_an_empty_answer_of_a_model_is_none_in_a_chat_but_one_in_a_completion() -> None:
    """A chat goes on below; at the cursor there may be nothing to add."""
    rig = Rig(_model("a"), _model("b", "fine"))
    assert (await rig.ask()).text == "fine"
    assert rig.outcomes == [("a", "protocol"), ("b", "ok")]
    assert rig.attempts[0].usage.input == 1, "it was answered, so it is billed"
    rig = Rig(_model("a"), _model("b", "fine"))
    answer = await rig.ask(FILL)
    assert (answer.text, len(answer.ends)) == ("", 1)
    assert rig.outcomes == [("a", "ok")]


async def test_a_reflex_with_nothing_to_say_leaves_it_to_those_below() -> None:
    """Its silence is the answer only when nobody else has one."""
    rig = Rig(_reflex(), _model("b", "fine"))
    answer = await rig.ask()
    assert answer.text == "fine"
    assert answer.rungs[1].reason == "reflex: had nothing to say"
    assert rig.outcomes == [("reflex", "ok"), ("b", "ok")]
    rig = Rig(_reflex(), _model("b", Fail()))
    answer = await rig.ask()
    assert (answer.text, len(answer.ends), answer.rungs[-1].backend) == ("", 1, "reflex")
    assert rig.outcomes == [("reflex", "ok"), ("b", "server_error")]
    rig = Rig(_model("a", Fail()), _reflex())
    answer = await rig.ask(FILL)
    assert [rung.backend for rung in answer.rungs] == ["a", "reflex"]
    assert len(answer.ends) == 1


async def test_one_backend_can_be_asked_alone() -> None:
    """--backend is a ladder of one; names that stand for nothing are told."""
    rig = Rig(_model("a", "one"), _model("b", Fail()))
    with pytest.raises(NoBackend):
        await rig.ask(backend="b")
    assert rig.outcomes == [("b", "server_error")]
    with pytest.raises(UnknownName):
        await rig.ask(backend="c")
    with pytest.raises(UnknownName):
        await anext(rig.router.stream(PROMPT, route="nowhere", record=rig.attempts.append))


@pytest.mark.parametrize("where", ["lan", "remote"])
async def test_local_only_never_asks_beyond_this_machine(where: str) -> None:
    """A dead local model is an error that says so, and neither policy of prompt nor route is widened."""
    for route, prompt in (("local-only", "remote"), ("remote", "local-only")):
        far = _model("far", "hi", where=where)
        rig = Rig(_model("near", Fail("crashed")), far, egress=route)  # type: ignore[arg-type]
        with pytest.raises(PolicyRefused, match=r"far: local-only keeps this"):
            await rig.ask(egress=prompt)  # type: ignore[arg-type]
        assert far.prompts == []
        assert rig.departures == []
        assert rig.outcomes == [("near", "crashed")]


async def test_ask_asks_the_person_and_stay_goes_on_below() -> None:
    """Yes sends, no and nobody there do not."""
    far = _model("far", "from afar", where="remote", host="far (far.example)")
    rig = Rig(far, _reflex("from here"), egress="ask")
    assert (await rig.ask()).text == "from afar"
    assert len(rig.audit) == 1
    rig.choice = "stay"
    answer = await rig.ask()
    assert answer.text == "from here"
    assert answer.rungs[0].reason == "far: you chose to stay on this machine"
    assert (await rig.ask(alone=True)).text == "from here"
    assert len(rig.departures) == 2
    assert len(far.prompts) == len(rig.audit) == 1


async def test_budget_is_a_refusal_of_its_own() -> None:
    """With nothing left to spend and nothing local, the error says so."""
    far = _model("far", "hi", where="remote")
    rig = Rig(far, budget=Budget(day_usd="1"), spent=NANO)
    with pytest.raises(BudgetRefused):
        await rig.ask()
    assert far.prompts == []
    assert rig.attempts == []


async def test_money_is_counted_at_the_price_of_the_file_or_not_at_all() -> None:
    """A price that is not known is None, never 0; being turned away costs nothing."""
    usage = Usage(input=1_000, output=100)
    priced = _table("a", where="remote", price=PriceTable(input="1", output="2"))
    rig = Rig(_model("a", "x", End(usage=usage), where="remote"), tables=[priced])
    await rig.ask()
    assert (rig.attempts[0].cost_nano, rig.attempts[0].price_source) == (1_200_000, "config")
    rig = Rig(_model("a", Fail("overloaded"), where="remote"), _model("b", "x", End(usage=usage), where="lan"))
    await rig.ask()
    assert [attempt.cost_nano for attempt in rig.attempts] == [0, None]


async def test_a_turn_that_is_left_is_recorded_once_as_cancelled() -> None:
    """Closing the stream at any place: at the rung, in the middle, while it waits."""
    backend = ScriptedBackend(["half", Hang()], name="a")
    rig = Rig(backend)
    stream = rig.router.stream(PROMPT, record=rig.attempts.append)
    await anext(stream)
    await stream.aclose()
    stream = rig.router.stream(PROMPT, record=rig.attempts.append)
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Text):
                break
    reached = asyncio.Event()

    async def wait() -> None:
        async with aclosing(rig.router.stream(PROMPT, record=rig.attempts.append)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Text):
                    reached.set()

    task = asyncio.create_task(wait())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rig.outcomes == [("a", "cancelled")] * 3
    assert [attempt.usage.output > 0 for attempt in rig.attempts] == [False, True, True]
    assert backend.finished == 2


async def test_a_reader_that_takes_its_time_is_no_silence() -> None:
    """Only waiting for the backend counts as idle."""
    rig = Rig(_model("a", "one", "two"), tables=[_table("a", timeout=Timeout(idle=0.02))])
    got = ""
    async with aclosing(rig.router.stream(PROMPT, record=rig.attempts.append)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Text):
                got += chunk.text
                await asyncio.sleep(0.05)
    assert got == "onetwo"
    assert rig.outcomes == [("a", "ok")]


async def test_a_turn_that_is_cancelled_as_its_limit_passes_is_cancelled() -> None:
    """Whoever cancels is heard, also when a timer cancels in the same moment."""
    rig = Rig(_model("a", Hang()), _model("b", "fine"), tables=[_table("a", timeout=Timeout(first_token=0.02))])
    for delay in (0.015, 0.02, 0.0205, 0.021):
        task = asyncio.create_task(rig.ask())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(delay, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled() or task.result().text == "fine"
        rig.now += 100.0
    assert {outcome for _, outcome in rig.outcomes} <= {"cancelled", "timeout", "ok"}


async def test_leaving_after_the_end_is_no_cancel() -> None:
    """The attempt is recorded before its end is given out."""
    rig = Rig(_model("a", "x"))
    async with aclosing(rig.router.stream(PROMPT, record=rig.attempts.append)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, End):
                break
    assert rig.outcomes == [("a", "ok")]


async def test_a_backend_that_keeps_failing_is_left_alone_for_a_while() -> None:
    """Three failures in a row, then it rests; after its rest one probe brings it back."""
    sick = ScriptedBackend([Fail()], [Fail()], [Fail()], ["well"], name="a")
    rig = Rig(sick, _model("b", "fine"))
    for _ in range(5):
        assert (await rig.ask()).text == "fine"
    assert len(sick.prompts) == 3
    line = rig.router.lines()[0]
    assert (line.state, line.breaker, line.recovers_in_s) == ("cooling", "open", 5.0)
    words, reason = rig.router.mode()
    assert words == "degraded"
    assert "a: fails as its script says, tried again in 5 s" in reason
    rig.now += 5.0
    assert (await rig.ask()).text == "well"
    assert rig.router.lines()[0].breaker == "closed"
    assert rig.router.mode() == ("full", "")


async def test_after_a_rest_fifty_who_ask_send_one_probe() -> None:
    """The others are answered below and do not wait."""
    gate = asyncio.Event()
    sick = ScriptedBackend([Fail("overloaded", retry_after=9.0)], [gate, "well"], name="a")
    rig = Rig(sick, _model("b", "fine"))
    await rig.ask()
    rig.now += 9.0
    turns = [asyncio.create_task(rig.ask()) for _ in range(50)]
    done: set[asyncio.Task[object]] = set()
    while len(done) < 49:
        finished, _ = await asyncio.wait(turns, return_when=asyncio.FIRST_COMPLETED)
        done |= finished  # type: ignore[arg-type]
        turns = [turn for turn in turns if not turn.done()]
    gate.set()
    assert (await turns[0]).text == "well"
    assert len(sick.prompts) == 2


async def test_one_bad_reflex_does_not_rest_the_others() -> None:
    """A script's failure says nothing about the next skill's script."""
    reflex = ScriptedBackend(*[[Fail("crashed")]] * 5, ["well"], name="reflex", tier="reflex")
    rig = Rig(reflex)
    for _ in range(5):
        with pytest.raises(NoBackend):
            await rig.ask()
    assert (await rig.ask()).text == "well"


async def test_probing_asks_every_backend_but_those_that_local_only_keeps_from() -> None:
    """A probe sends nothing of a prompt, but it opens a connection."""
    far = ScriptedBackend(name="far", where="remote", health=Health("ready", "asked"))
    lines = await Rig(far, egress="local-only").router.probe()
    assert lines[0].reason == "not asked: local-only"
    lines = await Rig(far, egress="ask").router.probe()
    assert lines[0].reason == "asked"
