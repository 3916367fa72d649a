"""Any OpenAI-compatible server: chat completions, and completions with a suffix for fill in the middle."""

import asyncio
from collections.abc import Callable

import msgspec

from nanoide import tokens
from nanoide.backends import faults
from nanoide.backends.http import Answer
from nanoide.backends.remote import HttpBackend, Reader
from nanoide.backends.stops import Stops
from nanoide.core.chat import Chunk, End, Finish, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.core.usage import Usage
from nanoide.settings import BackendTable

_OPTIONAL = (
    "stream_options",
    "seed",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "temperature",
    "stop",
    "max_tokens",
)
"""Parameters that some servers refuse; each is left out from the first refusal on."""

_GRACE = 2.0
"""Seconds that the usage may come after the answer's end; then we count ourselves."""

_FINISHES: dict[str, Finish] = {"length": "length", "content_filter": "content_filter"}
"""Anything else is a natural end."""


class OpenAIBackend(HttpBackend):
    """One model on one server that speaks OpenAI's protocol."""

    KIND = "openai"
    MODELS = "/models"

    def __init__(self, table: BackendTable, key: Callable[[], str]) -> None:
        """`key` is asked for each request; it returns "" when none is needed."""
        super().__init__(table, key)
        self._fills = table.fim != "none"
        self._without: set[str] = set()

    def objection(self, prompt: Prompt) -> str:
        """None, but for a grammar, and for a prompt to fill in with a server that cannot."""
        if prompt.grammar:
            return "holds to no grammar"
        if prompt.messages or (prompt.fill is not None and self._fills):
            return ""
        return "there is nothing to ask" if prompt.fill is None else "has no completions with a suffix"

    def resumes(self, prompt: Prompt) -> bool:
        """Where it completes text; what a server makes of an answer that is begun in a chat is not certain."""
        return prompt.fill is not None and self._fills

    async def _begin(self, prompt: Prompt, secret: str) -> tuple[Answer, Reader]:
        answer, fill = await self._open(prompt, secret)
        return answer, _Reader(answer, prompt, fill=fill, model=self._model, secret=secret)

    def _headers(self, secret: str) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "text/event-stream, application/json"}
        if secret:
            headers["authorization"] = f"Bearer {secret}"
        return headers

    async def _open(self, prompt: Prompt, secret: str) -> tuple[Answer, bool]:
        """The answer under way, and whether it fills in. Adapts to what the server refuses."""
        fill = prompt.fill is not None and self._fills
        if prompt.partial and not fill:  # known only since it was asked whether it resumes
            raise BackendError("has no completions with a suffix", outcome="bad_request")
        while True:
            body = self._body(prompt, fill=fill)
            try:
                path = "/completions" if fill else "/chat/completions"
                answer = await self._server.post(path, body, self._headers(secret), secret=secret)
            except faults.Answered as error:
                if refused := self._refused(error, body):
                    self._without.add(refused)
                elif fill and (error.status in {404, 405, 501} or error.names("suffix")):
                    if not prompt.messages or prompt.partial:
                        self._fills = False
                        # The server is well and the chat may be too: this is no reason to stop asking it.
                        raise BackendError("has no completions with a suffix", outcome="bad_request") from error
                    fill = False
                else:
                    raise
            else:
                if prompt.fill is not None and not fill:
                    self._fills = False
                return answer, fill

    def _refused(self, error: faults.Answered, body: dict[str, object]) -> str:
        """The optional parameter that the server complains about and that may be left out; empty when none."""
        for name in _OPTIONAL:
            if name not in body or name in self._without or not error.names(name):
                continue
            if name == "max_tokens" and not error.names("max_completion_tokens"):
                continue  # it may be too large, but it must be said
            return name
        return ""

    def _body(self, prompt: Prompt, *, fill: bool) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self._model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": prompt.max_output,
            "temperature": prompt.temperature,
            "top_p": prompt.top_p,
        }
        if prompt.stop:
            body["stop"] = list(prompt.stop[:4])  # more are refused by some; the rest is held to here
        if prompt.seed is not None:
            body["seed"] = prompt.seed
        if prompt.frequency_penalty:
            body["frequency_penalty"] = prompt.frequency_penalty
        if prompt.presence_penalty:
            body["presence_penalty"] = prompt.presence_penalty
        if prompt.json_schema:
            # Never left out when it is refused: without it the answer would not be what was asked for.
            schema = {"name": "answer", "schema": _schema(prompt.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if fill and prompt.fill is not None:
            body["prompt"] = prompt.fill.prefix + prompt.partial
            body["suffix"] = prompt.fill.suffix
        else:
            system = [{"role": "system", "content": prompt.system}] if prompt.system else []
            body["messages"] = system + [{"role": each.role, "content": each.text} for each in prompt.messages]
        for name in self._without:
            value = body.pop(name, None)
            if name == "max_tokens":
                body["max_completion_tokens"] = value
        return body


class _Words(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Words | None = None
    message: _Words | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Frame(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")
    object: str | None = None


class _Reader:
    """Reads one answer: texts, and an End only when the server said that it is one."""

    def __init__(self, answer: Answer, prompt: Prompt, *, fill: bool, model: str, secret: str) -> None:
        self._answer = answer
        self._prompt = prompt
        self._fill = fill
        self._model = model
        self._secret = secret
        self._decoder = msgspec.json.Decoder(_Frame)
        self._stops = Stops(prompt.stop)
        self._said: list[str] = []
        self._usage: _Usage | None = None
        self._finish: Finish | None = None
        self._done = False
        self._whole = answer.kind == "application/json"

    async def next(self) -> Chunk:
        """The next text, or the end. Raises BackendError."""
        while not self._done:
            if self._whole:  # the server does not stream: all at once is also an answer
                text = self._frame(await self._answer.whole())
                self._finish = self._finish or "stop"
                self._done = True
            else:
                text = await self._event()
            text = self._stops.feed(text)
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
        """The text in the next event; notes the end."""
        limit = asyncio.timeout(None if self._finish is None else _GRACE)
        try:
            async with limit:
                event = await self._answer.next()
        except (TimeoutError, BackendError):
            if self._finish is None:
                raise
            event = None  # the answer is whole; only its usage is missing
        if event is None:
            if self._finish is None:
                self._raise_end()
            self._done = True
            return ""
        if event.data == "[DONE]":
            await self._answer.drain()
            self._done = True
            return ""
        if event.name == "error":
            raise faults.in_stream(event.data.encode(), secret=self._secret)
        return self._frame(event.data.encode())

    def _raise_end(self) -> None:
        kind = self._answer.kind
        if not self._said and kind != "text/event-stream":
            raise BackendError(f"answered with {kind or 'no media type'}, not with a stream", outcome="protocol")
        raise BackendError("the stream ended without its end", outcome="cut")

    def _frame(self, data: bytes) -> str:
        try:
            frame = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BackendError("the stream is not what the protocol says", outcome="protocol") from error
        if bytes(frame.error) != b"null" or frame.object == "error":
            raise faults.in_stream(data, secret=self._secret)
        if frame.usage is not None:
            self._usage = frame.usage  # the last one counts
        self._model = frame.model or self._model
        if not frame.choices:
            return ""
        choice = frame.choices[0]
        if choice.finish_reason:
            self._finish = _FINISHES.get(choice.finish_reason, "stop")
        words = choice.delta or choice.message
        return (choice.text if words is None else words.content) or ""

    def _count(self) -> Usage:
        return self.told() or estimate(self._prompt, "".join(self._said), fill=self._fill)

    def told(self) -> Usage | None:
        """See `remote.Reader`."""
        told = self._usage
        if told is None or told.prompt_tokens is None or told.completion_tokens is None:
            return None
        cached = told.prompt_tokens_details.cached_tokens if told.prompt_tokens_details is not None else None
        read = max(0, told.prompt_tokens)
        return Usage(input=read, output=max(0, told.completion_tokens), cache_read=min(max(0, cached or 0), read))


def _schema(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BackendError(f"json_schema is not JSON: {error}", outcome="bad_request") from error


def estimate(prompt: Prompt, text: str, *, fill: bool) -> Usage:
    """Our own count of a prompt and its answer, for servers that do not tell."""
    if fill and prompt.fill is not None:
        parts = (prompt.fill.prefix, prompt.partial, prompt.fill.suffix)
    else:
        parts = (prompt.system, *(each.text for each in prompt.messages))
    return Usage(input=sum(tokens.count(part) for part in parts), output=tokens.count(text), estimated=True)
