"""SKILL.md and nanoide.toml, read and checked."""

from pathlib import Path

import pytest

from nanoide.core.errors import SkillError
from nanoide.paths import bundled_skills
from nanoide.skills.skill import load, settings

FRONT = "---\nname: {name}\ndescription: Does one thing.\n---\n\nDo it.\n"


def write(folder: Path, *, front: str = FRONT, own: str = "", reflex: str = "") -> Path:
    """A skill's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SKILL.md").write_text(front.format(name=folder.name))
    if own:
        (folder / "nanoide.toml").write_text(own)
    if reflex:
        (folder / "reflex.py").write_text(reflex)
    return folder


def test_a_skill_md_alone_is_a_skill(tmp_path: Path) -> None:
    """Everything of nanoide's own has a default."""
    skill = load(write(tmp_path / "one-thing"), "user")
    assert (skill.name, skill.description, skill.instruction) == ("one-thing", "Does one thing.", "Do it.")
    assert (skill.mode, skill.session, skill.reflex, skill.egress, skill.max_output) == ("chat", "fresh", "", None, 256)


def test_front_matter_of_other_tools_is_no_obstacle(tmp_path: Path) -> None:
    """The standard's optional keys, unknown keys, CRLF and a byte order mark all load."""
    front = (
        "\ufeff---\r\nname: {name}\r\ndescription: >\r\n  Folded\r\n  text.\r\nlicense: MIT\r\nmetadata:\r\n  a: 1\r\n"
        "allowed-tools: Read Bash(git:*)\r\nsomething-else: [1, 2]\r\n---\r\nBody\r\n---\r\nstill body"
    )
    skill = load(write(tmp_path / "a1", front=front), "user")
    assert skill.description == "Folded text."
    assert skill.instruction.startswith("Body")
    assert skill.instruction.endswith("still body")


@pytest.mark.parametrize(
    ("front", "says"),
    [
        ("no front matter", "no front matter"),
        ("---\nname: {name}\n", "no front matter"),
        ("---\nname: Other\ndescription: d\n---\n", "name 'Other' does not fit"),
        ("---\nname: a--b\ndescription: d\n---\n", "does not fit"),
        ("---\nname: 7\ndescription: d\n---\n", "does not fit"),
        ("---\nname: other\ndescription: d\n---\n", "is not the folder's name"),
        ("---\nname: {name}\n---\n", "'description'"),
        ("---\nname: {name}\ndescription: '  '\n---\n", "'description'"),
        ("---\nname: {name}\ndescription: " + "x" * 1025 + "\n---\n", "1 to 1024"),
        ("---\nname: {name}\ndescription: a: b\n---\n", "line 3"),
        ("---\n- a\n---\n", "no table"),
        ("---\nname: {name}\ndescription: d\nmetadata: 1\n---\n", "'metadata'"),
        ("---\nname: {name}\ndescription: !!python/object/apply:os.getpid []\n---\n", "front matter"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_front_is_said(tmp_path: Path, front: str, says: str) -> None:
    """An error names the file and the fault; nothing in the front matter is ever run."""
    folder = tmp_path / "thing"
    folder.mkdir()
    (folder / "SKILL.md").write_text(front.replace("{name}", "thing"))
    with pytest.raises(SkillError) as caught:
        load(folder, "user")
    assert says in str(caught.value)
    assert "SKILL.md" in str(caught.value)


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ("colour = 1", "unknown key 'colour'"),
        ("[trigger]\non_moon = 1", "unknown key 'trigger.on_moon'"),
        ('egress = "everywhere"', "key 'egress'"),
        ('context = ["files"]', "key 'context[0]'"),
        ("max_output = 0", "'max_output'"),
        ("temperature = 3.5", "'temperature'"),
        ('stop = [""]', "'stop'"),
        ("max_output = ", "no TOML"),
        ('reflex = "../reflex.py"', "'reflex'"),
        ('reflex = "/etc/passwd"', "'reflex'"),
        ('reflex = "gone.py"', "no file 'gone.py'"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_nanoide_toml_is_said(tmp_path: Path, own: str, says: str) -> None:
    """An error names the file and the key."""
    with pytest.raises(SkillError) as caught:
        load(write(tmp_path / "thing", own=own), "user")
    assert says in str(caught.value)
    assert "nanoide.toml" in str(caught.value)


def test_only_bundled_and_own_skills_bring_code(tmp_path: Path) -> None:
    """A reflex in a project's or another tool's skill is refused."""
    folder = write(tmp_path / "thing", own='reflex = "reflex.py"', reflex="def answer(context): return ''")
    assert load(folder, "user").reflex == str(folder / "reflex.py")
    for where in ("project", "agents"):
        with pytest.raises(SkillError, match="may not bring code"):
            load(folder, where)


def test_links_are_refused(tmp_path: Path) -> None:
    """Neither a reflex nor the manifest may lead out of the folder."""
    (tmp_path / "elsewhere.py").write_text("")
    folder = write(tmp_path / "thing", own='reflex = "reflex.py"')
    (folder / "reflex.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(SkillError, match="symbolic link"):
        load(folder, "user")
    (folder / "SKILL.md").rename(tmp_path / "moved.md")
    (folder / "SKILL.md").symlink_to(tmp_path / "moved.md")
    with pytest.raises(SkillError, match="symbolic link"):
        load(folder, "user")


@pytest.mark.parametrize("name", ["inline-completion", "file-query", "commit-message", "explain-code"])
def test_the_bundled_skills_load(name: str) -> None:
    """Each has an instruction and a reflex, and its settings can be shown."""
    skill = load(bundled_skills() / name, "bundled")
    assert len(skill.instruction) > 200
    assert skill.reflex.endswith("reflex.py")
    assert settings(skill)["reflex"] == "reflex.py"
