"""The workspace index."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoide.store.index import Index, list_files
from nanoide.store.passages import LINES, passages, query, searchable, words


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    """An index in a file that does not exist yet."""
    index = Index(tmp_path / "state" / "index.db")
    yield index
    await index.aclose()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small workspace without a repository."""
    root = tmp_path / "work"
    (root / "billing").mkdir(parents=True)
    (root / "billing" / "prices.py").write_text("def pricePerMillion(usd):\n    return usd / 1e6\n")
    (root / "door.py").write_text("class FrontDoor:\n    def open_door(self):\n        return 'ünlocked'\n")
    return root


@pytest.fixture
def repository(root: Path) -> Path:
    """The same in a repository, with a key file that was committed by mistake."""
    (root / ".env").write_text("needle = 1\n")
    subprocess.run(["git", "init", "-q", root], check=True)
    subprocess.run(["git", "-C", root, "add", "-f", ".env"], check=True)
    return root


async def found(index: Index, root: Path, text: str) -> list[str]:
    """Labels of what is found after a refresh."""
    await index.refresh(str(root))
    return [source.label for source in await index.search(str(root), text, 8)]


async def test_a_word_inside_of_an_identifier_is_found(index: Index, root: Path) -> None:
    """Camel case and snake case are searched by their parts, in any form of the word."""
    assert await found(index, root, "how is the price calculated?") == ["billing/prices.py:1-2"]
    assert await found(index, root, "opening a door") == ["door.py:1-3"]
    assert await found(index, root, "unlocked") == ["door.py:1-3"]


async def test_a_passage_has_its_place(index: Index, root: Path) -> None:
    """Each source says the path, the first line and how well it fits."""
    await index.refresh(str(root))
    (source,) = await index.search(str(root), "million", 5)
    assert (source.kind, source.path, source.line) == ("query", "billing/prices.py", 1)
    assert source.text.startswith("def pricePerMillion")
    assert source.score > 0


async def test_what_changed_is_read_again_and_what_went_is_forgotten(index: Index, root: Path) -> None:
    """After a save the new text is found and the old one is not; a deleted file is gone."""
    assert await found(index, root, "door")
    (root / "door.py").write_text("class Window:\n    pass\n")
    assert await found(index, root, "window") == ["door.py:1-2"]
    (root / "billing" / "prices.py").unlink()
    assert await found(index, root, "price") == []


async def test_ignored_secret_and_binary_files_stay_out(index: Index, repository: Path) -> None:
    """What git ignores, what .nanoideignore names, key files, links and binary files are never searched."""
    root = repository
    (root / ".gitignore").write_text("ignored.py\n")
    (root / ".nanoideignore").write_text("private/\n")
    (root / "private").mkdir()
    for name in ("ignored.py", "private/a.py", "key.pem", "shown.py"):
        (root / name).write_text("needle = 1\n")
    (root / "blob.py").write_bytes(b"needle\0")
    (root / "link.py").symlink_to(root / ".env")
    assert await found(index, root, "needle") == ["shown.py:1-1"]


async def test_the_ignore_file_of_the_repository_holds_in_its_folders(index: Index, repository: Path) -> None:
    """A search that begins in a folder below respects what the top says."""
    (repository / ".nanoideignore").write_text("/billing/prices.py\n")
    assert await found(index, repository / "billing", "price") == []


async def test_two_roots_do_not_mix(index: Index, root: Path, tmp_path: Path) -> None:
    """A search finds passages of its own root alone."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "door.txt").write_text("another door\n")
    await index.refresh(str(other))
    assert await found(index, root, "door") == ["door.py:1-3"]


async def test_callers_share_one_refresh_and_may_stop_waiting(index: Index, root: Path) -> None:
    """Cancelling one who waits leaves the work to the others."""
    first = asyncio.create_task(index.refresh(str(root)))
    second = asyncio.create_task(index.refresh(str(root)))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert await index.search(str(root), "door", 3)


async def test_closing_does_not_wait_for_a_large_workspace(root: Path, tmp_path: Path) -> None:
    """An index that is closed while it reads stops soon, keeps what it has, and goes on the next time."""
    for number in range(400):
        (root / f"f{number}.py").write_text(f"needle{number} = 1\n" * 50)
    index = Index(tmp_path / "index.db")
    waiting = asyncio.create_task(index.refresh(str(root)))
    await asyncio.sleep(0)
    await index.aclose()
    await waiting
    again = Index(tmp_path / "index.db")
    assert await found(again, root, "needle399")
    await again.aclose()


async def test_a_broken_database_is_built_again(root: Path, tmp_path: Path) -> None:
    """The index is not precious: a file that is no database is replaced."""
    path = tmp_path / "index.db"
    path.write_bytes(b"not a database at all, " * 100)
    index = Index(path)
    try:
        assert await found(index, root, "door")
        assert path.stat().st_mode & 0o077 == 0
    finally:
        await index.aclose()


async def test_what_was_indexed_is_there_for_the_next_process(root: Path, tmp_path: Path) -> None:
    """Closing and opening again finds the passages without another refresh."""
    first = Index(tmp_path / "index.db")
    await first.refresh(str(root))
    await first.aclose()
    second = Index(tmp_path / "index.db")
    assert await second.search(str(root), "door", 3)
    await second.aclose()


async def test_names_that_are_no_utf8_do_no_harm(index: Index, root: Path) -> None:
    """A file with an undecodable name is passed over; odd but valid names are found."""
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.py")).write_text("needle\n")
    (root / "a b'\"ü\n.py").write_text("needle\n")
    assert len(await found(index, root, "needle")) == 1


async def test_a_root_that_is_not_there_has_nothing(index: Index, tmp_path: Path) -> None:
    """A missing folder is an empty one."""
    assert await found(index, tmp_path / "none", "door") == []


def test_hidden_and_foreign_folders_are_not_walked(root: Path) -> None:
    """Without git, installed packages and hidden folders stay out."""
    for folder in ("node_modules", ".venv", "__pycache__"):
        (root / folder).mkdir()
        (root / folder / "x.py").write_text("x")
    assert sorted(list_files(str(root))) == ["billing/prices.py", "door.py"]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
async def test_any_question_can_be_asked(text: str) -> None:
    """No character of a question is syntax."""
    import apsw

    expression = query(text)
    if expression:
        connection = apsw.Connection(":memory:")
        connection.execute("CREATE VIRTUAL TABLE t USING fts5 (body, path, root, tokenize = 'porter unicode61')")
        connection.execute("SELECT * FROM t WHERE t MATCH ?", (f"{expression} AND root:r1",)).fetchall()
        connection.close()


@settings(deadline=None)
@given(st.lists(st.sampled_from(["def f():", "    x = 1", "", "class A:", "@dec", "é" * 9]), max_size=200))
def test_passages_lose_no_line(lines: list[str]) -> None:
    """Put together in their places, the passages are the text; none is much longer than it should be."""
    pieces = passages("\n".join(lines))
    rebuilt = [""] * len(lines)
    for number, text in pieces:
        part = text.split("\n")
        assert len(part) <= LINES + LINES // 2
        assert part[0].strip()
        rebuilt[number - 1 : number - 1 + len(part)] = part
    assert [line.rstrip() for line in rebuilt] == [line.rstrip() for line in lines]


def test_words_are_those_that_say_something() -> None:
    """Stop words go, identifiers are split and kept whole."""
    assert words("where is the FrontDoor_key?") == {"frontdoor", "front", "door", "key"}
    assert "User" in searchable("getUserName").split()
