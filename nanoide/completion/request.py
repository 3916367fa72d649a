"""The prompt for one inline completion."""

from nanoide.completion.shape import multiline
from nanoide.core.chat import Context, Document, Fill, Prompt, Reflex, Source
from nanoide.core.document import language_of, split
from nanoide.core.policy import Egress

SKILL = "inline-completion"
"""The skill in whose name inline completions stand in the ledger."""

PREFIX_LIMIT = 3_000
"""Characters before the position; with the suffix well inside a window of 2,048 tokens."""

SUFFIX_LIMIT = 800
"""Characters behind the position."""

_STEP = 1_000
"""The prefix begins at a multiple of this, so that a key more leaves its beginning as it was and a
backend can use its cache of it again."""


def build(
    document: Document, *, neighbours: tuple[Source, ...], reflex: str, max_output: int, egress: Egress
) -> Prompt:
    """Ask what should stand at the document's position. `reflex` is the script, empty when there is none."""
    before, after = split(document)
    language = document.language or language_of(document.path)
    return Prompt(
        skill=SKILL,
        fill=Fill(prefix=head(before), suffix=tail(after), path=document.path, language=language),
        reflex=Reflex(script=reflex, context=Context(sources=neighbours, document=document)) if reflex else None,
        max_output=max_output,
        temperature=0.0,
        stop=("\n\n",) if multiline(document) else ("\n",),
        priority="completion",
        egress=egress,
    )


def head(before: str) -> str:
    """The last part of what stands before the position, from the beginning of a line where that is near."""
    if len(before) > PREFIX_LIMIT:
        cut = -(-(len(before) - PREFIX_LIMIT) // _STEP) * _STEP
        line = before.find("\n", cut - 1, cut + _STEP // 2)
        before = before[line + 1 if line >= 0 else cut :]
    return _unified(before)


def tail(after: str) -> str:
    """The first part of what stands behind the position, to the end of a line where that is near."""
    if len(after) > SUFFIX_LIMIT:
        line = after.rfind("\n", SUFFIX_LIMIT // 2, SUFFIX_LIMIT)
        after = after[: line + 1 if line >= 0 else SUFFIX_LIMIT]
    return _unified(after)


def _unified(text: str) -> str:
    """With newlines alone: models learned from those; `shape` gives the document's own back."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
