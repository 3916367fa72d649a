"""The change at hand: what is staged, else what is changed, else the last commit."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nanoide.core.chat import Source
from nanoide.core.errors import InputError
from nanoide.core.ignore import is_secret
from nanoide.skills.cut import cut_diff
from nanoide.skills.folders import is_folder

if TYPE_CHECKING:
    import git

SIZE_LIMIT = 1_000_000
"""Characters of a diff that are looked at; of a larger one a part of each file."""

_OPTIONS = (
    "--no-color",
    "--no-ext-diff",  # a repository's config must not run programs here
    "--no-textconv",  # likewise
    "--find-renames",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
_TIMEOUT_S = 20.0
_HEADER = re.compile(r'^diff --git (?:"?a/.*?"?) "?b/(?P<path>.*?)"?$', re.MULTILINE)


def looks_like_diff(text: str) -> bool:
    """True when `text` is the output of a diff."""
    start = text.lstrip()[:2_000]
    return start.startswith(("diff --git ", "--- ")) or "\ndiff --git " in start


def read_diff(folder: str) -> Source:
    """The diff for `folder`'s repository; the label says which one it is.

    Raises InputError when there is no repository, or nothing in it to describe.
    """
    import git

    if not is_folder(folder):
        raise InputError(f"there is no folder {folder!r} to look for changes in")
    try:
        repository = git.Repo(folder, search_parent_directories=True)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
        raise InputError(
            f"{folder} is in no git repository", hint="give a diff on standard input, or run it inside a repository"
        ) from error
    try:
        return _read(repository, git.GitCommandError)
    finally:
        repository.close()


def _read(repository: "git.Repo", failure: type[Exception]) -> Source:
    if repository.bare:
        raise InputError(f"{repository.git_dir} is a bare repository: there is no working tree")
    try:
        whole = repository.head.is_valid()
        if text := _diff(repository, "diff", "--cached"):
            return Source(kind="diff", label="staged diff", text=text)
        if text := _diff(repository, "diff"):
            return Source(kind="diff", label="working-tree diff", text=text)
        if whole and (text := _diff(repository, "show", "--format=", "--first-parent", "-m", "HEAD")):
            return Source(kind="diff", label=f"last commit {repository.head.commit.hexsha[:7]}", text=text)
    except (failure, ValueError) as error:
        owner = Path(repository.working_dir).stat().st_uid
        if owner not in {os.geteuid(), 0}:
            raise InputError(
                f"{repository.working_dir} belongs to another user, so git does not read it",
                hint=f"git config --global --add safe.directory {repository.working_dir}",
            ) from error
        said = str(getattr(error, "stderr", "") or error).strip().partition("\n")[0]
        raise InputError(f"git cannot show the changes: {said[:300]}") from error
    raise InputError(
        f"nothing to describe in {repository.working_dir}: no changes" + ("" if whole else " and no commits"),
        hint="stage something with `git add`",
    )


def _diff(repository: "git.Repo", command: str, *arguments: str) -> str:
    raw = repository.git.execute(
        ["git", "-c", "core.quotepath=off", "-c", "core.fsmonitor=false", command, *_OPTIONS, *arguments, "--"],
        stdout_as_string=False,
        strip_newline_in_stdout=False,
        kill_after_timeout=_TIMEOUT_S,
    )
    return tidy(raw[: 16 * SIZE_LIMIT].decode("utf-8", errors="replace"))


def tidy(text: str) -> str:
    """The diff without the contents of secret files, and cut where it is huge."""
    found = list(_HEADER.finditer(text))
    if any(is_secret(each["path"]) for each in found):
        ends = [*(each.start() for each in found[1:]), len(text)]
        parts = [text[: found[0].start()]]
        for header, end in zip(found, ends, strict=True):
            part = text[header.start() : end]
            parts.append(f"{header[0]}\n(a secret file: left out)\n" if is_secret(header["path"]) else part)
        text = "".join(parts)
    return cut_diff(text, SIZE_LIMIT) if len(text) > SIZE_LIMIT else text
