"""The reflex that says where to look."""

from pathlib import Path

from nanoide.core.chat import Context, Source
from nanoide.store.index import Index
from tests.skills.reflexes import reflex

answer = reflex("file-query")

PASSAGE = '''class Session:
    """A conversation."""

    def close(self, reason):
        """End the session and free what it holds."""
        self.state = "closed"
'''


def passage(text: str, path: str = "core/session.py", line: int = 10) -> Source:
    """A passage as the index gives it."""
    return Source(kind="query", label=f"{path}:{line}", text=text, path=path, line=line, score=1.0)


def test_the_best_lines_are_cited_with_their_places() -> None:
    """Path and line of each, the definition among them, and one sentence where to begin."""
    said = answer(Context(text="where is a session closed?", sources=(passage(PASSAGE),)))
    first, _, *lines = said.split("\n")
    assert first.startswith("Look at core/session.py:1")
    assert "core/session.py:13  def close(self, reason):" in lines
    assert all(line.startswith("core/session.py:") for line in lines)


async def test_every_citation_is_true(tmp_path: Path) -> None:
    """On a real workspace each cited line says what is shown of it."""
    root = Path(__file__).parent.parent.parent / "nanoide" / "core"
    index = Index(tmp_path / "index.db")
    await index.refresh(str(root))
    found = await index.search(str(root), "how is the cost of usage computed from a price", 12)
    said = answer(Context(text="how is the cost of usage computed from a price", root=str(root), sources=found))
    await index.aclose()
    assert "usage.py" in said.split("\n")[0]
    for line in said.split("\n")[2:]:
        place, _, text = line.partition("  ")
        path, _, number = place.rpartition(":")
        assert (root / path).read_text().split("\n")[int(number) - 1].strip().startswith(text.rstrip("…"))


def test_nothing_found_is_said() -> None:
    """Without passages, without words and without a match it says so and invents nothing."""
    assert 'Nothing found below /w for "zorp"' in answer(Context(text="where is zorp?", root="/w"))
    assert answer(Context(text="where is it?")).startswith("Ask where something is")
    assert "occurs" in answer(Context(text="zorp", sources=(passage("nothing like it"),)))


def test_words_that_are_missing_are_named() -> None:
    """When most of the question's words occur nowhere, it says which."""
    said = answer(Context(text="session frobnicate zorp quux", sources=(passage(PASSAGE),)))
    assert "Not found" in said
    assert '"zorp"' in said


def test_long_lines_are_shortened() -> None:
    """A minified line does not flood the pane."""
    said = answer(Context(text="session", sources=(passage("session " * 10_000),)))
    assert max(len(line) for line in said.split("\n")) < 200


def test_an_index_that_is_still_being_made_is_told() -> None:
    """An answer from a part of the workspace says that it is one."""
    source = Source(kind="query", label="a.py:1-2", text="def refresh():\n    pass", path="a.py", line=1)
    whole = answer(Context(text="where is refresh", root="/x", sources=(source,)))
    part = answer(Context(text="where is refresh", root="/x", sources=(source,), note="Still indexing."))
    assert part == f"{whole}\n\nStill indexing."
