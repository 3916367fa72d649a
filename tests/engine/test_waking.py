"""Parking, waking, sharing and making way, with the real engine and the bundled model."""

from pathlib import Path
from typing import Any

import pytest

from nanoide.core.chat import Message
from nanoide.engine.context import Library
from nanoide.engine.protocol import Done, Job, Load, Piece, Reply
from nanoide.engine.runner import Runner
from nanoide.paths import bundled_model
from tests.engine.gguf import CHATML, variant
from tests.engine.test_runner import finish, finish_one, job, start


@pytest.fixture(scope="module")
def library() -> Library:
    """The native library, silent."""
    return Library(lambda line: None)


def session(id: int, key: str, text: str, **changes: Any) -> Job:
    """A turn of a session; what it computes may rest on disk."""
    return job(id, prefix=text, **{"key": key, "priority": "focused", **changes})


def lines(count: int, name: str) -> str:
    """Code that is different for each name from the first line on."""
    return "".join(f"{name}_{number} = {number}\n" for number in range(count))


def test_what_was_parked_goes_on_as_if_nothing_had_been(library: Library, tmp_path: Path) -> None:
    """A parked session computes only what is new, also in another process's engine, and says the same."""
    folder = tmp_path / "parked"
    load = Load(path=str(bundled_model()), parking=str(folder))
    first = Runner(load, library, cores=2, memory=lambda: 0)
    text = lines(40, "alpha")
    follow = session(2, "a", text + "beta = ")
    finish_one(first, session(1, "a", text))
    expected = finish_one(first, follow)
    finish_one(first, session(3, "a", text))
    first.park("a")
    assert first.vitals().kept == 0
    finish(first)
    first.stow()
    assert first.vitals().disk_bytes > 0
    second = Runner(load, library, cores=2, memory=lambda: 0)
    assert second.vitals().parked == 1
    second.add(follow)
    said, end = finish(second)[2]
    assert isinstance(end, Done)
    assert said == expected
    assert end.reused > 0.9 * end.input
    second.release("a")
    assert list(folder.iterdir()) == []


def test_a_full_cache_parks_the_least_recently_seen(library: Library) -> None:
    """Sessions that together are larger than the cache come back without being computed again."""
    runner = start(library, bundled_model(), cells=1024)
    names = [f"name{number}" for number in range(8)]
    for id, name in enumerate(names):
        finish_one(runner, session(id, name, lines(40, name), max_output=2))
    assert runner.vitals().parked >= 5
    for id, name in enumerate(names):
        runner.add(session(id, name, lines(40, name) + "x", max_output=2))
        _, end = finish(runner)[id]
        assert isinstance(end, Done)
        assert end.reused > 0.9 * end.input


def test_sessions_that_come_at_once_compute_their_common_beginning_once(library: Library, tmp_path: Path) -> None:
    """Sixteen sessions of one skill that are asked together: the instruction is in the cache once."""
    runner = start(library, variant(tmp_path / "chat.gguf", template=CHATML))
    instruction = "Answer briefly. " * 60
    for id in range(16):
        question = (Message("user", f"What is {id} + {id}?"),)
        assert runner.add(Job(id=id, key=f"s{id}", system=instruction, messages=question, max_output=4)) is None
    most = 0
    replies = list[Reply]()
    while runner.busy:
        runner.step(replies)
        most = max(most, runner.vitals().cells)
    ends = [each for each in replies if isinstance(each, Done)]
    assert len(ends) == 16
    assert most < ends[0].input + 16 * 60
    for id in range(16):
        runner.release(f"s{id}")
    question = (Message("user", "And what is left?"),)
    runner.add(Job(id=99, key="new", system=instruction, messages=question, max_output=4))
    _, end = finish(runner)[99]
    assert isinstance(end, Done)
    assert end.reused > 0.8 * end.input, "the instruction outlives its sessions"


def test_preempted_work_goes_on_where_it_was(library: Library) -> None:
    """A background answer that makes way for a completion is what it would have been without."""
    question = session(1, "low", lines(40, "low"), priority="background", max_output=40)
    expected = finish_one(start(library, bundled_model(), cells=1024), question)
    runner = start(library, bundled_model(), cells=1024)
    assert runner.add(question) is None
    replies = list[Reply]()
    while len(replies) < 5:
        runner.step(replies)
    for id in range(2, 5):
        runner.add(job(id, prefix=lines(40, f"high{id}"), priority="completion"))
    while runner.busy:
        runner.step(replies)
    assert "".join(each.text for each in replies if isinstance(each, Piece) and each.id == 1) == expected
