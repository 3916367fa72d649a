"""A model's chat template: Jinja from a hostile file, in a sandbox, around texts that are hostile too.

The template sees a mark in place of each text. The rendered frame is cut at the marks, so that only
the frame is read for special tokens: a file that contains `<|im_end|>` ends nothing.
"""

import re
from datetime import UTC, datetime
from typing import Any

from nanoide.core.chat import Message
from nanoide.engine.leash import Leash, LeashError

SIZE_LIMIT = 128 * 1024
"""Characters of a template, and of what it renders around the texts."""

COMPILE_S = 5.0
"""Seconds of computing for which a template may be read."""

RENDER_S = 0.5
"""And for which it may render: a common one takes a thousandth of that. Meanwhile every other job waits."""

_FILTERS = {
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "indent", "int", "items",
    "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse",
    "round", "safe", "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "unique", "upper",
}  # fmt: skip
"""What templates of models use; the others only offer ways to take time and memory."""

_POWER_LIMIT = 64
_BITS_LIMIT = 4096

_MARK = re.compile("\ue0f0(\\d+)\ue0f1")


class TemplateError(Exception):
    """The template does not render."""


class Template:
    """A chat template, compiled."""

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        """Raises TemplateError."""
        if len(source) > SIZE_LIMIT:
            raise TemplateError(f"it has {len(source)} characters; {SIZE_LIMIT} are possible")
        self._bos = bos
        self._eos = eos
        try:
            with Leash(COMPILE_S):
                self._template = _environment().from_string(source)
        except LeashError as error:
            raise TemplateError(f"it does not compile: {error}") from error
        except Exception as error:  # whatever Jinja and Python say to a hostile source
            raise TemplateError(f"it does not compile: {type(error).__name__}: {error}") from error

    def render(self, system: str, messages: tuple[Message, ...]) -> list[tuple[str, bool]]:
        """The conversation as pieces: the text, and whether it belongs to the frame. Raises TemplateError.

        A template that takes no system message gets it at the head of the first message.
        """
        texts = [each.text for each in messages]
        turns = [{"role": each.role, "content": f"\ue0f0{at}\ue0f1"} for at, each in enumerate(messages)]
        if not system:
            return self._pieces(turns, texts)
        if not turns:
            return self._pieces([{"role": "user", "content": "\ue0f00\ue0f1"}], [system])
        try:
            mark = f"\ue0f0{len(texts)}\ue0f1"
            return self._pieces([{"role": "system", "content": mark}, *turns], [*texts, system])
        except TemplateError:
            return self._pieces(turns, [f"{system}\n\n{texts[0]}", *texts[1:]])

    def _pieces(self, turns: list[dict[str, str]], texts: list[str]) -> list[tuple[str, bool]]:
        try:
            with Leash(RENDER_S):
                parts = self._parts(turns)
        except TemplateError:
            raise
        except Exception as error:
            raise TemplateError(f"it does not render: {error}") from error
        return _cut("".join(parts), texts)

    def _parts(self, turns: list[dict[str, str]]) -> list[str]:
        parts = list[str]()
        size = 0
        for part in self._template.generate(
            messages=turns,
            add_generation_prompt=True,
            bos_token=self._bos,
            eos_token=self._eos,
            tools=None,
            raise_exception=_raise,
            strftime_now=_now,
        ):
            size += len(part)
            if size > SIZE_LIMIT + 32 * len(turns):
                raise TemplateError("it renders without an end")
            parts.append(part)
        return parts


def _cut(rendered: str, texts: list[str]) -> list[tuple[str, bool]]:
    """The pieces of what was rendered, the texts in the places of their marks. Raises TemplateError."""
    pieces = list[tuple[str, bool]]()
    seen = set[int]()
    for at, part in enumerate(_MARK.split(rendered)):
        if at % 2 == 0:
            pieces.append((part, True))
        elif int(part) < len(texts):
            seen.add(int(part))
            pieces.append((texts[int(part)], False))
    if len(seen) < len(texts):
        raise TemplateError("it leaves out a message")
    return [each for each in pieces if each[0]]


def _environment() -> Any:
    """A sandbox with less in it than Jinja's own."""
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """See SandboxedEnvironment. No number grows so large that to compute with it takes time."""
            if isinstance(left, int) and isinstance(right, int):
                if operator == "**" and not -_POWER_LIMIT <= right <= _POWER_LIMIT:
                    raise SecurityError(f"a power of {right}")
                if left.bit_length() + right.bit_length() > _BITS_LIMIT:
                    raise SecurityError("a number without an end")
            return super().call_binop(context, operator, left, right)

    # Without the optimiser nothing of the template is computed while it compiles.
    environment = Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        optimized=False,
        extensions=["jinja2.ext.loopcontrols"],
    )
    environment.filters = {name: each for name, each in environment.filters.items() if name in _FILTERS}
    environment.globals = {name: environment.globals[name] for name in ("range", "dict", "namespace")}
    return environment


def _now(form: Any) -> str:
    """Today, as templates ask for it."""
    return datetime.now(UTC).strftime(str(form)[:64])


def _raise(message: Any) -> None:
    raise TemplateError(str(message))
