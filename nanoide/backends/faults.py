"""What servers say when they refuse, in our words: the one place where foreign errors are translated."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from nanoide.core.errors import BackendError, Outcome
from nanoide.core.sanitize import clean_line
from nanoide.core.value import Value

_CONTEXT = re.compile(
    r"context[ _-](?:length|window|size)|exceed_context|too many (?:input )?tokens|prompt is too long"
    r"|maximum (?:context|number of tokens)|input (?:is|was) too long",
    re.IGNORECASE,
)
_FILTER = re.compile(r"content[ _-](?:filter|policy|management)|responsible ?ai ?policy", re.IGNORECASE)
_MODERATED = re.compile(r"moderation|flagged", re.IGNORECASE)
_CREDIT = re.compile(r"insufficient_quota|billing|credit balance|exceeded your current quota", re.IGNORECASE)

_NUMBERS = (
    re.compile(r"(?P<tokens>\d[\d,]*) tokens? ?> ?(?P<window>\d[\d,]*)"),
    re.compile(r"maximum context length is (?P<window>\d[\d,]*)\D.*?(?P<tokens>\d[\d,]*) (?:input )?tokens", re.DOTALL),
    re.compile(r"\((?P<tokens>\d[\d,]*) tokens\).*?context size \((?P<window>\d[\d,]*) tokens\)", re.DOTALL),
)
"""How servers say how long a prompt was and how long it may be: Anthropic, OpenAI and vLLM, llama-server."""

_KINDS: dict[str, Outcome] = {
    "overloaded_error": "overloaded",
    "rate_limit_error": "overloaded",
    "rate_limit_exceeded": "overloaded",
    "api_error": "server_error",
    "timeout_error": "server_error",
    "server_error": "server_error",
    "authentication_error": "auth",
    "permission_error": "auth",
    "invalid_api_key": "auth",
    "billing_error": "quota",
    "insufficient_quota": "quota",
    "not_found_error": "not_found",
    "model_not_found": "not_found",
    "request_too_large": "context",
    "context_length_exceeded": "context",
    "exceed_context_size_error": "context",
    "content_filter": "content_filter",
    "invalid_request_error": "bad_request",
}
"""Types and codes of OpenAI, Anthropic, llama-server and those who follow them."""

_LONGEST = 200
"""Characters of a server's own words that we repeat."""


_OF_THE_PROMPT: frozenset[Outcome] = frozenset({"bad_request", "context", "content_filter"})
"""The server is well; it only does not like this prompt."""


def trouble(error: BackendError) -> str:
    """What an error says about the server's health, as a phrase; empty when it is the prompt's fault."""
    return "" if error.outcome in _OF_THE_PROMPT else error.message


class Answered(BackendError):
    """A server answered with an error, before any stream began."""

    def __init__(
        self, message: str, *, outcome: Outcome, status: int, body: str, retry_after: float | None, hint: str = ""
    ) -> None:
        super().__init__(message, outcome=outcome, retry_after=retry_after, hint=hint)
        self.status = status
        self.body = body
        """As it came, for telling which parameter it did not like; never shown."""

    def names(self, parameter: str) -> bool:
        """True when the server's complaint names the parameter of ours."""
        quoted = rf"[\"'`]{re.escape(parameter)}[\"'`]"
        return self.status in {400, 422} and re.search(quoted, self.body) is not None


class Said(Value, frozen=True):
    """The words of a server's error."""

    message: str
    kinds: tuple[str, ...] = ()
    """Its type and code, where it has them."""


def from_status(status: int, headers: Mapping[str, str], body: bytes, *, secret: str) -> Answered:
    """The error for an answer with a status other than 200."""
    said = read(body, secret)
    outcome: Outcome = _of_status(status, said)
    if outcome == "overloaded" and headers.get("x-should-retry", "").strip().lower() == "false":
        outcome = "quota" if status == 429 else "server_error"  # it says that waiting will not help
    after = retry_after(headers)
    if after is None and outcome in {"overloaded", "quota"}:
        after = exhausted(headers)
    again = "" if after is None else f", again in {after:.0f} s" if after >= 0.5 else ", again in a moment"
    ours: dict[Outcome, str] = {
        "auth": f"the key was refused ({status})",
        "quota": f"no credit or quota left ({status})",
        "overloaded": f"overloaded ({status}){again}",
    }
    theirs = f"{status}: {said.message}" if said.message else f"answered with status {status}"
    return Answered(
        ours.get(outcome, theirs),
        outcome=outcome,
        status=status,
        body=body.decode("utf-8", "replace"),
        retry_after=after,
        hint=trim(said.message) if outcome == "context" else "",
    )


def in_stream(body: bytes, *, secret: str) -> BackendError:
    """The error for an error event inside a stream that began well."""
    said = read(body, secret)
    outcome: Outcome | None = next((_KINDS[kind] for kind in said.kinds if kind in _KINDS), None)
    if outcome is None or outcome == "bad_request":
        status = next((int(kind) for kind in said.kinds if kind.isdecimal() and len(kind) == 3), 500)
        outcome = _of_status(status, said)
    hint = trim(said.message) if outcome == "context" else ""
    return BackendError(f"error in the stream: {said.message or 'no reason given'}", outcome=outcome, hint=hint)


def trim(message: str) -> str:
    """What to do about a prompt that is too long, with both numbers where the server's `message` has them."""
    found = next((match for pattern in _NUMBERS if (match := pattern.search(message))), None)
    if found is None:
        return "give it less: fewer files, or a smaller part of them"
    tokens, window = (int(found[name].replace(",", "")) for name in ("tokens", "window"))
    return f"give it less: it has {tokens:,} tokens, and the window {window:,}"


def read(body: bytes, secret: str) -> Said:
    """The words in an error's body, fit to be shown: one clean, short line without the key."""
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Said("")  # HTML and the like: the status says more
    kinds: list[str] = []
    message = ""
    for _ in range(3):
        if isinstance(value, str):
            message = value
            break
        if not isinstance(value, dict):
            break
        table: dict[object, object] = value  # pyright: ignore[reportUnknownVariableType]  # any JSON object
        kinds += [str(table[name]) for name in ("type", "code") if isinstance(table.get(name), str | int)]
        value = next((table[name] for name in ("error", "message", "detail") if table.get(name)), None)
    return Said(_fit(message, secret), tuple(kinds))


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds, from retry-after-ms or Retry-After (seconds or a date); None when it does not say."""
    try:
        if (text := headers.get("retry-after-ms")) is not None:
            seconds = float(text) / 1000
        elif (text := headers.get("retry-after")) is None:
            return None
        elif re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
            seconds = float(text)
        else:
            from email.utils import parsedate_to_datetime  # rarely needed, and slow to import

            date = parsedate_to_datetime(text)
            if date.tzinfo is None:
                date = date.replace(tzinfo=UTC)
            seconds = (date - (now or datetime.now(UTC))).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), 86_400.0) if seconds == seconds else None  # NaN is not itself


def exhausted(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds until an allowance that is used up is filled again, by the rate-limit headers; None when none is.

    Anthropic names the limit in front (`anthropic-ratelimit-requests-remaining`), OpenAI behind
    (`x-ratelimit-remaining-requests`), others not at all. Where several are used up the longest wait counts.
    """
    waits: list[float] = []
    for name, value in headers.items():
        name = name.lower()
        if "ratelimit" not in name or "remaining" not in name or not re.fullmatch(r"\s*0+(\.0*)?\s*", value):
            continue
        reset = headers.get(name.replace("remaining", "reset"))
        seconds = None if reset is None else _until(reset.strip(), now or datetime.now(UTC))
        if seconds is not None:
            waits.append(seconds)
    return max(waits, default=None)


_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def _until(reset: str, now: datetime) -> float | None:
    """Seconds until `reset`: a time, seconds since 1970 (or milliseconds), seconds, or a span such as "6m0s"."""
    seconds: float | None = None
    if re.fullmatch(r"\d+(\.\d+)?", reset):
        number = float(reset)
        if number > 1e11:
            number /= 1000
        seconds = number - now.timestamp() if number > 1e9 else number
    elif reset and (span := _SPAN.fullmatch(reset)):
        days, hours, minutes, rest, ms = (float(each or 0) for each in span.groups())
        seconds = days * 86_400 + hours * 3_600 + minutes * 60 + rest + ms / 1000
    else:
        try:
            at = datetime.fromisoformat(reset)
        except ValueError:
            return None
        seconds = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return min(max(seconds, 0.0), 86_400.0)


def _of_status(status: int, said: Said) -> Outcome:
    words = " ".join((said.message, *said.kinds))
    match status:
        case 403 if _FILTER.search(words) or _MODERATED.search(words):
            return "content_filter"
        case 401 | 403:
            return "auth"
        case 402:
            return "quota"
        case 404:
            return "not_found"
        case 413:
            return "context"
        case 429:
            return "quota" if _CREDIT.search(words) else "overloaded"
        case 503 | 529:
            return "overloaded"
        case 408 | 409:
            return "server_error"
        case _ if status >= 500:
            return "context" if "exceed_context_size_error" in said.kinds else "server_error"
        case _ if status >= 400:
            if _FILTER.search(words):
                return "content_filter"
            if _CONTEXT.search(words):
                return "context"
            return "quota" if _CREDIT.search(words) else "bad_request"
        case _:
            return "protocol"


def _fit(message: str, secret: str) -> str:
    line = clean_line(message.replace(secret, "…") if secret else message).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
