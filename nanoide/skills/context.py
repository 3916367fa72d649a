"""Gathers what a skill asks for and what the person gave, as labelled, untrusted data within a token budget."""

import asyncio
import os
import stat
from pathlib import Path
from typing import assert_never

from nanoide import wire
from nanoide.core.chat import Context, Document, Source
from nanoide.core.errors import InputError
from nanoide.core.value import Value
from nanoide.skills.cut import allot
from nanoide.skills.diff import looks_like_diff, read_diff, tidy
from nanoide.skills.retrieval import look_up
from nanoide.skills.skill import Skill
from nanoide.store.index import Index

FILE_LIMIT = 4 * 1024 * 1024
"""Bytes of a file that is read whole."""


class Given(Value, frozen=True):
    """What came with the question."""

    text: str = ""
    folder: str = ""
    """Absolute; empty when the session works in none."""
    inputs: tuple[wire.Input, ...] = ()
    document: Document | None = None


async def gather(skill: Skill, given: Given, *, index: Index, budget: int) -> Context:
    """The context for one turn. Raises InputError for what cannot be used: missing, binary, too large, no diff.

    A source's text is whole, for the reflex; its `tokens` say how much of it the prompt may take.
    """
    sources = list(await asyncio.to_thread(_read_inputs, given))
    document = given.document
    note = ""
    if document is not None and skill.mode == "chat" and "file" in skill.context and not sources:
        sources.append(Source(kind="file", label=document.path or "document", text=document.text, path=document.path))
    if "diff" in skill.context and not any(source.kind == "diff" for source in sources):
        try:
            sources.append(await asyncio.to_thread(read_diff, given.folder))
        except InputError:
            if not sources:
                raise
    if "query" in skill.context:
        passages, note = await look_up(given.text, given.folder, index=index)
        sources += passages
    shared = await asyncio.to_thread(allot, sources, budget)
    return Context(text=given.text, root=given.folder, sources=shared, document=document, note=note)


def _read_inputs(given: Given) -> list[Source]:
    return [_source(each, given.folder) for each in given.inputs]


def _source(given: wire.Input, folder: str) -> Source:
    match given.kind:
        case "file":
            path = Path(folder or "/", given.label)
            text = read_text(path) if given.text is None else _checked(given.text, given.label)
            shown = _relative(path, folder)
            return Source(kind="file", label=shown, text=text, path=shown, line=1)
        case "stdin":
            text = _checked(given.text or "", "standard input")
            if looks_like_diff(text):
                return Source(kind="diff", label=given.label or "diff on standard input", text=tidy(text))
            return Source(kind="stdin", label=given.label or "standard input", text=text)
        case "selection":
            text = _checked(given.text or "", "the selection")
            return Source(kind="selection", label=given.label or "selection", text=text)
        case _:
            assert_never(given.kind)


def read_text(path: Path) -> str:
    """The text of a file, its line ends kept, unknown bytes shown as "�". Raises InputError that says why not."""
    try:
        # Not blocking: opening a pipe that nobody writes to would wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise InputError(f"{path} is no plain file")
            if info.st_size > FILE_LIMIT:
                raise InputError(
                    f"{path} has {info.st_size:,} bytes; the limit is {FILE_LIMIT:,}",
                    hint="give a part of it on standard input",
                )
            data = file.read(FILE_LIMIT + 1)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {str(path)!r}") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder", hint="name a file in it") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return decode(data, str(path))


def decode(data: bytes, name: str) -> str:
    """The text in `data`. Raises InputError when it is no text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data:
        raise InputError(f"{name} is binary", hint="give a text file")
    return data.decode("utf-8-sig", errors="replace")


def _checked(text: str, name: str) -> str:
    if "\0" in text:
        raise InputError(f"{name} is binary", hint="give text")
    return text


def _relative(path: Path, folder: str) -> str:
    """Relative to the folder where it lies below it, else absolute."""
    whole = Path(os.path.normpath(path))
    if folder and whole.is_relative_to(folder):
        return whole.relative_to(folder).as_posix()
    return str(whole)
