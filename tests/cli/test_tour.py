"""The main job once, over real folders."""

import subprocess
from pathlib import Path

import pytest

from nanoide.cli.sights import SAMPLE_NAME, find_place, look
from nanoide.core.chat import Document
from nanoide.core.document import split
from tests.cli.conftest import Shell

SOURCE = '''"""Counting."""


def count(words):
    """How often each word comes."""
    found = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items()))
'''

SKILLS = ["inline-completion", "file-query", "commit-message", "explain-code"]


def git(folder: Path, *words: str) -> None:
    """Run git with an identity and no config of this machine."""
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def repository(shell: Shell) -> Path:
    """A folder with one commit."""
    (shell.folder / "counting.py").write_text(SOURCE)
    git(shell.folder, "init", "-q")
    git(shell.folder, "add", ".")
    git(shell.folder, "commit", "-q", "-m", "first")
    return shell.folder


def test_four_sessions_work_at_the_same_time(shell: Shell, repository: Path) -> None:
    """Each on the folder's own text, the completion by the bundled model."""
    said = shell("tour", "--json")
    assert said.code == 0
    found = said.object
    assert found["folder"] == str(repository)
    assert found["concurrent"] == 4
    assert [each["skill"] for each in found["sessions"]] == SKILLS
    assert all(each["ok"] and each["text"].strip() for each in found["sessions"])
    completion, query, message, explanation = found["sessions"]
    assert (completion["backend"], completion["tier"]) == ("nano", "model")
    assert "counting.py" in completion["what"]
    assert "counting.py" in query["text"]
    assert "counting.py" in message["text"] or "count" in message["text"]
    assert "count" in explanation["text"]
    for each in found["sessions"]:
        assert each["started_ms"] <= each["finished_ms"] <= found["total_ms"]
        assert each["cost_usd"] == "0.000000000"


def test_an_empty_folder_gets_a_sample_that_is_labelled(shell: Shell) -> None:
    """Nothing is pretended to come from the folder."""
    said = shell("tour", "--json")
    assert said.code == 0
    assert all(each["ok"] and each["text"].strip() for each in said.object["sessions"])
    assert sum("built-in sample" in each["what"] for each in said.object["sessions"]) >= 3
    assert "built-in sample" in shell("tour").out


def test_a_folder_without_git_and_source_uses_its_texts(shell: Shell) -> None:
    """The message is about a change that is said to be made up."""
    (shell.folder / "README.md").write_text("# Tides\n\nWhen the water comes and when it goes, by harbour.\n")
    said = shell("tour", "--json")
    assert said.code == 0
    assert all("README.md" in each["what"] or "Tides" in each["what"] for each in said.object["sessions"])
    assert "as if it were added" in said.object["sessions"][2]["what"]


def test_the_printed_tour_names_rung_time_and_cost(shell: Shell, repository: Path) -> None:
    """Every session tells what a person wants to know, and what stood where the line was cut."""
    said = shell("tour")
    assert said.code == 0
    assert "4 sessions, 4 at the same time" in said.out
    assert "there stood:" in said.out
    assert said.out.count("$0.00") == 4
    assert "nano · first token" in said.out


def test_the_choice_is_the_same_each_time(tmp_path: Path) -> None:
    """Source before prose, the product before its tests, no secrets."""
    (tmp_path / "tests").mkdir()
    for name in ("README.md", "zeta.py", "alpha.py", "tests/aaa.py", "main.c", ".env"):
        (tmp_path / name).write_text(SOURCE)
    first = look(str(tmp_path))
    assert first.label == "alpha.py"
    assert first == look(str(tmp_path))


def test_a_folder_with_nothing_but_binaries_and_secrets_gets_the_sample(tmp_path: Path) -> None:
    """What cannot be read and what must not be read is not shown."""
    (tmp_path / "image.bin").write_bytes(bytes(range(256)))
    (tmp_path / "id_rsa").write_text("secret")
    assert look(str(tmp_path)).label == SAMPLE_NAME


def test_the_place_is_inside_a_function_and_the_rest_is_gone() -> None:
    """The document has the line up to the cut, then the next line."""
    place = find_place("counting.py", SOURCE)
    before, after = split(place.document)
    assert before.endswith(place.before)
    assert after.startswith("\n") or not after
    assert place.expected
    assert place.before + place.expected in SOURCE
    assert place.document.line >= 4


@pytest.mark.parametrize("text", ["", "\n", "x", "😀" * 30, "def f(:\n    broken = 1 +\n", "\t\n \n"])
def test_any_text_has_a_place(text: str) -> None:
    """Also one that is no Python, or nothing."""
    document: Document = find_place("odd.py", text).document
    split(document)
