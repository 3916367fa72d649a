"""What never leaves, whatever the policy: secrets, by formats that are anchored and by the keys that we hold. Pure.

Anchored means that a pattern begins with what only such a secret begins with; guessing by entropy
would hide most of an ordinary file.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from nanoide.core.chat import Message, Prompt
from nanoide.core.value import Value


class Format(Value, frozen=True):
    """A kind of secret that is known by how it looks."""

    what: str
    """As a phrase, for the person."""
    anchors: tuple[str, ...]
    """One of these stands in every text that holds such a secret: looking for them is what makes it quick."""
    pattern: re.Pattern[str]
    """The secret; a group, where there is one, is what stands before it and stays."""


def _format(what: str, anchors: str, pattern: str) -> Format:
    return Format(what, tuple(anchors.split()), re.compile(pattern))


def _token(what: str, first: str, rest: str, anchors: str = "") -> Format:
    """A token that begins with `first`, not in the middle of a word; a quoted line break before it is no word."""
    literal = re.escape(first)
    return _format(what, anchors or first, rf"{literal}(?:(?<!\w{literal})|(?<=\\[nrt]{literal})){rest}")


@cache
def formats() -> tuple[Format, ...]:
    """Every known form. Made when the first prompt leaves: most never do, and thirty patterns take their time."""
    return (
        Format(
            "private key",
            ("-----BEGIN ",),
            re.compile(
                r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
                r"(?:(?:[^-]|-(?!----BEGIN)){0,16384}?-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
                r"|(?:[\s+\-|>]{0,8}[A-Za-z0-9+/=]{16,})*(?:[\s+\-|>]{0,8}[A-Za-z0-9+/=]{1,15}\Z)?)"
            ),
        ),
        _token("AWS key", "A", r"(?:KI|SI|BI|CC)A[A-Z2-7]{16}\b", "AKIA ASIA ABIA ACCA"),
        Format(
            "AWS secret",
            ("ecret_access_key", "ECRET_ACCESS_KEY", "ecretAccessKey"),
            re.compile(
                r"((?:ecret_access_key|ECRET_ACCESS_KEY|ecretAccessKey)[\"']?\s{0,4}[=:]\s{0,4}[\"']?)"
                r"[A-Za-z0-9/+=]{40}"
            ),
        ),
        _token("GitHub token", "gh", r"[pousr]_[A-Za-z0-9]{36,255}", "ghp_ gho_ ghu_ ghs_ ghr_"),
        _token("GitHub token", "github_pat_", r"[A-Za-z0-9_]{22,255}"),
        _token("GitLab token", "gl", r"(?:pat|dt|rt)-[A-Za-z0-9_-]{20,}", "glpat- gldt- glrt-"),
        _token("Anthropic key", "sk-ant-", r"[A-Za-z0-9_-]{16,}"),
        _token("OpenAI key", "sk-", r"(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{20,})"),
        _token("Groq key", "gsk_", r"[A-Za-z0-9]{40,}"),
        _token("xAI key", "xai-", r"[A-Za-z0-9]{40,}"),
        _token("Perplexity key", "pplx-", r"[A-Za-z0-9]{40,}"),
        _token("Slack token", "xox", r"[abeoprs]-[A-Za-z0-9-]{10,}", "xox"),
        _token("Slack token", "xapp-", r"[0-9]-[A-Za-z0-9-]{10,}"),
        _format("Slack hook", "https://hooks.slack.com/", r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}"),
        _token("Google key", "AIza", r"[0-9A-Za-z_-]{35}"),
        _token("Google secret", "GOCSPX-", r"[0-9A-Za-z_-]{20,}"),
        _token("Stripe key", "sk_", r"(?:live|test)_[A-Za-z0-9]{16,}", "sk_live_ sk_test_"),
        _token("Stripe key", "rk_", r"(?:live|test)_[A-Za-z0-9]{16,}", "rk_live_ rk_test_"),
        _token("npm token", "npm_", r"[A-Za-z0-9]{36}\b"),
        _token("PyPI token", "pypi-AgE", r"[A-Za-z0-9_-]{50,}"),
        _token("Hugging Face token", "hf_", r"[A-Za-z0-9]{30,}\b"),
        _token("Docker token", "dckr_pat_", r"[A-Za-z0-9_-]{20,}"),
        _token("DigitalOcean token", "do", r"[opr]_v1_[a-f0-9]{64}", "dop_v1_ doo_v1_ dor_v1_"),
        _token("SendGrid key", "SG.", r"[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}"),
        _token("Vault token", "hvs.", r"[A-Za-z0-9_-]{24,}"),
        _token("age key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
        _token("JSON Web Token", "eyJ", r"[A-Za-z0-9_-]{8,512}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,}", ".eyJ"),
        _format(
            "authorization",
            "uthorization",
            r"(uthorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:Bearer|Basic|[Tt]oken) )[A-Za-z0-9._~+/=-]{16,}",
        ),
        _format("password in an address", "://", r"(://[^\s:/@\"']{0,64}:)[^\s@/\"']{3,128}(?=@)"),
    )


_END = re.compile(r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_BODY = re.compile(r"(?:(?:\n\r?|n\\(?:r\\)?)[A-Za-z0-9+/=]{4,}[ \t\-|>]{0,8})*")
"""Lines of a key, read backwards from its end: what is left of one whose beginning was cut off."""

KEY = "[hidden: key]"
"""What stands where a key that we hold was."""

_SHORTEST = 8
"""Characters of a held key; shorter ones would hide ordinary words."""

_ACROSS = 512
"""Characters on either side of the cursor in which a secret that it cuts in two is looked for."""


class Redactor:
    """Takes secrets out of prompts. `held` are keys that are hidden wherever and however encoded they stand."""

    def __init__(self, held: Iterable[str] = ()) -> None:
        # A variable may hold bytes that are no text; they stand in no prompt.
        keys = {key for key in held if len(key) >= _SHORTEST and key == key.encode(errors="replace").decode()}
        self._needles = tuple(sorted({form for key in keys for form in _forms(key)}))
        self._quoted = tuple((_longest_run(key), _percent(key)) for key in sorted(keys) if quote(key, safe="") != key)

    def prompt(self, prompt: Prompt) -> tuple[Prompt, tuple[str, ...]]:
        """The prompt as it may leave, and what was hidden, a phrase each. What only a reflex reads stays here."""
        counts: dict[str, int] = {}
        asked = [prompt.system, *(each.text for each in prompt.messages), prompt.partial]
        system, *texts, partial = self._clean(asked, counts)
        fill = prompt.fill
        if fill is not None:
            before, after = self._held([fill.prefix, fill.suffix], counts)
            prefix, suffix = (_known(each, counts) for each in _across(before, after, counts))
            fill = replace(fill, prefix=prefix, suffix=suffix, path=self._one(fill.path, counts))
        clean = replace(
            prompt,
            system=system,
            messages=tuple(
                Message(role=each.role, text=text) for each, text in zip(prompt.messages, texts, strict=True)
            ),
            partial=partial,
            fill=fill,
            reflex=None,
            grammar=self._one(prompt.grammar, counts),
            json_schema=self._one(prompt.json_schema, counts),
            stop=tuple(self._one(each, counts) for each in prompt.stop),
        )
        return clean, _phrases(counts)

    def text(self, text: str) -> tuple[str, tuple[str, ...]]:
        """One text as it may leave, and what was hidden."""
        counts: dict[str, int] = {}
        return self._one(text, counts), _phrases(counts)

    def _one(self, text: str, counts: dict[str, int]) -> str:
        return self._clean([text], counts)[0] if text else text

    def _clean(self, texts: Sequence[str], counts: dict[str, int]) -> list[str]:
        return [_known(each, counts) for each in self._held(texts, counts)]

    def _held(self, texts: Sequence[str], counts: dict[str, int]) -> list[str]:
        """`texts` without the keys that we hold, those that begin in one text and end in a later one included."""
        whole = "".join(texts)
        spans = _merged(self._spans(whole))
        if not spans:
            return list(texts)
        _count(counts, "key of this machine", len(spans))
        return _without(texts, spans)

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        for needle in self._needles:
            at = text.find(needle)
            while at >= 0:
                yield at, at + len(needle)
                at = text.find(needle, at + 1)
        for run, pattern in self._quoted:
            if run in text:
                yield from (found.span() for found in pattern.finditer(text))


def _forms(key: str) -> Iterator[str]:
    """The key as it stands in texts: as it is, in JSON and HTML, in hexadecimal, and within anything in base 64."""
    yield key
    quoted = msgspec.json.encode(key).decode()[1:-1]
    yield quoted
    yield quoted.replace("/", "\\/")
    yield key.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    data = key.encode()
    yield data.hex()
    yield data.hex().upper()
    for lead in range(3):  # where it begins within a group of three bytes
        text = b2a_base64(bytes(lead) + data, newline=False).decode()
        piece = text[(lead * 8 + 5) // 6 : (lead + len(data)) * 8 // 6]  # what the key alone decides
        yield piece
        yield piece.replace("+", "-").replace("/", "_")


def _percent(key: str) -> re.Pattern[str]:
    """The key with any of its characters as in an address: %2B for +, and + for a space."""
    parts: list[str] = []
    for char in key:
        code = "".join(f"%{byte:02x}" for byte in char.encode())
        either = f"(?i:{code})"
        parts.append(f"(?:{re.escape(char)}|{either}{'|[+]' if char == ' ' else ''})")
    return re.compile("".join(parts))


def _longest_run(key: str) -> str:
    """The longest part of the key that no address encodes: where it is not, the key is not."""
    return max(re.split(r"[^A-Za-z0-9]", key), key=len)


def _merged(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, those that touch as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(texts: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[str]:
    """`texts` with a mark in place of each span; spans count through all texts as if they were one."""
    out: list[str] = []
    begin = 0
    for text in texts:
        parts: list[str] = []
        at = 0
        for start, end in spans:
            left, right = max(start - begin, 0), min(end - begin, len(text))
            if left < right:
                parts += [text[at:left], KEY]
                at = right
        out.append("".join([*parts, text[at:]]))
        begin += len(text)
    return out


def _known(text: str, counts: dict[str, int]) -> str:
    """`text` without what has one of the known forms."""
    for each in formats():
        if any(anchor in text for anchor in each.anchors):
            keeps = r"\1" if each.pattern.groups else ""
            text, found = each.pattern.subn(f"{keeps}[hidden: {each.what}]", text)
            _count(counts, each.what, found)
    return _beheaded(text, counts)


def _beheaded(text: str, counts: dict[str, int]) -> str:
    """`text` without the rest of a private key that begins before the text does."""
    parts: list[str] = []
    at = 0
    for found in _END.finditer(text):
        body = _BODY.match(text[max(at, found.start() - 16_384) : found.start()][::-1])
        parts += [text[at : found.start() - (body.end() if body else 0)], "[hidden: private key]"]
        at = found.end()
        _count(counts, "private key", 1)
    return "".join([*parts, text[at:]]) if parts else text


def _across(left: str, right: str, counts: dict[str, int]) -> tuple[str, str]:
    """Both sides of a cursor, without a secret of a known form that it stands in."""
    near = left[-_ACROSS:] + right[:_ACROSS]
    middle = min(len(left), _ACROSS)
    for each in formats():
        if not any(anchor in near for anchor in each.anchors):
            continue
        for found in each.pattern.finditer(near):
            start, end = found.end(1) if each.pattern.groups else found.start(), found.end()
            if start < middle < end:
                _count(counts, each.what, 1)
                return left[: len(left) - (middle - start)] + f"[hidden: {each.what}]", right[end - middle :]
    return left, right


def _count(counts: dict[str, int], what: str, found: int) -> None:
    if found:
        counts[what] = counts.get(what, 0) + found


def _phrases(counts: dict[str, int]) -> tuple[str, ...]:
    return tuple(f"{count} × {what}" if count > 1 else what for what, count in counts.items())


def size(prompt: Prompt) -> int:
    """Bytes of all text in the prompt that a server gets."""
    return sum(len(text.encode("utf-8", "replace")) for text in texts(prompt))


def texts(prompt: Prompt) -> Sequence[str]:
    """All text in the prompt that a server gets."""
    fill = (prompt.fill.prefix, prompt.fill.suffix) if prompt.fill is not None else ()
    return (prompt.system, *(each.text for each in prompt.messages), prompt.partial, *fill)
