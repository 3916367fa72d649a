import asyncio

import pytest

from nanoide.backends.scripted import Cut, Fail, Hang, Pause, ScriptedBackend
from nanoide.core.chat import End, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.core.usage import Usage


async def test_scripts_are_played_in_turn() -> None:
    """The nth prompt gets the nth script, and the last one again and again."""
    backend = ScriptedBackend(["a", Pause(0), "b"], [Fail("auth")])
    assert [chunk async for chunk in backend.stream(Prompt())] == [
        Text("a"),
        Text("b"),
        End(usage=Usage(input=1, output=2), model="scripted"),
    ]
    for _ in range(2):
        with pytest.raises(BackendError) as caught:
            await anext(backend.stream(Prompt()))
        assert caught.value.outcome == "auth"
    assert len(backend.prompts) == 3


async def test_a_cut_has_no_end_and_a_hang_waits() -> None:
    """What a test needs to see of a stream that goes wrong."""
    backend = ScriptedBackend(["a", Cut()], [asyncio.Event()], [Hang()])
    assert [chunk async for chunk in backend.stream(Prompt())] == [Text("a")]
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(backend.stream(Prompt()))
    assert backend.finished == 3
