"""What leaves this machine, as the kernel sees it."""

import json
import re
import shutil
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

TURNS = 1_000

_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')


def _can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.long
@pytest.mark.skipif(not _can_trace(), reason="only where a tracer of system calls is there and may be used")
def test_a_thousand_turns_under_local_only_send_nothing_beyond_loopback(home: Path) -> None:
    """With the engine dead and three backends far away on the ladder: every address in the trace is loopback."""
    trace = home / "trace"
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-e",
            "trace=network",
            "-o",
            str(trace),
            sys.executable,
            "-m",
            "tests.faults.stay",
            str(TURNS),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    came = json.loads(done.stdout)
    assert came == {"PolicyRefused": TURNS}
    seen = [one or six for one, six in _ADDRESS.findall(trace.read_text())]
    assert seen, "the dead server on loopback was asked, so the tracer does see what is sent"
    assert {each for each in seen if not ip_address(each).is_loopback} == set()
    assert "nscd" not in trace.read_text(), "no name was looked up through the system's cache either"
