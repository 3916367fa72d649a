"""The question before anything leaves, at a real terminal, and what the commands tell of it afterwards."""

import json
import os
import sys
from pathlib import Path

import pytest

from nanoide import wire
from nanoide.core.usage import usd
from tests.e2e.commands import nanoide
from tests.e2e.terminal import ENTER, Terminal
from tests.routing.test_consent import House, config, folder, house, server

__all__ = ["folder", "house", "server"]

ASK = ("-m", "nanoide", "ask", "explain-code", "-f", "fold.py", "--session", "one")
WIDE = "[y] once  [s] this session  [a] always for this skill  [n] no, stay here:"


def terminal(house: House, *words: str) -> Terminal:
    """A command on a terminal of its own."""
    return Terminal([sys.executable, *words], os.environ, house.folder)


async def test_the_terminal_says_what_would_leave_and_takes_the_answer(house: House) -> None:
    """Words that are no answer are asked again; yes lets it go."""
    async with terminal(house, *ASK) as screen:
        await screen.shows(f"to far (127.0.0.1:{house.server.port})?", "send fold.py (", "hidden: GitHub token", WIDE)
        assert "at most $" in screen.text
        screen.press("what?" + ENTER)
        await screen.until(lambda: screen.text.count(WIDE) == 2, "asked again")
        screen.press("y" + ENTER)
        assert await screen.ends() == 0
        assert "from afar" in screen.text
    assert len(house.server.requests) == 1


async def test_a_question_that_was_answered_elsewhere_is_taken_back(house: House) -> None:
    """The terminal does not wait for a key that nobody needs any more."""
    async with terminal(house, *ASK) as screen:
        await screen.shows(WIDE)
        session = await house.hub.call(wire.FindSession(name="one"))
        await house.hub.call(wire.GiveConsent(session.id, "stay"))
        assert await screen.ends() == 0
        assert "(it was answered elsewhere, or the turn has ended)" in screen.text
        assert "fold" in screen.text


async def test_a_question_is_taken_back_when_the_config_changes(house: House) -> None:
    """The reason is told, and the turn goes on below."""
    async with terminal(house, *ASK) as screen:
        await screen.shows(WIDE)
        await house.reload(config(house.server, egress="local-only"))
        assert await screen.ends() == 0
        assert "(config.toml changed before you answered)" in screen.text
    assert house.server.requests == []


async def test_a_question_ends_with_a_turn_that_is_stopped(house: House) -> None:
    """Stopped from another window: exit code 130."""
    async with terminal(house, *ASK) as screen:
        await screen.shows(WIDE)
        session = await house.hub.call(wire.FindSession(name="one"))
        await house.hub.call(wire.CancelTurn(session.id))
        assert await screen.ends() == 130


async def test_going_over_the_budget_is_said_and_not_allowed_for_good(house: House) -> None:
    """The line names the budget, and "always" is no answer."""
    await house.reload(config(house.server, egress="remote", more='[budget]\nday_usd = "0.01"\non_breach = "ask"'))
    async with terminal(house, *ASK) as screen:
        await screen.shows("Over the budget: this could go over today's budget of $0.01.", "[s] this session  [n] no")
        screen.press("a" + ENTER)
        await screen.until(lambda: screen.text.count("[y] once") == 2, "asked again")
        screen.press("s" + ENTER)
        assert await screen.ends() == 0
        assert "nanoide: today's budget of $0.01 is at 6500 %: $0.65 is spent" in screen.text
    assert await house.hub.call(wire.ListGrants()) == ()


async def test_the_center_shows_the_card_and_one_key_answers_it(house: House) -> None:
    """`a` in the pane allows the skill for good, and `nanoide egress grants` lists it."""
    async with terminal(house, "-m", "nanoide") as screen:
        await screen.shows("nanoide")
        await house.asked(house.ask(name="one"))
        await screen.shows("This would leave your machine", "far (127.0.0.1:", "GitHub token", "at most $")
        await screen.shows("always for this skill")
        session = await house.hub.call(wire.FindSession(name="one"))
        while session.state == "asking":  # a key counts only when the question has been there for a moment
            screen.press("a")
            session = await house.hub.call(wire.FindSession(name="one"))
    (grant,) = await house.hub.call(wire.ListGrants())
    assert (grant.skill, grant.backend) == ("explain-code", "far")


@pytest.mark.long
async def test_the_commands_list_what_left_and_what_may(house: House) -> None:
    """By session and time; grants are listed and taken back; a budget that is near is told."""
    here = {"folder": house.folder}
    assert await nanoide("egress", **here) == "nothing has left this machine\n"
    await house.turn(house.ask(name="one"), "always")
    await house.turn(house.ask(name="two"))
    table = (await nanoide("egress", **here)).splitlines()
    assert table[0].split() == ["AT", "BACKEND", "HOST", "WHERE", "SESSION", "SKILL", "BYTES", "HIDDEN"]
    assert [line.split()[4:6] for line in table[1:]] == [["two", "explain-code"], ["one", "explain-code"]]
    assert table[1].endswith("GitHub token")
    (line,) = json.loads(await nanoide("egress", "--session", "one", "--json", **here))["egress"]
    assert {"at", "backend", "host", "where", "session", "skill", "bytes", "hidden", "label"} == set(line)
    assert (line["label"], line["hidden"]) == ("one", ["GitHub token"])
    assert len(json.loads(await nanoide("egress", "--since", "1h", "--json", **here))["egress"]) == 2
    assert await nanoide("egress", "--since", "2999-01-01", **here) == "nothing has left this machine since then\n"
    assert await nanoide("egress", "--session", "three", **here) == "nothing has left this machine for this session\n"

    (grant,) = json.loads(await nanoide("egress", "grants", "--json", **here))["grants"]
    assert (grant["skill"], grant["backend"]) == ("explain-code", "far")
    assert "explain-code" in await nanoide("egress", "grants", **here)
    await nanoide("egress", "forget", "explain-code", "far", **here)
    assert "nothing is allowed for good" in await nanoide("egress", "grants", **here)
    await nanoide("egress", "forget", "explain-code", "far", code=2, **here)


@pytest.mark.parametrize("words", [("ask", "explain-code", "-f", "fold.py"), ("usage",)])
async def test_a_budget_that_is_near_is_told_on_standard_error(house: House, words: tuple[str, ...]) -> None:
    """In the turn that brought it there, and wherever the ledger is read; JSON has it as a key of its own."""
    await house.reload(config(house.server, egress="remote", more='[budget]\nmonth_usd = "0.70"'))
    if words == ("usage",):
        await house.turn(house.ask())
    notice = "this month's budget of $0.70 is at 92 %: $0.65 is spent"
    async with Terminal(
        ["/bin/sh", "-c", f"{sys.executable} -m nanoide {' '.join(words)} > out.txt < /dev/null"],
        os.environ,
        house.folder,
    ) as screen:
        assert await screen.ends() == 0
        assert f"nanoide: {notice}" in screen.text
    assert notice not in Path(house.folder, "out.txt").read_text()
    if words == ("usage",):
        (budget,) = json.loads(await nanoide("usage", "--json", folder=house.folder))["budgets"]
        assert (budget["notice"], budget["spent_usd"]) == (notice, usd(650_000_000))
