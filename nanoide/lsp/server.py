"""The server on standard input and output: documents in, inline completions out."""

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from nanoide import __version__
from nanoide.core.chat import Document
from nanoide.lsp.documents import Documents, Spot, Text, negotiated
from nanoide.lsp.framing import Framer
from nanoide.lsp.inline import document_for, inline_item, popup_list
from nanoide.lsp.link import Link
from nanoide.paths import Paths
from nanoide.wire import Complete

log = logging.getLogger(__name__)

P = TypeVar("P")
R = TypeVar("R")

_CHUNK = 65_536


class Server(LanguageServer):
    """What an editor talks to."""

    def __init__(self, paths: Paths) -> None:
        super().__init__("nanoide", __version__)  # pyright: ignore[reportUnknownMemberType] - *args is untyped there
        self.documents = Documents()
        self.link = Link(paths, self._tell)
        self._latest: dict[str, asyncio.Task[str]] = {}
        # In place of pygls's own documents; see nanoide.lsp.documents.
        own = cast("Callable[[str, Callable[..., None]], None]", self.protocol.fm.add_builtin_feature)  # pyright: ignore[reportUnknownMemberType] - untyped there
        own(types.TEXT_DOCUMENT_DID_OPEN, self._opened)
        own(types.TEXT_DOCUMENT_DID_CHANGE, self._changed)
        own(types.TEXT_DOCUMENT_DID_CLOSE, self._closed)
        feature = cast("Callable[..., Callable[[Callable[..., Any]], Any]]", self.feature)
        feature(types.INITIALIZE)(_handler(self._initialize))
        # Without options pygls does not advertise the provider.
        feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(_handler(self._inline))
        feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())(_handler(self._popup))

    async def _initialize(self, _: types.InitializeParams) -> None:
        self.documents.encoding = negotiated(self.workspace.position_encoding)
        self.link.prepare()

    def _opened(self, params: types.DidOpenTextDocumentParams) -> None:
        opened = params.text_document
        text = Text(opened.uri, opened.text, language=str(opened.language_id), version=opened.version)
        self.documents.open(text)

    def _changed(self, params: types.DidChangeTextDocumentParams) -> None:
        """Edits of a text that was never opened are passed over."""
        version = params.text_document.version
        for change in params.content_changes:
            text = self.documents.get(params.text_document.uri)
            if text is None:
                return
            if isinstance(change, types.TextDocumentContentChangePartial):
                start, end = change.range.start, change.range.end
                places = Spot(start.line, start.character), Spot(end.line, end.character)
                text.replace(*places, change.text, self.documents.encoding)
                text.version = version
            else:
                self.documents.open(Text(text.uri, change.text, language=text.language, version=version))

    def _closed(self, params: types.DidCloseTextDocumentParams) -> None:
        self.documents.close(params.text_document.uri)

    async def _inline(self, params: types.InlineCompletionParams) -> list[types.InlineCompletionItem] | None:
        # Everything up to the first await runs before the next message is read: the text is that of the request.
        uri = params.text_document.uri
        text = self.documents.get(uri)
        if text is None:
            return None
        selected = params.context.selected_completion_info
        document = document_for(text, params.position, self.documents.encoding, selected)
        automatic = params.context.trigger_kind == types.InlineCompletionTriggerKind.Automatic
        item = inline_item(text, params.position, "…", self.documents.encoding, selected)
        answer = await self._newest(f"inline {uri}", self._complete(document, uri, automatic=automatic))
        if not answer or item is None:
            return None
        item.insert_text = answer if selected is None else selected.text + answer
        return [item]

    async def _popup(self, params: types.CompletionParams) -> types.CompletionList | None:
        uri = params.text_document.uri
        text = self.documents.get(uri)
        if text is None:
            return None
        frozen = Text(uri, text.whole, language=text.language)
        document = document_for(text, params.position, self.documents.encoding)
        answer = await self._newest(f"popup {uri}", self._complete(document, f"popup {uri}", automatic=True))
        return None if answer is None else popup_list(frozen, params.position, answer, self.documents.encoding)

    async def _complete(self, document: Document, key: str, *, automatic: bool) -> str:
        request = Complete(document=document, folder=self._folder(document), automatic=automatic, supersedes=key)
        completed = await self.link.ask(request)
        return completed.text if completed is not None else ""

    async def _newest(self, key: str, work: Awaitable[str]) -> str | None:
        """The result of `work`; None as soon as a newer request with the same key has come."""
        if (before := self._latest.get(key)) is not None:
            before.cancel()
        task = asyncio.ensure_future(work)
        self._latest[key] = task
        try:
            await asyncio.wait({task})
            return None if task.cancelled() else task.result()
        finally:
            task.cancel()
            if self._latest.get(key) is task:
                del self._latest[key]

    def _folder(self, document: Document) -> str:
        """The workspace folder that holds the document, the innermost one; else its own folder; else none."""
        found = ""
        for folder in self.workspace.folders.values():
            path = Text(folder.uri, "").path
            if document.path.startswith(path.rstrip("/") + "/") and len(path) > len(found):
                found = path
        root = self.workspace.root_path or ""
        if not found and root and document.path.startswith(root.rstrip("/") + "/"):
            found = root
        return found or (str(Path(document.path).parent) if document.path.startswith("/") else "")

    def _tell(self, line: str) -> None:
        self.window_log_message(types.LogMessageParams(type=types.MessageType.Warning, message=line))


def _handler(method: Callable[[P], Awaitable[R]]) -> Callable[[P], Awaitable[R]]:
    """`method` as a function: pygls puts marks on a handler, and a bound method takes none."""

    async def handle(params: P) -> R:
        return await method(params)

    return handle


class _Out:
    """Standard output as the protocol writes it. An editor that is gone is no error: the end of input follows."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        with suppress(BrokenPipeError):
            while view:
                view = view[os.write(self._handle, view) :]

    def close(self) -> None:
        """Nothing is held back, so there is nothing to do."""


def run(paths: Paths) -> int:
    """Serve until the editor says exit or goes away. Returns the exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    source = os.dup(0)
    sink = os.dup(1)
    os.dup2(2, 1)  # a stray print anywhere must not end up between two messages
    try:
        return asyncio.run(_serve(paths, source, sink))
    finally:
        os.close(sink)


async def _serve(paths: Paths, source: int, sink: int) -> int:
    server = Server(paths)
    out = _Out(sink)
    server.protocol.set_writer(out)
    bodies: asyncio.Queue[bytes | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    reader = threading.Thread(target=_read, args=(source, loop, bodies), name="editor", daemon=True)
    reader.start()
    try:
        while (body := await bodies.get()) is not None:
            _handle(server, out, body)
            # A handler's first steps come before the next message: what it reads of a text is of its moment.
            await asyncio.sleep(0)
    except SystemExit as exit:  # this is how pygls carries out `exit`
        return exit.code if isinstance(exit.code, int) else 0
    finally:
        await server.link.aclose()
    return 1  # gone without saying exit


def _read(source: int, loop: asyncio.AbstractEventLoop, bodies: "asyncio.Queue[bytes | None]") -> None:
    """Read in a thread: standard input may be a file, a pipe, a socket or a terminal."""
    framer = Framer()
    with suppress(RuntimeError):  # the loop has ended before the input has
        with suppress(OSError):
            while data := os.read(source, _CHUNK):
                for body in framer.feed(data):
                    loop.call_soon_threadsafe(bodies.put_nowait, body)
        loop.call_soon_threadsafe(bodies.put_nowait, None)


def _handle(server: Server, out: _Out, body: bytes) -> None:
    """Hand one message to pygls. What it cannot take is answered with an error, or passed over."""
    try:
        message = json.loads(body, object_hook=server.protocol.structure_message)
        server.protocol.handle_message(message)
    except Exception as error:  # noqa: BLE001 - one message that is nonsense must not end the session
        log.warning("a message was not understood: %s", error)
        with suppress(ValueError, AttributeError):
            plain: dict[str, Any] = json.loads(body)
            if plain.get("method") and plain.get("id") is not None:
                fault = {"code": -32602, "message": f"not understood: {type(error).__name__}"}
                answer = json.dumps({"jsonrpc": "2.0", "id": plain["id"], "error": fault}).encode()
                out.write(b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))
