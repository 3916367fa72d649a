"""Files that stay out."""

import subprocess
from pathlib import Path

import pytest

from nanoide.core.ignore import Ignore, is_secret


@pytest.mark.parametrize(
    "path",
    [".env", "a/.env.local", "prod.env", "k/server.pem", "id_rsa", ".ssh/config", "x/.aws/config", ".netrc",
     "credentials.json", "Secrets.YAML", "a/b.key", "terraform.tfstate", "my-service-account-1.json"],
)  # fmt: skip
def test_what_usually_holds_keys_is_secret(path: str) -> None:
    """Key files, environment files and credential stores are known by their names."""
    assert is_secret(path)


@pytest.mark.parametrize("path", [".env.example", "id_rsa.pub", "keyboard.py", "secrets.py", "src/env.py", "monkey"])
def test_what_only_sounds_like_it_is_not_secret(path: str) -> None:
    """Samples, public keys and code about secrets are ordinary files."""
    assert not is_secret(path)


def test_the_last_rule_that_fits_decides() -> None:
    """A later exception takes a file back in."""
    ignored = Ignore(["# private", "*.log", "!keep.log", "/build/", "docs/**/draft.md", "a[0-9].txt", ""])
    assert [path for path in ("x.log", "d/x.log", "keep.log", "build/x", "src/build/x", "docs/a/b/draft.md",
                              "docs/draft.md", "a1.txt", "ax.txt") if ignored(path)] == [
        "x.log", "d/x.log", "build/x", "docs/a/b/draft.md", "docs/draft.md", "a1.txt",
    ]  # fmt: skip


def test_patterns_mean_what_they_mean_to_git(tmp_path: Path) -> None:
    """On a tree of names, git and this agree about every one of them."""
    patterns = ["*.tmp", "/top", "sub/", "a/*.c", "**/deep", "x/**", "fi?e", "[ab].md", "!a/keep.c"]
    tree = (
        "1.tmp d/1.tmp top d/top sub/f d/sub/f a/1.c a/keep.c d/a/1.c deep/f d/deep/f x/y/z file fiile a.md d/b.md c.md"
    )
    names = tree.split()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("\n".join(patterns))
    run = subprocess.run(
        ["git", "-C", tmp_path, "check-ignore", "--stdin", "--no-index"],
        input="\n".join(names), capture_output=True, text=True, check=False,
    )  # fmt: skip
    ignored = Ignore(patterns)
    assert [name for name in names if ignored(name)] == run.stdout.split("\n")[:-1]
