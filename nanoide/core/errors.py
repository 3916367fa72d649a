"""Every error that nanoide raises on purpose, as one tree.

    NanoideError                 1
    ├── UsageError               2   the words of the command are off
    │   ├── UnknownName              no such skill, session, backend, theme, route …
    │   ├── SettingsError            config.toml: the file, the key, what is allowed
    │   └── InputError               a file or text that cannot be used: missing, binary, empty, too large
    ├── Refused                  3   policy or budget said no; nothing was sent
    │   ├── PolicyRefused
    │   └── BudgetRefused
    ├── NoBackend                4   every rung of the ladder was tried or passed over
    ├── BackendError             1   one rung failed; `outcome` says how
    ├── SkillError               1   a skill does not load, or its reflex failed
    ├── StoreError               1   database: full disk, newer version, corrupt
    ├── HubError                 1   the hub cannot be reached, started or understood
    └── Interrupted            130   the person, or the end of the hub, stopped it

The number is the exit code of a command that ends with the error. Errors cross the wire by
class name and come out as the same class on the other side.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar, Literal

Outcome = Literal[
    "ok",
    "connect_error",
    "timeout",
    "overloaded",
    "server_error",
    "auth",
    "quota",
    "bad_request",
    "not_found",
    "context",
    "content_filter",
    "protocol",
    "cut",
    "crashed",
    "unavailable",
    "cancelled",
    "refused",
]
"""How one attempt on one backend ended.

connect_error: no connection. timeout: one of the five limits. overloaded: 429, 503 or 529.
server_error: any other 5xx. auth: 401 or 403. quota: 402. bad_request: 400 or 422, the request's own
fault. not_found: 404, unknown model or path. context: the prompt is longer than the window.
content_filter: final, never rerouted. protocol: an answer that is not what the protocol says.
cut: the stream ended without its end. crashed: the engine process died. unavailable: the backend
cannot run here (a missing library or file). cancelled: by the person. refused: by policy or budget.
"""


class NanoideError(Exception):
    """An error that a person can act on: what happened, where, and what to try."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        """What to try, as a sentence; empty when there is nothing useful to say."""

    def __str__(self) -> str:
        """One line: what and where, then what to try."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(NanoideError):
    """The request itself is off; asking again the same way cannot help."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that stands for nothing."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> "UnknownName":
        """The error for a `name` of a `kind` that is not `known`, with the nearest names as a hint."""
        names = sorted(known)
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(repr(each) for each in near) + "?"
        elif names:
            hint = "there are: " + ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
        else:
            hint = f"there is no {kind} yet"
        return cls(f"unknown {kind} {name!r}", hint=hint)


class SettingsError(UsageError):
    """config.toml says something that it may not say."""


class InputError(UsageError):
    """A file or a text that cannot be used."""


class Refused(NanoideError):
    """Policy or budget said no; nothing left the machine."""

    exit_code = 3


class PolicyRefused(Refused):
    """The egress policy does not let this prompt leave, and no rung here could answer."""


class BudgetRefused(Refused):
    """The budget is used up."""


class NoBackend(NanoideError):
    """Every rung of the ladder was tried or passed over."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds until the first rung that rests may be asked again; None when none rests."""


class BackendError(NanoideError):
    """One backend failed to answer one prompt."""

    def __init__(
        self,
        message: str,
        *,
        outcome: Outcome = "server_error",
        retry_after: float | None = None,
        hint: str = "",
        part: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.outcome: Outcome = outcome
        self.retry_after = retry_after
        """Seconds after which the backend wants to be asked again; None when it did not say."""
        self.part = part
        """Only a part of the backend failed (a replica of a pool) and has left: the rest can be asked at once."""


class SkillError(NanoideError):
    """A skill does not load, or its reflex failed."""


class StoreError(NanoideError):
    """The database cannot be opened, read or written."""


class HubError(NanoideError):
    """The hub cannot be reached, started or understood."""


class Interrupted(NanoideError):
    """Stopped before the end by the person or by the end of the hub."""

    exit_code = 130


ERRORS: dict[str, type[NanoideError]] = {
    cls.__name__: cls
    for cls in (
        NanoideError,
        UsageError,
        UnknownName,
        SettingsError,
        InputError,
        Refused,
        PolicyRefused,
        BudgetRefused,
        NoBackend,
        BackendError,
        SkillError,
        StoreError,
        HubError,
        Interrupted,
    )
}
"""By class name, for the wire."""
