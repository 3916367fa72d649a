import os
from pathlib import Path

import msgspec
import pytest

from nanoide.routing.breaker import Breaker
from nanoide.routing.memory import Keeper, Memory
from nanoide.settings import BackendTable, Key

TABLE = BackendTable(name="far", kind="openai", base_url="http://127.0.0.1:1/v1", model="m", key=Key(env="FAR_KEY"))


class House:
    """One life of a hub, as far as one breaker goes."""

    def __init__(self, path: Path | None, table: BackendTable = TABLE, *, key: str = "k1", now: float = 50.0) -> None:
        self.now, self.key = now, key
        self.memory = Memory(path)
        self.breaker = Breaker(on_change=lambda: self.keeper.changed())
        self.keeper = Keeper(table, self.breaker, self.memory, lambda: self.now, lambda _: self.key)

    def fail(self, outcome: str = "overloaded", retry_after: float | None = None) -> None:
        """One attempt goes wrong."""
        leave = self.breaker.admit(self.now)
        assert leave is not None
        self.breaker.ended(leave, outcome, self.now, retry_after=retry_after, reason="boom")  # type: ignore[arg-type]


async def test_a_rest_goes_on_in_the_next_hub(tmp_path: Path) -> None:
    """With what is left of it, how many there were, and why; the clock of the process begins elsewhere."""
    path = tmp_path / "breakers.json"
    first = House(path)
    first.fail(retry_after=600.0)
    await first.memory.settle()
    second = House(path, now=3.0)
    assert second.breaker.state(3.0) == "open"
    assert 590.0 < second.breaker.rest(3.0) <= 600.0
    assert second.breaker.refusal(3.0).endswith("after: boom")


async def test_a_rest_that_is_over_is_half_open_and_a_closed_breaker_leaves_nothing(tmp_path: Path) -> None:
    """One probe finds out."""
    path = tmp_path / "breakers.json"
    first = House(path)
    first.fail(retry_after=0.0)
    await first.memory.settle()
    noted = msgspec.json.decode(path.read_bytes())
    noted["notes"]["far"]["until"] -= 60.0
    path.write_bytes(msgspec.json.encode(noted))
    second = House(path)
    assert second.breaker.state(50.0) == "half-open"
    leave = second.breaker.admit(50.0)
    assert leave is not None
    assert leave.probe
    second.breaker.ended(leave, "ok", 50.0)
    await second.memory.settle()
    assert msgspec.json.decode(path.read_bytes())["notes"] == {}


@pytest.mark.parametrize(
    "table",
    [
        msgspec.structs.replace(TABLE, base_url="http://127.0.0.1:2/v1"),
        msgspec.structs.replace(TABLE, key=Key(env="OTHER_KEY")),
        msgspec.structs.replace(TABLE, model="another"),
    ],
)
async def test_another_address_key_or_model_is_another_backend(tmp_path: Path, table: BackendTable) -> None:
    """What was known of the one says nothing about the other; a changed limit does not make it another."""
    path = tmp_path / "breakers.json"
    first = House(path)
    first.fail(retry_after=600.0)
    await first.memory.settle()
    assert House(path, table).breaker.state(50.0) == "closed"
    assert House(path, msgspec.structs.replace(TABLE, context=9)).breaker.state(50.0) == "open"


async def test_a_refused_key_is_refused_until_it_is_another_one(tmp_path: Path) -> None:
    """In this hub and in the next; that it is another one is seen within a few seconds."""
    path = tmp_path / "breakers.json"
    first = House(path)
    first.fail("auth")
    await first.memory.settle()
    second = House(path)
    await second.keeper.look()
    assert second.breaker.locked
    second.key = "k2"
    await second.keeper.look()
    assert second.breaker.locked, "it was looked at a moment ago"
    second.now += 5.0
    await second.keeper.look()
    assert second.breaker.state(second.now) == "closed"
    third = House(path, key="k3")
    await second.memory.settle()
    await third.keeper.look()
    assert third.breaker.state(50.0) == "closed", "the next hub sees it with its first prompt"


async def test_nothing_of_a_key_stands_in_the_file_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    """Not the key, and not the same mark for the same key in another house."""
    marks: list[bytes] = []
    mask = os.umask(0)
    try:
        for name in ("one", "two"):
            path = tmp_path / f"{name}.json"
            house = House(path, key="sk-very-secret-indeed")
            house.fail("auth")
            await house.memory.settle()
            assert b"very-secret" not in path.read_bytes()
            assert path.stat().st_mode & 0o777 == 0o600
            marks.append(msgspec.json.decode(path.read_bytes())["notes"]["far"]["key"])
    finally:
        os.umask(mask)
    assert marks[0]
    assert marks[0] != marks[1]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"notes": {"far": 1}}', b"\xff\xfe", b'{"salt": 3}'])
async def test_a_file_that_makes_no_sense_is_no_file(tmp_path: Path, text: bytes) -> None:
    """A few attempts are lost by that, nothing else; it is written whole again."""
    path = tmp_path / "breakers.json"
    path.write_bytes(text)
    house = House(path)
    assert house.breaker.state(50.0) == "closed"
    house.fail()
    await house.memory.settle()
    assert House(path).breaker.state(50.0) == "open"


async def test_a_folder_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    """The breaker works as it would without a file."""
    house = House(tmp_path / "gone" / "breakers.json")
    house.fail()
    await house.memory.settle()
    assert house.breaker.state(50.0) == "open"
