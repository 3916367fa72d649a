"""A backend that plays a script: for tests, demonstrations and documents. It ships with the product."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from nanoide.backends.base import Health
from nanoide.backends.stops import Stops
from nanoide.core.chat import Chunk, End, Prompt, Text, Waits
from nanoide.core.errors import BackendError, Outcome
from nanoide.core.policy import Tier, Where
from nanoide.core.usage import Usage
from nanoide.core.value import Value


class Pause(Value, frozen=True):
    """Nothing happens for a while."""

    seconds: float


class Fail(Value, frozen=True):
    """The answer breaks off with an error."""

    outcome: Outcome = "server_error"
    message: str = "fails as its script says"
    retry_after: float | None = None


class Cut(Value, frozen=True):
    """The stream ends without its end."""


class Hang(Value, frozen=True):
    """Nothing more ever comes."""


Step = str | Waits | Pause | Fail | Cut | Hang | End | asyncio.Event
"""A piece of text, or something else that happens. An Event is waited for."""


class ScriptedBackend:
    """Answers the nth prompt with the nth script; the last one is played again and again.

    A script that does not end by itself ends with an `End` whose usage counts one token a step. One that `resumes`
    goes on behind the answer so far: where its script begins with that, it plays what is left of it. Like every
    model it holds to stop texts.
    """

    def __init__(
        self,
        *scripts: Sequence[Step],
        name: str = "scripted",
        where: Where = "device",
        tier: Tier = "model",
        host: str = "",
        objection: str = "",
        resumes: bool = False,
        health: Health | None = None,
    ) -> None:
        self.name = name
        self.kind = "scripted"
        self.where: Where = where
        self.tier: Tier = tier
        self.host = host
        self.prompts: list[Prompt] = []
        """Every prompt it was asked, in order."""
        self.finished = 0
        """How many streams are over, however they ended."""
        self._scripts = scripts or (("",),)
        self._objection = objection
        self._resumes = resumes
        self._health = health or Health(model="scripted")

    def objection(self, prompt: Prompt) -> str:
        """As given when it was made, for every prompt."""
        del prompt
        return self._objection

    def resumes(self, prompt: Prompt) -> bool:
        """As given when it was made, for every prompt."""
        del prompt
        return self._resumes

    async def stream(self, prompt: Prompt) -> AsyncIterator[Chunk]:
        """Play the next script."""
        script = _behind(prompt.partial, self._scripts[min(len(self.prompts), len(self._scripts) - 1)])
        self.prompts.append(prompt)
        stops = Stops(prompt.stop)
        said = 0
        try:
            for step in script:
                match step:
                    case str():
                        said += bool(step)
                        if text := stops.feed(step):
                            yield Text(text)
                        if stops.reached:
                            break
                    case Waits():
                        yield step
                    case Pause():
                        await asyncio.sleep(step.seconds)
                    case asyncio.Event():
                        await step.wait()
                    case Fail():
                        raise BackendError(step.message, outcome=step.outcome, retry_after=step.retry_after)
                    case Hang():
                        await asyncio.get_running_loop().create_future()
                    case Cut():
                        return
                    case End():
                        if text := stops.flush():
                            yield Text(text)
                        yield step
                        return
            if text := stops.flush():
                yield Text(text)
            yield End(usage=Usage(input=1, output=said), model="scripted")
        finally:
            self.finished += 1

    def health(self) -> Health:
        """As given when it was made."""
        return self._health

    async def probe(self) -> Health:
        """The same: there is nothing to find out."""
        return self._health

    async def aclose(self) -> None:
        """Nothing was started."""


def _behind(partial: str, script: Sequence[Step]) -> list[Step]:
    """What of `script` comes after `partial`; all of it when it does not begin with that."""
    if not partial or not "".join(step for step in script if isinstance(step, str)).startswith(partial):
        return list(script)
    left, rest = len(partial), list[Step]()
    for step in script:
        if isinstance(step, str):
            if step[left:]:
                rest.append(step[left:])
            left = max(0, left - len(step))
        elif left == 0:
            rest.append(step)
    return rest
