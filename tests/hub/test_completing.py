"""Inline completion through the real hub."""

import asyncio
from pathlib import Path

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.core.chat import Document

BEFORE = """def first(records):
    for record in records:
        if record.is_valid() and record.size > 0:
            keep(record)


def second(records):
    for record in records:
        if record"""


def document(text: str, path: str = "work.py") -> Document:
    """The end of `text`."""
    lines = text.split("\n")
    return Document(path=path, text=text, line=len(lines) - 1, character=len(lines[-1]))


async def test_the_bundled_model_completes_and_leaves_a_row(hub: Connection, tmp_path: Path) -> None:
    """When invoked the ladder is asked in its order, and the ledger knows of it."""
    request = wire.Complete(document=document(BEFORE), folder=str(tmp_path))
    completed = await hub.call(request)
    assert completed.attempts[0].backend == "nano"
    assert completed.attempts[0].outcome == "ok"
    assert "\n" not in completed.text
    assert (await hub.call(wire.ReadUsage(by="skill"))).total.attempts == len(completed.attempts)


async def test_while_typing_a_sure_copy_comes_before_any_model(hub: Connection, tmp_path: Path) -> None:
    """What the file repeats is there at once, as the reflex's."""
    request = wire.Complete(document=document(BEFORE), folder=str(tmp_path), automatic=True)
    completed = await hub.call(request)
    assert completed.text == ".is_valid() and record.size > 0:"
    assert (completed.backend, completed.tier) == ("reflex", "reflex")


async def test_a_copy_may_come_from_a_file_beside_it_and_not_from_another_folder(
    hub: Connection, tmp_path: Path
) -> None:
    """Text worked on in one project is not offered in another."""
    other = document("total = compute_the_grand_total(invoice, currency)\n", "other.py")
    await hub.call(wire.Complete(document=other, folder=str(tmp_path / "one"), automatic=True))
    begun = document("x = 1\ntotal = compute_the_grand_total(", "begun.py")
    here = await hub.call(wire.Complete(document=begun, folder=str(tmp_path / "one"), automatic=True))
    assert here.text.startswith("invoice, currency")
    there = await hub.call(
        wire.Complete(document=begun, folder=str(tmp_path / "two"), automatic=True, backend="reflex")
    )
    assert "invoice" not in there.text


async def test_typing_what_was_offered_asks_nobody_again(hub: Connection, tmp_path: Path) -> None:
    """The rest of a completion comes from the cache."""
    offered = await hub.call(wire.Complete(document=document(BEFORE), folder=str(tmp_path), automatic=True))
    typed = document(BEFORE + offered.text[:4])
    again = await hub.call(wire.Complete(document=typed, folder=str(tmp_path), automatic=True))
    assert (again.backend, again.text) == ("cache", offered.text[4:])
    assert again.attempts == ()


async def test_a_later_request_supersedes_and_both_are_answered(hub: Connection, tmp_path: Path) -> None:
    """The one before gets an empty answer, not an error and not silence."""
    texts = [f"import os\nvalue_{number} = os.path." for number in range(6)]
    answers = await asyncio.gather(
        *(
            hub.call(wire.Complete(document=document(text), folder=str(tmp_path), supersedes="file:///a.py"))
            for text in texts
        )
    )
    assert len(answers) == 6
    assert [each.text for each in answers[:-1]].count("") >= 4
