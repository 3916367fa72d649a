"""Which skills there are, and which of them may be used."""

import os
import subprocess
from pathlib import Path

import pytest

from nanoide.core.errors import SkillError, UnknownName
from nanoide.paths import bundled_skills
from nanoide.skills.library import Library
from tests.skills.test_skill import write


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a skill of its own."""
    root = tmp_path / "project"
    subprocess.run(["git", "init", "-q", root], check=True)
    write(root / ".nanoide" / "skills" / "ours", own='egress = "local-only" # and only so')
    return root


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """The bundled skills, and empty places beside them."""
    return Library(
        bundled=bundled_skills(),
        user=tmp_path / "user",
        agents=tmp_path / "agents",
        trust_file=tmp_path / "state" / "trust.json",
    )


def problem(library: Library, name: str, folder: Path | str = "") -> str:
    """What is wrong with a skill."""
    return next(line.problem for line in library.lines(str(folder)) if line.name == name)


def test_the_bundled_ones_are_there(library: Library) -> None:
    """With nothing set up, four skills work and say so."""
    lines = library.lines("")
    assert [line.name for line in lines] == ["commit-message", "explain-code", "file-query", "inline-completion"]
    assert all(line.reflex and not line.problem and line.where == "bundled" for line in lines)
    assert library.text("file-query", "").settings["session"] == "keep"


def test_an_unknown_name_comes_with_the_nearest(library: Library) -> None:
    """A slip of the finger is answered with what was meant."""
    with pytest.raises(UnknownName, match="commit-message"):
        library.find("comit-message", "")
    for odd in ("", ".", "..", "../skills/file-query", "/etc", "a\0b", "x" * 5000):
        with pytest.raises(UnknownName):
            library.find(odd, "")


def test_a_broken_skill_is_listed_with_its_problem(library: Library, tmp_path: Path) -> None:
    """One bad skill does not hide the others, and using it says what is wrong."""
    write(tmp_path / "user" / "bad", own="nonsense = 1")
    assert "unknown key 'nonsense'" in problem(library, "bad")
    with pytest.raises(SkillError, match="nonsense"):
        library.find("bad", "")
    assert library.find("file-query", "")


def test_your_own_comes_before_the_bundled_one(library: Library, tmp_path: Path) -> None:
    """The same name in your folder is used, and the bundled one says that it is hidden."""
    write(tmp_path / "user" / "file-query")
    assert library.find("file-query", "").where == "user"
    problems = {line.where: line.problem for line in library.lines("") if line.name == "file-query"}
    assert problems == {"user": "", "bundled": "hidden by the user skill of the same name"}


def test_when_your_own_is_broken_the_bundled_one_serves(library: Library, tmp_path: Path) -> None:
    """A slip in your own version does not take the skill away."""
    write(tmp_path / "user" / "file-query", own="x = 1")
    assert library.find("file-query", "").where == "bundled"


def test_an_edit_is_seen_at_once(library: Library, tmp_path: Path) -> None:
    """No restart is needed after a change, and none after a deletion."""
    folder = write(tmp_path / "user" / "mine")
    assert library.find("mine", "").instruction == "Do it."
    (folder / "SKILL.md").write_text("---\nname: mine\ndescription: d\n---\nDo it better.")
    assert library.find("mine", "").instruction == "Do it better."
    (folder / "SKILL.md").unlink()
    with pytest.raises(UnknownName):
        library.find("mine", "")


def test_a_projects_skill_is_used_only_after_trust(library: Library, project: Path) -> None:
    """Before, it is listed by its name alone; after, it works from any folder of the repository."""
    assert "not trusted yet" in problem(library, "ours", project)
    assert next(line for line in library.lines(str(project)) if line.name == "ours").description == ""
    with pytest.raises(SkillError, match="nanoide trust"):
        library.find("ours", str(project))
    below = project / "src"
    below.mkdir()
    library.trust(str(below))
    skill = library.find("ours", str(below))
    assert (skill.where, skill.egress) == ("project", "local-only")
    with pytest.raises(UnknownName):
        library.find("ours", "")


@pytest.mark.parametrize("change", ["SKILL.md", "nanoide.toml", "scripts/new.sh"])
def test_trust_ends_when_anything_in_the_folder_changes(library: Library, project: Path, change: str) -> None:
    """Every file of the skill counts, also one that nanoide does not read, also at the same size and time."""
    folder = project / ".nanoide" / "skills" / "ours"
    library.trust(str(project))
    assert library.find("ours", str(project))
    path = folder / change
    path.parent.mkdir(exist_ok=True)
    before = path.stat() if path.exists() else None
    path.write_text(path.read_text().replace("Do it", "Do 1t").replace("and only", "but only") if before else "new")
    if before:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "changed since" in problem(library, "ours", project)
    with pytest.raises(SkillError, match="changed since"):
        library.find("ours", str(project))
    library.trust(str(project))
    assert problem(library, "ours", project) == ""


def test_trust_outlives_the_process_and_is_private(library: Library, project: Path, tmp_path: Path) -> None:
    """The file is 0600; one that cannot be read means that nothing is trusted."""
    library.trust(str(project))
    file = tmp_path / "state" / "trust.json"
    assert file.stat().st_mode & 0o777 == 0o600
    again = Library(bundled=bundled_skills(), user=tmp_path / "u", agents=tmp_path / "a", trust_file=file)
    assert again.find("ours", str(project))
    file.write_text("{broken")
    assert "not trusted yet" in problem(again, "ours", project)


def test_a_project_cannot_take_the_place_of_a_skill_you_have(library: Library, project: Path) -> None:
    """Even when trusted, a repository's skill of a known name is hidden and says so."""
    write(project / ".claude" / "skills" / "commit-message")
    library.trust(str(project))
    assert library.find("commit-message", str(project)).where == "bundled"
    lines = [line for line in library.lines(str(project)) if line.name == "commit-message"]
    assert [(line.where, line.problem) for line in lines] == [
        ("bundled", ""),
        ("project", "hidden by the bundled skill of the same name"),
    ]


def test_a_projects_code_is_never_run(library: Library, project: Path) -> None:
    """A reflex in a trusted project skill is a problem, not a program."""
    write(project / ".agents" / "skills" / "sly", own='reflex = "reflex.py"', reflex="raise SystemExit")
    library.trust(str(project))
    assert "may not bring code" in problem(library, "sly", project)


def test_links_in_a_projects_skill_are_not_followed(library: Library, project: Path, tmp_path: Path) -> None:
    """A folder with a link cannot be trusted; a linked folder of skills is not looked into."""
    (tmp_path / "outside").write_text("x")
    (project / ".nanoide" / "skills" / "ours" / "link").symlink_to(tmp_path / "outside")
    library.trust(str(project))
    assert "cannot be looked through" in problem(library, "ours", project)
    write(tmp_path / "far" / "skills" / "linked")
    (project / ".claude").symlink_to(tmp_path / "far")
    assert "linked" not in {line.name for line in library.lines(str(project))}


def test_a_folder_that_is_not_there_has_the_bundled_skills(library: Library) -> None:
    """Nothing breaks outside of any folder, or in one that is gone."""
    assert len(library.lines("/no/such/folder")) == 4
    assert len(library.lines("/" + "x" * 5000)) == 4
    library.trust("/no/such/folder")
