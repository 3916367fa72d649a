"""A turn that a command waits for: what was told of it, and how it is put in JSON and in one line."""

from nanoide.cli.printer import millis, money
from nanoide.core.chat import Attempt, Document
from nanoide.core.errors import NanoideError
from nanoide.core.events import AttemptEnded, NoticeGiven, SessionEvent, TurnFinished
from nanoide.core.session import Session
from nanoide.core.usage import Usage, usd


class Telling:
    """What the events of one turn have told so far."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.attempts: list[Attempt] = []
        self.notices: list[str] = []

    def hear(self, event: SessionEvent) -> None:
        """Take note of one event."""
        if isinstance(event, AttemptEnded):
            self.attempts.append(event.attempt)
        elif isinstance(event, NoticeGiven):
            self.notices.append(event.text)


def attempt_object(attempt: Attempt) -> dict[str, object]:
    """One attempt, with stable keys."""
    return {
        "backend": attempt.backend,
        "where": attempt.where,
        "tier": attempt.tier,
        "outcome": attempt.outcome,
        "ms": attempt.ms,
        "ttft_ms": attempt.ttft_ms,
        "model": attempt.model,
        "usage": usage_object(attempt.usage),
        "cost_usd": cost(attempt.cost_nano),
        "priced": attempt.cost_nano is not None,
        "price_source": attempt.price_source,
        "reason": attempt.reason,
    }


def usage_object(usage: Usage) -> dict[str, object]:
    """Tokens, with stable keys."""
    return {
        "input": usage.input,
        "output": usage.output,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "estimated": usage.estimated,
    }


def cost(nano: int | None) -> str | None:
    """Dollars as a decimal string; None when unpriced, which is not free."""
    return None if nano is None else usd(nano)


def result_object(told: Telling, event: TurnFinished, document: Document | None = None) -> dict[str, object]:
    """A whole answer as `--json` prints it."""
    return {
        "session": told.session.name,
        "skill": told.session.skill,
        "text": shown(event.text, document),
        "backend": event.backend,
        "where": event.where,
        "tier": event.tier,
        "attempts": [attempt_object(each) for each in told.attempts],
        "usage": usage_object(event.usage),
        "cost_usd": cost(event.cost_nano),
        "priced": event.cost_nano is not None,
        "ttft_ms": event.ttft_ms,
        "total_ms": event.total_ms,
        "finish": event.finish,
        "sources": list(event.sources),
        "notices": told.notices,
    }


def failure_object(
    error: NanoideError, *, skill: str, told: Telling | None = None, text: str = ""
) -> dict[str, object]:
    """A failure as `--json` prints it."""
    return {
        "session": told.session.name if told else None,
        "skill": told.session.skill if told else skill,
        "text": text,
        **error_object(error),
        "attempts": [attempt_object(each) for each in told.attempts] if told else [],
        "notices": told.notices if told else [],
    }


def error_object(error: NanoideError) -> dict[str, object]:
    """What went wrong, with stable keys."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def shown(text: str, document: Document | None) -> str:
    """What of an answer is shown: of a completion only what an editor would take, or at least its first line."""
    if document is None:
        return text
    from nanoide.completion.shape import shape

    return shape(text, document) or text.lstrip("\n").partition("\n")[0].rstrip()


def describe(event: TurnFinished) -> str:
    """Who answered, how fast and at what cost, for a person."""
    where = "" if event.where == "device" else f" ({event.where})"
    tier = " · reflex" if event.tier == "reflex" and event.backend != "reflex" else ""
    first = f" · first token {millis(event.ttft_ms)}" if event.ttft_ms is not None else ""
    return f"{event.backend}{where}{tier}{first} · {millis(event.total_ms)} · {money(event.cost_nano)}"
