"""Sessions as the mockup has them, for looks and for behaviour."""

from pathlib import Path
from typing import Any

from nanoide import wire
from nanoide.core.chat import Attempt
from nanoide.core.events import ConsentAsked, SessionId, TurnId
from nanoide.core.session import Session, State, Turn
from nanoide.core.usage import Usage
from nanoide.paths import Paths, locate
from nanoide.settings import Settings, UiTable
from nanoide.tui.app import CommandCenter, make
from tests.tui.scripted_hub import NOW, ScriptedHub, ago

LOREM = "The session keeps its token until eighty percent of the lifetime are gone."


def turn(number: int, asked: str, text: str = "", state: str = "done", **more: Any) -> Turn:
    """One turn with the usual figures."""
    usual: dict[str, Any] = {"backend": "nano", "ttft_ms": 38, "total_ms": 160}
    usual.update(more)
    return Turn(id=TurnId(f"t{number}"), asked=asked, at=ago(60), state=state, text=text, **usual)  # type: ignore[arg-type]


def session(
    number: int, skill: str, state: State = "idle", since: float = 60, turns: tuple[Turn, ...] = (), **more: Any
) -> Session:
    """One session of the given state."""
    usual: dict[str, Any] = {"backend": "nano" if turns or state != "idle" else "", "turn_count": len(turns)}
    usual.update(more)
    name = usual.pop("name", f"{skill}")
    return Session(
        id=SessionId(f"s{number}"),
        number=number,
        name=name,
        skill=skill,
        folder="/home/ada/acme",
        created=ago(9_000),
        since=ago(since),
        state=state,
        turns=turns,
        **usual,
    )


def cockpit(hub: ScriptedHub) -> None:
    """Fourteen sessions, four of them with a pane."""
    answer = (
        "auth/session.py:88   `refresh()` renews the token 30 s before it ends; "
        "called from auth/http.py:41 after a 401."
    )
    commit = (
        "feat(auth): refresh tokens before expiry\n\nRenew at 80 % of the lifetime, so that a slow request "
        "does not meet a dead token"
    )
    code = (
        "The line ends fold:\n\n```python\ndef test_parse_header_folds_lines():\n"
        '    assert parse_header("a: b\\r\\n c") \\\n        == ("a", "b c")'
    )
    slow = Attempt(
        backend="nano", where="device", tier="model", outcome="timeout", ms=1500, reason="first token over 1.5 s"
    )
    question = ConsentAsked(
        session=SessionId("s7"),
        at=ago(9),
        turn=TurnId("t7"),
        backend="sonnet",
        host="api.example",
        what="diff of 3 files",
        tokens=1204,
        hidden=("1 secret in settings.py:12",),
        cost_nano=1_100_000,
    )
    everything = [
        session(1, "file-query", "done", 1, (turn(1, "where is the token refreshed?", answer, sources=("a", "b")),)),
        session(
            2,
            "commit-message",
            "streaming",
            2,
            (
                turn(
                    2,
                    "staged  3 files  +41 −12",
                    commit,
                    "streaming",
                    backend="sonnet",
                    where="remote",
                    attempts=(slow,),
                ),
            ),
            backend="sonnet",
            cost_nano=1_100_000,
        ),
        session(4, "unit-tests", "streaming", 6, (turn(4, "parse_header() in http/headers.py", code, "streaming"),)),
        session(7, "review-diff", "asking", 9, (turn(7, "is this safe to merge?", "", "asking", consent=question),)),
        session(9, "explain-error", "failed", 65, hidden=True, backend="nano"),
        session(11, "summarize", "queued", 3, hidden=True, backend=""),
        session(5, "regex", "done", 200, hidden=True, cost_nano=21_300_000),
        session(10, "docstring", "done", 340, hidden=True, name="docstring api"),
        session(12, "rename", "done", 900, hidden=True),
        session(3, "docstring", "idle", 725, hidden=True, backend="reflex"),
        session(13, "unit-tests", "idle", 800, hidden=True, name="tests for store"),
        session(14, "file-query", "idle", 3_000, hidden=True, name="billing?"),
        session(6, "rename", "parked", 3_700, hidden=True),
        session(8, "summarize", "parked", 7_300, hidden=True),
    ]
    hub.sessions = {each.id: each for each in everything}
    hub.seq = 40


def skills(hub: ScriptedHub) -> None:
    """The bundled ones, and one that does not load."""
    described = {
        "commit-message": "A conventional commit from the staged diff",
        "explain-code": "What a piece of code does and who calls it",
        "file-query": "Answers about the files of this folder, with path:line",
        "inline-completion": "Continues the line at the cursor",
    }
    hub.skills = (
        *(
            wire.SkillLine(name, text, "bundled", "/s", "default", None, "none", reflex=True)
            for name, text in described.items()
        ),
        wire.SkillLine(
            "broken", "", "user", "/s", "default", None, "none", reflex=False, problem="SKILL.md is missing"
        ),
    )
    hub.backends = (
        wire.BackendLine("nano", "llama", "device", "model", model="nano", state="asleep"),
        wire.BackendLine(
            "sonnet", "anthropic", "remote", "model", model="sonnet-5", state="down", reason="401: no key"
        ),
        wire.BackendLine("reflex", "reflex", "device", "reflex"),
    )


def ledger(hub: ScriptedHub) -> None:
    """A day's figures."""

    def row(
        key: str, turns: int, put: int, out: int, cached: int, paid: int, local: int, first: int | None
    ) -> wire.UsageRow:
        return wire.UsageRow(key, turns, turns + 1, 1, Usage(put, out, cached), paid, 0, local, first)

    hub.report = wire.UsageReport(
        by="skill",
        since=None,
        rows=(
            row("inline-completion", 1102, 412_000, 9_100, 395_520, 0, 1102, 28),
            row("commit-message", 14, 18_000, 700, 12_780, 21_300_000, 8, 410),
            row("file-query", 61, 122_000, 8_800, 78_080, 118_000_000, 40, 52),
            row("[/bold]\x1b[31mhostile", 1, 10, 1, 0, 0, 1, None),
        ),
        total=row("", 1178, 552_000, 18_600, 486_380, 139_300_000, 1151, 34),
    )
    hub.status = wire.HubStatus(
        tokens_per_min=2_520,
        today_nano=180_000_000,
        saved_nano=1_920_000_000,
        cpu_percent=31,
        memory_bytes=1_200_000_000,
        budget_day_nano=2_000_000_000,
    )


def app_for(
    hub: ScriptedHub, home: Path, ui: UiTable | None = None, *, folder: str = "/home/ada/acme", starting: bool = True
) -> CommandCenter:
    """The real app on the scripted hub."""
    paths: Paths = locate({"NANOIDE_HOME": str(home), "HOME": str(home)})
    paths.prepare()
    connect = hub.connect_starting if starting else hub.connect
    return make(connect, paths, Settings(ui=ui or UiTable()), folder=folder, clock=lambda: NOW)
