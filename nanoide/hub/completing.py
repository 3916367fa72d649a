"""Inline completion without a session: the same ladder, the same ledger, an answer at once or none.

A later request with the same key takes the place of the one before, which is answered empty.
"""

import asyncio
import secrets
from collections import OrderedDict
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import assert_never

from nanoide import wire
from nanoide.completion import request as completion
from nanoide.completion.cache import Cache
from nanoide.completion.copying import copy
from nanoide.completion.neighbours import Neighbours
from nanoide.completion.shape import shape
from nanoide.core.chat import Attempt, Document, End, Passed, Prompt, Rung, Source, Text
from nanoide.core.document import LINE_BREAK
from nanoide.core.errors import InputError
from nanoide.core.ignore import is_secret
from nanoide.core.policy import Tier, Where, narrowest
from nanoide.core.usage import Usage
from nanoide.hub.journal import now
from nanoide.hub.parts import Parts
from nanoide.hub.turn import resolve_route, total_cost

DEADLINE = 0.6
"""Seconds after which a completion while typing is answered with what there is."""


FOLDERS = 8
"""Folders whose neighbouring texts are remembered."""


class _Answer:
    """What has come of one request so far."""

    def __init__(self) -> None:
        self.text = ""
        self.backend = ""
        self.where: Where = "device"
        self.tier: Tier = "model"
        self.attempts: list[Attempt] = []
        self.passed: list[Passed] = []
        self.first: float | None = None

    def completed(self, text: str, began: float) -> wire.Completed:
        return wire.Completed(
            text=text,
            backend=self.backend,
            where=self.where,
            tier=self.tier,
            attempts=tuple(self.attempts),
            passed=tuple(self.passed),
            usage=sum((each.usage for each in self.attempts), Usage()),
            cost_nano=total_cost(self.attempts),
            ttft_ms=None if self.first is None else round((self.first - began) * 1000),
            total_ms=round((monotonic() - began) * 1000),
        )


class Completions:
    """The requests under way, by the key that a later one supersedes."""

    def __init__(self) -> None:
        self._latest: dict[str, asyncio.Task[wire.Completed]] = {}
        self._cache = Cache()
        self._neighbours: OrderedDict[str, Neighbours] = OrderedDict()
        """By folder: what is copied into a project comes from that project."""

    @property
    def active(self) -> int:
        """How many are under way."""
        return len(self._latest)

    async def complete(self, parts: Parts, ask: wire.Complete) -> wire.Completed:
        """Answer `ask`; empty when it was superseded. Raises InputError for a position outside the text."""
        began = monotonic()
        cached = None if ask.backend else self._cache.get(ask.document)
        if cached is not None:
            return wire.Completed(text=cached, backend="cache", total_ms=round((monotonic() - began) * 1000))
        key = ask.supersedes or secrets.token_hex(4)
        before = self._latest.get(key)
        if before is not None:
            before.cancel()
        task = asyncio.create_task(self._answer(parts, ask, began), name=f"completion {key}")
        self._latest[key] = task
        try:
            done, _ = await asyncio.wait({task})
            return wire.Completed(text="") if task.cancelled() else done.pop().result()
        finally:
            task.cancel()
            if self._latest.get(key) is task:
                del self._latest[key]

    async def _answer(self, parts: Parts, ask: wire.Complete, began: float) -> wire.Completed:
        folder = ask.folder or str(Path(ask.document.path).parent)
        skill = parts.library.find(completion.SKILL, folder)
        route, policy = resolve_route(parts.rungs.settings, "", skill)
        beside = self._beside(folder, ask.document)
        prompt = completion.build(
            ask.document,
            neighbours=beside,
            reflex=skill.reflex,
            max_output=min(ask.max_output, skill.max_output),
            egress=narrowest(policy, skill.egress, ask.egress),
            folder=folder,
        )
        answer = _Answer()
        if ask.automatic and not ask.backend and prompt.reflex is not None:
            copied = copy(ask.document, [source.text for source in beside])
            if copied.sure:  # what the file itself repeats beats what the bundled model says, and costs no wait
                return self._copied(parts, ask, copied.text, folder, began)
        try:
            async with asyncio.timeout(DEADLINE if ask.automatic else None):
                await self._run(parts, ask, prompt, route, folder, answer)
        except TimeoutError:
            pass  # the best so far is what there is
        text = shape(answer.text, ask.document)
        if not text and answer.tier == "model" and not ask.backend and prompt.reflex is not None:
            await self._run(parts, ask, prompt, route, folder, answer, backend="reflex")
            text = shape(answer.text, ask.document)
        if text:
            self._cache.put(ask.document, text)
        return answer.completed(text, began)

    def _beside(self, folder: str, document: Document) -> tuple[Source, ...]:
        """What was worked on last in other files of the folder; the document's own place is kept for them."""
        ring = self._neighbours.setdefault(folder, Neighbours())
        self._neighbours.move_to_end(folder)
        if len(self._neighbours) > FOLDERS:
            self._neighbours.popitem(last=False)
        if not is_secret(document.path):
            ring.add(document.path, document.text, document.line)
        return ring.sources(document.path)

    def _copied(self, parts: Parts, ask: wire.Complete, text: str, folder: str, began: float) -> wire.Completed:
        ms = round((monotonic() - began) * 1000)
        attempt = Attempt(
            backend="reflex", where="device", tier="reflex", outcome="ok", ms=ms, ttft_ms=ms, cost_nano=0, model="copy"
        )
        parts.journal.submit(rows=(_row(secrets.token_hex(6), 1, folder, attempt),), owe=True)
        answer = _Answer()
        answer.backend, answer.tier, answer.first = attempt.backend, attempt.tier, monotonic()
        answer.attempts.append(attempt)
        text = shape(text, ask.document)
        if text:
            self._cache.put(ask.document, text)
        return answer.completed(text, began)

    async def _run(
        self,
        parts: Parts,
        ask: wire.Complete,
        prompt: Prompt,
        route: str,
        folder: str,
        answer: _Answer,
        backend: str = "",
    ) -> None:
        turn = secrets.token_hex(6)

        def record(attempt: Attempt) -> asyncio.Future[None]:
            answer.attempts.append(attempt)
            return parts.journal.submit(rows=(_row(turn, len(answer.attempts), folder, attempt),), owe=True)

        stream = parts.rungs.router.stream(
            prompt, route=route, backend=backend or ask.backend, record=record, consent=None
        )
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                match chunk:
                    case Rung():
                        answer.text = answer.text if chunk.continues else ""
                        answer.backend, answer.where, answer.tier = chunk.backend, chunk.where, chunk.tier
                        answer.passed.extend(chunk.passed)
                    case Text():
                        answer.first = answer.first or monotonic()
                        answer.text += chunk.text
                    case End():
                        return
                    case _:
                        assert_never(chunk)


def _row(turn: str, number: int, folder: str, attempt: Attempt) -> wire.LedgerRow:
    return wire.LedgerRow(
        at=now().isoformat(),
        turn=turn,
        number=number,
        session="",
        skill=completion.SKILL,
        project=folder,
        branch="",
        attempt=attempt,
    )


def check_position(document: Document) -> None:
    """Raise InputError when the position lies outside the document's text."""
    lines = LINE_BREAK.split(document.text)
    if not 0 <= document.line < len(lines):
        raise InputError(
            f"{document.path}: there is no line {document.line}", hint=f"lines are 0 to {len(lines) - 1}, from zero"
        )
    width = len(lines[document.line].encode("utf-16-le")) // 2
    if not 0 <= document.character <= width:
        raise InputError(
            f"{document.path}: line {document.line} has no character {document.character}",
            hint=f"characters are 0 to {width}, in UTF-16 code units from zero",
        )
