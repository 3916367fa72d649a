import asyncio
import re
import threading
from time import monotonic

import pytest
from msgspec.structs import replace

from nanoide.backends.base import Health
from nanoide.backends.scripted import Fail, Hang, ScriptedBackend
from nanoide.core.chat import PRIORITIES, Message, Passed, Priority, Rung
from nanoide.core.errors import NoBackend
from nanoide.core.usage import Price
from nanoide.routing.conditions import Conditions, Machine, Place, glance, order, spared
from nanoide.settings import BackendTable, PriceTable, Timeout
from tests.routing.rig import PROMPT, Rig

DEAR = Place("dear", "remote", "model", Price(input=300, output=900))
CHEAP = Place("cheap", "remote", "model", Price(input=30, output=90))
UNKNOWN = Place("unknown", "remote", "model")
FARM = Place("farm", "lan", "model")
NANO = Place("nano", "device", "model", sleeps=True)
HOT = Place("hot", "device", "model")
REFLEX = Place("reflex", "device", "reflex")

LOW = Conditions(battery=12.4)
SHORT = Conditions(short=True)


@pytest.mark.parametrize("priority", [each for each in PRIORITIES if each != "ambient"])
def test_only_ambient_work_is_ordered_anew(priority: Priority) -> None:
    """What a person asked for keeps the order of config.toml, however the machine stands."""
    ladder = [DEAR, NANO, CHEAP, REFLEX]
    assert order(ladder, priority, Conditions(cpu=100.0)) == (("dear", "nano", "cheap", "reflex"), "")


def test_ambient_work_takes_what_costs_nothing_and_then_the_cheap_before_the_dear() -> None:
    """This machine, the local network, then by price; a price that is not known comes last."""
    names, why = order([UNKNOWN, DEAR, FARM, NANO, CHEAP, HOT, REFLEX], "ambient", Conditions())
    assert names == ("nano", "hot", "reflex", "farm", "cheap", "dear", "unknown")
    assert why == "ambient work takes what costs nothing"
    assert order([NANO, CHEAP, DEAR], "ambient", Conditions()) == (("nano", "cheap", "dear"), "")


def test_a_busy_machine_loads_no_model_for_ambient_work_while_another_rung_here_is_free() -> None:
    """It comes after them, and still before what is paid for."""
    names, why = order([NANO, HOT, DEAR], "ambient", Conditions(cpu=97.0))
    assert names == ("hot", "nano", "dear")
    assert why == "ambient work loads no model while the processor is busy"
    assert order([NANO, DEAR], "ambient", Conditions(cpu=97.0)) == (("nano", "dear"), "")


@pytest.mark.parametrize(
    ("conditions", "why"),
    [(LOW, "is not loaded, and the battery is at 12 %"), (SHORT, "is not loaded, and memory is short")],
)
def test_nobody_s_work_loads_a_model_on_a_low_battery_or_with_short_memory(conditions: Conditions, why: str) -> None:
    """Ambient and background pass it over; what a person waits for does not, nor is a loaded model passed over."""
    for priority in PRIORITIES:
        assert spared(NANO, priority, conditions) == (why if priority in {"background", "ambient"} else "")
        assert spared(HOT, priority, conditions) == ""


def test_all_is_well_on_a_full_battery_or_without_one() -> None:
    """Nothing is passed over then."""
    for conditions in (Conditions(), Conditions(battery=80.0), Conditions(cpu=100.0)):
        assert spared(NANO, "ambient", conditions) == ""


async def test_fifty_who_ask_together_look_once_and_not_on_the_event_loop() -> None:
    """A look holds for a few seconds; then the next one who asks looks again."""
    now, threads = [100.0], list[int]()

    def look() -> Conditions:
        threads.append(threading.get_ident())
        return Conditions(cpu=float(len(threads)))

    machine = Machine(look, clock=lambda: now[0])
    seen = await asyncio.gather(*(machine.conditions() for _ in range(50)))
    assert {each.cpu for each in seen} == {1.0}
    now[0] += 2.9
    assert (await machine.conditions()).cpu == 1.0
    now[0] += 0.2
    assert (await machine.conditions()).cpu == 2.0
    assert threading.get_ident() not in threads


def test_this_machine_can_be_looked_at() -> None:
    """Whatever it has and has not, a look succeeds and its figures make sense."""
    conditions = glance()
    assert conditions.battery is None or 0.0 <= conditions.battery <= 100.0
    assert 0.0 <= conditions.cpu <= 100.0


class Sleeper(ScriptedBackend):
    """A model here that is not loaded yet, as `nano` is before anyone asked it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__([text], name=name, health=Health(state="asleep"))
        self.kind = "llama"


def _priced(name: str, usd: str) -> BackendTable:
    return BackendTable(
        name=name,
        kind="openai",
        base_url="http://127.0.0.1:1",
        model="m",
        where="remote",
        price=PriceTable(input=usd, output=usd),
    )


def _ladder(**fields: object) -> Rig:
    """Dear, cheap and free, in this order."""
    dear = ScriptedBackend(["dear"], name="dear", where="remote")
    cheap = ScriptedBackend(["cheap"], name="cheap", where="remote")
    tables = [_priced("dear", "9"), _priced("cheap", "1")]
    return Rig(dear, cheap, Sleeper("nano", "free"), tables=tables, **fields)  # type: ignore[arg-type]


async def test_ambient_work_climbs_from_the_free_rung_and_says_why() -> None:
    """The attempt's reason is in the ledger; what a person waits for goes to the rung that the route names first."""
    rig = _ladder()
    answer = await rig.ask(replace(PROMPT, priority="ambient"))
    assert answer.text == "free"
    assert answer.rungs == [Rung("nano", "device", "model", "ambient work takes what costs nothing")]
    assert rig.attempts[0].reason == "ambient work takes what costs nothing"
    for priority in ("completion", "focused", "visible", "background"):
        assert (await rig.ask(replace(PROMPT, priority=priority))).text == "dear"
    assert (await rig.ask(replace(PROMPT, priority="ambient"), backend="dear")).text == "dear"


async def test_on_a_low_battery_ambient_work_wakes_no_model_and_a_person_s_does() -> None:
    """It takes the cheapest rung of those that are left, and says whom it passed over."""
    rig = _ladder(conditions=LOW)
    answer = await rig.ask(replace(PROMPT, priority="ambient"))
    assert answer.text == "cheap"
    assert answer.rungs[0].passed == (Passed("nano", "is not loaded, and the battery is at 12 %"),)
    assert "nano: is not loaded, and the battery is at 12 %" in answer.rungs[0].reason
    lonely = Rig(Sleeper("nano", "free"), conditions=LOW)
    with pytest.raises(NoBackend, match="nano: is not loaded, and the battery is at 12 %"):
        await lonely.ask(replace(PROMPT, priority="background"))
    assert (await lonely.ask()).text == "free"
    assert (await lonely.ask(replace(PROMPT, priority="background"), backend="nano")).text == "free"


async def test_a_rung_that_is_slow_lately_is_told_as_slow_and_asked_all_the_same() -> None:
    """The order is the person's; the figure is in the reason of the attempt."""
    limits = Timeout(first_token=0.06)
    table = BackendTable(name="a", kind="openai", base_url="http://127.0.0.1:1", model="m", timeout=limits)
    rig = Rig(ScriptedBackend(*[[Hang()]] * 20, ["at last"], name="a"), tables=[table], clock=monotonic)
    for _ in range(20):
        rig.router.forgive("a", "first token")
        with pytest.raises(NoBackend):
            await rig.ask()
    rig.router.forgive("a", "first token")
    answer = await rig.ask()
    assert answer.text == "at last"
    assert answer.rungs[0].reason == "is slow: first token after up to 0.1 s"


async def test_a_prompt_that_is_too_long_goes_to_a_longer_window_and_else_says_how_much_too_long() -> None:
    """Not to one that is as short; the numbers are the server's or our own."""
    too_long = Fail("context", "prompt is too long: 9001 tokens > 8192 maximum")
    windows = {"a": 8_192, "b": 4_096, "c": 32_768}
    tables = [
        BackendTable(name=name, kind="openai", base_url="http://127.0.0.1:1", model="m", context=window)
        for name, window in windows.items()
    ]
    rungs = [ScriptedBackend([too_long], name="a"), ScriptedBackend(["b"], name="b"), ScriptedBackend(["c"], name="c")]
    rig = Rig(*rungs, tables=tables)
    answer = await rig.ask()
    assert answer.text == "c"
    assert answer.rungs[1].passed == (Passed("b", "its window of 4,096 is no longer than the one that was too short"),)
    short = Rig(*rungs[:2], tables=tables[:2])
    long = replace(PROMPT, messages=(Message("user", "words and words " * 8_000),))
    with pytest.raises(NoBackend, match="over its window of 8,192") as caught:
        await short.ask(long)
    assert re.fullmatch(
        r"give it less: it has about \d\d,\d{3} tokens and 256 for the answer, the window 8,192", caught.value.hint
    )
