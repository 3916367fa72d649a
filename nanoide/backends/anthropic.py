"""Anthropic's Messages API, streamed."""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from nanoide.backends import faults
from nanoide.backends.http import Answer
from nanoide.backends.openai import estimate
from nanoide.backends.remote import HttpBackend, Reader
from nanoide.backends.stops import Stops
from nanoide.core.chat import Chunk, End, Finish, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.core.usage import Usage
from nanoide.settings import BackendTable

_VERSION = "2023-06-01"
"""Of the API; the only one there is."""

_OPTIONAL = ("temperature", "stop_sequences")
"""Parameters that some models refuse; each is left out from the first refusal on."""

_FINISHES: dict[str, Finish] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
"""Anything else is a natural end."""


class AnthropicBackend(HttpBackend):
    """One Claude model, or another one behind the same protocol."""

    KIND = "anthropic"
    MODELS = "/models?limit=1"

    def __init__(self, table: BackendTable, key: Callable[[], str]) -> None:
        """`key` is asked for each request; it returns "" when none is needed."""
        super().__init__(table, key)
        self._without: set[str] = set()

    def objection(self, prompt: Prompt) -> str:
        """None for a prompt with messages, when nothing is asked of their form."""
        if prompt.grammar or prompt.json_schema:
            return "holds to no grammar or schema"
        if prompt.messages:
            return ""
        return "there is nothing to ask" if prompt.fill is None else "chats only, does not fill in"

    async def _begin(self, prompt: Prompt, secret: str) -> tuple[Answer, Reader]:
        answer = await self._open(prompt, secret)
        return answer, _Reader(answer, prompt, model=self._model, secret=secret)

    def _headers(self, secret: str) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream",
            "anthropic-version": _VERSION,
        }
        if secret:
            headers["x-api-key"] = secret
        return headers

    async def _open(self, prompt: Prompt, secret: str) -> Answer:
        while True:
            body = self._body(prompt)
            try:
                return await self._server.post("/messages", body, self._headers(secret), secret=secret)
            except faults.Answered as error:
                refused = [name for name in _OPTIONAL if name in body and error.names(name)]
                if not refused:
                    raise
                self._without.update(refused)

    def _body(self, prompt: Prompt) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self._model,
            "max_tokens": prompt.max_output,
            "messages": [{"role": each.role, "content": each.text} for each in prompt.messages],
            "stream": True,
            # Not top_p as well: current models take one of the two.
            "temperature": min(prompt.temperature, 1.0),
        }
        if prompt.system:
            body["system"] = prompt.system
        if stops := [stop for stop in prompt.stop if stop.strip()]:
            body["stop_sequences"] = stops  # blank ones are refused; they are held to here
        for name in self._without:
            body.pop(name, None)
        return body


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: _Usage | None = None


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None


class _Frame(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    usage: _Usage | None = None


class _Reader:
    """Reads one answer: texts, and an End only when the server said that it is one."""

    def __init__(self, answer: Answer, prompt: Prompt, *, model: str, secret: str) -> None:
        self._answer = answer
        self._prompt = prompt
        self._model = model
        self._secret = secret
        self._decoder = msgspec.json.Decoder(_Frame)
        self._stops = Stops(prompt.stop)
        self._said: list[str] = []
        self._usage = _Usage()
        self._finish: Finish | None = None
        self._done = False

    async def next(self) -> Chunk:
        """The next text, or the end. Raises BackendError."""
        while not self._done:
            text = self._stops.feed(await self._event())
            if self._stops.reached:
                self._finish, self._done = "stop", True
            if text:
                return self._say(text)
        if held := self._stops.flush():
            return self._say(held)
        return End(finish=self._finish or "stop", usage=self._count(), model=self._model)

    def _say(self, text: str) -> Text:
        self._said.append(text)
        return Text(text)

    async def _event(self) -> str:
        """The text in the next event; notes the end and the usage."""
        if self._answer.kind == "application/json":
            await self._raise_whole()
        event = await self._answer.next()
        if event is None:
            kind = self._answer.kind
            if not self._said and kind != "text/event-stream":
                raise BackendError(f"answered with {kind or 'no media type'}, not with a stream", outcome="protocol")
            raise BackendError("the stream ended without its end", outcome="cut")
        data = event.data.encode()
        try:
            frame = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BackendError("the stream is not what the protocol says", outcome="protocol") from error
        match frame.type:
            case "error":
                raise faults.in_stream(data, secret=self._secret)
            case "message_start" if frame.message is not None:
                self._model = frame.message.model or self._model
                self._note(frame.message.usage)
            case "content_block_start" if frame.content_block is not None and frame.content_block.type == "text":
                return frame.content_block.text or ""
            case "content_block_delta" if frame.delta is not None and frame.delta.type == "text_delta":
                return frame.delta.text or ""
            case "message_delta":
                self._note(frame.usage)
                if frame.delta is not None and frame.delta.stop_reason:
                    self._finish = _FINISHES.get(frame.delta.stop_reason, "stop")
            case "message_stop":
                await self._answer.drain()
                self._done = True
            case _:
                pass  # pings, thinking, and what is yet to be invented
        return ""

    async def _raise_whole(self) -> None:
        """Raise what a whole JSON text says where a stream was asked for, when it says that something is wrong."""
        body = await self._answer.whole()
        try:
            frame = self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if frame.type == "error":
            raise faults.in_stream(body, secret=self._secret)

    def _note(self, usage: _Usage | None) -> None:
        """Numbers are running totals: each that is told takes the place of the one before."""
        if usage is None:
            return
        for field in _Usage.__struct_fields__:
            value: int | None = getattr(usage, field)
            if value is not None:
                setattr(self._usage, field, max(0, value))

    def told(self) -> Usage | None:
        """See `remote.Reader`. What was read is told at the beginning, what was written at the end."""
        if self._usage.input_tokens is None:
            return None
        usage = self._whole(self._usage.input_tokens, self._usage.output_tokens or 0)
        if self._finish is not None and not self._stops.reached:
            return usage
        ours = estimate(self._prompt, "".join(self._said), fill=False)
        return replace(usage, output=max(usage.output, ours.output), estimated=True)

    def _count(self) -> Usage:
        told = self._usage
        if told.input_tokens is None or told.output_tokens is None or self._stops.reached:
            return estimate(self._prompt, "".join(self._said), fill=False)
        return self._whole(told.input_tokens, told.output_tokens)

    def _whole(self, asked: int, output: int) -> Usage:
        read, write = self._usage.cache_read_input_tokens or 0, self._usage.cache_creation_input_tokens or 0
        # input_tokens leaves out what came from or went into the cache; ours counts all.
        return Usage(input=asked + read + write, output=output, cache_read=read, cache_write=write)
