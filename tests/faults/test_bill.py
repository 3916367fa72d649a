"""The bill beside the servers' own books."""

import asyncio
from collections import Counter, defaultdict
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from nanoide.core.chat import Attempt, Message, Text
from nanoide.core.errors import NanoideError
from nanoide.core.usage import Price, Usage, cost
from nanoide.store.database import Database
from nanoide.store.ledger import Ledger
from nanoide.wire import LedgerRow, ReadUsage
from tests.faults.server import ANCHOR, Fault, Kind, Served, Voice, serving
from tests.faults.stage import QUESTION, backend
from tests.routing.rig import Answer, Rig

TURNS = 10_000
AT_ONCE = 24
BETWEEN = 0.5
"""Seconds that pass on the router's clock from turn to turn, so that a backend that rests comes back."""

RESTS = 5.0
"""Likewise after a turn that nobody answered."""


def words(turn: str) -> tuple[str, ...]:
    """The answer to a turn: a few tokens that no other turn has."""
    return tuple(f"{turn}:{number} " for number in range(5 + int(turn) % 9))


def plan(seed: int) -> Fault:
    """A server that is well most of the time."""
    dice = Random(seed)

    async def fault(voice: Voice) -> None:
        asked = voice.asked.body["messages"]
        turn = asked[0]["content"].split()[-1]  # type: ignore[index]
        begun = next((each["content"] for each in asked if each["role"] == "assistant"), "")  # type: ignore[attr-defined]
        rest = "".join(words(turn)).removeprefix(begun)
        tokens = [*([begun[-ANCHOR:]] if begun else []), *(f"{word} " for word in rest.split())]
        match dice.choices(("well", "untold", "refused", "off", "cut", "error"), (70, 8, 5, 5, 7, 5))[0]:
            case "well":
                await _say(voice, tokens)
                voice.finish()
            case "untold":
                await _say(voice, tokens, told=False)
                voice.finish(told=False)
            case "refused":
                voice.refuse(dice.choice((429, 500, 503)), {}, "retry-after-ms: 500")
            case "off":
                voice.refuse(400)
            case "cut":
                await _say(voice, tokens[: dice.randrange(len(tokens))])
                await voice.cut(reset=False)
            case _:
                await _say(voice, tokens[: dice.randrange(len(tokens))])
                voice.error("api_error", "something broke")
                voice.end()

    return fault


async def _say(voice: Voice, tokens: list[str], *, told: bool = True) -> None:
    voice.begin(told=told)
    for token in tokens:
        voice.say(token)
        await asyncio.sleep(0)  # others may go on, and leave, in between


@pytest.mark.long
@pytest.mark.timeout(400)  # thousands of requests, on a machine that may be busy
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_the_bill_is_the_servers_own_count(kind: Kind, tmp_path: Path) -> None:
    """Ten thousand turns, some refused, cut, cancelled or without usage: each request is one row, and as told."""
    dice = Random(4)
    attempts: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    texts: dict[str, str] = {}
    came: Counter[str] = Counter()

    async with serving(kind, plan(1)) as one, serving(kind, plan(2)) as two:
        first, first_table = backend(kind, "first", one.url)
        second, second_table = backend(kind, "second", two.url)
        rig = Rig(first, second, tables=[first_table, second_table])
        turns = iter(range(TURNS // 2))

        async def turn(number: int) -> None:
            name = str(number)
            rig.now += BETWEEN
            leaves_after = dice.randrange(1, 6) if dice.random() < 0.1 else None
            prompt = replace(QUESTION, messages=(Message("user", f"What of {name}"),), priority="completion")
            answer, pieces = Answer(), 0

            def record(attempt: Attempt) -> None:
                attempts[name, attempt.backend].append(attempt)

            try:
                async with aclosing(rig.router.stream(prompt, record=record)) as chunks:
                    async for chunk in chunks:
                        answer.add(chunk)
                        pieces += isinstance(chunk, Text)
                        if pieces == leaves_after:
                            came["left"] += 1
                            return
            except NanoideError as error:
                came[type(error).__name__] += 1
                rig.now += RESTS  # nobody goes on asking while both of them rest
                await asyncio.sleep(0.01)
                return
            came["done"] += 1
            texts[name] = answer.text

        async def caller() -> None:
            for number in turns:
                await turn(number)

        try:
            await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        finally:
            await rig.router.aclose()
        books = {"first": _by_turn(one.book), "second": _by_turn(two.book)}

    assert {name: text for name, text in texts.items() if text != "".join(words(name))} == {}
    assert came["done"] > TURNS // 4
    assert came["left"] > 100
    rows = [attempt for each in attempts.values() for attempt in each]
    told = 0
    price = first_table.prices()
    assert price is not None
    for name, book in books.items():
        for turn_name, served in book.items():
            booked = attempts[turn_name, name]
            assert len(booked) == len(served), (name, turn_name, booked, served)
            for attempt, request in zip(booked, served, strict=True):
                told += _agree(attempt, request, price)
    assert told > TURNS // 4
    requests = sum(len(served) for book in books.values() for served in book.values())
    unsent = [each for each in rows if each.outcome == "cancelled" and not each.usage.output]
    assert requests <= len(rows) <= requests + len(unsent), "every request is one row"
    await _book(rows, tmp_path)


def _agree(attempt: Attempt, request: Served, price: Price) -> int:
    """Compare one row with one request; 1 when the server told what it used and we heard it."""
    usage = attempt.usage
    if attempt.outcome == "ok" and request.told is not None:
        assert usage == Usage(input=request.told[0], output=request.told[1])
        assert attempt.cost_nano == cost(usage, price)
        return 1
    assert attempt.cost_nano == cost(usage, price)
    if attempt.outcome != "cancelled" and request.read is not None:
        assert usage.estimated, attempt
        assert usage.input == request.read, "what was told before the answer counts"
    elif attempt.ttft_ms is not None:
        assert usage.estimated, attempt
    else:
        assert usage == Usage(), attempt
    return 0


def _by_turn(book: list[Served]) -> dict[str, list[Served]]:
    turns: dict[str, list[Served]] = defaultdict(list)
    for served in book:
        turns[served.asked.body["messages"][0]["content"].split()[-1]].append(served)  # type: ignore[index]
    return turns


async def _book(rows: list[Attempt], folder: Path) -> None:
    """The ledger's sums are those of the rows."""
    database = await Database.open(folder / "bill.db")
    try:
        ledger = Ledger(database)
        at = datetime.now(UTC).isoformat()
        await asyncio.gather(
            *(
                ledger.add(
                    LedgerRow(at=at, turn="", number=1, session="s", skill="x", project="", branch="", attempt=attempt)
                )
                for attempt in rows
            )
        )
        total = (await ledger.report(ReadUsage(by="backend"))).total
    finally:
        await database.aclose()
    assert total.attempts == len(rows)
    assert total.cost_nano == sum(attempt.cost_nano or 0 for attempt in rows)
    assert total.usage == sum((attempt.usage for attempt in rows), Usage())
