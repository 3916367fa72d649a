"""One question from the command line."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

SOURCE = '''"""Counting."""


def count(words):
    """How often each word comes."""
    found = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found
'''

KEYS = {
    "session",
    "skill",
    "text",
    "backend",
    "where",
    "tier",
    "attempts",
    "usage",
    "cost_usd",
    "priced",
    "ttft_ms",
    "total_ms",
}


@pytest.fixture
def source(shell: Shell) -> Path:
    """A file to ask about."""
    path = shell.folder / "counting.py"
    path.write_text(SOURCE)
    return path


def test_the_answer_is_all_of_standard_output(shell: Shell, source: Path) -> None:
    """Without a terminal nothing is said on standard error."""
    said = shell.process("ask", "explain-code", "-f", source.name)
    assert (said.code, said.err) == (0, "")
    assert "count" in said.out
    assert said.out.endswith("\n")


def test_json_is_one_object_with_the_keys_of_the_contract(shell: Shell, source: Path) -> None:
    """And money as a decimal string."""
    said = shell("ask", "explain-code", "-f", source.name, "--json")
    assert said.code == 0
    found = said.object
    assert set(found) >= KEYS
    assert found["skill"] == "explain-code"
    assert "count" in found["text"]
    assert found["where"] == "device"
    assert found["cost_usd"] == "0.000000000"
    assert [attempt["outcome"] for attempt in found["attempts"]][-1] == "ok"


def test_standard_input_is_added(shell: Shell) -> None:
    """As the only input, or beside others."""
    said = shell.process("ask", "explain-code", given=SOURCE)
    assert said.code == 0
    assert "count" in said.out


def test_a_named_session_is_opened_and_gone_on_with(shell: Shell, source: Path) -> None:
    """The second question lands in the same session."""
    first = shell("ask", "explain-code", "-f", source.name, "--session", "mine", "--json").object
    second = shell("ask", "explain-code", "-f", source.name, "--session", "mine", "--json").object
    assert first["session"] == second["session"] == "mine"
    shown = shell("session", "show", "mine", "--json").object
    assert [turn["state"] for turn in shown["history"]] == ["done", "done"]


def test_a_place_in_a_file_asks_for_a_completion(shell: Shell, source: Path) -> None:
    """`--at` makes the file a document; the answer is what an editor would take: one line here."""
    said = shell("ask", "inline-completion", "-f", source.name, "--at", "7:22", "--json")
    assert said.code == 0
    assert "\n" not in said.object["text"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nosuch", "hello"], "unknown skill 'nosuch'"),
        (["file-query", "hello", "--backend", "nosuch"], "unknown backend 'nosuch'"),
        (["file-query", "hello", "--route", "nosuch"], "unknown route 'nosuch'"),
        (["explain-code", "-f", "nosuch.py"], "cannot read 'nosuch.py': No such file or directory"),
        (["explain-code", "-f", "."], "cannot read '.': Is a directory"),
        (["explain-code", "-f", "binary"], "'binary' is binary or not UTF-8"),
        (["explain-code", "-f", "zeros"], "'zeros' is binary"),
        (["explain-code", "-f", "empty"], "'empty' is empty"),
        (["explain-code", "-f", "a\0b"], "cannot read 'a\\x00b'"),
        (["explain-code"], "'explain-code' was given nothing"),
        (["inline-completion", "--at", "here"], "--at 'here' is no place"),
        (["inline-completion", "--at", "1:2"], "--at needs exactly one file"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(shell: Shell, words: list[str], line: str) -> None:
    """And with --json one object that says the same."""
    (shell.folder / "binary").write_bytes(bytes(range(128, 256)))
    (shell.folder / "zeros").write_bytes(b"a\0b")
    (shell.folder / "empty").write_bytes(b"")
    said = shell("ask", *words)
    assert said.code == 2
    assert said.complaint.startswith(line)
    assert said.out == ""
    told = shell("ask", *words, "--json")
    assert told.code == 2
    assert told.err == ""
    assert told.object["message"].startswith(line)


def test_a_file_without_permission_is_one_line(shell: Shell, source: Path) -> None:
    """Root may read everything, so it is only tried by others."""
    source.chmod(0)
    if source.stat().st_uid == 0:
        pytest.skip("root may read everything")
    said = shell("ask", "explain-code", "-f", source.name)
    assert said.code == 2
    assert "look at its permissions" in said.complaint


def test_binary_on_standard_input_is_refused(shell: Shell) -> None:
    """Nothing of it is sent anywhere."""
    with shell.start("ask", "explain-code", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.buffer.write(bytes(range(256)))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("nanoide: standard input is binary")


def test_empty_standard_input_is_one_line(shell: Shell) -> None:
    """It is nothing given, and is told so."""
    said = shell.process("ask", "explain-code", given="")
    assert said.code == 2
    assert "was given nothing" in said.complaint


def test_control_characters_pass_a_pipe_unharmed(shell: Shell) -> None:
    """Only a terminal is protected; a program gets what there is."""
    (shell.folder / "odd.py").write_text('def odd():\n    """\x1b]0;owned\x07 red \u202e"""\n')
    said = shell("ask", "explain-code", "-f", "odd.py", "--json")
    assert said.code == 0
    assert "\x1b" not in said.out  # JSON escapes it


def test_a_failover_shows_both_attempts(alone: Shell) -> None:
    """In the answer and in the ledger."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        (alone.home / "config.toml").write_text(
            f'[[backend]]\nname = "dead"\nkind = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodel = "m"\n'
            '[route.default]\nladder = ["dead", "reflex"]\n'
        )
        (alone.folder / "a.py").write_text(SOURCE)
        found = alone("ask", "explain-code", "-f", "a.py", "--json").object
    assert [(each["backend"], each["outcome"]) for each in found["attempts"]] == [
        ("dead", "connect_error"),
        ("reflex", "ok"),
    ]
    assert found["tier"] == "reflex"
    usage = alone("usage", "--by", "backend", "--json").object
    assert set(usage) == {"by", "since", "rows", "total", "attempts", "budgets"}
    assert {(each["backend"], each["outcome"]) for each in usage["attempts"]} >= {
        ("dead", "connect_error"),
        ("reflex", "ok"),
    }
    assert usage["total"]["failed"] == 1


def test_when_nobody_can_answer_the_exit_code_is_4(alone: Shell) -> None:
    """The one rung that was named does not answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        (alone.home / "config.toml").write_text(
            f'[[backend]]\nname = "dead"\nkind = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodel = "m"\n'
            '[route.default]\nladder = ["dead"]\n'
        )
        said = alone("ask", "file-query", "where?", "--json")
    assert said.code == 4
    assert said.object["error"] == "NoBackend"
    assert [each["outcome"] for each in said.object["attempts"]] == ["connect_error"]


def test_policy_keeps_it_here_and_exits_3(alone: Shell) -> None:
    """A ladder that is only remote, and nobody to ask: refused, and nothing was sent."""
    (alone.home / "config.toml").write_text(
        '[[backend]]\nname = "far"\nkind = "openai"\nbase_url = "http://192.0.2.1/v1"\nmodel = "m"\nwhere = "remote"\n'
        '[route.default]\nladder = ["far"]\negress = "ask"\n'
    )
    said = alone("ask", "file-query", "where?", "--local-only")
    assert said.code == 3
    assert alone("egress", "--json").object == {"egress": []}


def test_ctrl_c_stops_the_turn_and_exits_130(alone: Shell) -> None:
    """The turn is stored as stopped, and the hub goes on."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        (alone.home / "config.toml").write_text(
            f'[[backend]]\nname = "slow"\nkind = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodel = "m"\n'
            '[route.default]\nladder = ["slow"]\n'
        )
        with alone.start("ask", "file-query", "where?", "--session", "stopped") as process:
            silent.settimeout(30)
            connection, _ = silent.accept()  # the hub asks: the turn is under way
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            connection.close()
    assert (process.returncode, out, err) == (130, "", "")
    shown = alone("session", "show", "stopped", "--json").object
    assert [turn["state"] for turn in shown["history"]] == ["cancelled"]
