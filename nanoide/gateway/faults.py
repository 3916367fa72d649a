"""What went wrong, as OpenAI's clients know it: a status, a code, and a sentence. Pure."""

import math
from collections.abc import Mapping

from nanoide.core.errors import (
    BackendError,
    BudgetRefused,
    HubError,
    Interrupted,
    NanoideError,
    NoBackend,
    PolicyRefused,
    Refused,
    SettingsError,
    UnknownName,
    UsageError,
)

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Fault(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        also: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        """The field of the request that is meant; None when it is none."""
        self.retry_after = retry_after
        """Seconds; None when it is not known."""
        self.also = also or {}
        """More headers, such as the methods that there are."""

    @property
    def body(self) -> dict[str, object]:
        """As OpenAI says it."""
        kind = _KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Beyond those that every answer has."""
        out = dict(self.also)
        if self.retry_after is not None:
            out["retry-after"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            out["www-authenticate"] = "Bearer"
        return out


def fault_of(error: NanoideError) -> Fault:
    """The answer that stands for `error`."""
    message = str(error)
    match error:
        case UnknownName():
            return Fault(404, "model_not_found", message, param="model")
        case PolicyRefused():
            return Fault(403, "policy", message)
        case BudgetRefused():
            return Fault(403, "budget", message)
        case Refused():
            return Fault(403, "refused", message)
        case NoBackend():
            return Fault(503, "no_backend", message, retry_after=error.retry_after)
        case BackendError(outcome="context"):
            return Fault(400, "context_length_exceeded", message)
        case BackendError(outcome="content_filter"):
            return Fault(400, "content_filter", message)
        case BackendError():
            return Fault(502, error.outcome, message, retry_after=error.retry_after)
        case SettingsError():
            return Fault(503, "settings", message)
        case UsageError():
            return Fault(400, "invalid_request", message)
        case HubError():
            return Fault(503, "hub", message)
        case Interrupted():
            return Fault(503, "interrupted", message)
        case _:
            return Fault(500, "internal", message)
