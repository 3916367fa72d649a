"""What a server told counts in the bill also when the answer is left before its end; and the audit says who got it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress

import pytest

from nanoide import tokens
from nanoide.backends.base import Call, Calls
from nanoide.backends.openai import OpenAIBackend
from nanoide.backends.pool import Pool
from nanoide.core.chat import Attempt, Prompt, Text
from nanoide.core.usage import Usage, cost
from nanoide.settings import BackendTable
from tests.faults.server import TOKENS, Kind, Voice, answers, serving
from tests.faults.stage import PRICE, QUESTION, backend
from tests.routing.rig import Rig

READ = 10
"""Tokens of the question, as the server counts them."""


class Left:
    """A turn that is cancelled as soon as `when` says so of its call and the pieces that were heard."""

    def __init__(self, when: Callable[[Call, int], bool]) -> None:
        self._when = when
        self.text = ""

    async def row(self, kind: Kind, said: int, *, whole: bool, monkeypatch: pytest.MonkeyPatch) -> Attempt:
        """Its row. The server says so many tokens, and all but the last frame when the answer is `whole`."""

        async def begins(voice: Voice) -> None:
            voice.begin()
            voice.say(*TOKENS[:said])
            if whole and kind == "anthropic":
                usage = {"usage": {"output_tokens": said}}
                voice.event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **usage})
            elif whole:
                voice.event({"choices": [{"delta": {}, "finish_reason": "length"}]})
                voice.event({"choices": [], "usage": {"prompt_tokens": READ, "completion_tokens": said}})
            await voice.hold()

        async with serving(kind, begins) as server:
            made, table = backend(kind, "first", server.url)
            assert isinstance(made, Calls)
            calls, call = list[Call](), made.call

            def watched(prompt: Prompt) -> Call:
                calls.append(call(prompt))
                return calls[-1]

            monkeypatch.setattr(made, "call", watched)
            rig = Rig(made, tables=[table])
            pieces = 0

            async def turn() -> None:
                nonlocal pieces
                async with aclosing(rig.router.stream(QUESTION, record=rig.attempts.append)) as chunks:
                    async for chunk in chunks:
                        if isinstance(chunk, Text):
                            pieces += 1
                            self.text += chunk.text

            task = asyncio.create_task(turn())
            while not (server.book and calls and self._when(calls[0], pieces)):  # noqa: ASYNC110 - no event tells of a frame without text
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await rig.router.aclose()
        (attempt,) = rig.attempts
        price = table.prices()
        assert price is not None
        assert (attempt.outcome, attempt.reason) == ("cancelled", "stopped")
        assert attempt.cost_nano == cost(attempt.usage, price)
        return attempt


async def test_what_was_told_before_the_first_token_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anthropic's message_start tells what was read: who leaves before the first token pays for that, as told."""
    left = Left(lambda call, _: call.told() is not None)
    attempt = await left.row("anthropic", 0, whole=False, monkeypatch=monkeypatch)
    assert (attempt.usage, attempt.ttft_ms) == (Usage(input=READ, output=1, estimated=True), None)


async def test_nothing_told_before_the_first_token_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's protocol tells at the end only: who leaves before the first token has nothing in the bill."""
    attempt = await Left(lambda _, pieces: pieces == 0).row("openai", 0, whole=False, monkeypatch=monkeypatch)
    assert attempt.usage == Usage()


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_in_mid_stream_the_servers_own_count_goes_before_ours(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it told of the question counts as told; of the answer our own count does, marked as that."""
    left = Left(lambda _, pieces: pieces == 20)
    usage = (await left.row(kind, 20, whole=False, monkeypatch=monkeypatch)).usage
    asked = READ if kind == "anthropic" else tokens.count(QUESTION.messages[0].text)
    assert usage == Usage(input=asked, output=tokens.count(left.text), estimated=True)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_who_leaves_between_the_usage_and_the_end_has_the_exact_bill(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count is whole when it is told behind the answer, whether or not the last frame comes."""

    def told(call: Call, pieces: int) -> bool:
        usage = call.told()
        return pieces == 7 and usage is not None and not usage.estimated

    usage = (await Left(told).row(kind, 7, whole=True, monkeypatch=monkeypatch)).usage
    assert usage == Usage(input=READ, output=7)


async def test_the_audit_names_the_replica_that_gets_the_prompt() -> None:
    """Not every host of a pool: the one that is about to get it, and the server's own book agrees."""
    async with serving("openai", answers) as one, serving("openai", answers) as two:
        rig, pool = _farm(one.url, two.url)
        for _ in range(3):
            await rig.ask(QUESTION)
        await rig.router.aclose()
    hosts = [line.host for line in rig.audit]
    assert pool.host == f"127.0.0.1:{one.port}, 127.0.0.1:{two.port}"
    assert hosts == [f"127.0.0.1:{port}" for port in (one.port, two.port, one.port)]
    assert (len(one.book), len(two.book)) == (2, 1)


async def test_a_prompt_that_is_not_sent_keeps_no_place_at_a_replica() -> None:
    """The place that was kept for it is free again, once; and so is that of an answer that is over."""
    async with serving("openai", answers) as one, serving("openai", answers) as two:
        rig, pool = _farm(one.url, two.url)
        call = pool.call(QUESTION)
        assert pool.health().running == 1
        call.drop()
        call.drop()
        assert pool.health().running == 0
        await rig.ask(QUESTION)
        assert pool.health().running == 0
        await rig.router.aclose()
    assert len(one.book) + len(two.book) == 1


def _farm(*urls: str) -> tuple[Rig, Pool]:
    table = BackendTable(name="farm", kind="openai", base_urls=urls, model="m", where="remote", price=PRICE, fim="none")
    pool = Pool(table, [OpenAIBackend(each, lambda: "") for each in table.replicas()])
    return Rig(pool, tables=[table]), pool
