"""Text that means harm: it comes back as it was given, and does nothing to a terminal on the way."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import nanoide
from tests.e2e.terminal import CTRL_P, ESCAPE, Terminal

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]52;c;aGk=\x07 \x1b]0;title\x07 \u202ebidi\u2066 [/bold] [red]x[/] [@click=app.quit]q[/] "
    "\U0001d518\U0001f600 \x9b31m \x9d0;c1\x9c\r\nnext line\rover \x00 \x7f end"
).replace("\x00", "")
NAME = "[red]n[/] \U0001d518"
FILE = "f\x1b]0;pwn\x07[red]\u202e.py"
SOURCE = f'def add(a, b):\r\n    """{HOSTILE!s}"""\r\n    return a + b\r\n'

BRANCH = "b[red\u202e\U0001f600".replace("[", "(")

OURS = re.compile(
    rb"\x1b\[[0-9;]*m"  # colours and weights
    rb"|\x1b\[[?>=]?[0-9;]*[ABCDGHJKhlprtu]"  # moving, clearing, modes
    rb"|\x1b\[[0-9]* q"  # the cursor's shape
    rb"|\x1b\]22;[a-z-]*(?:\x07|\x1b\\)"  # the pointer's shape
    rb"|\x1b\[\?[0-9;]*\$p|\x1b_G[^\x1b]*\x1b\\|\x1b\[>[0-9]*[a-z]|\x1b\[=[0-9;]*[a-z]|\x1b[=>78]|\x1bP\+q[^\x1b]*\x1b\\"
)
"""What the command center itself may say to a terminal."""


@pytest.fixture
def folder(home: Path, tmp_path: Path) -> Path:
    """A repository whose file names, contents, branch and last commit all mean harm."""
    (tmp_path / FILE).write_bytes(SOURCE.encode())
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x"]
    for words in (["init", "-q", "-b", BRANCH], ["add", "-A"], ["commit", "-q", "-m", HOSTILE]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    return tmp_path


async def test_what_is_stored_is_what_was_given(folder: Path) -> None:
    """Question, name of the file, name of the session and branch come out of the store as they went in."""
    words = ("ask", "explain-code", HOSTILE, "-f", FILE, "--session", NAME, "--json")
    answered = json.loads(await nanoide(*words, folder=folder))
    assert answered["session"] == NAME
    shown = json.loads(await nanoide("session", "show", NAME, "--json", folder=folder))
    (turn,) = shown["history"]
    assert (shown["name"], shown["branch"], shown["folder"]) == (NAME, BRANCH, str(folder))
    assert (turn["asked"], turn["inputs"], turn["text"]) == (HOSTILE, [FILE], answered["text"])
    (listed,) = json.loads(await nanoide("sessions", "--json", folder=folder))["sessions"]
    assert (listed["name"], listed["branch"]) == (NAME, BRANCH)


@pytest.mark.long
async def test_no_command_lets_it_through_to_a_terminal(folder: Path) -> None:
    """On a terminal nothing but our own colours and cursor moves arrives, whichever command prints it."""
    for words in (
        ["ask", "explain-code", HOSTILE, "-f", FILE, "--session", NAME],
        ["ask", "file-query", f"where is add {HOSTILE}"],
        ["ask", "commit-message"],
        ["complete", FILE, "2", "8"],
        ["sessions"],
        ["session", "show", NAME],
        ["session", "show", FILE],
        ["session", "rename", NAME, HOSTILE],
        ["ask", HOSTILE, "x"],
        ["ask", "explain-code", "-f", HOSTILE],
        ["usage", "--by", "session"],
        ["usage", "--by", "project"],
        ["hub", "log"],
        ["tour"],
    ):
        async with Terminal([sys.executable, "-m", "nanoide", *words], os.environ, folder) as terminal:
            await terminal.ends()
            harmless(bytes(terminal.seen), words)


async def test_the_command_center_lets_nothing_through(folder: Path) -> None:
    """Sidebar, pane, palette and usage show the text, markup and all, and none of it is obeyed."""
    await nanoide("ask", "explain-code", HOSTILE, "-f", FILE, "--session", NAME, folder=folder)
    await nanoide("ask", "file-query", f"where is add {HOSTILE}", folder=folder)
    async with Terminal([sys.executable, "-m", "nanoide"], os.environ, folder) as terminal:
        await terminal.shows("[red]n[/]", "[/bold] [red]x[/] [@click=app.quit]q[/]", "add(a, b)")
        terminal.press(CTRL_P)
        await terminal.shows("Everything")
        terminal.press("[red]n")
        await terminal.until(lambda: terminal.text.count("[red]n[/]") >= 3, "the session in the palette")
        terminal.press(ESCAPE)
        await terminal.until(lambda: "Everything" not in terminal.text, "the palette goes")
        harmless(bytes(terminal.seen), ["the command center"])


def harmless(raw: bytes, words: list[str]) -> None:
    """Assert that `raw` does nothing to a terminal that is not ours to do."""
    whole = re.sub(rb"\x1b[^\x1b]{0,40}\Z", b"", raw)  # a program that goes on writing is read in mid-sequence
    rest = OURS.sub(b"", whole)
    assert b"\x1b" not in rest, (words, rest[max(0, rest.find(b"\x1b") - 40) :][:120])
    text = rest.decode(errors="replace")
    found = {char for char in text if (char < " " and char not in "\r\n\t\b") or "\x7f" <= char <= "\x9f"}
    assert not found, (words, found)
    assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"), words
