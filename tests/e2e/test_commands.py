"""The main job and failover, by commands alone, as a script would run them."""

import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from nanoide.paths import Paths
from tests.backends.servers import chat, serve, stream
from tests.e2e.commands import answer

CONFIG = """
[[backend]]
name = "first"
kind = "openai"
base_url = "{first}"
model = "m"

[[backend]]
name = "second"
kind = "openai"
base_url = "{second}"
model = "m"

[route.default]
ladder = ["first", "second", "reflex"]
egress = "local-only"
"""


async def test_when_the_first_server_is_killed_the_second_answers(paths: Paths, tmp_path: Path) -> None:
    """Both attempts stand in the answer and in the ledger."""
    frames = [*chat("from ", "the second", usage={"prompt_tokens": 9, "completion_tokens": 3}), "[DONE]"]
    words = ("ask", "explain-code", "what is this", "-f", "a.py")
    (tmp_path / "a.py").write_text("x = 1\n")
    paths.prepare()
    async with serve(stream(*frames)) as second:
        async with serve(stream(*chat("from the first"), "[DONE]")) as first:
            paths.config.write_text(CONFIG.format(first=first.url, second=second.url))
            whole = await answer(*words, folder=tmp_path)
            assert (whole["text"], whole["backend"]) == ("from the first", "first")
        rescued = await answer(*words, folder=tmp_path)
    assert (rescued["text"], rescued["backend"], rescued["tier"]) == ("from the second", "second", "model")
    assert [(each["backend"], each["outcome"]) for each in rescued["attempts"]] == [
        ("first", "connect_error"),
        ("second", "ok"),
    ]
    usage = await answer("usage", folder=tmp_path)
    latest = [(each["backend"], each["outcome"]) for each in usage["attempts"]]
    assert ("first", "connect_error") in latest
    assert ("second", "ok") in latest
    assert usage["total"]["attempts"] == 3


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode != 0,
    reason="only where a process may leave the network",
)
async def test_the_tour_works_with_the_network_cut(paths: Paths, tmp_path: Path) -> None:
    """Four sessions at the same time, the completion by the bundled model, in a process that has no network."""
    source = Path(shutil.__file__)
    shutil.copy(source, tmp_path / "shutil.py")
    said = await answer("tour", folder=tmp_path, before=("unshare", "-n"))
    assert len(said["sessions"]) >= 4
    assert said["concurrent"] >= 4
    by_skill = {each["skill"]: each for each in said["sessions"]}
    assert by_skill["inline-completion"]["backend"] == "nano"
    assert by_skill["inline-completion"]["tier"] == "model"
    assert "shutil.py" in by_skill["file-query"]["text"]
    for each in said["sessions"]:
        assert each["ok"], each
        assert each["text"].strip()
        assert each["where"] == "device"
        assert Decimal(each["cost_usd"]) == 0
