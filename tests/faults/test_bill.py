"""The bill beside the servers' own books."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import monotonic

import pytest
from msgspec.structs import replace

from nanoide.core.chat import Attempt, Message, Text
from nanoide.core.errors import NanoideError
from nanoide.core.usage import Price, Usage, cost
from nanoide.routing.hedge import FASTER
from nanoide.settings import BackendTable
from nanoide.store.database import Database
from nanoide.store.ledger import Ledger
from nanoide.wire import LedgerRow, ReadUsage
from tests.faults.server import ANCHOR, Fault, Kind, Served, Voice, serving
from tests.faults.stage import PRICE, QUESTION, backend
from tests.routing.rig import Answer, Rig

TURNS = 10_000
AT_ONCE = 24
BETWEEN = 0.5
"""Seconds that pass on the router's clock from turn to turn, so that a backend that rests comes back."""

SLOW = 0.3
"""Seconds that a slow server takes for its first token."""

RESTS = 5.0
"""Likewise after a turn that nobody answered."""


def words(turn: str) -> tuple[str, ...]:
    """The answer to a turn: a few tokens that no other turn has."""
    return tuple(f"{turn}:{number} " for number in range(5 + int(turn) % 9))


def plan(seed: int, ways: Mapping[str, int]) -> Fault:
    """A server that answers in these ways, so often each."""
    dice = Random(seed)

    async def fault(voice: Voice) -> None:
        asked = voice.asked.body["messages"]
        turn = asked[0]["content"].split()[-1]  # type: ignore[index]
        begun = next((each["content"] for each in asked if each["role"] == "assistant"), "")  # type: ignore[attr-defined]
        rest = "".join(words(turn)).removeprefix(begun)
        tokens = [*([begun[-ANCHOR:]] if begun else []), *(f"{word} " for word in rest.split())]
        match dice.choices(list(ways), list(ways.values()))[0]:
            case "slow":
                voice.begin()
                await voice.flush()
                await asyncio.sleep(SLOW)
                voice.say(*tokens)
                voice.finish()
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


@dataclass
class Season:
    """Many turns over two servers, and both sides' books."""

    attempts: dict[tuple[str, str], list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    """By turn and backend."""
    books: dict[str, dict[str, list[Served]]] = field(default_factory=dict)
    """By backend and turn."""
    texts: dict[str, str] = field(default_factory=dict)
    """Of the turns that ended well."""
    came: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> list[Attempt]:
        """All of them."""
        return [attempt for each in self.attempts.values() for attempt in each]


async def live(kind: Kind, ways: Mapping[str, int], turns: int, *, hedge: bool = False) -> Season:
    """So many turns; one in ten is left by the person."""
    dice = Random(4)
    season = Season()
    async with serving(kind, plan(1, ways)) as one, serving(kind, plan(2, ways)) as two:
        first, first_table = backend(kind, "first", one.url)
        second, second_table = backend(kind, "second", two.url)
        clock = monotonic if hedge else None  # a hedge is by the times that answers really take
        rig = Rig(first, second, tables=[first_table, second_table], hedge=hedge, clock=clock)
        numbers = iter(range(turns))

        async def turn(name: str, leaves_after: int | None) -> None:
            prompt = replace(QUESTION, messages=(Message("user", f"What of {name}"),), priority="completion")
            answer, pieces = Answer(), 0

            def record(attempt: Attempt) -> None:
                season.attempts[name, attempt.backend].append(attempt)

            async with aclosing(rig.router.stream(prompt, record=record)) as chunks:
                async for chunk in chunks:
                    answer.add(chunk)
                    pieces += isinstance(chunk, Text)
                    if pieces == leaves_after:
                        season.came["left"] += 1
                        return
            season.came["done"] += 1
            season.texts[name] = answer.text

        async def caller() -> None:
            for number in numbers:
                rig.now += BETWEEN
                try:
                    await turn(str(number), dice.randrange(1, 6) if dice.random() < 0.1 else None)
                except NanoideError as error:
                    season.came[type(error).__name__] += 1
                    rig.now += RESTS  # nobody goes on asking while both of them rest
                    await asyncio.sleep(0.01)

        try:
            await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        finally:
            await rig.router.aclose()
        season.books = {"first": _by_turn(one.book), "second": _by_turn(two.book)}
    return season


@pytest.mark.long
@pytest.mark.timeout(400)  # thousands of requests, on a machine that may be busy
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_the_bill_is_the_servers_own_count(kind: Kind, tmp_path: Path) -> None:
    """Ten thousand turns, some refused, cut, cancelled or without usage: each request is one row, and as told."""
    ways = {"well": 70, "untold": 8, "refused": 5, "off": 5, "cut": 7, "error": 5}
    season = await live(kind, ways, TURNS // 2)
    assert season.came["done"] > TURNS // 4
    assert season.came["left"] > 100
    assert _compared(season) > TURNS // 4
    await _book(season.rows, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_both_legs_of_a_hedge_are_billed(kind: Kind) -> None:
    """A slow server and one that is asked beside it: whoever loses has its row too, and there are few of them."""
    season = await live(kind, {"well": 93, "slow": 7}, TURNS // 10, hedge=True)
    assert season.came["done"] > TURNS // 20
    assert _compared(season) > TURNS // 20
    hedged = [attempt for attempt in season.rows if attempt.reason.startswith(FASTER)]
    assert hedged
    assert len(season.rows) <= 1.05 * TURNS // 10


def _compared(season: Season) -> int:
    """Compare every row with its request, and every text; how many requests told what they used."""
    assert {name: text for name, text in season.texts.items() if text != "".join(words(name))} == {}
    told = requests = 0
    price = BackendTable(name="", kind="openai", price=PRICE).prices()
    assert price is not None
    for name, book in season.books.items():
        for turn, served in book.items():
            booked = season.attempts[turn, name]
            assert len(booked) == len(served), (name, turn, booked, served)
            requests += len(served)
            told += sum(_agree(attempt, request, price) for attempt, request in zip(booked, served, strict=True))
    unsent = [each for each in season.rows if each.outcome == "cancelled" and not each.usage.output]
    assert requests <= len(season.rows) <= requests + len(unsent), "every request is one row"
    return told


def _agree(attempt: Attempt, request: Served, price: Price) -> int:
    """Compare one row with one request; 1 when the server told what it used and we heard it."""
    usage = attempt.usage
    if attempt.outcome == "ok" and request.told is not None:
        assert usage == Usage(input=request.told[0], output=request.told[1])
        assert attempt.cost_nano == cost(usage, price)
        return 1
    assert attempt.cost_nano == cost(usage, price)
    if attempt.outcome == "cancelled" and usage != Usage() and not usage.estimated:
        assert request.told == (usage.input, usage.output), "cancelled when all was told"
    elif request.read is not None and (attempt.outcome != "cancelled" or attempt.ttft_ms is not None):
        assert usage.estimated, attempt
        assert usage.input == request.read, "what was told before the answer counts"
    elif attempt.ttft_ms is not None or attempt.reason.startswith(FASTER):
        assert usage.estimated, attempt
    else:
        # Left before the first token: what the server told until then counts, when it was heard.
        assert usage == Usage() or usage.input == request.read, attempt
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
