"""What never leaves, whatever the policy: secrets, by formats that are anchored and by the keys that we hold. Pure.

Anchored means that a pattern begins with what only such a secret begins with; guessing by entropy
would hide most of an ordinary file.
"""

import re
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from nanoide.core.chat import Fill, Message, Prompt

_FORMATS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "private key",
        re.compile(
            r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?:[^-]|-(?!----BEGIN)){0,16384}?-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            r"|(?:[\s+\-|>]{0,8}[A-Za-z0-9+/=]{16,})*)"
        ),
    ),
    ("AWS key", re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b")),
    ("AWS secret", re.compile(r"(?i)(?<=aws_secret_access_key)(\"?\s{0,4}[=:]\s{0,4}[\"']?)[A-Za-z0-9/+=]{40}")),
    ("GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})")),
    ("GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("Anthropic key", re.compile(r"\bsk-ant-[A-Za-z0-9_-]{16,}")),
    ("OpenAI key", re.compile(r"\bsk-(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{20,})")),
    ("Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[0-9]-[A-Za-z0-9-]{10,}")),
    ("Slack hook", re.compile(r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}")),
    ("Google key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    ("Stripe key", re.compile(r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}")),
    ("npm token", re.compile(r"\bnpm_[A-Za-z0-9]{36}\b")),
    ("PyPI token", re.compile(r"\bpypi-AgE[A-Za-z0-9_-]{50,}")),
    ("Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")),
    ("JSON Web Token", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")),
    ("password in an address", re.compile(r"(?<=://)([^\s:/@\"']{1,64}:)[^\s@/\"']{3,128}(?=@)")),
)
"""A phrase, and the secret; a group, where there is one, is what stands before the secret and stays."""

_SHORTEST = 8
"""Characters of a held key; shorter ones would hide ordinary words."""


class Redactor:
    """Takes secrets out of prompts. `held` are keys that are hidden wherever they stand."""

    def __init__(self, held: Iterable[str] = ()) -> None:
        keys = sorted({key for key in held if len(key) >= _SHORTEST}, key=len, reverse=True)
        self._held = re.compile("|".join(map(re.escape, keys))) if keys else None

    def prompt(self, prompt: Prompt) -> tuple[Prompt, tuple[str, ...]]:
        """The prompt as it may leave, and what was hidden, a phrase each. What only a reflex reads stays here."""
        counts: dict[str, int] = {}
        messages = tuple(Message(role=each.role, text=self._clean(each.text, counts)) for each in prompt.messages)
        fill: Fill | None = None
        if prompt.fill is not None:
            fill = replace(
                prompt.fill,
                prefix=self._clean(prompt.fill.prefix, counts),
                suffix=self._clean(prompt.fill.suffix, counts),
            )
        system = self._clean(prompt.system, counts)
        clean = replace(prompt, system=system, messages=messages, fill=fill, reflex=None)
        return clean, tuple(f"{count} × {what}" if count > 1 else what for what, count in counts.items())

    def text(self, text: str) -> tuple[str, tuple[str, ...]]:
        """One text as it may leave, and what was hidden."""
        counts: dict[str, int] = {}
        clean = self._clean(text, counts)
        return clean, tuple(f"{count} × {what}" if count > 1 else what for what, count in counts.items())

    def _clean(self, text: str, counts: dict[str, int]) -> str:
        if self._held is not None:
            text, found = self._held.subn("[hidden: key]", text)
            _count(counts, "key of this machine", found)
        for what, pattern in _FORMATS:
            keeps = r"\1" if pattern.groups else ""
            text, found = pattern.subn(f"{keeps}[hidden: {what}]", text)
            _count(counts, what, found)
        return text


def _count(counts: dict[str, int], what: str, found: int) -> None:
    if found:
        counts[what] = counts.get(what, 0) + found


def size(prompt: Prompt) -> int:
    """Bytes of all text in the prompt that a server gets."""
    return sum(len(text.encode("utf-8", "replace")) for text in texts(prompt))


def texts(prompt: Prompt) -> Sequence[str]:
    """All text in the prompt that a server gets."""
    fill = (prompt.fill.prefix, prompt.fill.suffix) if prompt.fill is not None else ()
    return (prompt.system, *(each.text for each in prompt.messages), *fill)
