"""The command center in a real terminal, by keyboard, as a person uses it."""

import os
import re
import sys
from pathlib import Path

import pytest

from nanoide import wire
from nanoide.client.launch import connect
from nanoide.paths import Paths
from tests.e2e.terminal import ALT, CTRL_D, CTRL_P, CTRL_X, ENTER, Terminal

SKILLS = ("file-query", "explain-code", "commit-message")

CENTER = [sys.executable, "-m", "nanoide"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with something to ask about."""
    (tmp_path / "session.py").write_text(
        '"""Sessions."""\n\n\ndef refresh(token: str) -> str:\n    """Renew the token."""\n    return token + "!"\n'
    )
    (tmp_path / "http.py").write_text("from session import refresh\n\n\ndef get() -> str:\n    return refresh('t')\n")
    return tmp_path


@pytest.mark.long
async def test_twelve_sessions_detached_and_reattached(home: Path, paths: Paths, folder: Path) -> None:
    """Open 12, ask in 4, hide 3, zoom 1, switch the theme, detach, reattach: all is there."""
    async with Terminal(CENTER, os.environ, folder) as center:
        await center.shows("Welcome", "? keys")
        for number in range(1, 13):
            skill = SKILLS[number % 3]
            center.press(CTRL_X)
            await center.shows("New session")
            center.press("n")
            await center.shows("New session with")
            center.press(skill + ENTER)
            await center.until(lambda n=number: f" {n} {SKILLS[n % 3]}" in center.text, f"session {number} is open")
        for number in (3, 6, 9):  # alt and a digit reaches the first nine
            center.press(f"{ALT}{number}")
            await center.until(lambda n=number: _focused(center, n), f"session {number} has the focus")
            center.press(f"where is the token renewed, asked by {number}{ENTER}")
            await center.until(lambda n=number: _answered(center, n), f"session {number} has its answer")
        center.press(f"{CTRL_X}g")
        await center.shows("Go to")
        center.press(f"12{ENTER}")
        await center.until(lambda: _focused(center, 12), "session 12 has the focus")
        center.press(f"where is the token renewed, asked by 12{ENTER}")
        await center.until(lambda: _answered(center, 12), "session 12 has its answer")
        for number in (1, 2, 4):
            center.press(f"{ALT}{number}")
            await center.until(lambda n=number: _focused(center, n), f"session {number} has the focus")
            center.press(f"{ALT}h")
            await center.until(lambda n=number: f"╭─ {n} " not in center.text, f"pane {number} is hidden")
        center.press(f"{ALT}9")
        await center.until(lambda: _focused(center, 9), "session 9 has the focus")
        center.press(f"{ALT}z")
        await center.until(lambda: center.text.count("╭─") == 1, "one pane fills the deck")
        dark = center.background(80, 20)
        center.press(f"{CTRL_P}paper")
        await center.shows("paper")
        center.press(ENTER)
        await center.until(lambda: "enter choose" not in center.text, "the palette is closed")
        await center.until(lambda: center.background(80, 20) != dark, "the theme is another")
        light = center.background(80, 20)
        center.press("half a question")
        await center.shows("half a question")
        center.press(CTRL_D)
        assert await center.ends() == 0

    async with await connect(paths, client="test", start=False) as connection:
        sessions = (await connection.call(wire.Attach())).sessions
        assert [each.number for each in sessions] == list(range(1, 13))
        assert {each.number for each in sessions if each.hidden} == {1, 2, 4}
        for number in (3, 6, 9, 12):
            session = await connection.call(wire.FindSession(name=str(number)))
            assert [turn.state for turn in session.turns] == ["done"]
            assert "session.py:4" in session.turns[0].text

    async with Terminal(CENTER, os.environ, folder) as again:
        await again.shows("asked by 9", "session.py:4", "half a question")
        await again.until(lambda: again.background(80, 20) == light, "the theme is kept")
        assert again.text.count("╭─") == 1
        again.press(f"{ALT}z")
        await again.until(lambda: again.text.count("╭─") > 3, "the panes are back")
        for number in (1, 2, 4):
            assert f"╭─ {number} " not in again.text
        again.press(CTRL_D)
        assert await again.ends() == 0


async def test_a_terminal_of_twenty_by_five_is_no_crash(home: Path, folder: Path) -> None:
    """The smallest terminal shows something and can be left."""
    async with Terminal(CENTER, os.environ, folder, columns=20, lines=5) as center:
        await center.until(lambda: center.text.strip() != "", "something is painted")
        center.press(CTRL_D)
        assert await center.ends() == 0


def _answered(center: Terminal, number: int) -> bool:
    """True when the sidebar says which rung answered the session."""
    return re.search(rf"[•○] {number} +file-query +reflex", center.text) is not None


def _focused(center: Terminal, number: int) -> bool:
    """True when the cursor's pane is that of session `number`: its composer is where one types."""
    return f"╭─ {number} " in center.text and str(number) == _marked(center)


def _marked(center: Terminal) -> str:
    """The number in the border of the pane whose border is bright."""
    for row, line in enumerate(center.screen.display):
        for column in _starts(line):
            if center.screen.buffer[row][column].fg == _accent(center):
                return line[column + 2 :].split()[0]
    return ""


def _starts(line: str) -> list[int]:
    return [index for index in range(len(line)) if line.startswith("╭─ ", index)]


def _accent(center: Terminal) -> str:
    """The one border colour that only one pane has."""
    colours = [
        center.screen.buffer[row][column].fg
        for row, line in enumerate(center.screen.display)
        for column in _starts(line)
    ]
    alone = [colour for colour in colours if colours.count(colour) == 1]
    return alone[0] if alone else ""
