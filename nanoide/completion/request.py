"""The prompt for one inline completion."""

from pathlib import Path

from nanoide.completion.shape import multiline
from nanoide.core.chat import Context, Document, Fill, Prompt, Reflex, Source
from nanoide.core.document import around, language_of
from nanoide.core.policy import Egress

SKILL = "inline-completion"
"""The skill in whose name inline completions stand in the ledger."""


def build(
    document: Document,
    *,
    neighbours: tuple[Source, ...],
    reflex: str,
    max_output: int,
    egress: Egress,
    folder: str = "",
) -> Prompt:
    """Ask what should stand at the document's position. `reflex` is the script, empty when there is none.

    `folder` is where a relative path of the document begins.
    """
    prefix, suffix = around(document)
    language = document.language or language_of(document.path)
    return Prompt(
        skill=SKILL,
        fill=Fill(prefix=prefix, suffix=suffix, path=document.path, language=language),
        reflex=Reflex(script=reflex, context=Context(sources=neighbours, document=document)) if reflex else None,
        max_output=max_output,
        temperature=0.0,
        stop=("\n\n",) if multiline(document) else ("\n",),
        priority="completion",
        egress=egress,
        files=(str(Path(folder or "/", document.path)),) if document.path else (),
    )
