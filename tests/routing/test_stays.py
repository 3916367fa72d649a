"""Files that never leave: known by name, by git and by .nanoideignore."""

import subprocess
from pathlib import Path

import pytest

from nanoide.routing.stays import Stays, reasons_for


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with ignored, tracked and hidden files."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n!kept.log\n")
    (tmp_path / ".nanoideignore").write_text("*.csv\n")
    for name in ("a.py", "a.log", "kept.log", "forced.log", "build/x.py", "sub/data.csv", "sub/b.py", "sub/.netrc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    subprocess.run(["git", "-C", tmp_path, "add", "-f", "forced.log"], check=True)
    return tmp_path


def reasons(root: Path, *names: str) -> dict[str, str]:
    """By name below `root`."""
    found = reasons_for([str(root / name) for name in names])
    return {str(Path(path).relative_to(root)): reason for path, reason in found.items()}


def test_each_file_that_stays_has_its_reason(repository: Path) -> None:
    """What git tracks may leave, whatever the patterns say."""
    names = ("a.py", "a.log", "kept.log", "forced.log", "build/x.py", "sub/data.csv", "sub/b.py", "sub/.netrc", "gone")
    assert reasons(repository, *names) == {
        "a.log": "git ignores it",
        "build/x.py": "git ignores it",
        "sub/data.csv": ".nanoideignore hides it",
        "sub/.netrc": "by its name it holds secrets",
    }


def test_a_link_hides_nothing(repository: Path) -> None:
    """Neither a link to a hidden file, nor one whose own name is ignored, nor a way through a linked folder."""
    (repository / "b.py").symlink_to("a.log")
    (repository / "b.log").symlink_to("a.py")
    (repository / "out").symlink_to("build")
    assert reasons(repository, "b.py", "b.log", "out/x.py") == dict.fromkeys(
        ("b.py", "b.log", "out/x.py"), "git ignores it"
    )


def test_a_file_that_is_gone_is_judged_by_its_name(repository: Path) -> None:
    """An answer about it may still be in a session."""
    assert set(reasons(repository, "gone/.env", "gone/credentials.json", "gone/a.py")) == {
        "gone/.env",
        "gone/credentials.json",
    }


def test_outside_a_repository_names_and_our_own_file_count(tmp_path: Path) -> None:
    """A .gitignore without git says nothing."""
    (tmp_path / ".gitignore").write_text("*")
    (tmp_path / ".nanoideignore").write_text("secret-*")
    for name in ("a.py", "secret-plan.md", "id_rsa"):
        (tmp_path / name).write_text("x")
    assert set(reasons(tmp_path, "a.py", "secret-plan.md", "id_rsa")) == {"secret-plan.md", "id_rsa"}


def test_where_git_does_not_answer_nothing_leaves(tmp_path: Path) -> None:
    """A repository that is broken says of no file that it may leave."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.py").write_text("x")
    assert reasons(tmp_path, "a.py") == {"a.py": "git does not say whether it ignores it"}


async def test_an_answer_is_remembered_for_a_while(repository: Path) -> None:
    """Git is not asked for each key that is pressed; a change is seen ten seconds later."""
    time = 0.0
    stays = Stays(lambda: time)
    files = [str(repository / "a.py"), str(repository / "a.log")]
    assert await stays.why(files) == f"{files[1]!r} stays on this machine: git ignores it"
    (repository / ".gitignore").write_text("a.py\n")
    time = 9.0
    assert "a.log" in await stays.why(files)
    time = 10.0
    assert await stays.why(files) == f"{files[0]!r} stays on this machine: git ignores it"
    assert await stays.why([]) == ""
