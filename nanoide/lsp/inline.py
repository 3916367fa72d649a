"""A position in a text → what the hub is asked; what it answered → what the editor is shown. Pure."""

import re

from lsprotocol import types

from nanoide.core.chat import Document
from nanoide.lsp.documents import Encoding, Spot, Text, units

LABEL_LIMIT = 60
"""Characters of a popup's line."""

_WORD = re.compile(r"\w+\Z")


def document_for(
    text: Text, position: types.Position, encoding: Encoding, selected: types.SelectedCompletionInfo | None = None
) -> Document:
    """The document to complete. With an item selected in the popup, as if that had been accepted."""
    if selected is None:
        return text.document(_spot(position), encoding)
    chosen = Text(text.uri, text.whole, language=text.language)
    chosen.replace(_spot(selected.range.start), _spot(selected.range.end), selected.text, encoding)
    line, index = text.place(_spot(selected.range.start), encoding)
    return chosen.document(_after(text, line, index, selected.text, encoding), encoding)


def inline_item(
    text: Text,
    position: types.Position,
    answer: str,
    encoding: Encoding,
    selected: types.SelectedCompletionInfo | None = None,
) -> types.InlineCompletionItem | None:
    """The ghost text; None when there is nothing to show. Its range is always there, and within one line."""
    if not answer:
        return None
    if selected is not None:
        if selected.range.start.line != selected.range.end.line:
            return None
        return types.InlineCompletionItem(insert_text=selected.text + answer, range=selected.range)
    line, index = text.place(_spot(position), encoding)
    place = types.Position(line=line, character=units(text.line(line)[:index], encoding))
    return types.InlineCompletionItem(insert_text=answer, range=types.Range(start=place, end=place))


def popup_list(text: Text, position: types.Position, answer: str, encoding: Encoding) -> types.CompletionList:
    """The answer as the one and last line of an ordinary popup, for editors without ghost text.

    It replaces the word before the position by itself and the answer, which every client can match.
    """
    if not answer:
        return types.CompletionList(is_incomplete=True, items=[])
    line, index = text.place(_spot(position), encoding)
    before = text.line(line)[:index]
    word = found[0] if (found := _WORD.search(before)) else ""
    start = types.Position(line=line, character=units(before[: index - len(word)], encoding))
    end = types.Position(line=line, character=units(before, encoding))
    whole = word + answer
    first = whole.lstrip().partition("\n")[0].rstrip()
    label = first if len(first) <= LABEL_LIMIT else first[: LABEL_LIMIT - 1] + "…"
    item = types.CompletionItem(
        label=label or "⏎",
        kind=types.CompletionItemKind.Text,
        detail="nanoide",
        sort_text="\U0010ffff",
        filter_text=word + first if not first.startswith(word) else first,
        preselect=False,
        insert_text_format=types.InsertTextFormat.PlainText,
        text_edit=types.TextEdit(range=types.Range(start=start, end=end), new_text=whole),
    )
    return types.CompletionList(is_incomplete=True, items=[item])


def _spot(position: types.Position) -> Spot:
    return Spot(position.line, position.character)


def _after(text: Text, line: int, index: int, inserted: str, encoding: Encoding) -> Spot:
    """The position behind `inserted`, which was put in at `index` of `line`."""
    head, newline, tail = inserted.replace("\r\n", "\n").replace("\r", "\n").rpartition("\n")
    if newline:
        return Spot(line + head.count("\n") + 1, units(tail, encoding))
    return Spot(line, units(text.line(line)[:index] + inserted, encoding))
