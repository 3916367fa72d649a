"""What the person is asked before anything leaves, through the real hub and a real server that counts as elsewhere."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nanoide import wire
from nanoide.client.asking import Asking
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.core.chat import Document
from nanoide.core.errors import UnknownName, UsageError
from nanoide.core.events import (
    ConsentAsked,
    ConsentChoice,
    ConsentGiven,
    NoticeGiven,
    SessionEvent,
    TurnCancelled,
    TurnFailed,
    TurnFinished,
)
from nanoide.paths import Paths
from tests.backends.servers import Close, Running, chat, serve, stream

SECRET = "ghp_" + "a1B2" * 9


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    """Answers everything."""
    used: dict[str, object] = {"prompt_tokens": 100, "completion_tokens": 550}
    async with serve(stream(*chat("from ", "afar", usage=used), "[DONE]")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with a file to ask about, one that git ignores and one that .nanoideignore hides."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("*.local\n")
    (tmp_path / ".nanoideignore").write_text("private/\n")
    (tmp_path / "private").mkdir()
    for name in ("fold.py", "notes.local", "private/plan.md", ".env"):
        (tmp_path / name).write_text(f'def fold():\n    """Fold."""\n    return "{SECRET}"\n')
    return tmp_path


class House:
    """A hub whose first rung is elsewhere, and what it asked."""

    def __init__(self, hub: Connection, paths: Paths, server: Running, folder: Path) -> None:
        self.hub = hub
        self.paths = paths
        self.server = server
        self.folder = folder
        self.reloads = 0

    def ask(self, file: str = "fold.py", skill: str = "explain-code", **fields: object) -> wire.Ask:
        """A question about a file that the reflex answers as well."""
        given = (wire.Input(kind="file", label=str(self.folder / file)),)
        return wire.Ask(skill=skill, folder=str(self.folder), inputs=given, text="why?", **fields)  # type: ignore[arg-type]

    async def turn(
        self, request: wire.Ask, answer: Callable[[ConsentAsked], ConsentChoice] | ConsentChoice = "stay"
    ) -> list[SessionEvent]:
        """All events of one turn, whose question is answered."""
        events: list[SessionEvent] = []
        asking = await Asking.start(self.hub, request)
        async for event in asking.events():
            events.append(event)
            if isinstance(event, ConsentAsked):
                choice = answer if isinstance(answer, str) else answer(event)
                await self.hub.call(wire.GiveConsent(event.session, choice, event.digest))
        return events

    async def asked(self, request: wire.Ask) -> tuple[Asking, AsyncIterator[SessionEvent], ConsentAsked]:
        """A turn that waits at its question."""
        asking = await Asking.start(self.hub, request)
        events = aiter(asking.events())
        async for event in events:
            if isinstance(event, ConsentAsked):
                return asking, events, event
        raise AssertionError("nothing was asked")

    async def reload(self, text: str) -> None:
        """Write another config.toml and wait until it is in force."""
        self.reloads += 1
        marker = f"seen-{self.reloads}"
        self.paths.config.write_text(
            f'{text}\n[[backend]]\nname = "{marker}"\nkind = "openai"\nbase_url = "http://127.0.0.1:1"\nmodel = "m"\n'
        )
        async with asyncio.timeout(10):
            while marker not in {line.name for line in await self.hub.call(wire.ListBackends())}:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


def config(server: Running, *, more: str = "", egress: str = "ask", host: str = "127.0.0.1") -> str:
    """One backend that counts as elsewhere, then the reflex."""
    return f"""
{more}
[route.default]
ladder = ["far", "reflex"]
egress = "{egress}"
[[backend]]
name = "far"
kind = "openai"
base_url = "http://{host}:{server.port}/v1"
model = "m"
where = "remote"
price = {{ input = "1000", output = "1000" }}
"""


@pytest.fixture
async def house(paths: Paths, server: Running, folder: Path) -> AsyncIterator[House]:
    """A hub in a process of its own, under "ask"."""
    paths.prepare()
    paths.config.write_text(config(server))
    async with await connect(paths, client="test") as hub:
        yield House(hub, paths, server, folder)


def questions(events: list[SessionEvent]) -> list[ConsentAsked]:
    """What was asked."""
    return [event for event in events if isinstance(event, ConsentAsked)]


def answered(events: list[SessionEvent]) -> str:
    """Who answered."""
    assert isinstance(events[-1], TurnFinished), events[-1]
    return events[-1].backend


async def test_the_question_says_all_and_once_means_once(house: House) -> None:
    """To whom, what, how many tokens, what was hidden, what it can cost at most; the next prompt asks again."""
    events = await house.turn(house.ask(), "once")
    (asked,) = questions(events)
    assert (asked.backend, asked.host) == ("far", f"127.0.0.1:{house.server.port}")
    assert "fold.py" in asked.what
    assert asked.hidden == ("GitHub token",)
    assert asked.tokens > 0
    assert asked.cost_nano is not None
    assert asked.cost_nano >= asked.tokens * 1_000_000
    assert answered(events) == "far"
    assert SECRET not in str(house.server.requests[0].body)
    assert len(questions(await house.turn(house.ask(), "stay"))) == 1
    (line,) = await house.hub.call(wire.ReadEgress())
    assert (line.backend, line.hidden, line.skill) == ("far", ("GitHub token",), "explain-code")


async def test_stay_goes_on_below(house: House) -> None:
    """Nothing leaves, and the reflex answers."""
    events = await house.turn(house.ask(), "stay")
    assert answered(events) == "reflex"
    assert house.server.requests == []
    assert await house.hub.call(wire.ReadEgress()) == ()


async def test_a_yes_for_the_session_holds_in_that_session(house: House) -> None:
    """And in no other."""
    first = await house.turn(house.ask(name="one"), "session")
    assert len(questions(first)) == 1
    assert questions(await house.turn(house.ask(name="one"))) == []
    assert len(questions(await house.turn(house.ask(name="two")))) == 1


async def test_a_yes_for_good_holds_for_skill_backend_and_host(house: House) -> None:
    """Another session goes, another skill asks, another address asks again; and it can be taken back."""
    await house.turn(house.ask(), "always")
    events = await house.turn(house.ask())
    assert (questions(events), answered(events)) == ([], "far")
    assert len(questions(await house.turn(house.ask(skill="file-query")))) == 1
    (grant,) = await house.hub.call(wire.ListGrants())
    assert (grant.skill, grant.backend, grant.host) == ("explain-code", "far", f"127.0.0.1:{house.server.port}")

    await house.reload(config(house.server, host="127.0.0.2"))
    (asked,) = questions(await house.turn(house.ask()))
    assert asked.host == f"127.0.0.2:{house.server.port}"
    await house.reload(config(house.server))
    assert questions(await house.turn(house.ask())) == []

    await house.hub.call(wire.ForgetGrant("explain-code", "far"))
    assert await house.hub.call(wire.ListGrants()) == ()
    assert len(questions(await house.turn(house.ask()))) == 1
    with pytest.raises(UnknownName, match="unknown grant"):
        await house.hub.call(wire.ForgetGrant("explain-code", "far"))


async def test_forgetting_takes_back_what_sessions_were_allowed(house: House) -> None:
    """Whoever wants to be asked again is asked again everywhere."""
    await house.turn(house.ask(name="one"), "session")
    await house.hub.call(wire.ForgetGrant("explain-code", "far"))
    assert len(questions(await house.turn(house.ask(name="one")))) == 1


async def test_several_sessions_that_ask_at_once_are_answered_each(house: House) -> None:
    """An answer is for its own session; a yes for good is for all of the skill that ask the same."""
    waiting = [await house.asked(house.ask()) for _ in range(4)]
    other = await house.asked(house.ask(skill="file-query"))
    for (_, _, question), choice in zip(waiting[:2], ("stay", "always"), strict=True):
        await house.hub.call(wire.GiveConsent(question.session, choice, question.digest))  # type: ignore[arg-type]
    ends = [[event async for event in events] for _, events, _ in waiting]
    assert [answered(each) for each in ends] == ["reflex", "far", "far", "far"]
    assert [event.choice for each in ends for event in each if isinstance(event, ConsentGiven)] == [
        "stay", "always", "always", "always",
    ]  # fmt: skip
    assert (await house.hub.call(wire.FindSession(name=other[2].session))).state == "asking"
    await other[0].cancel()


async def test_an_answer_is_for_the_question_that_was_shown(house: House) -> None:
    """One that names another question is none; the question stays open."""
    _, events, question = await house.asked(house.ask())
    with pytest.raises(UsageError, match="asks something else"):
        await house.hub.call(wire.GiveConsent(question.session, "once", "0123456789abcdef"))
    await house.hub.call(wire.GiveConsent(question.session, "once", question.digest))
    assert answered([event async for event in events]) == "far"
    with pytest.raises(UsageError, match="asks nothing"):
        await house.hub.call(wire.GiveConsent(question.session, "once", question.digest))


async def test_a_question_ends_with_its_turn(house: House) -> None:
    """Who stops the turn need not answer any more."""
    asking, events, question = await house.asked(house.ask(name="one"))
    await asking.cancel()
    assert isinstance([event async for event in events][-1], TurnCancelled)
    with pytest.raises(UsageError, match="asks nothing"):
        await house.hub.call(wire.GiveConsent(question.session, "once", question.digest))
    assert (await house.hub.call(wire.FindSession(name="one"))).turns[-1].consent is None
    assert answered(await house.turn(house.ask(name="one"), "once")) == "far"


async def test_a_question_is_withdrawn_when_what_it_is_about_changes(house: House) -> None:
    """Another policy: the turn goes on below, and says why. What has nothing to do with it leaves it open."""
    _, events, question = await house.asked(house.ask())
    await house.reload(config(house.server, more='[ui]\ntheme = "paper"'))
    assert (await house.hub.call(wire.FindSession(name=question.session))).state == "asking"
    await house.reload(config(house.server, egress="local-only"))
    told = [event async for event in events]
    given = next(event for event in told if isinstance(event, ConsentGiven))
    assert (given.choice, given.why) == ("stay", "config.toml changed before you answered")
    assert answered(told) == "reflex"
    assert house.server.requests == []


async def test_with_nobody_there_it_stays(house: House) -> None:
    """A script is not asked."""
    events = await house.turn(house.ask(interactive=False))
    assert (questions(events), answered(events)) == ([], "reflex")


async def test_a_yes_over_the_budget_is_never_for_good(house: House) -> None:
    """The question names the budget; a grant does not answer it, and "always" lasts as long as the session."""
    more = '[budget]\nday_usd = "0.0001"\non_breach = "ask"'
    await house.turn(house.ask(), "always")
    await house.reload(config(house.server, more=more))
    (asked,) = questions(await house.turn(house.ask(name="one"), "always"))
    assert asked.over == "today's budget of $0.0001 is used up"
    assert questions(await house.turn(house.ask(name="one"))) == []
    assert len(questions(await house.turn(house.ask(name="two")))) == 1


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("notes.local", "git ignores it"),
        ("private/plan.md", ".nanoideignore hides it"),
        (".env", "by its name it holds secrets"),
    ],
)
async def test_a_file_that_is_hidden_never_leaves(house: House, file: str, why: str) -> None:
    """Also where everything may leave, also when it was given by hand; here it may be used."""
    await house.reload(config(house.server, egress="remote"))
    (house.folder / "link.py").symlink_to(house.folder / file)
    for name in (file, "link.py"):
        last = (await house.turn(house.ask(name, backend="far")))[-1]
        assert isinstance(last, TurnFailed)
        assert last.error == "PolicyRefused"
        assert f"{name}' stays on this machine: {why}" in last.message
    assert answered(await house.turn(house.ask(file))) == "reflex"
    assert house.server.requests == []
    assert answered(await house.turn(house.ask())) == "far"


async def test_a_hidden_file_is_not_completed_elsewhere(house: House) -> None:
    """Inline completion takes the same way out."""
    await house.reload(config(house.server, egress="remote"))
    for name, served in ((".env", 0), ("notes.local", 0), ("fold.py", 1)):
        document = Document(path=name, text="x = ", line=0, character=4)
        done = await house.hub.call(wire.Complete(document, folder=str(house.folder)))
        assert (len(house.server.requests), done.backend == "far") == (served, bool(served)), done


async def test_an_answer_about_a_hidden_file_does_not_leave_as_history(house: House) -> None:
    """What was said here of a file that stays, stays with it."""
    skill = house.paths.skills / "remember"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: remember\ndescription: Remembers.\n---\nAnswer.\n")
    (skill / "nanoide.toml").write_text('session = "keep"\n')
    near = f'[[backend]]\nname = "near"\nkind = "openai"\nbase_url = "{house.server.url}"\nmodel = "m"\n'
    await house.reload(config(house.server, egress="remote", more=near))
    assert answered(await house.turn(house.ask(".env", skill="remember", name="one", backend="near"))) == "near"
    (here,) = house.server.requests
    assert SECRET in str(here.body)
    last = (await house.turn(house.ask(skill="remember", name="one", backend="far")))[-1]
    assert isinstance(last, TurnFailed)
    assert ".env' stays on this machine" in last.message
    assert house.server.requests == [here]
    assert answered(await house.turn(house.ask(skill="remember", name="two", backend="far"))) == "far"


async def test_a_budget_that_comes_near_is_told_in_its_turn_and_in_the_status(house: House) -> None:
    """Once in a turn, before its end; in the status for as long as it holds. One answer is 65 cents."""
    await house.reload(config(house.server, egress="remote", more='[budget]\nday_usd = "1.60"'))
    told: list[str] = []
    for _ in range(5):
        events = await house.turn(house.ask())
        told += [event.text for event in events if isinstance(event, NoticeGiven)]
    assert told == ["today's budget of $1.60 is at 81 %: $1.30 is spent"]
    assert (await house.hub.call(wire.ReadStatus())).notices == tuple(told)
    (budget,) = (await house.hub.call(wire.ReadUsage())).budgets
    assert (budget.spent_nano, budget.limit_nano, budget.notice) == (1_300_000_000, 1_600_000_000, told[0])


async def test_caps_of_a_session_are_refused_with_numbers(house: House) -> None:
    """Exit code 3, through the hub and its ledger."""
    await house.reload(config(house.server, egress="remote", more="[budget.session]\nattempts = 2"))
    for _ in range(2):
        assert answered(await house.turn(house.ask(name="one"))) == "far"
    last = (await house.turn(house.ask(name="one")))[-1]
    assert isinstance(last, TurnFailed)
    assert (last.error, last.message) == ("BudgetRefused", "this session has made 2 of 2 attempts")
    assert answered(await house.turn(house.ask(name="one", backend="reflex"))) == "reflex"


async def test_a_reload_drops_no_reservation(paths: Paths, folder: Path) -> None:
    """What a turn under way may cost counts under the new config as well, until it has ended."""
    more = asyncio.Event()
    used: dict[str, object] = {"prompt_tokens": 1, "completion_tokens": 1}
    first, *rest = chat("from ", "afar", usage=used)
    async with serve(stream(first, more, *rest, "[DONE]"), stream(first, *rest, "[DONE]")) as server:
        paths.prepare()
        budget = '[budget]\nday_usd = "1.00"'
        paths.config.write_text(config(server, egress="remote", more=budget))
        async with await connect(paths, client="test") as hub:
            house = House(hub, paths, server, folder)
            asking = await Asking.start(hub, house.ask())
            async with asyncio.timeout(10):
                while not server.requests:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await house.reload(config(server, egress="remote", more=f'{budget}\n[ui]\ntheme = "paper"'))
            assert answered(await house.turn(house.ask())) == "reflex"
            more.set()
            assert answered([event async for event in asking.events()]) == "far"
            assert answered(await house.turn(house.ask())) == "far"


async def test_a_turn_under_way_does_not_leave_under_a_policy_of_before(house: House) -> None:
    """What fails here after the config was narrowed is not asked elsewhere any more."""
    cut = asyncio.Event()
    async with serve(stream(cut, Close)) as near:
        more = f'[[backend]]\nname = "near"\nkind = "openai"\nbase_url = "{near.url}"\nmodel = "m"\n'
        wide = config(house.server, egress="remote", more=more).replace('["far"', '["near", "far"')
        await house.reload(wide)
        asking = await Asking.start(house.hub, house.ask())
        async with asyncio.timeout(10):
            while not near.requests:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await house.reload(wide.replace('egress = "remote"', 'egress = "local-only"'))
        cut.set()
        assert answered([event async for event in asking.events()]) == "reflex"
    assert house.server.requests == []
