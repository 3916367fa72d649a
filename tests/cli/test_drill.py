"""`nanoide backends drill`: what it shows, what it reports, and that the backend is back however it ends."""

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta

import pytest

from nanoide.cli.backends import standing
from nanoide.cli.drilled import Fate, Watch
from nanoide.core.chat import Attempt
from nanoide.core.errors import Outcome
from nanoide.core.events import (
    AttemptEnded,
    ConsentAsked,
    ConsentGiven,
    SessionEvent,
    SessionId,
    SessionOpened,
    TextArrived,
    TurnAsked,
    TurnCancelled,
    TurnFailed,
    TurnFinished,
    TurnId,
    TurnStarted,
)
from nanoide.core.session import opened
from nanoide.core.usage import Usage
from nanoide.wire import HubStatus
from tests.backends.servers import chat, serve, stream
from tests.cli.conftest import Said, Shell
from tests.routing.two_servers import config

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ONE, TURN = SessionId("s1"), TurnId("t1")

OPENED = SessionOpened(ONE, NOON, 1, "explain", "explain-code", "/acme")
ASKED = TurnAsked(ONE, NOON, TURN, "why?")
DONE = TurnFinished(ONE, NOON, TURN, "because", "near", "device", "model", "stop", Usage(), 0, 5, 9)


def after(ms: int) -> datetime:
    """So many milliseconds past noon."""
    return NOON + timedelta(milliseconds=ms)


def ended(at: int, backend: str, outcome: Outcome, ms: int, ttft: int | None = None, reason: str = "") -> AttemptEnded:
    """An attempt that ended so long after noon."""
    return AttemptEnded(ONE, after(at), TURN, Attempt(backend, "device", "model", outcome, ms, ttft, reason=reason))


def started(at: int, backend: str) -> TurnStarted:
    """A rung is being asked."""
    return TurnStarted(ONE, after(at), TURN, backend, "device", "model")


CUT = ended(100, "far", "cut", 90, 10, "drill: the connection broke in mid-answer")
REFUSED = ended(100, "far", "connect_error", 2, None, "drill: no connection")


@pytest.mark.parametrize(
    ("events", "fate"),
    [
        (
            (started(0, "far"), CUT, started(101, "near"), TextArrived(ONE, after(138), TURN, 3, "x"), DONE),
            "went on 38",
        ),
        # What passes by may come before what is stored first.
        (
            (started(0, "far"), started(101, "near"), TextArrived(ONE, after(138), TURN, 3, "x"), CUT, DONE),
            "went on 38",
        ),
        # Nobody watches the session: the attempt itself tells when its first text came.
        ((CUT, started(101, "near"), ended(160, "near", "ok", 50, 20), DONE), "went on 30"),
        ((REFUSED, started(101, "near"), TextArrived(ONE, after(118), TURN, 0, "x"), DONE), "went elsewhere 20"),
        ((ended(50, "near", "ok", 50, 20, "far: rests for 5 s"), DONE), "passed it over None"),
        ((TurnFinished(ONE, NOON, TURN, "", "far", "lan", "model", "stop", Usage(), 0, 5, 9),), "untouched None"),
        ((CUT, TurnFailed(ONE, NOON, TURN, "", "NoBackend", "nobody")), "lost None"),
        ((CUT, TurnCancelled(ONE, NOON, TURN, "")), "stopped None"),
        ((CUT, ConsentAsked(ONE, NOON, TURN, "cloud", "api.example", "a file", 9)), "asks you None"),
        (
            (CUT, ConsentAsked(ONE, NOON, TURN, "c", "h", "w", 9), ConsentGiven(ONE, NOON, TURN, "stay"), DONE),
            "went on None",
        ),
        ((CUT,), "under way None"),
    ],
)
def test_the_fate_of_a_turn_is_read_off_its_events(events: tuple[SessionEvent, ...], fate: str) -> None:
    """Whoever was hit, where it went on, and how much later than without the drill."""
    watch = Watch("far", ())
    for event in (OPENED, ASKED, *events):
        watch.hear(event)
    (found,) = watch.fates()
    assert f"{found.outcome} {found.added_ms}" == fate
    assert found.session == "explain"


def test_what_happens_is_told_line_by_line() -> None:
    """The cut, the rung that goes on, the end; a turn that begins after the drill is no part of it."""
    watch = Watch("far", [opened(OPENED)])
    told = [watch.hear(each) for each in (ASKED, started(0, "far"), CUT, started(101, "near"), DONE)]
    assert told == [
        "",
        "",
        "explain: the connection broke in mid-answer",
        "explain: goes on with near",
        "explain: went on, answered by near",
    ]
    watch.closing = True
    watch.hear(ASKED)
    assert watch.fates() == (
        Fate("explain", "explain-code", "went on", "near", None, "the connection broke in mid-answer"),
    )


def test_the_standing_in_one_line() -> None:
    """Since when, why, and when that is tried again."""
    since = f"{NOON.astimezone():%H:%M:%S}"
    short = HubStatus(mode="degraded", mode_reason="far: no connection", mode_since=NOON, next_probe_s=12.2)
    assert (
        standing(short, after(200_000)) == f"degraded since {since} (3 min) · far: no connection · tried again in 12 s"
    )
    assert standing(HubStatus(mode_since=NOON), after(9_000)) == f"full since {since} (9 s)"
    assert standing(HubStatus(mode="degraded", next_probe_s=0.0), NOON) == "degraded · tried again by the next question"


def configure(shell: Shell, far: str, near: str, ladder: list[str]) -> None:
    """Two servers; the far one is what a drill cuts."""
    (shell.home / "config.toml").write_text(config(far=far, near=near, ladder=ladder))


async def run(shell: Shell, *words: str) -> Said:
    """A command as a process, while servers of this one answer."""
    return await asyncio.to_thread(shell.process, *words)


@pytest.mark.long
async def test_with_nothing_under_way_two_questions_of_its_own_are_asked(alone: Shell) -> None:
    """One is cut in mid-answer, the other is turned away; both are answered below, and no session is left behind."""
    never = asyncio.Event()
    async with (
        serve(stream(*chat("one ", finish=None), never)) as far,
        serve(stream(*chat("one ", "two"), "[DONE]")) as near,
    ):
        configure(alone, far.url, near.url, ["far", "near", "reflex"])
        said = await run(alone, "backends", "drill", "--seconds", "0.5", "--json")
        assert said.code == 0, said.err
        report = said.object
        assert (report["backend"], report["below"], report["samples"], report["lost"]) == (
            "far",
            ["near", "reflex"],
            True,
            0,
        )
        assert [each["outcome"] for each in report["sessions"]] == ["went on", "went elsewhere"]
        assert {each["rung"] for each in report["sessions"]} == {"near"}
        assert all(each["added_ms"] >= 0 for each in report["sessions"])
        assert (await run(alone, "sessions", "--json")).out.count('"name"') == 0
        rows = json.loads((await run(alone, "usage", "--json")).out)["attempts"]
        assert sorted(row["outcome"] for row in rows if row["reason"].startswith("drill")) == ["connect_error", "cut"]
        never.set()


@pytest.mark.long
async def test_an_answer_that_is_lost_is_told_by_the_exit_code(alone: Shell) -> None:
    """A ladder of one has nobody below."""
    never = asyncio.Event()
    async with serve(stream(*chat("one ", finish=None), never)) as far:
        configure(alone, far.url, "http://127.0.0.1:9/v1", ["far"])
        said = await run(alone, "backends", "drill", "far", "--seconds", "0.3")
        assert said.code == 1
        assert "lost" in said.out
        assert "2 answers, 2 lost" in said.out
        never.set()


@pytest.mark.long
async def test_ctrl_c_ends_the_drill_and_the_backend_is_back(alone: Shell) -> None:
    """At once, with a report of what happened so far."""
    async with serve(stream(*chat("x"), "[DONE]")) as far, serve(stream(*chat("y"), "[DONE]")) as near:
        configure(alone, far.url, near.url, ["far", "near"])
        drill = alone.start("backends", "drill", "--seconds", "600", "--json")
        async with asyncio.timeout(30):
            while (await run(alone, "backends", "--json")).object["backend"] != "far":
                pass
        second = await run(alone, "backends", "drill", "near")
        assert (second.code, "a drill on 'far' is under way" in second.complaint) == (2, True)
        drill.send_signal(signal.SIGINT)
        out, _ = await asyncio.to_thread(drill.communicate, None, 30)
        assert drill.returncode == 130
        assert (json.loads(out)["whole"], json.loads(out)["lost"]) == (False, 0)
        assert (await run(alone, "backends", "--json")).object["mode"] == "full"


@pytest.mark.long
async def test_set_up_shows_the_lines_and_writes_them_only_when_agreed(alone: Shell) -> None:
    """With nobody to ask it writes nothing; --yes agrees; the second time there is nothing left to do."""
    (alone.folder / "models").mkdir()
    (alone.folder / "models" / "own.gguf").write_bytes(b"GGUF" + bytes(100))
    keys = {"ANTHROPIC_API_KEY": "sk-not-to-be-seen"}
    first = await asyncio.to_thread(alone.process, "doctor", "--set-up", env=keys)
    assert first.code == 2
    assert "--yes agrees" in first.complaint
    assert 'key = { env = "ANTHROPIC_API_KEY" }' in first.out
    config = alone.home / "config.toml"
    assert not config.exists()
    said = await run(alone, "doctor", "--set-up", "--yes", "--json")
    assert said.object["written"] is True
    assert config.read_text() == said.object["text"]
    assert "sk-not" not in first.out + said.out
    again = await run(alone, "doctor", "--set-up", "--json")
    assert (again.code, again.object["written"]) == (0, False)
