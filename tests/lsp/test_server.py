"""The real server over its standard streams, with a real hub behind it."""

import asyncio
from pathlib import Path

import pytest

from nanoide.client.launch import connect
from nanoide.paths import Paths
from nanoide.wire import StopHub
from tests.lsp.client import Editor, Refusal

SOURCE = '''"""Prices."""


def total(prices):
    """The sum of all prices."""
    return sum(prices)


def mean(prices):
    """The mean of all prices."""
    return total(
'''

URI = "file:///tmp/prices.py"


@pytest.fixture
def editor(house: Path, tmp_path: Path) -> Editor:
    """An editor, not started."""
    return Editor(tmp_path)


async def test_both_providers_are_advertised(editor: Editor) -> None:
    """Incremental sync, ghost text, and the popup for editors without it."""
    async with editor:
        assert editor.capabilities["inlineCompletionProvider"] == {}
        assert "completionProvider" in editor.capabilities
        assert editor.capabilities["textDocumentSync"]["change"] == 2
        assert editor.capabilities["textDocumentSync"]["openClose"] is True


async def test_ghost_text_comes_with_a_range_on_one_line(editor: Editor) -> None:
    """An item without a range crashes Neovim."""
    async with editor:
        editor.open(URI, SOURCE)
        items = await editor.inline(URI, 10, 17)[1]
        assert len(items) == 1
        (item,) = items
        assert item["insertText"].strip()
        place = {"line": 10, "character": 17}
        assert item["range"] == {"start": place, "end": place}


async def test_the_popup_gets_one_line_that_pushes_nobody(editor: Editor) -> None:
    """Incomplete, with a textEdit, never preselected."""
    async with editor:
        editor.open(URI, SOURCE)
        place = {"line": 10, "character": 17}
        found = await editor.ask("textDocument/completion", {"textDocument": {"uri": URI}, "position": place})
        assert found["isIncomplete"] is True
        (item,) = found["items"]
        assert item["textEdit"]["range"]["end"] == place
        assert not item.get("preselect")


async def test_edits_and_encodings_meet_in_the_middle(house: Path, tmp_path: Path) -> None:
    """In UTF-8, behind astral letters and after an incremental edit, the place is still the one that was meant."""
    editor = Editor(tmp_path, ["utf-8"])
    async with editor:
        assert editor.capabilities["positionEncoding"] == "utf-8"
        editor.open(URI, SOURCE.replace("    return total(\n", '    note = "😀"; return \n'))
        end = {"line": 10, "character": 26}
        editor.change(URI, 2, {"range": {"start": end, "end": end}, "text": "total("})
        (item,) = await editor.inline(URI, 10, 32)[1]
        assert item["range"]["start"] == {"line": 10, "character": 32}
        assert item["insertText"].strip()


async def test_requests_that_were_overtaken_are_answered(editor: Editor) -> None:
    """Editors wait for every answer; the older ones get null."""
    async with editor:
        editor.open(URI, SOURCE)
        futures = [editor.inline(URI, 10, 17, trigger=2)[1] for _ in range(5)]
        answers = await asyncio.wait_for(asyncio.gather(*futures), 30)
        assert answers[:-1] == [None] * 4
        assert answers[-1]


async def test_a_cancelled_request_gets_its_answer_at_once(editor: Editor) -> None:
    """Either the editor was faster, and gets the code for that, or the answer was."""
    async with editor:
        editor.open(URI, SOURCE)
        number, future = editor.inline(URI, 10, 17)
        editor.tell("$/cancelRequest", {"id": number})
        with pytest.raises(Refusal) as refused:
            await asyncio.wait_for(future, 30)
        assert refused.value.code == -32800
        assert await editor.inline(URI, 10, 17)[1]


async def test_nothing_to_show_is_null(editor: Editor) -> None:
    """For a text that was never opened, and after it was closed."""
    async with editor:
        assert await editor.inline("file:///tmp/never.py", 0, 0)[1] is None
        editor.open(URI, SOURCE)
        editor.tell("textDocument/didClose", {"textDocument": {"uri": URI}})
        assert await editor.inline(URI, 10, 17)[1] is None


async def test_nonsense_does_not_wedge_the_reader(editor: Editor) -> None:
    """After each the next message is answered."""
    async with editor:
        editor.open(URI, SOURCE)
        for nonsense in (
            b"Content-Length: 1000000000000\r\n\r\n",
            b"Content-Length: 3\r\n\r\n{{{",
            b"garbage\r\n\r\n",
            b'Content-Length: 33\r\n\r\n{"jsonrpc":"2.0","method":"nope"} ',
        ):
            editor.raw(nonsense)
            assert await editor.inline(URI, 10, 17)[1]


async def test_a_request_that_is_not_understood_is_answered_with_an_error(editor: Editor) -> None:
    """Parameters of the wrong shape, and a method that does not exist."""
    async with editor:
        for method in ("textDocument/inlineCompletion", "textDocument/nosuch"):
            with pytest.raises(Refusal):
                await editor.ask(method, {"position": 7})
        editor.open(URI, SOURCE)
        assert await editor.inline(URI, 10, 17)[1]


async def test_a_hub_that_went_away_is_found_or_started_again(paths: Paths, tmp_path: Path) -> None:
    """The editor keeps its server; the next request has its answer."""
    async with Editor(tmp_path) as editor:
        editor.open(URI, SOURCE)
        assert await editor.inline(URI, 10, 17)[1]
        async with await connect(paths, client="test", start=False) as connection:
            notices = connection.notices()
            await connection.call(StopHub())
            async for _ in notices:
                pass
        assert await editor.inline(URI, 10, 17)[1]


async def test_without_a_hub_it_says_so_once_and_answers_null(home: Path, tmp_path: Path) -> None:
    """A mistake in config.toml keeps the hub away; the editor is told one line, and never kept waiting."""
    (home / "config.toml").write_text("nonsense")
    async with Editor(tmp_path) as editor:
        editor.open(URI, SOURCE)
        for _ in range(3):
            assert await editor.inline(URI, 10, 17)[1] is None
        messages = [each for each in editor.notices if each["method"] == "window/logMessage"]
        assert len(messages) == 1
        assert "config.toml" in messages[0]["params"]["message"]
