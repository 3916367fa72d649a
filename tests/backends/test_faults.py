"""What servers say when they refuse, in our words."""

import json
from datetime import UTC, datetime

import pytest

from nanoide.backends.faults import Answered, exhausted, from_status, in_stream, retry_after

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def _error(status: int, message: str = "", headers: dict[str, str] | None = None, **fields: str) -> Answered:
    body = json.dumps({"error": {"message": message, **fields}}).encode()
    return from_status(status, headers or {}, body, secret="")


@pytest.mark.parametrize(
    ("status", "message", "outcome"),
    [
        (400, "temperature must be a number", "bad_request"),
        (422, "messages: field required", "bad_request"),
        (401, "bad key", "auth"),
        (403, "no access to this model", "auth"),
        (403, "Your input was flagged by moderation", "content_filter"),
        (400, "The response was filtered due to the content management policy", "content_filter"),
        (402, "insufficient balance", "quota"),
        (429, "You exceeded your current quota, please check your plan", "quota"),
        (429, "slow down", "overloaded"),
        (400, "Your credit balance is too low", "quota"),
        (404, "no such model", "not_found"),
        (413, "", "context"),
        (408, "", "server_error"),
        (409, "", "server_error"),
        (500, "", "server_error"),
        (502, "", "server_error"),
        (503, "", "overloaded"),
        (504, "", "server_error"),
        (529, "", "overloaded"),
        (418, "", "bad_request"),
        (302, "", "protocol"),
    ],
)
def test_each_status_has_a_reaction_of_its_own(status: int, message: str, outcome: str) -> None:
    """The words decide where one status stands for several things."""
    assert _error(status, message).outcome == outcome


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("prompt is too long: 213462 tokens > 200000 maximum", "213,462 tokens, and the window 200,000"),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 10,000 tokens (9,000 in the "
            "messages, 1,000 in the completion).",
            "10,000 tokens, and the window 8,192",
        ),
        (
            "request (9001 tokens) exceeds the available context size (8192 tokens), try increasing it",
            "9,001 tokens, and the window 8,192",
        ),
        ("input is too long", "fewer files"),
    ],
)
def test_a_prompt_that_is_too_long_is_told_with_both_numbers(message: str, hint: str) -> None:
    """Where the server says them; as an answer and inside a stream."""
    error = _error(400, message)
    assert error.outcome == "context"
    assert hint in error.hint
    event = json.dumps({"error": {"message": message, "code": "context_length_exceeded"}}).encode()
    assert hint in in_stream(event, secret="").hint


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_a_date_or_milliseconds(headers: dict[str, str], seconds: float | None) -> None:
    """Nonsense is as good as nothing."""
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:30Z",
            },
            30.0,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "4",
                "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:30Z",
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-21T12:00:05Z",
            },
            5.0,
        ),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 42)}, 42.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((int(NOW.timestamp()) + 42) * 1000)}, 42.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "12"}, 12.0),
        ({"X-RateLimit-Remaining": "1", "x-ratelimit-reset": "12"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "whenever"}, None),
        ({}, None),
    ],
)
def test_an_allowance_that_is_used_up_says_when_it_is_filled(headers: dict[str, str], seconds: float | None) -> None:
    """Whichever way the limit is named and the time is written; one that is not used up says nothing."""
    assert exhausted(headers, NOW) == seconds


def test_a_refusal_without_retry_after_waits_for_the_allowance() -> None:
    """Retry-After, where there is one, has the last word."""
    limits = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}
    assert _error(429, "", limits).retry_after == 30.0
    assert _error(429, "", {**limits, "retry-after": "3"}).retry_after == 3.0
    assert _error(400, "", limits).retry_after is None


def test_a_server_that_says_not_to_try_again_is_not_waited_for() -> None:
    """Then it is no overload that passes."""
    assert _error(429, "", {"x-should-retry": "false"}).outcome == "quota"
    assert _error(529, "", {"x-should-retry": "false"}).outcome == "server_error"
    assert _error(529, "", {"x-should-retry": "true"}).outcome == "overloaded"
