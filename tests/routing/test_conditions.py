import asyncio
import threading

import pytest

from nanoide.core.chat import PRIORITIES, Priority
from nanoide.core.usage import Price
from nanoide.routing.conditions import Conditions, Machine, Place, glance, order, spared

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
