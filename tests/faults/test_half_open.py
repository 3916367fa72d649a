"""Who may ask a server that was down a moment ago."""

import asyncio

import pytest

from tests.faults.server import ANSWER, Kind, Voice, answers, serving
from tests.faults.stage import QUESTION, backend
from tests.routing.rig import Rig

CALLERS = 50


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_after_a_rest_fifty_callers_send_one_probe(kind: Kind) -> None:
    """While the probe is under way the others are answered by the next rung; after it the first one has them all."""
    may_speak = asyncio.Event()

    async def rests(voice: Voice) -> None:
        voice.refuse(429, {}, "retry-after: 9")

    async def gated(voice: Voice) -> None:
        await may_speak.wait()
        await answers(voice)

    async with serving(kind, rests, gated) as one, serving(kind, answers) as two:
        first, first_table = backend(kind, "first", one.url)
        second, second_table = backend(kind, "second", two.url)
        rig = Rig(first, second, tables=[first_table, second_table])
        try:
            await rig.ask(QUESTION)
            rig.now += 9.0
            turns = {asyncio.create_task(rig.ask(QUESTION)) for _ in range(CALLERS)}
            waiting = turns
            while len(waiting) > 1:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert len(one.book) == 2, "the question that was refused, and one probe"
            may_speak.set()
            assert {(await turn).text for turn in turns} == {ANSWER}
            again = await asyncio.gather(*(rig.ask(QUESTION) for _ in range(CALLERS)))
            assert {each.rungs[-1].backend for each in again} == {"first"}
            assert len(one.book) == 2 + CALLERS
        finally:
            await rig.router.aclose()
    assert len(two.book) == CALLERS
