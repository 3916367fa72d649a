"""An answer that breaks off goes on elsewhere, exactly or visibly anew."""

import asyncio
import random
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from nanoide.backends.scripted import Cut, Fail, Hang, ScriptedBackend, Step
from nanoide.core.chat import End, Fill, Message, Passed, Prompt, Rung, Text, Waits
from nanoide.core.errors import BackendError, Outcome
from nanoide.core.usage import Usage
from nanoide.routing.resume import leg
from nanoide.routing.seam import anchor_of
from nanoide.settings import BackendTable, PriceTable
from tests.routing.answers import ANSWER, pieces
from tests.routing.rig import PROMPT, Rig

HALF = "The session keeps its token until eighty percent of its life"
REST = "time are gone."


def _model(name: str, *scripts: list[Step], resumes: bool = False, **fields: object) -> ScriptedBackend:
    return ScriptedBackend(*scripts, name=name, resumes=resumes, **fields)  # type: ignore[arg-type]


def _table(name: str, **fields: object) -> BackendTable:
    return BackendTable(name=name, kind="openai", base_url="http://127.0.0.1:1", model="m", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "outcome", ["cut", "timeout", "server_error", "overloaded", "crashed", "protocol", "connect_error"]
)
async def test_where_a_backend_takes_text_it_simply_goes_on(outcome: Outcome) -> None:
    """The text that stands is the prompt's end, what may still be said is less, and the reason is told."""
    step = Cut() if outcome == "cut" else Fail(outcome, "broke")
    below = _model("b", [HALF + REST], resumes=True)
    rig = Rig(_model("a", [HALF, step]), below)
    answer = await rig.ask()
    assert answer.text == HALF + REST
    assert answer.rungs[1].continues
    assert answer.rungs[1].reason.startswith("a: ")
    assert len(answer.ends) == 1
    assert rig.outcomes == [("a", outcome), ("b", "ok")]
    assert below.prompts[0].partial == HALF
    assert 0 < below.prompts[0].max_output < PROMPT.max_output


@pytest.mark.parametrize("outcome", ["bad_request", "content_filter", "auth", "quota", "not_found", "context"])
async def test_what_is_the_prompts_or_the_keys_fault_is_final_in_the_middle(outcome: Outcome) -> None:
    """The others would say the same."""
    rig = Rig(_model("a", [HALF, Fail(outcome, "no")]), _model("b", [HALF + REST], resumes=True))
    with pytest.raises(BackendError, match="a: no"):
        await rig.ask()
    assert rig.outcomes == [("a", outcome)]


async def test_a_hundred_seeded_cuts_are_gone_on_with_by_a_backend_that_takes_text() -> None:
    """Wherever it was cut, in every script."""
    dice = random.Random(7)
    for _ in range(100):
        at = dice.randrange(1, len(ANSWER))
        first = _model("a", [*pieces(ANSWER[:at], dice), Cut()])
        answer = await Rig(first, _model("b", [*pieces(ANSWER, dice)], resumes=True)).ask()
        assert answer.text == ANSWER
        assert [rung.continues for rung in answer.rungs] == [False, True]


async def test_a_model_that_does_not_find_back_is_asked_anew() -> None:
    """Visibly: the text before is void, and the whole answer comes from the same rung. Its health is not its fault."""
    below = _model("b", ["Of course! ", "What a good question. " * 20], [HALF, REST])
    rig = Rig(_model("a", [HALF, Cut()]), below)
    answer = await rig.ask()
    assert answer.text == HALF + REST
    assert [(rung.backend, rung.continues) for rung in answer.rungs] == [("a", False), ("b", True), ("b", False)]
    assert answer.rungs[2].reason == "b: did not go on where the answer broke off"
    assert rig.outcomes == [("a", "cut"), ("b", "protocol"), ("b", "ok")]
    assert below.prompts[1] == replace(PROMPT, egress="remote")
    assert rig.router.lines()[1].breaker == "closed"


async def test_nothing_of_a_stream_that_is_not_joined_is_given_out() -> None:
    """What a model says instead of going on is held back to the end."""
    rig = Rig(_model("a", [HALF, Cut()]), _model("b", ["I cannot do that."], [HALF, Hang()]))
    texts: list[str] = []
    async with aclosing(rig.router.stream(PROMPT, record=rig.attempts.append)) as chunks:
        async for chunk in chunks:
            texts.append(chunk.text if isinstance(chunk, Text) else "|")
            if len(texts) == 5:
                break
    assert texts == ["|", HALF, "|", "|", HALF]
    assert rig.outcomes == [("a", "cut"), ("b", "protocol"), ("b", "cancelled")]


async def test_it_goes_on_twice_at_most_and_then_says_what_happened() -> None:
    """Three models a turn; what stands is kept, and no end is invented."""
    rig = Rig(
        _model("a", [HALF, Cut()]),
        _model("b", [HALF + "time", Fail("overloaded", "busy")], resumes=True),
        _model("c", [HALF + "time are", Cut()], resumes=True),
        _model("d", [HALF + REST], resumes=True),
        ScriptedBackend(["by rule"], name="reflex", tier="reflex"),
    )
    given = ""
    ends: list[End] = []

    async def read() -> None:
        nonlocal given
        async for chunk in rig.router.stream(PROMPT, record=rig.attempts.append):
            if isinstance(chunk, Text):
                given += chunk.text
            elif isinstance(chunk, End):
                ends.append(chunk)

    with pytest.raises(BackendError) as caught:
        await read()
    assert given == HALF + "time are"
    assert ends == []
    assert rig.outcomes == [("a", "cut"), ("b", "overloaded"), ("c", "cut")]
    assert caught.value.outcome == "cut"
    assert caught.value.message == (
        "c: the stream ended without its end; nobody could go on: d: the answer went on 2 times already; "
        "reflex: cannot go on with an answer that another began; c: the answer went on 2 times already"
    )


async def test_a_rung_that_fails_before_it_goes_on_leaves_it_to_the_next() -> None:
    """What stands stays; policy and objections hold as ever."""
    rig = Rig(
        _model("a", [HALF, Cut()]),
        _model("b", [Fail("connect_error", "no connection")], resumes=True),
        _model("c", [HALF + REST], resumes=True, objection="completes code only"),
        _model("d", [HALF + REST], resumes=True, where="remote"),
        _model("e", [HALF + REST], resumes=True),
    )
    rig.choice = "stay"
    answer = await rig.ask(egress="ask")
    assert answer.text == HALF + REST
    assert [rung.backend for rung in answer.rungs] == ["a", "b", "e"]
    assert answer.rungs[2].passed == (
        Passed("c", "completes code only"),
        Passed("d", "you chose to stay on this machine"),
    )


async def test_with_nobody_else_whoever_broke_off_goes_on_itself_once() -> None:
    """And only if its breaker lets it."""
    rig = Rig(_model("a", [HALF, Cut()], [HALF + REST], resumes=True))
    answer = await rig.ask()
    assert answer.text == HALF + REST
    assert rig.outcomes == [("a", "cut"), ("a", "ok")]
    rig = Rig(_model("a", [HALF, Cut()], [HALF + "time", Cut()], [HALF + REST], resumes=True))
    with pytest.raises(BackendError, match="a: the stream ended without its end"):
        await rig.ask()
    assert rig.outcomes == [("a", "cut"), ("a", "cut")]
    busy = Fail("overloaded", "busy", retry_after=600.0)
    rig = Rig(_model("a", [HALF, busy], [HALF + REST], resumes=True))
    with pytest.raises(BackendError, match="a: busy; nobody could go on: a: rests"):
        await rig.ask()
    assert rig.outcomes == [("a", "overloaded")]


async def test_an_answer_that_lacked_only_its_end_gets_it() -> None:
    """Nothing more to say is an answer too, where one broke off."""
    whole = "The session keeps its token until eighty percent."
    for below in (_model("b", [whole], resumes=True), _model("b", [anchor_of(whole)])):
        rig = Rig(_model("a", [whole, Cut()]), below)
        answer = await rig.ask()
        assert (answer.text, len(answer.ends)) == (whole, 1)
        assert rig.outcomes == [("a", "cut"), ("b", "ok")]


async def test_a_stop_text_that_lies_across_the_seam_ends_the_answer() -> None:
    """What may be its beginning was not given out; whoever goes on says it again, and is stopped there."""
    prompt = replace(PROMPT, stop=("END.",))
    said = HALF + "time. E"
    for below in (
        _model("b", [HALF + "time. ", "END", ". and more"], resumes=True),
        _model("b", [anchor_of(HALF + "time. "), "EN", "D. and more"]),
    ):
        rig = Rig(_model("a", [said, Cut()]), below)
        answer = await rig.ask(prompt)
        assert answer.text == HALF + "time. "
        assert len(answer.ends) == 1
        assert rig.outcomes == [("a", "cut"), ("b", "ok")]


async def test_both_legs_are_billed() -> None:
    """The one that broke off by our count, which says so, the other by its server's; the turn pays for both."""
    price = PriceTable(input="1", output="2")
    below = _model("b", [HALF + REST, End(usage=Usage(input=100, output=5))], resumes=True, where="remote")
    rig = Rig(
        _model("a", [HALF, Cut()], where="remote"),
        below,
        tables=[_table("a", where="remote", price=price), _table("b", where="remote", price=price)],
    )
    await rig.ask()
    first, second = rig.attempts
    assert first.usage.estimated
    assert first.usage.output > 5
    assert first.cost_nano == 1_000 * first.usage.input + 2_000 * first.usage.output
    assert (second.usage, second.cost_nano) == (Usage(input=100, output=5), 110_000)
    assert [line.backend for line in rig.audit] == ["a", "b"]
    assert rig.audit[1].bytes >= rig.audit[0].bytes + len(HALF)


@pytest.mark.parametrize("resumes", [True, False])
async def test_a_person_who_stops_the_turn_as_it_goes_on_is_heard(resumes: bool) -> None:
    """At the seam, and behind it: one record for each leg, and both streams closed."""
    backends = _model("a", [HALF, Cut()]), _model("b", [HALF[-40:], "time", Hang()], resumes=resumes)
    for stop_at in ("|", "time"):
        rig = Rig(*backends)
        seen: list[str] = []
        async with aclosing(rig.router.stream(PROMPT, record=rig.attempts.append)) as chunks:
            async for chunk in chunks:
                seen.append(chunk.text if isinstance(chunk, Text) else "|")
                if seen[-1] == stop_at and len(seen) > 2:
                    break
        assert rig.outcomes == [("a", "cut"), ("b", "cancelled")]
    assert [each.finished for each in backends] == [2, 1]


async def test_a_person_who_stops_the_turn_while_the_seam_is_looked_for_is_heard() -> None:
    """Nothing was given out of that leg; what it used is counted all the same."""
    below = _model("b", [Waits("wakes up"), HALF[-40:-10], Hang()])
    rig = Rig(_model("a", [HALF, Cut()]), below)
    async with aclosing(rig.router.stream(PROMPT, record=rig.attempts.append)) as chunks:
        told = ""
        async for chunk in chunks:
            if isinstance(chunk, Rung) and told == "wakes up":
                break  # the first piece of the anchor has come and is looked at next
            told = chunk.reason if isinstance(chunk, Rung) else ""
        task = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert rig.outcomes == [("a", "cut"), ("b", "cancelled")]
    assert rig.attempts[1].usage.output > 0
    assert below.finished == 1


async def test_a_secret_in_what_stands_does_not_leave() -> None:
    """It could not be exact without it: the whole answer is asked anew, of a prompt in which nothing is hidden."""
    said = "The key of the machine is AKIAABCDEFGHIJKLMNOP, and it is used"
    far = _model("far", ["I do not know."], resumes=True, where="remote")
    rig = Rig(_model("near", [said, Cut()]), far)
    answer = await rig.ask()
    assert answer.text == "I do not know."
    assert not answer.rungs[1].continues
    assert "AKIA" not in str(far.prompts[0])


def test_what_cannot_be_exact_does_not_go_on() -> None:
    """A grammar has no room for an anchor, and a completion without messages nobody to ask for one."""
    for prompt in (
        replace(PROMPT, json_schema="{}"),
        replace(PROMPT, grammar='root ::= "a"'),
        Prompt(fill=Fill("x")),
    ):
        assert not leg(prompt, HALF, raw=False).continues
    asked = leg(PROMPT, HALF, raw=False).prompt
    assert asked.messages[:-1] == (*PROMPT.messages, Message("assistant", HALF))
    assert asked.messages[-1].text.endswith(f"→{HALF[-40:]}←")
    assert not leg(PROMPT, "too short", raw=False).continues
    assert leg(PROMPT, "too short", raw=True).continues


def test_the_rung_says_whether_the_text_stays() -> None:
    """By default it does not."""
    assert not Rung("a", "device", "model").continues
