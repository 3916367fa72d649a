"""What is gathered for a turn."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nanoide import tokens, wire
from nanoide.core.chat import Context, Document
from nanoide.core.errors import InputError
from nanoide.paths import bundled_skills
from nanoide.skills.context import FILE_LIMIT, Given, gather
from nanoide.skills.skill import Skill, load
from nanoide.store.index import Index
from tests.skills.workspace import git, repository, write


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    """An empty index."""
    index = Index(tmp_path / "index.db")
    yield index
    await index.aclose()


def skill(name: str) -> Skill:
    """A bundled skill."""
    return load(bundled_skills() / name, "bundled")


def file(label: str, text: str | None = None) -> wire.Input:
    """A file that the person named."""
    return wire.Input(kind="file", label=label, text=text)


async def explain(index: Index, folder: Path, *inputs: wire.Input, budget: int = 2000) -> Context:
    """What explain-code gets."""
    return await gather(skill("explain-code"), Given(folder=str(folder), inputs=inputs), index=index, budget=budget)


async def test_a_file_comes_as_it_is(index: Index, tmp_path: Path) -> None:
    """Line ends stay, a byte order mark goes, unknown bytes are shown as such, the path is relative."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_bytes(b"\xef\xbb\xbfa\r\nb\xff\xf0\x9f\x98\x80\r\n")
    context = await explain(index, tmp_path, file("a/x.py"))
    (source,) = context.sources
    assert source.text == "a\r\nb\N{REPLACEMENT CHARACTER}😀\r\n"
    assert (source.kind, source.label, source.path, source.line) == ("file", "a/x.py", "a/x.py", 1)
    assert source.tokens == tokens.count(source.text)


async def test_utf16_is_text(index: Index, tmp_path: Path) -> None:
    """A file that says it is UTF-16 is read as that."""
    (tmp_path / "x.txt").write_bytes("größe 😀".encode("utf-16"))
    context = await explain(index, tmp_path, file("x.txt"))
    assert context.sources[0].text == "größe 😀"


async def test_what_cannot_be_used_is_refused_with_its_name(index: Index, tmp_path: Path) -> None:
    """Missing, binary, too large, a folder, a pipe: each is said, and nothing hangs."""
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(FILE_LIMIT + 1)
    os.mkfifo(tmp_path / "pipe")
    for name, says in (
        ("gone", "there is no file"), ("binary", "is binary"), ("large", "the limit is"), (".", "folder"),
        ("pipe", "no plain file"), ("nul\0", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            await explain(index, tmp_path, file(name))
    with pytest.raises(InputError, match="binary"):
        await explain(index, tmp_path, wire.Input(kind="stdin", label="", text="a\0b"))


async def test_a_large_text_is_whole_for_the_reflex_and_has_its_share_of_the_prompt(
    index: Index, tmp_path: Path
) -> None:
    """The budget binds the tokens, shared so that the small source is not cut; the text is not touched."""
    small, large = "x = 1\n", "y = 2\n" * 50_000
    context = await explain(index, tmp_path, file("a.py", small), file("b.py", large), budget=1000)
    assert [source.text for source in context.sources] == [small, large]
    assert context.sources[0].tokens == tokens.count(small)
    assert sum(source.tokens for source in context.sources) <= 1000


async def test_an_open_document_is_the_file(index: Index, tmp_path: Path) -> None:
    """From an editor the unsaved text counts, also where nothing else was given."""
    document = Document(path="x.py", text="unsaved = True\n", line=0, character=0)
    given = Given(folder=str(tmp_path), document=document)
    context = await gather(skill("explain-code"), given, index=index, budget=500)
    assert [source.text for source in context.sources] == ["unsaved = True\n"]
    context = await gather(skill("inline-completion"), given, index=index, budget=500)
    assert context.sources == ()
    assert context.document == document


async def diff(index: Index, folder: Path, *inputs: wire.Input) -> tuple[str, str]:
    """Label and text of what commit-message gets."""
    given = Given(folder=str(folder), inputs=inputs)
    context = await gather(skill("commit-message"), given, index=index, budget=2000)
    (source,) = context.sources
    assert source.kind == "diff"
    return source.label, source.text


async def test_the_diff_is_what_is_staged_then_what_is_changed_then_the_last_commit(
    index: Index, tmp_path: Path
) -> None:
    """The label says which one it is."""
    root = repository(tmp_path / "r", {"a.py": "a = 1\n", "b.py": "b = 1\n"})
    label, text = await diff(index, root)
    assert label.startswith("last commit ")
    assert "new file mode" in text
    write(root, {"a.py": "a = 2\n", "b.py": "b = 2\n"})
    label, text = await diff(index, root)
    assert label == "working-tree diff"
    assert "+a = 2" in text
    git(root, "add", "b.py")
    label, text = await diff(index, root)
    assert label == "staged diff"
    assert "+b = 2" in text
    assert "a.py" not in text


async def test_a_diff_on_standard_input_is_the_diff(index: Index, tmp_path: Path) -> None:
    """It is taken in place of the repository's, and needs none."""
    text = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    assert await diff(index, tmp_path, wire.Input(kind="stdin", label="", text=text)) == (
        "diff on standard input",
        text,
    )


async def test_without_a_change_there_is_nothing_to_describe(index: Index, tmp_path: Path) -> None:
    """No repository, no commit, a bare one: each is an error that says so."""
    with pytest.raises(InputError, match="in no git repository"):
        await diff(index, tmp_path)
    (tmp_path / "new").mkdir()
    git(tmp_path / "new", "init", "-q")
    with pytest.raises(InputError, match="no changes and no commits"):
        await diff(index, tmp_path / "new")
    (tmp_path / "bare").mkdir()
    git(tmp_path / "bare", "init", "-q", "--bare")
    with pytest.raises(InputError, match="bare"):
        await diff(index, tmp_path / "bare")
    with pytest.raises(InputError, match="no folder"):
        await diff(index, tmp_path / "gone")


async def test_a_first_commit_and_a_detached_head_have_diffs(index: Index, tmp_path: Path) -> None:
    """What is staged before the first commit counts; so does a checkout of a commit."""
    root = tmp_path / "r"
    root.mkdir()
    git(root, "init", "-q")
    write(root, {"a.py": "a = 1\n"})
    git(root, "add", "-A")
    assert (await diff(index, root))[0] == "staged diff"
    git(root, "commit", "-q", "-m", "first")
    git(root, "checkout", "-q", "--detach")
    assert (await diff(index, root / "."))[0].startswith("last commit")


async def test_no_program_of_the_repository_runs(index: Index, tmp_path: Path) -> None:
    """External diffs, text converters and monitors in the repository's config are not started."""
    root = repository(tmp_path / "r", {"a.py": "a = 1\n", ".gitattributes": "*.py diff=evil\n"})
    trap = f"touch {tmp_path / 'ran'}"
    for key in ("diff.external", "diff.evil.command", "diff.evil.textconv", "core.fsmonitor", "core.pager"):
        git(root, "config", key, trap)
    write(root, {"a.py": "a = 2\n"})
    assert "+a = 2" in (await diff(index, root))[1]
    assert not (tmp_path / "ran").exists()


async def test_a_secret_files_content_is_not_part_of_the_diff(index: Index, tmp_path: Path) -> None:
    """That it changed is said; what is in it is not."""
    root = repository(tmp_path / "r", {"a.py": "a = 1\n", ".env": "KEY=old\n"})
    write(root, {"a.py": "a = 2\n", ".env": "KEY=hunter2\n"})
    git(root, "add", "-f", "-A")
    text = (await diff(index, root))[1]
    assert "hunter2" not in text
    assert "a secret file" in text
    assert "+a = 2" in text


async def test_a_question_brings_passages(index: Index, tmp_path: Path) -> None:
    """file-query gets ranked passages of the folder; without a question or a folder it gets none."""
    write(tmp_path / "w", {"door.py": "def open_door():\n    pass\n", ".env": "door=1\n"})
    given = Given(text="who opens the door?", folder=str(tmp_path / "w"))
    context = await gather(skill("file-query"), given, index=index, budget=500)
    assert [source.label for source in context.sources] == ["door.py:1-2"]
    assert context.root == str(tmp_path / "w")
    for bare in (Given(text="", folder=str(tmp_path / "w")), Given(text="door", folder="")):
        assert (await gather(skill("file-query"), bare, index=index, budget=500)).sources == ()
