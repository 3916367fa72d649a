"""A small hand-written editor: speaks LSP to a real `nanoide lsp` process over its standard streams."""

import asyncio
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Refusal(Exception):
    """The server answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message"))
        self.code: int = error["code"]


class Editor:
    """One session with the server. `async with` starts it, and ends it as an editor does."""

    def __init__(self, root: Path, encodings: list[str] | None = None) -> None:
        self._root = root
        self._encodings = encodings
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._next = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.notices: list[dict[str, Any]] = []
        self.noticed = asyncio.Event()
        """Set whenever a notification has come."""
        self.capabilities: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        """Start the server and greet it."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "nanoide",
            "lsp",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        general: dict[str, Any] = {"general": {"positionEncodings": self._encodings}} if self._encodings else {}
        greeting = {"processId": None, "rootUri": self._root.as_uri(), "capabilities": general}
        self.capabilities = (await self.ask("initialize", greeting))["capabilities"]
        self.tell("initialized", {})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say shutdown and exit; a server that does not leave is ended."""
        process = self._process
        assert process is not None
        try:
            if kind is None:
                await self.ask("shutdown", None)
                self.tell("exit", None)
                assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            if process.returncode is None:
                process.kill()
            assert process.stdin is not None
            process.stdin.close()
            assert self._reading is not None
            await asyncio.gather(self._reading, return_exceptions=True)
            await process.communicate()

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def tell(self, method: str, params: object) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def begin(self, method: str, params: object) -> tuple[int, "asyncio.Future[Any]"]:
        """Send a request; its id and its answer to come."""
        self._next += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = future
        self._send({"id": self._next, "method": method, "params": params})
        return self._next, future

    async def ask(self, method: str, params: object) -> Any:
        """Send a request and wait for its answer. Raises Refusal."""
        return await asyncio.wait_for(self.begin(method, params)[1], 30)

    def open(self, uri: str, text: str, language: str = "python") -> None:
        """Open a text."""
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": item})

    def change(self, uri: str, version: int, *changes: dict[str, Any]) -> None:
        """Edit a text."""
        self.tell(
            "textDocument/didChange",
            {"textDocument": {"uri": uri, "version": version}, "contentChanges": list(changes)},
        )

    def inline(self, uri: str, line: int, character: int, trigger: int = 1) -> tuple[int, "asyncio.Future[Any]"]:
        """Begin to ask for ghost text."""
        return self.begin(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": trigger},
            },
        )

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.raw(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _read(self) -> None:
        try:
            await self._messages()
        except asyncio.IncompleteReadError:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ConnectionError("the server has left"))

    async def _messages(self) -> None:
        assert self._process is not None
        stream = self._process.stdout
        assert stream is not None
        while header := await stream.readuntil(b"\r\n\r\n"):
            fields = dict(line.split(": ", 1) for line in header.decode().strip().split("\r\n"))
            message = json.loads(await stream.readexactly(int(fields["Content-Length"])))
            if "method" in message:
                self.notices.append(message)
                self.noticed.set()
            elif (future := self._waiting.pop(message["id"], None)) is not None and not future.done():
                if "error" in message:
                    future.set_exception(Refusal(message["error"]))
                else:
                    future.set_result(message["result"])
