"""Plays a scene with the real router, the real backends and a real ledger, and says what a person sees of it."""

import re
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from nanoide.backends.anthropic import AnthropicBackend
from nanoide.backends.base import Backend
from nanoide.backends.openai import OpenAIBackend
from nanoide.core.chat import Message, Prompt, Text
from nanoide.core.errors import NanoideError
from nanoide.core.usage import usd
from nanoide.core.value import Value
from nanoide.settings import BackendTable, PriceTable, Timeout
from nanoide.store.database import Database
from nanoide.store.ledger import Ledger
from nanoide.wire import LedgerRow, ReadUsage
from tests.faults.scenes import PATIENT, Scene
from tests.faults.server import ANSWER, Ear, Kind, serving, split
from tests.routing.rig import Answer, Rig

QUESTION = Prompt(skill="explain-code", messages=(Message("user", "What do you know?"),), egress="remote")

PRICE = PriceTable(input="1.00", output="5.00")
"""Of both servers: as if they were far away."""


class Seen(Value, frozen=True):
    """What came of one scene."""

    sees: str
    """What stands in the pane at the end: the text, or how much of it and the sentence of the failure."""
    why: str = ""
    """What the pane says about the last change of rungs; empty when there was none."""
    rung: str = "second"
    """Who gave the end of the answer, and whether it went on with what stood; "nobody" when it failed."""
    attempts: tuple[str, ...] = ()
    """Backend and outcome, one each."""
    ledger: tuple[str, ...] = ()
    """The rows as they stand in the ledger: tokens read and written ("~" for our own count), and dollars."""


def backend(kind: Kind, name: str, url: str, limits: Timeout = PATIENT) -> tuple[Backend, BackendTable]:
    """A real backend for the server at `url`, priced and far away as far as policy goes."""
    table = BackendTable(
        name=name, kind=kind, base_url=url, model="m", where="remote", price=PRICE, timeout=limits, fim="none"
    )
    made = AnthropicBackend(table, lambda: "") if kind == "anthropic" else OpenAIBackend(table, lambda: "")
    return made, table


async def play(scene: Scene, kind: Kind, folder: Path) -> Seen:
    """The scene once, with a ledger in `folder`."""
    ear = Ear()
    async with scene.first(kind, ear) as url, serving(kind, scene.second) as good:
        first, first_table = backend(kind, "first", url, scene.limits)
        second, second_table = backend(kind, "second", good.url)
        rig = Rig(first, second, tables=[first_table, second_table])
        try:
            return await watch(rig, ear, folder)
        finally:
            await rig.router.aclose()


async def watch(rig: Rig, ear: Ear, folder: Path, question: Prompt = QUESTION) -> Seen:
    """One turn, as a person sees it."""
    answer = Answer()
    failure = ""
    try:
        async with aclosing(rig.router.stream(question, record=rig.attempts.append)) as chunks:
            async for chunk in chunks:
                answer.add(chunk)
                if isinstance(chunk, Text):
                    ear.hear(len(answer.text))
    except NanoideError as error:
        failure = f"{type(error).__name__}: {error.message}"
    return replace(tell(answer, failure), attempts=tried(rig), ledger=await booked(rig, folder))


def tell(answer: Answer, failure: str) -> Seen:
    """What the pane shows at the end of a turn."""
    whole = amount(answer.text)
    if failure:
        return Seen(sees=steady(f"{whole}, then the failure: {failure}"), why=_why(answer), rung="nobody")
    if len(answer.ends) != 1:
        return Seen(sees=f"{len(answer.ends)} ends", rung="nobody")
    finish = answer.ends[0].finish
    return Seen(
        sees=whole if finish == "stop" else f"{whole}, marked {finish}",
        why=_why(answer),
        rung=_who(answer),
    )


def amount(text: str) -> str:
    """How much of the answer there is, and whether it is exact."""
    if text == ANSWER:
        return "the whole answer, exact"
    if not text:
        return "no text"
    if ANSWER.startswith(text):
        count = len(split(text))
        return f"the first {'token' if count == 1 else f'{count} tokens'}"
    return f"{text!r}"


def tried(rig: Rig) -> tuple[str, ...]:
    """Who was asked, and how it ended."""
    return tuple(f"{backend} {outcome}" for backend, outcome in rig.outcomes)


async def booked(rig: Rig, folder: Path) -> tuple[str, ...]:
    """The attempts of the rig, written into a real ledger and read back."""
    database = await Database.open(folder / "wall.db")
    try:
        ledger = Ledger(database)
        for number, attempt in enumerate(rig.attempts, 1):
            row = LedgerRow(
                at=datetime.now(UTC).isoformat(),
                turn="turn",
                number=number,
                session="wall",
                skill=QUESTION.skill,
                project="",
                branch="",
                attempt=attempt,
            )
            await ledger.add(row)
        report = await ledger.report(ReadUsage(by="backend", recent=1000))
        return tuple(_line(row) for row in sorted(report.recent, key=lambda row: row.number))
    finally:
        await database.aclose()


def _line(row: LedgerRow) -> str:
    attempt, usage = row.attempt, row.attempt.usage
    about = "~" if usage.estimated else ""
    money = "unpriced" if attempt.cost_nano is None else f"${usd(attempt.cost_nano)[:-3]}"
    return f"{attempt.backend} {about}{usage.input}+{usage.output} {money}"


def _who(answer: Answer) -> str:
    last = answer.rungs[-1]
    return f"{last.backend}, going on" if last.continues else last.backend


def _why(answer: Answer) -> str:
    return steady(answer.rungs[-1].reason) if answer.rungs else ""


def steady(text: str) -> str:
    """Without what differs from run to run: ports, and the last of the seconds to a date."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:…", text)
    return re.sub(r"again in (\d{3,}) s", lambda found: f"again in {round(int(found[1]), -1)} s", text)
