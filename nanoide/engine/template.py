"""A model's chat template: Jinja from a hostile file, in a sandbox, around texts that are hostile too.

The template sees a mark in place of each text. The rendered frame is cut at the marks, so that only
the frame is read for special tokens: a file that contains `<|im_end|>` ends nothing.
"""

import re
from typing import Any

from nanoide.core.chat import Message

SIZE_LIMIT = 128 * 1024
"""Characters of a template, and of what it renders around the texts."""

_MARK = re.compile("\ue0f0(\\d+)\ue0f1")


class TemplateError(Exception):
    """The template does not render."""


class Template:
    """A chat template, compiled."""

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        """Raises TemplateError."""
        from jinja2 import TemplateError as JinjaError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        if len(source) > SIZE_LIMIT:
            raise TemplateError(f"it has {len(source)} characters; {SIZE_LIMIT} are possible")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, autoescape=False, extensions=["jinja2.ext.loopcontrols"]
        )
        self._bos = bos
        self._eos = eos
        try:
            self._template = environment.from_string(source)
        except (JinjaError, RecursionError) as error:
            raise TemplateError(f"it does not compile: {error}") from error

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
            parts = list[str]()
            size = 0
            for part in self._template.generate(
                messages=turns,
                add_generation_prompt=True,
                bos_token=self._bos,
                eos_token=self._eos,
                tools=None,
                raise_exception=_raise,
            ):
                size += len(part)
                if size > SIZE_LIMIT + 32 * len(turns):
                    raise TemplateError("it renders without an end")
                parts.append(part)
        except TemplateError:
            raise
        except Exception as error:
            raise TemplateError(f"it does not render: {error}") from error
        pieces = list[tuple[str, bool]]()
        seen = set[int]()
        for at, part in enumerate(_MARK.split("".join(parts))):
            if at % 2 == 0:
                pieces.append((part, True))
            elif int(part) < len(texts):
                seen.add(int(part))
                pieces.append((texts[int(part)], False))
        if len(seen) < len(texts):
            raise TemplateError("it leaves out a message")
        return [each for each in pieces if each[0]]


def _raise(message: Any) -> None:
    raise TemplateError(str(message))
