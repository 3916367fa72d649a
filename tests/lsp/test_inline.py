"""From positions to documents and from answers to what the editor shows."""

from lsprotocol.types import Position, Range, SelectedCompletionInfo, TextEdit

from nanoide.lsp.documents import Text
from nanoide.lsp.inline import LABEL_LIMIT, document_for, inline_item, popup_list


def test_an_item_always_has_a_range_on_one_line() -> None:
    """Also for an answer of several lines and a position past the end of its line."""
    text = Text("file:///a.py", "def f():\n    ret\n")
    item = inline_item(text, Position(1, 99), "urn 1\n    # two", "utf-16")
    assert item is not None
    assert item.range == Range(Position(1, 7), Position(1, 7))
    assert item.insert_text == "urn 1\n    # two"


def test_an_empty_answer_is_no_item() -> None:
    """Nothing to show is nothing, in ghost text and in the popup."""
    text = Text("file:///a.py", "x = ")
    assert inline_item(text, Position(0, 4), "", "utf-16") is None
    assert popup_list(text, Position(0, 4), "", "utf-16").items == []


def test_with_a_popup_item_selected_the_completion_goes_on_behind_it() -> None:
    """The hub sees the text as if the item had been accepted; the answer extends the item."""
    text = Text("file:///a.py", "😀\nself.fo")
    selected = SelectedCompletionInfo(range=Range(Position(1, 5), Position(1, 7)), text="format")
    document = document_for(text, Position(1, 7), "utf-16", selected)
    assert (document.text, document.line, document.character) == ("😀\nself.format", 1, 11)
    item = inline_item(text, Position(1, 7), "(1)", "utf-16", selected)
    assert item is not None
    assert (item.insert_text, item.range) == ("format(1)", selected.range)


def test_the_popup_has_one_modest_line() -> None:
    """It replaces the word at the position, stands last, and is never preselected."""
    text = Text("file:///a.py", "é = self.fo")
    found = popup_list(text, Position(0, 12), "rmat(x)\nmore", "utf-8")
    (item,) = found.items
    assert found.is_incomplete
    assert item.text_edit == TextEdit(Range(Position(0, 10), Position(0, 12)), "format(x)\nmore")
    assert (item.label, item.filter_text, item.preselect) == ("format(x)", "format(x)", False)
    assert item.sort_text is not None
    assert item.sort_text > "zzzz"


def test_a_long_answer_has_a_short_label() -> None:
    """The popup must not grow across the screen."""
    text = Text("file:///a.py", "x = ")
    (item,) = popup_list(text, Position(0, 4), "y" * 500, "utf-16").items
    assert len(item.label) == LABEL_LIMIT
