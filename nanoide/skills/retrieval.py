"""What to look for in the workspace, ranked; the index itself is `store.index`."""

import asyncio

from nanoide.core.chat import Source
from nanoide.skills.folders import is_folder
from nanoide.store.index import Index

REFRESH_WAIT_S = 3.0
"""For the index to catch up; after that the question is put to what is there, and indexing goes on."""

PASSAGES = 12


UNFINISHED = "The workspace is still being indexed: ask again in a moment for a fuller answer."


async def look_up(question: str, folder: str, *, index: Index, limit: int = PASSAGES) -> tuple[tuple[Source, ...], str]:
    """The passages below `folder` that answer `question` best, best first, and a note when there may be more.

    Nothing outside of a folder.
    """
    if not question.strip() or not folder or not await asyncio.to_thread(is_folder, folder):
        return (), ""
    note = ""
    try:
        await asyncio.wait_for(index.refresh(folder), REFRESH_WAIT_S)
    except TimeoutError:  # a large workspace, seen for the first time: search what is there
        note = UNFINISHED
    return await index.search(folder, question, limit), note
