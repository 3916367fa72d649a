"""An answer as each kind of client expects it: the whole at once, or events one after the other. Pure."""

from abc import abstractmethod
from typing import ClassVar

from nanoide import wire
from nanoide.core.usage import Usage, usd
from nanoide.core.value import Value

Object = dict[str, object]


class Shape(Value, frozen=True):
    """How one answer is told."""

    TERMINATOR: ClassVar[bytes] = b"data: [DONE]\n\n"
    """Stands after the last event of a whole answer, and only there."""

    @abstractmethod
    def opening(self) -> tuple[Object, ...]:
        """Events before the first text."""

    @abstractmethod
    def piece(self, text: str) -> Object:
        """The event for a piece of text."""

    @abstractmethod
    def closing(self, done: wire.Generated) -> tuple[Object, ...]:
        """Events after the last text."""

    @abstractmethod
    def whole(self, text: str, done: wire.Generated) -> Object:
        """The answer in one."""


class _OpenAI(Shape, frozen=True):
    """What chat and text completions have in common."""

    WHOLE: ClassVar[str]
    CHUNK: ClassVar[str]

    id: str
    created: int
    """Seconds since 1970."""
    model: str
    """As the client named it."""
    usage: bool
    """The stream ends with an event that tells the usage."""

    def opening(self) -> tuple[Object, ...]:
        """Nothing."""
        return ()

    def piece(self, text: str) -> Object:
        """One choice with more text."""
        return self._chunk([self._said(text)])

    def closing(self, done: wire.Generated) -> tuple[Object, ...]:
        """The reason why it ended, then the usage where it is wanted."""
        end = {**self._chunk([self._ended(done.finish)]), "nanoide": _told(done)}
        if not self.usage:
            return (end,)
        return end, {**self._chunk([]), "usage": usage_object(done.usage)}

    def whole(self, text: str, done: wire.Generated) -> Object:
        """One choice and the usage."""
        return {
            "id": self.id,
            "object": self.WHOLE,
            "created": self.created,
            "model": self.model,
            "choices": [self._choice(text, done.finish)],
            "usage": usage_object(done.usage),
            "nanoide": _told(done),
        }

    def _chunk(self, choices: list[Object]) -> Object:
        chunk: Object = {
            "id": self.id,
            "object": self.CHUNK,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
        return {**chunk, "usage": None} if self.usage else chunk

    @abstractmethod
    def _said(self, text: str) -> Object: ...

    @abstractmethod
    def _ended(self, finish: str) -> Object: ...

    @abstractmethod
    def _choice(self, text: str, finish: str) -> Object: ...


class ChatShape(_OpenAI, frozen=True):
    """`/v1/chat/completions`."""

    WHOLE = "chat.completion"
    CHUNK = "chat.completion.chunk"

    def opening(self) -> tuple[Object, ...]:
        """Who speaks."""
        return (self._chunk([_delta({"role": "assistant", "content": ""})]),)

    def _said(self, text: str) -> Object:
        return _delta({"content": text})

    def _ended(self, finish: str) -> Object:
        return _delta({}, finish)

    def _choice(self, text: str, finish: str) -> Object:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}


class TextShape(_OpenAI, frozen=True):
    """`/v1/completions`."""

    WHOLE = "text_completion"
    CHUNK = "text_completion"

    def _said(self, text: str) -> Object:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": None}

    def _ended(self, finish: str) -> Object:
        return self._choice("", finish)

    def _choice(self, text: str, finish: str) -> Object:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}


class FillShape(Shape, frozen=True):
    """`/infill`, as llama.cpp's server has it: no terminator, the last event says `stop`."""

    TERMINATOR = b""

    model: str

    def opening(self) -> tuple[Object, ...]:
        """Nothing."""
        return ()

    def piece(self, text: str) -> Object:
        """More text."""
        return {"index": 0, "content": text, "stop": False}

    def closing(self, done: wire.Generated) -> tuple[Object, ...]:
        """The counts."""
        return (self.whole("", done),)

    def whole(self, text: str, done: wire.Generated) -> Object:
        """The text and the counts."""
        return {
            "index": 0,
            "content": text,
            "stop": True,
            "stop_type": "limit" if done.finish == "length" else "eos",
            "model": self.model,
            "tokens_predicted": done.usage.output,
            "tokens_evaluated": done.usage.input,
            "tokens_cached": done.usage.cache_read,
            "truncated": False,
            "nanoide": _told(done),
        }


def usage_object(usage: Usage) -> Object:
    """Tokens as OpenAI counts them."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
    }


def _delta(delta: Object, finish: str | None = None) -> Object:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _told(done: wire.Generated) -> Object:
    """What OpenAI has no words for: who answered, where, and at what cost."""
    return {
        "backend": done.backend,
        "where": done.where,
        "tier": done.tier,
        "cost_usd": None if done.cost_nano is None else usd(done.cost_nano),
        "estimated": done.usage.estimated,
    }
