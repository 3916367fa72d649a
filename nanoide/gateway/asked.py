"""What clients send → what the hub is asked. Pure. What cannot be done is refused here and never dropped in silence."""

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from nanoide import wire
from nanoide.core.chat import Fill, Message, Source
from nanoide.core.ignore import is_secret
from nanoide.core.value import Value
from nanoide.gateway.faults import Fault
from nanoide.gateway.shapes import ChatShape, FillShape, Shape, TextShape

MOST_OUTPUT = 131_072
"""Tokens; a larger limit means this one."""

STOPS = 16
"""Stop texts; more are refused."""

_T = TypeVar("_T")
_AT = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")

Count = Annotated[int, Meta(ge=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class Asked(Value, frozen=True):
    """A request, understood."""

    generate: wire.Generate | None
    """None when nothing is to be generated: the answer is empty at once."""
    shape: Shape
    stream: bool


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Said(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[msgspec.Raw] | None = None
    function_call: msgspec.Raw | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Sampling(msgspec.Struct):
    """What all requests may say. Fields that mean nothing here are let pass, those that cannot be done are not."""

    model: str | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    stop: str | list[str] | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    user: str | None = None
    prompt_cache_key: str | None = None


class _Schema(msgspec.Struct):
    schema: msgspec.Raw = msgspec.Raw(b"")


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class Chat(_Sampling):
    """The body of `/v1/chat/completions`."""

    messages: list[_Said] = []
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    response_format: _Format | None = None
    tools: list[msgspec.Raw] | None = None
    functions: list[msgspec.Raw] | None = None
    logprobs: bool | None = None
    audio: msgspec.Raw | None = None
    modalities: list[str] | None = None


class Completion(_Sampling):
    """The body of `/v1/completions`."""

    prompt: str | list[msgspec.Raw] | None = None
    suffix: str | None = None
    max_tokens: Count | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None


class _Extra(msgspec.Struct):
    text: str
    filename: str = ""


class Infill(_Sampling):
    """The body of `/infill`."""

    input_prefix: str = ""
    input_suffix: str = ""
    prompt: str | None = None
    n_predict: int | None = None
    input_extra: list[_Extra] | None = None


def chat(body: bytes, *, id: str, created: int) -> Asked:
    """`/v1/chat/completions`. Raises Fault."""
    ask = _read(body, Chat)
    _refuse_many(ask)
    for field in ("tools", "functions"):
        if getattr(ask, field):
            raise Fault(400, "unsupported", "tools are not supported here", param=field)
    if ask.logprobs:
        raise Fault(400, "unsupported", "log-probabilities are not supported here", param="logprobs")
    if ask.audio is not None or set(ask.modalities or ()) - {"text"}:
        raise Fault(400, "unsupported", "only text is supported here", param="modalities")
    system, messages = _conversation(ask.messages)
    output = ask.max_completion_tokens if ask.max_completion_tokens is not None else ask.max_tokens
    generate = _generate(ask, output, system=system, messages=messages, json_schema=_schema(ask.response_format))
    return Asked(generate, ChatShape(id, created, ask.model or "", _wants_usage(ask)), bool(ask.stream))


def completion(body: bytes, *, id: str, created: int) -> Asked:
    """`/v1/completions`, with `suffix` to fill in. Raises Fault."""
    ask = _read(body, Completion)
    _refuse_many(ask)
    if ask.echo:
        raise Fault(400, "unsupported", "echo is not supported here", param="echo")
    if ask.best_of is not None and ask.best_of > 1:
        raise Fault(400, "unsupported", "one answer a request is supported here", param="best_of")
    if ask.logprobs:
        raise Fault(400, "unsupported", "log-probabilities are not supported here", param="logprobs")
    fill = Fill(prefix=_prompt(ask.prompt), suffix=ask.suffix or "")
    generate = _generate(ask, ask.max_tokens, fill=fill)
    return Asked(generate, TextShape(id, created, ask.model or "", _wants_usage(ask)), bool(ask.stream))


def infill(body: bytes) -> Asked:
    """`/infill`, as llama.cpp's server has it. Raises Fault."""
    ask = _read(body, Infill)
    ask.model = ask.model or "route:default"
    _refuse_many(ask)
    if ask.n_predict == 0:  # editors warm a cache this way; there is nothing to say
        return Asked(None, FillShape(ask.model), bool(ask.stream))
    output = None if ask.n_predict is None or ask.n_predict < 0 else ask.n_predict
    fill = Fill(prefix=ask.input_prefix + (ask.prompt or ""), suffix=ask.input_suffix)
    generate = _generate(ask, output, fill=fill, beside=_beside(ask.input_extra or ()))
    return Asked(generate, FillShape(ask.model), bool(ask.stream))


def _read(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _AT.search(text)
        raise Fault(400, "invalid_value", text, param=found["field"] or None if found else None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Fault(400, "invalid_json", f"the body is not JSON: {error}") from error


def _refuse_many(ask: _Sampling) -> None:
    if ask.n is not None and ask.n != 1:
        raise Fault(400, "unsupported", "one answer a request is supported here", param="n")


def _generate(
    ask: _Sampling,
    output: int | None,
    *,
    system: str = "",
    messages: tuple[Message, ...] = (),
    fill: Fill | None = None,
    beside: tuple[Source, ...] = (),
    json_schema: str = "",
) -> wire.Generate:
    kind, name = _model(ask.model)
    session = ask.prompt_cache_key or ask.user or ""
    return wire.Generate(
        key="",
        skill=name if kind == "skill" else "",
        route=name if kind == "route" else "",
        backend=name if kind == "backend" else "",
        system=system,
        messages=messages,
        fill=fill,
        beside=beside,
        # A name that clients choose: as a hash it is of one length and says nothing about anybody.
        session="gateway-" + hashlib.sha256(session.encode()).hexdigest()[:16] if session else "",
        max_output=None if output is None else min(output, MOST_OUTPUT),
        temperature=ask.temperature,
        top_p=ask.top_p,
        top_k=ask.top_k,
        min_p=ask.min_p,
        repeat_penalty=ask.repeat_penalty,
        frequency_penalty=ask.frequency_penalty,
        presence_penalty=ask.presence_penalty,
        seed=ask.seed,
        stop=_stop(ask.stop),
        json_schema=json_schema,
    )


def _model(model: str | None) -> tuple[Literal["route", "backend", "skill"], str]:
    if not model:
        raise Fault(400, "invalid_value", "a model is needed: route:NAME, backend:NAME or skill:NAME", param="model")
    kind, colon, name = model.partition(":")
    if colon and name and (kind == "route" or kind == "backend" or kind == "skill"):
        return kind, name
    message = f"unknown model {model!r}: there are route:NAME, backend:NAME and skill:NAME, see /v1/models"
    raise Fault(404, "model_not_found", message, param="model")


def _beside(extras: Sequence[_Extra]) -> tuple[Source, ...]:
    """Text of other files; nothing of one that holds secrets. The name is a label: nobody opens that file here."""
    return tuple(
        Source(kind="file", label=each.filename or "another file", text=each.text)
        for each in extras
        if each.text and not is_secret(each.filename)
    )


def _stop(stop: str | list[str] | None) -> tuple[str, ...] | None:
    if stop is None:
        return None
    texts = tuple(each for each in ([stop] if isinstance(stop, str) else stop) if each)
    if len(texts) > STOPS:
        raise Fault(400, "invalid_value", f"{len(texts)} stop texts; {STOPS} are possible", param="stop")
    return texts


def _prompt(prompt: str | list[msgspec.Raw] | None) -> str:
    if isinstance(prompt, str):
        return prompt
    if prompt is not None and len(prompt) == 1:
        try:
            return msgspec.json.decode(prompt[0], type=str)
        except msgspec.DecodeError:
            pass
    raise Fault(400, "unsupported", "one prompt, as text, is supported here", param="prompt")


def _conversation(said: Sequence[_Said]) -> tuple[str, tuple[Message, ...]]:
    """The instruction, and the messages."""
    system: list[str] = []
    messages: list[Message] = []
    for place, each in enumerate(said):
        at = f"messages[{place}]"
        if each.tool_calls or each.function_call is not None:
            raise Fault(400, "unsupported", "tools are not supported here", param=at)
        text = _text(each.content, f"{at}.content")
        if each.role in {"system", "developer"}:
            system.append(text)
        elif each.role == "user":
            messages.append(Message("user", text))
        elif each.role == "assistant":
            messages.append(Message("assistant", text))
        else:
            message = f"the role {each.role!r} is not supported here: system, developer, user or assistant"
            raise Fault(400, "unsupported", message, param=f"{at}.role")
    if not messages:
        raise Fault(400, "invalid_value", "there is no message to answer", param="messages")
    return "\n\n".join(system), tuple(messages)


def _text(content: str | list[_Part] | None, at: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    for part in content:
        if part.type != "text":
            raise Fault(400, "unsupported", f"parts of type {part.type!r} are not supported here, only text", param=at)
    return "".join(part.text for part in content)


def _schema(format: _Format | None) -> str:
    """The JSON schema that the answer is to fit; empty for any text."""
    if format is None or format.type == "text":
        return ""
    if format.type == "json_object":
        return '{"type":"object"}'
    if format.type != "json_schema":
        raise Fault(400, "unsupported", f"unknown response format {format.type!r}", param="response_format")
    schema = bytes(format.json_schema.schema) if format.json_schema is not None else b""
    if not schema.lstrip().startswith(b"{"):
        raise Fault(400, "invalid_value", "json_schema.schema is missing", param="response_format")
    return schema.decode()


def _wants_usage(ask: _Sampling) -> bool:
    return ask.stream_options is not None and bool(ask.stream_options.include_usage)
