"""What happens when somebody goes: the model server, the client, the hub, the gateway itself."""

import asyncio
import json
import signal

import openai
import pytest

from nanoide import wire
from tests.gateway.house import BEGUN, PIECES, House, address, gateway, house

HI = [{"role": "user", "content": "hi"}]


def streamed(model: str) -> dict[str, object]:
    """A question whose answer is streamed."""
    return {"model": model, "messages": HI, "stream": True}


async def raw(doors: House, body: dict[str, object]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a chat was asked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{doors.port}\r\nAuthorization: Bearer {doors.token}\r\n"
    )
    writer.write(head.encode() + f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    await writer.drain()
    return reader, writer


async def after_the_first_word(reader: asyncio.StreamReader) -> list[str]:
    """The data of the events that come after the model "hold" has begun to speak: from then on there is a stream."""
    text = (await reader.read()).decode()
    assert "[DONE]" not in text
    assert "event: error\n" in text
    return [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]


async def idle(doors: House) -> None:
    """Wait until the gateway answers nobody but us."""
    async with asyncio.timeout(30):
        while (await doors.metrics())["nanoide_gateway_in_flight"] != 1:
            pass


async def test_a_stream_that_breaks_off_says_so_and_has_no_end() -> None:
    """What had come is there, then an error event, no [DONE]; the real client raises."""
    async with house() as doors:
        said = await doors.curl("/v1/chat/completions", body=streamed("backend:cut"))
        assert said.status == 200
        assert "half of " in said.body
        assert "event: error\n" in said.body
        assert json.loads(said.events[-1])["error"]["code"] == "cut"
        assert "[DONE]" not in said.body
        assert '"finish_reason":"stop"' not in said.body
        async with doors.client() as client:
            stream = await client.chat.completions.create(
                model="backend:cut", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            with pytest.raises(openai.APIError):
                async for _ in stream:
                    pass
        whole = await doors.curl("/v1/chat/completions", body={"model": "backend:cut", "messages": HI})
        assert whole.status >= 500
        assert "half of " not in whole.body


async def test_an_answer_that_goes_on_elsewhere_is_one_clean_stream() -> None:
    """The client sees no seam; the ledger has both legs."""
    async with house() as doors:
        said = await doors.curl("/v1/chat/completions", body=streamed("route:goes-on"))
        texts = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in said.events[:-1]]
        assert "".join(texts) == f"{BEGUN} home."
        assert said.events[-1] == "[DONE]"
        assert "event: error" not in said.body
        rows = await doors.ledger(2)
        assert [(row.attempt.backend, row.attempt.outcome) for row in rows] == [("resume", "ok"), ("begin", "cut")]
        assert rows[0].turn == rows[1].turn
        whole = await doors.curl("/v1/chat/completions", body={"model": "route:goes-on", "messages": HI})
        assert f"{BEGUN} home." in whole.body


async def test_an_answer_that_begins_anew_cannot_be_taken_back_in_a_stream() -> None:
    """It breaks off there; asked for as a whole it is the second one alone."""
    async with house() as doors:
        said = await doors.curl("/v1/chat/completions", body=streamed("route:anew"))
        assert "half of " in said.body
        assert "".join(PIECES) not in said.body
        assert "event: error\n" in said.body
        assert "[DONE]" not in said.body
        whole = await doors.curl("/v1/chat/completions", body={"model": "route:anew", "messages": HI})
        assert "".join(PIECES) in whole.body
        assert "half of" not in whole.body


async def test_a_client_that_goes_away_stops_the_model_at_once() -> None:
    """The model server is hung up on, the ledger says "cancelled", and nothing is left under way."""
    async with house() as doors:
        async with doors.client() as client:
            stream = await client.chat.completions.create(
                model="backend:hold", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            first = await anext(aiter(stream))
            assert first.choices[0].delta.role == "assistant"
            await stream.close()
            await doors.oracle.hung_up.wait()
        await idle(doors)
        (row,) = await doors.ledger(1)
        assert (row.attempt.backend, row.attempt.outcome) == ("hold", "cancelled")
        metrics = await doors.metrics()
        where = 'nanoide_gateway_requests_total{endpoint="/v1/chat/completions",outcome="cancelled"}'
        assert metrics[where] == 1
        assert metrics['nanoide_gateway_attempts_total{backend="hold",outcome="cancelled"}'] == 1


async def test_a_client_that_goes_before_the_first_word_stops_the_model_too() -> None:
    """Also when it wanted the answer whole."""
    async with house() as doors:
        _, writer = await raw(doors, {"model": "backend:hold", "messages": HI})
        await doors.oracle.holding.wait()
        writer.transport.abort()
        await doors.oracle.hung_up.wait()
        await idle(doors)


async def test_a_client_that_does_not_read_holds_nobody_up() -> None:
    """The model is done with it, others are answered, and what it reads at last is whole."""
    async with house() as doors:
        reader, writer = await raw(doors, streamed("backend:big"))
        async with asyncio.timeout(60):
            while not [row for row in await doors.ledger(1) if row.attempt.backend == "big"]:
                pass
        (row,) = await doors.ledger(1)
        assert (row.attempt.backend, row.attempt.outcome) == ("big", "ok")
        said = await doors.curl("/v1/chat/completions", body={"model": "backend:ready", "messages": HI})
        assert said.status == 200
        size, tail = 0, b""
        while not tail.endswith(b"0\r\n\r\n"):
            chunk = await reader.read(65536)
            assert chunk
            size += len(chunk)
            tail = (tail + chunk)[-64:]
        assert size > 100 * 65536
        assert b"data: [DONE]\n\n" in tail
        writer.close()
        await writer.wait_closed()


async def test_when_the_hub_goes_the_stream_breaks_off_and_the_next_request_starts_another() -> None:
    """An error event, no [DONE]; then all is well again."""
    async with house() as doors:
        reader, writer = await raw(doors, streamed("backend:hold"))
        await reader.readuntil(b"first ")
        async with await doors.hub() as hub:
            await hub.call(wire.StopHub())
            async for _ in hub.notices():
                pass
        (event,) = await after_the_first_word(reader)
        writer.close()
        assert json.loads(event)["error"]["code"] in {"hub", "interrupted"}
        assert (await doors.curl("/health", token=False)).status == 200
        again = await doors.curl("/v1/chat/completions", body={"model": "backend:ready", "messages": HI})
        assert again.status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_gateway_that_is_told_to_go_ends_its_streams_and_leaves(number: signal.Signals) -> None:
    """The client sees an error event, the hub lives on, and the exit code is 0."""
    async with house() as doors:
        reader, writer = await raw(doors, streamed("backend:hold"))
        await reader.readuntil(b"first ")
        doors.process.send_signal(number)
        (event,) = await after_the_first_word(reader)
        writer.close()
        assert json.loads(event)["error"]["code"] == "interrupted"
        assert await doors.process.wait() == 0
        async with await doors.hub() as hub:
            assert (await hub.call(wire.ReadStatus())).pid


async def test_two_gateways_share_a_token_and_not_a_port() -> None:
    """The second one is told that the port is in use, and may have another."""
    async with house() as doors:
        env = {
            "NANOIDE_HOME": str(doors.paths.config.parent),
            "HOME": str(doors.paths.config.parent),
            "PATH": "/usr/bin",
        }
        second = await gateway(env, port=doors.port)
        out, err = await second.communicate()
        assert second.returncode == 1
        assert out == b""
        assert err.decode().startswith(f"nanoide: port {doors.port} is in use")
        third = await gateway(env)
        assert await address(third) != doors.url
        third.send_signal(signal.SIGTERM)
        await third.communicate()
        assert third.returncode == 0
