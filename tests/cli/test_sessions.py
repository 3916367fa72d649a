"""Sessions, waiting, the ledger, skills, the doctor and the hub, each through its command."""

import json
import os
import pty
import re
import select
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nanoide.cli.usage import since_when
from nanoide.core.errors import UsageError
from tests.cli.conftest import Shell


def test_a_session_lives_through_all_its_commands(shell: Shell) -> None:
    """Opened, renamed, hidden, parked, woken, removed."""
    name = shell("session", "new", "explain-code", "--name", "one").out.strip()
    assert name == "one"
    assert shell("session", "rename", "one", "two").code == 0
    assert shell("session", "hide", "two").code == 0
    assert shell("session", "park", "two").code == 0
    found = shell("sessions", "--state", "parked", "--json").object["sessions"]
    assert [(each["name"], each["hidden"], each["state"]) for each in found] == [("two", True, "parked")]
    assert shell("session", "wake", "two").code == 0
    assert shell("session", "hide", "--show", "two").code == 0
    shown = shell("session", "show", "two", "--json").object
    assert (shown["state"], shown["hidden"], shown["history"]) == ("idle", False, [])
    assert shell("session", "rm", "two").code == 0
    gone = shell("session", "show", "two")
    assert gone.code == 2
    assert gone.complaint.startswith("unknown session 'two'")


def test_removing_stops_at_a_wrong_name_before_anything_is_gone(shell: Shell) -> None:
    """A mistyped name must not leave half of the work done."""
    shell("session", "new", "explain-code", "--name", "kept")
    assert shell("session", "rm", "kept", "nosuch").code == 2
    assert shell("session", "show", "kept").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["new", "nosuch"],
        ["new", "explain-code", "--route", "nosuch"],
        ["show", "nosuch"],
        ["rename", "nosuch", "x"],
        ["hide", "nosuch"],
        ["park", "nosuch"],
        ["wake", "nosuch"],
        ["rm", "nosuch"],
    ],
)
def test_an_unknown_name_is_one_line_and_exit_2(shell: Shell, words: list[str]) -> None:
    """For every command that takes one."""
    said = shell("session", *words)
    assert said.code == 2
    assert "'nosuch'" in said.complaint


def test_waiting_ends_when_the_state_is_there(shell: Shell) -> None:
    """At once for one that is there already; with exit code 1 after the time limit."""
    (shell.folder / "a.py").write_text("def a():\n    return 1\n")
    shell("ask", "explain-code", "-f", "a.py", "--session", "waited")
    assert shell("wait", "waited", "--until", "done").code == 0
    assert shell("wait", "waited", "--until", "idle").code == 0
    late = shell("wait", "waited", "--until", "asking", "--timeout", "0.05")
    assert late.code == 1
    assert late.complaint == "not asking after 0.05 s"
    assert shell("wait", "nosuch", "--until", "idle").code == 2


def test_waiting_sees_a_turn_that_ends_later(shell: Shell) -> None:
    """The wait is a process of its own and begins before the question."""
    (shell.folder / "a.py").write_text("def a():\n    return 1\n")
    shell("session", "new", "explain-code", "--name", "later")
    with shell.start("wait", "later", "--until", "done", "--timeout", "30") as waiting:
        shell("ask", "explain-code", "-f", "a.py", "--session", "later")
        assert waiting.wait(timeout=60) == 0


def test_usage_in_three_forms(shell: Shell) -> None:
    """A table, CSV with the same groups, and JSON with the attempts."""
    (shell.folder / "a.py").write_text("def a():\n    return 1\n")
    shell("ask", "explain-code", "-f", "a.py")
    assert "explain-code" in shell("usage", "--by", "skill").out
    rows = shell("usage", "--by", "skill", "--csv").out.splitlines()
    assert rows[0].startswith("key,turns,attempts,failed,cost_usd,")
    assert any(row.startswith("explain-code,") for row in rows)
    found = shell("usage", "--by", "skill", "--since", "1h", "--json").object
    assert {"key", "turns", "attempts", "failed", "usage", "cost_usd", "unpriced"} <= set(found["rows"][0])
    assert found["attempts"][0]["outcome"] == "ok"
    assert shell("usage", "--since", "2999-01-01", "--json").object["rows"] == []


def test_since_takes_dates_times_and_ages() -> None:
    """A date without a zone is one of the person's own zone."""
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert since_when("", now) is None
    assert since_when("2d", now) == now - timedelta(days=2)
    assert since_when("2026-11-20", now) == datetime(2026, 11, 20, tzinfo=UTC)
    for wrong in ("5y", "2026-13-01", "yesterday"):
        with pytest.raises(UsageError, match="is no date"):
            since_when(wrong, now)


def test_skills_are_listed_shown_made_and_checked(shell: Shell, tmp_path: Path) -> None:
    """A skeleton passes its own check; a broken one does not, with exit code 1."""
    names = [each["name"] for each in shell("skills", "list", "--json").object["skills"]]
    assert {"inline-completion", "file-query", "commit-message", "explain-code"} <= set(names)
    assert shell("skills", "show", "explain-code", "--json").object["settings"]["context"]
    made = shell("skills", "new", "haiku")
    assert made.code == 0
    folder = Path(made.out.strip())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert shell("skills", "check", "haiku").code == 0
    assert shell("skills", "check", str(folder)).code == 0
    assert shell("skills", "new", "haiku").code == 2
    (folder / "SKILL.md").write_text("---\nname: other\ndescription: x\n---\n")
    broken = shell("skills", "check", str(folder), "--json")
    assert broken.code == 1
    assert broken.object["ok"] is False
    assert shell("skills", "check", "nosuch").code == 2
    assert shell("skills", "show", "nosuch").code == 2


def test_a_projects_skills_wait_for_trust(shell: Shell) -> None:
    """They are listed, and used only afterwards."""
    place = shell.folder / ".nanoide" / "skills"
    place.mkdir(parents=True)
    (shell.folder / ".git").mkdir()
    skill = place / "local-thing"
    skill.mkdir()
    (skill / "SKILL.md").write_text("---\nname: local-thing\ndescription: Does a thing.\n---\nDo it.\n")

    def problem() -> str:
        lines = shell("skills", "list", "--json").object["skills"]
        return next(each["problem"] for each in lines if each["name"] == "local-thing")

    assert "nanoide trust" in problem()
    assert shell("trust").code == 0
    assert problem() == ""
    assert shell("trust", "nosuch").code == 2


def test_the_doctor_is_well_in_a_fresh_home(shell: Shell) -> None:
    """Every essential check holds, and the rungs are listed."""
    said = shell("doctor", "--json")
    assert said.code == 0
    assert said.object["ok"] is True
    names = [each["name"] for each in said.object["checks"]]
    assert {"python", "places", "config", "hub", "database", "backend nano"} <= set(names)


def test_the_doctor_names_a_mistake_in_config_and_its_remedy(alone: Shell) -> None:
    """Exit code 1, no hub is started for it, and the file is named."""
    (alone.home / "config.toml").write_text("nonsense")
    said = alone("doctor")
    assert said.code == 1
    assert f"{alone.home}/config.toml" in said.out


def test_backends_tell_their_health(shell: Shell) -> None:
    """The two that are always there."""
    found = {each["name"]: each for each in shell("backends", "--json").object["backends"]}
    assert {"nano", "reflex"} <= set(found)
    assert found["nano"]["where"] == "device"
    assert "reflex" in shell("backends", "--probe").out


def test_complete_answers_at_a_position(shell: Shell) -> None:
    """And refuses one that is outside the file."""
    (shell.folder / "a.py").write_text("def total(prices):\n    return sum(\n")
    said = shell("complete", "a.py", "1", "15", "--json")
    assert said.code == 0
    assert {"text", "backend", "tier", "attempts", "ttft_ms", "total_ms"} <= set(said.object)
    assert shell("complete", "a.py", "1", "15").code == 0
    for place in (("9", "0"), ("1", "99")):
        outside = shell("complete", "a.py", *place)
        assert outside.code == 2
        assert "a.py" in outside.complaint
    assert shell("complete", "nosuch.py", "0", "0").code == 2


def test_the_hub_starts_stops_and_keeps_a_log(alone: Shell) -> None:
    """Status and stop start nothing."""
    assert alone("hub", "status").code == 1
    assert alone("hub", "status", "--json").object["running"] is False
    assert alone("hub", "stop").code == 0
    assert alone("hub", "log").code == 0
    alone("sessions")
    assert alone("hub", "status", "--json").object["running"] is True
    assert "listens" in alone("hub", "log").out
    assert alone("hub", "stop").code == 0
    assert alone("hub", "status").code == 1


def on_terminal(shell: Shell, *words: str, keys: bytes = b"") -> tuple[int, str]:
    """Run a command on a pseudo terminal of its own; its exit code and all that the terminal got."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(shell.folder)
            os.environ["NANOIDE_HOME"] = str(shell.home)
            os.execv(sys.executable, [sys.executable, "-m", "nanoide", *words])
        finally:
            os._exit(127)
    seen = bytearray()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1)
        if not ready:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
        if keys and b"stay here:" in seen:
            os.write(terminal, keys)
            keys = b""
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), seen.decode(errors="replace")


def test_a_terminal_gets_harmless_text_and_dim_diagnostics(shell: Shell) -> None:
    """The file's escape sequences do nothing; the rung is told."""
    (shell.folder / "odd.py").write_text(
        'def odd():\n    """\x1b]0;owned\x07\x1b[31mred \u202eback."""\n    return 1\n'
    )
    code, seen = on_terminal(shell, "ask", "explain-code", "-f", "odd.py")
    assert code == 0
    assert "odd" in seen
    assert "owned" not in seen
    assert "\u202e" not in seen
    assert set(re.findall("\x1b[^m]*m", seen)) <= {"\x1b[2m", "\x1b[0m"}
    assert "reflex" in seen


def test_consent_is_asked_on_the_terminal(alone: Shell) -> None:
    """No keeps everything here, and the ladder goes on below."""
    (alone.home / "config.toml").write_text(
        '[[backend]]\nname = "far"\nkind = "openai"\nbase_url = "http://192.0.2.1/v1"\nmodel = "m"\nwhere = "remote"\n'
        '[route.default]\nladder = ["far", "reflex"]\negress = "ask"\n'
    )
    (alone.folder / "a.py").write_text("def a():\n    return 1\n")
    code, seen = on_terminal(alone, "ask", "explain-code", "-f", "a.py", keys=b"n\n")
    assert "to far (192.0.2.1)?" in seen
    assert code == 0
    assert json.loads(alone("egress", "--json").out) == {"egress": []}
