"""Continue the line by copying what followed the same words elsewhere, in the file and in those beside it."""

from nanoide.completion.copying import copy
from nanoide.core.chat import Context, Document
from nanoide.core.document import at_end


def answer(context: Context) -> str:
    """The rest of the line at the cursor; empty when nothing elsewhere tells."""
    document = context.document or _end_of_first(context)
    if document is None:
        return ""
    others = [source.text for source in context.sources if source.text != document.text]
    return copy(document, others).text


def _end_of_first(context: Context) -> Document | None:
    """Without a cursor: the end of the first text that was given."""
    for source in context.sources:
        if source.kind in {"file", "stdin", "selection"}:
            return at_end(source.path, source.text)
    return None
