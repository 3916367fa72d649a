"""An answer that was stopped at its limit says so."""

from pathlib import Path

from nanoide.paths import Paths
from tests.e2e.commands import answer
from tests.faults.server import TOKENS, Voice, serving

CONFIG = """
[[backend]]
name = "first"
kind = "openai"
base_url = "{url}"
model = "m"

[route.default]
ladder = ["first"]
"""


async def test_an_answer_at_its_limit_is_not_told_as_whole(paths: Paths, tmp_path: Path) -> None:
    """The text is there, and beside it that there would have been more."""

    async def stops(voice: Voice) -> None:
        voice.begin()
        voice.say(*TOKENS[:20])
        voice.finish("length")

    (tmp_path / "a.py").write_text("x = 1\n")
    paths.prepare()
    async with serving("openai", stops) as server:
        paths.config.write_text(CONFIG.format(url=server.url))
        told = await answer("ask", "explain-code", "why", "-f", "a.py", folder=tmp_path)
    assert told["text"] == "".join(TOKENS[:20])
    assert told["finish"] == "length"
    assert len(told["notices"]) == 1
    assert told["notices"][0].startswith("the answer stops at its limit of")
