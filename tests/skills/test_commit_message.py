"""The reflex that describes a change."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoide.core.chat import Context, Source
from tests.skills.reflexes import reflex
from tests.skills.workspace import git, repository, write

answer = reflex("commit-message")

SESSION = "import os\n\n\ndef login(user):\n    return user.name\n\n\ndef logout(user):\n    pass\n"
FILES = {
    "src/auth/session.py": SESSION,
    "README.md": "# Thing\n\nText.\n",
    "pyproject.toml": '[project]\ndependencies = [\n  "httpx~=0.25",\n]\n',
}
HEAD = re.compile(r"(feat|fix|docs|test|refactor|build|ci|chore)(\([\w.-]+\))?: \S.*")


def describe(text: str, root: str = "/work") -> str:
    """The message for a diff."""
    return answer(Context(root=root, sources=(Source(kind="diff", label="staged diff", text=text),)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a little of everything."""
    return repository(tmp_path / "r", FILES)


def staged(root: Path) -> str:
    """The first line for what is changed in `root` now."""
    git(root, "add", "-A")
    message = describe(git(root, "diff", "--cached", "-M"))
    assert HEAD.fullmatch(message.split("\n")[0]), message
    assert len(message.split("\n")[0]) <= 72
    return message


def test_a_new_function_is_a_feature(root: Path) -> None:
    """Its name is the subject, its module the scope."""
    write(root, {"src/auth/session.py": SESSION + "\n\ndef renew(user):\n    return user\n"})
    assert staged(root) == "feat(session): add renew"


def test_a_guard_is_a_fix(root: Path) -> None:
    """An error raised where none was before says in which function."""
    guarded = SESSION.replace("return user.name", "if user is None:\n        raise ValueError(1)\n    return user.name")
    write(root, {"src/auth/session.py": guarded})
    assert staged(root) == "fix(session): raise ValueError in login"


def test_a_renamed_function_is_a_refactoring(root: Path) -> None:
    """One name went, one came."""
    write(root, {"src/auth/session.py": SESSION.replace("def logout", "def sign_out")})
    assert staged(root).startswith("refactor(session): rename logout to sign_out")


def test_files_that_moved_or_went_are_said(root: Path) -> None:
    """A rename, a move and a deletion each have their word."""
    git(root, "mv", "src/auth/session.py", "src/auth/sessions.py")
    assert staged(root) == "refactor(sessions): rename session.py to sessions.py"
    git(root, "mv", "src/auth/sessions.py", "src/sessions.py")
    git(root, "commit", "-q", "-m", "x")
    git(root, "mv", "src/sessions.py", "sessions.py")
    assert "move sessions.py to ." in staged(root)
    git(root, "rm", "-q", "-f", "sessions.py")
    assert "remove sessions.py" in staged(root)


def test_dependencies_are_build(root: Path) -> None:
    """A new version and a new package are named."""
    write(root, {"pyproject.toml": FILES["pyproject.toml"].replace("0.25", "0.28")})
    assert staged(root) == "build: bump httpx to 0.28"
    write(root, {"pyproject.toml": FILES["pyproject.toml"].replace("]", '  "rich~=15.0",\n]', 1)})
    write(
        root, {"pyproject.toml": FILES["pyproject.toml"].replace('"httpx~=0.25",\n', '"httpx~=0.25",\n  "rich~=15",\n')}
    )
    assert staged(root) == "build: depend on rich"


def test_words_are_docs_and_tests_are_test(root: Path) -> None:
    """The kind of file decides where all files are of one kind."""
    write(root, {"README.md": FILES["README.md"] + "\n## Install\n\npip\n"})
    assert staged(root) == "docs: describe Install in README.md"
    git(root, "reset", "-q", "--hard")
    write(root, {"tests/test_session.py": "def test_a_login_has_a_name():\n    pass\n"})
    assert staged(root).startswith("test: cover a login has a name")


def test_a_binary_file_and_an_odd_name_are_no_obstacle(root: Path) -> None:
    """A picture is named; so is a file with spaces, quotes and astral characters."""
    (root / "logo.png").write_bytes(bytes(range(256)) * 9)
    assert staged(root) == "chore: add logo.png"
    git(root, "reset", "-q", "--hard")
    write(root, {'so "fine" 😀.py': "def sing():\n    pass\n"})
    assert "add sing" in staged(root)


def test_several_files_have_a_body(root: Path) -> None:
    """Each file has a line that says what came, went and changed in it."""
    write(
        root,
        {
            "src/auth/session.py": SESSION + "\n\ndef renew(user):\n    return user\n",
            "src/auth/key.py": "class Key:\n    pass\n",
        },
    )
    message = staged(root)
    assert message.startswith("feat(auth): add")
    assert "- src/auth/key.py: new; add Key (+2 −0)" in message
    assert "- src/auth/session.py: add renew (+4 −0)" in message


def test_crlf_does_not_show(root: Path) -> None:
    """Line ends of Windows leave no trace in the message."""
    write(root, {"win.py": "def one():\r\n    pass\r\n"})
    message = staged(root)
    assert "add one" in message
    assert "\r" not in message


def test_a_plain_diff_is_read_too() -> None:
    """Without git's own lines the file names come from --- and +++."""
    text = "--- a/x/door.py\t2026\n+++ b/x/door.py\t2026\n@@ -1 +1,3 @@ class Door:\n a\n+def open():\n+-- \n"
    assert describe(text) == "feat(door): add open"


def test_lines_that_look_like_headers_are_only_lines() -> None:
    """A removed SQL comment or a diff within a diff does not begin a new file."""
    text = (
        "diff --git a/q.sql b/q.sql\n--- a/q.sql\n+++ b/q.sql\n@@ -1,3 +1,2 @@\n--- old comment\n"
        "+++ added\n diff --git a/evil b/evil\n-x\n"
    )
    assert "q" in describe(text).split("\n")[0]
    assert "evil" not in describe(text)


def test_nothing_is_said_of_nothing() -> None:
    """An empty diff, and text that is no diff, are told as such."""
    for text in ("", "\n\n", "hello, this is no diff"):
        assert describe(text).startswith("Nothing to commit")
    assert answer(Context()).startswith("Nothing to commit")


def test_conflict_markers_stop_the_commit() -> None:
    """A half-merged file is named instead of described."""
    text = "diff --cc a.py\nindex 1,2..3\n--- a/a.py\n+++ b/a.py\n@@@ -1,1 -1,1 +1,5 @@@\n"
    text += "++<<<<<<< HEAD\n +x\n++=======\n+ y\n++>>>>>>> b\n"
    assert describe(text) == "Not ready to commit: conflict markers in a.py."


def test_a_huge_diff_is_described_shortly() -> None:
    """A thousand files and a megabyte make one subject and a short body."""
    parts: list[str] = []
    for n in range(1000):
        parts.append(f"diff --git a/door/f{n}.py b/door/f{n}.py\nnew file mode 100644\n--- /dev/null\n")
        parts.append(f"+++ b/door/f{n}.py\n@@ -0,0 +1,40 @@\n+def function_{n}():\n" + "+    pass\n" * 39)
    message = describe("".join(parts))
    assert message.startswith("feat(door): add f0, ")
    assert message.endswith("- and 986 more files")
    assert len(message) < 2_500


def test_secret_files_are_mentioned_without_their_content() -> None:
    """What was left out of the diff is said to be left out."""
    text = "diff --git a/.env b/.env\n(a secret file: left out)\n"
    text += "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-A = 1\n+A = 2\n"
    assert "- .env: not shown, it may hold secrets" in describe(text)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from('+-@ \nabdiff0,1/"é😀git'), max_size=300), st.booleans())
def test_any_text_is_survived(text: str, begun: bool) -> None:
    """Whatever is called a diff, there is an answer in its form."""
    message = describe(("diff --git a/x.py b/x.py\n@@ -1,9 +1,9 @@\n" if begun else "") + text)
    first = message.split("\n")[0]
    assert HEAD.fullmatch(first) or first.startswith(("Nothing to commit", "Not ready"))
    assert len(first) <= 72
