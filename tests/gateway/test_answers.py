"""What real clients get: the openai client and curl, against a real gateway and hub."""

import asyncio
import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from nanoide import wire
from tests.gateway.house import PIECES, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
WHOLE = "".join(PIECES)


async def test_everything_that_can_be_asked_is_listed(doors: House) -> None:
    """Routes, backends and skills, by the names under which they are asked."""
    async with doors.client() as client:
        names = [model.id async for model in client.models.list()]
    assert {"route:default", "route:falls", "backend:ready", "backend:nano", "skill:commit-message"} <= set(names)


async def test_a_chat_is_answered_whole(doors: House) -> None:
    """Text, reason and usage, as the model server told them."""
    async with doors.client() as client:
        done = await client.chat.completions.create(model="route:default", messages=HI)
    assert done.choices[0].message.content == WHOLE
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (11, 3, 14)


async def test_what_the_client_asks_for_reaches_the_model(doors: House) -> None:
    """Roles, sampling, limits, stop texts and the form of the answer."""
    async with doors.client() as client:
        await client.chat.completions.create(
            model="backend:ready",
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": [{"type": "text", "text": "three"}]},
            ],
            max_completion_tokens=77,
            temperature=0.5,
            top_p=0.5,
            seed=7,
            stop=["\n\n", "END"],
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}},
        )
    sent = doors.oracle.last
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    expected = {"max_tokens": 77, "temperature": 0.5, "top_p": 0.5, "seed": 7, "stop": ["\n\n", "END"]}
    expected |= {"frequency_penalty": 0.5, "presence_penalty": -0.5}
    assert {name: sent[name] for name in expected} == expected
    form = sent["response_format"]
    assert isinstance(form, dict)
    assert form["json_schema"]["schema"] == {"type": "array"}


async def test_a_chat_is_streamed(doors: House) -> None:
    """Piece by piece, with the reason at the end and the usage after it."""
    texts: list[str] = []
    finish: list[str] = []
    usages: list[int] = []
    async with doors.client() as client:
        stream = await client.chat.completions.create(
            model="route:default", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            texts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            finish += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
            usages += [] if chunk.usage is None else [chunk.usage.total_tokens]
    assert "".join(texts) == WHOLE
    assert (finish, usages) == (["stop"], [14])


async def test_a_stream_ends_with_done(doors: House) -> None:
    """Events, says curl:, the role first and the terminator last."""
    body = {"model": "route:default", "messages": HI, "stream": True}
    said = await doors.curl("/v1/chat/completions", body=body)
    assert said.status == 200
    assert said.headers["content-type"].startswith("text/event-stream")
    assert json.loads(said.events[0])["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert said.events[-1] == "[DONE]"


async def test_a_completion_with_a_suffix_fills_in(doors: House) -> None:
    """The model server is asked for what belongs between the two."""
    async with doors.client() as client:
        done = await client.completions.create(
            model="backend:ready", prompt="def add(a, b):\n    return ", suffix="\n", max_tokens=9
        )
    assert done.choices[0].text == "a + b"
    assert doors.oracle.running.requests[-1].path == "/v1/completions"
    assert (doors.oracle.last["prompt"], doors.oracle.last["suffix"]) == ("def add(a, b):\n    return ", "\n")
    assert doors.oracle.last["max_tokens"] == 9


async def test_a_completion_takes_a_list_of_one_and_streams(doors: House) -> None:
    """As some clients send it."""
    async with doors.client() as client:
        stream = await client.completions.create(model="backend:ready", prompt=["x = "], stream=True)
        text = "".join([chunk.choices[0].text async for chunk in stream])
    assert text == "a + b"


async def test_infill_speaks_as_llama_server_does(doors: House) -> None:
    """Prefix, suffix and the begun line; the bundled model answers, whole and streamed."""
    body = {"model": "backend:nano", "input_prefix": "def add(a, b):\n", "prompt": "    return ", "n_predict": 8}
    body["input_suffix"] = "\n"
    whole = (await doors.curl("/infill", body={**body, "temperature": 0})).object
    assert whole["stop"] is True
    assert whole["content"]
    assert 0 < int(str(whole["tokens_predicted"])) <= 8
    events = (await doors.curl("/infill", body={**body, "temperature": 0, "stream": True})).events
    assert "".join(json.loads(event)["content"] for event in events) == whole["content"]
    assert [json.loads(event)["stop"] for event in events] == [False] * (len(events) - 1) + [True]


async def test_infill_needs_no_model_and_warms_nothing_up(doors: House) -> None:
    """The default route answers; a request for no token is answered at once, and nobody is asked."""
    said = await doors.curl("/infill", body={"input_prefix": "x = ", "input_suffix": ""})
    assert said.object["content"] == "a + b"
    before = len(doors.oracle.running.requests)
    said = await doors.curl("/infill", body={"input_prefix": "x = ", "n_predict": 0})
    assert (said.status, said.object["content"]) == (200, "")
    assert len(doors.oracle.running.requests) == before


async def test_infill_copies_from_other_files(doors: House) -> None:
    """As an inline completion does; a model is not told of them."""
    extra = [{"filename": "billing.py", "text": "total = compute_the_sum(invoice)\n"}]
    body = {"model": "backend:reflex", "input_prefix": "other = compute_the_", "input_suffix": "\n"}
    assert "sum(" not in str((await doors.curl("/infill", body=body)).object.get("content"))
    said = await doors.curl("/infill", body={**body, "input_extra": extra})
    assert str(said.object["content"]).startswith("sum(")
    await doors.curl("/infill", body={**body, "model": "backend:ready", "input_extra": extra})
    assert "compute_the_sum" not in json.dumps(doors.oracle.last)


async def test_a_skill_is_asked_in_its_own_manner(doors: House) -> None:
    """The first message is the material of a skill that works on some; its ledger row says whose it is."""
    diff = "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1,2 @@\n x = 1\n+def token(): ...\n"
    async with doors.client() as client:
        done = await client.chat.completions.create(
            model="skill:commit-message", messages=[{"role": "user", "content": diff}]
        )
    assert done.choices[0].message.content == WHOLE
    messages = doors.oracle.last["messages"]
    assert isinstance(messages, list)
    assert "You write commit messages" in messages[0]["content"]
    assert "+def token(): ..." in messages[1]["content"]
    (row,) = await doors.ledger(1)
    assert (row.skill, row.attempt.backend, row.attempt.outcome) == ("commit-message", "ready", "ok")


async def test_a_rung_that_fails_is_left_and_the_client_sees_one_clean_stream(doors: House) -> None:
    """The ladder works below: two attempts in the ledger, one whole answer."""
    async with doors.client() as client:
        stream = await client.chat.completions.create(model="route:falls", messages=HI, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == WHOLE
    rows = await doors.ledger(2)
    assert rows[0].skill == "gateway"
    assert (rows[0].attempt.backend, rows[0].attempt.outcome) == ("ready", "ok")


async def test_a_conversation_is_one_session_of_the_ledger(doors: House) -> None:
    """By the client's own key for it, so that the caps of a session hold for it too; without one it is nobody's."""
    async with doors.client() as client:
        for key in ("a chat", "a chat"):
            await client.chat.completions.create(model="backend:ready", messages=HI, prompt_cache_key=key)
        await client.chat.completions.create(model="backend:ready", messages=HI)
    none, second, first = await doors.ledger(3)
    assert none.session == ""
    assert second.session == first.session
    assert first.session.startswith("gateway-")


async def test_nobody_is_asked_about_what_would_leave(doors: House) -> None:
    """The policy "ask" passes remote rungs over; what is here answers."""
    async with doors.client() as client:
        done = await client.chat.completions.create(model="route:far-then-near", messages=HI)
    assert done.choices[0].message.content == WHOLE
    async with await doors.hub() as hub:
        assert await hub.call(wire.ReadEgress()) == ()


async def test_twenty_at_once(doors: House) -> None:
    """All are with the model at the same time, and each gets its whole answer."""
    async with doors.client() as client:

        async def one() -> str:
            stream = await client.chat.completions.create(model="backend:crowd", messages=HI, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        assert await asyncio.gather(*(one() for _ in range(20))) == [WHOLE] * 20


async def test_health_says_ok_and_how_the_hub_stands(doors: House) -> None:
    """Without a token, and nothing else."""
    said = await doors.curl("/health", token=False)
    assert said.status == 200
    assert set(said.object) == {"status", "mode"}
    assert said.object["status"] == "ok"
    assert said.object["mode"] in {"full", "degraded", "local only", "reflex only"}


async def test_the_counts_count(doors: House) -> None:
    """One more request, one more attempt, and its tokens; the one under way is the one that asks."""
    before = await doors.metrics()
    async with doors.client() as client:
        await client.chat.completions.create(model="backend:ready", messages=HI)
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="gpt-4o", messages=HI)
    after = await doors.metrics()

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    where = 'nanoide_gateway_requests_total{endpoint="/v1/chat/completions",outcome='
    assert more(where + '"ok"}') == 1
    assert more(where + '"model_not_found"}') == 1
    assert more('nanoide_gateway_attempts_total{backend="ready",outcome="ok"}') == 1
    assert more('nanoide_gateway_tokens_total{kind="output"}') == 3
    assert after["nanoide_gateway_in_flight"] == 1
