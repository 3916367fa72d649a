"""The wall: what a person sees for every way in which a server fails, stated row by row.

Tests play each row and compare; `python -m tests.faults` plays them and prints what was seen.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from nanoide.core.value import Value
from tests.faults import dramas
from tests.faults.scenes import scenes
from tests.faults.server import Kind
from tests.faults.stage import Seen, play

KINDS: tuple[Kind, ...] = ("openai", "anthropic")

Play = Callable[[Kind, Path], Awaitable[Seen]]


class Row(Value, frozen=True):
    """One line of the wall."""

    scene: str
    kind: Kind
    seen: Seen


def plays() -> Mapping[str, Play]:
    """How each scene is played, by its name."""
    return {each.name: partial(play, each) for each in scenes()} | dramas.plays()


def wall() -> tuple[Row, ...]:
    """Every row as it must be, in the order of the scenes, both protocols side by side."""
    columns = [[Row(scene, kind, seen) for scene, seen in _stated(kind)] for kind in KINDS]
    return tuple(row for pair in zip(*columns, strict=True) for row in pair)


EXACT = "the whole answer, exact"
SECOND = "second 10+182 $0.000920"
NOTHING = "0+0 $0.000000"
READ = "~10+1 $0.000015"
"""Anthropic tells what it read before the first token."""


def _below(outcome: str, why: str, ledger: str = NOTHING) -> Seen:
    """The first one fails before its first token, and the second one answers."""
    return Seen(
        sees=EXACT,
        why=f"first: {why}",
        attempts=(f"first {outcome}", "second ok"),
        ledger=(f"first {ledger}", SECOND),
    )


def _alone(ledger: str) -> Seen:
    """The first one answers."""
    return Seen(sees=EXACT, rung="first", attempts=("first ok",), ledger=(f"first {ledger}",))


def _filtered(text: str, why: str, ledger: str) -> Seen:
    """Final: nobody else is asked."""
    return Seen(
        sees=f"{text}, then the failure: BackendError: first: {why}",
        rung="nobody",
        attempts=("first content_filter",),
        ledger=(f"first {ledger}",),
    )


def _stated(kind: Kind) -> Iterator[tuple[str, Seen]]:
    yield from _connecting()
    yield from _before(kind)
    yield from _after(kind)
    yield from _twice(kind)
    yield from _refused()
    yield from _odd()
    yield from _more()


def _connecting() -> Iterator[tuple[str, Seen]]:
    here = "127.0.0.1:…"
    yield "connection refused", _below("connect_error", f"no connection to {here}")
    yield "black-holed connect", _below("timeout", f"no connection to {here} within 0.4 s")
    untrusted = f"no trusted connection to {here}"
    yield (
        "TLS with a certificate that nobody signed",
        _below("connect_error", f"{untrusted}: CERTIFICATE_VERIFY_FAILED"),
    )
    yield "TLS asked of a server that has none", _below("connect_error", f"{untrusted}: WRONG_VERSION_NUMBER")
    yield "TLS handshake without an answer", _below("timeout", f"no connection to {here} within 0.4 s")


def _before(kind: Kind) -> Iterator[tuple[str, Seen]]:
    read = READ if kind == "anthropic" else NOTHING
    late = _below("timeout", "first token over 0.4 s", read)
    silent = _below("cut", "127.0.0.1:… closed the connection without an answer")
    broke = _below("cut", BROKE, read)
    yield "accepts and never answers", _below("timeout", "no answer within 0.4 s")
    yield "headers, then silence", late
    yield "first token late", late
    yield "one byte at a time from the start", late
    yield "headers one byte at a time", _below("timeout", "no answer within 0.4 s")
    yield "keep-alives instead of a token", late
    yield "closes without an answer (FIN)", silent
    yield "closes without an answer (RST)", silent
    yield "cut before the first token (FIN)", broke
    yield "ends before the first token, no terminator", _below("cut", "the stream ended without its end", read)
    yield (
        "error event before the first token",
        _below("overloaded", "error in the stream: too busy to go on", read),
    )
    yield "no HTTP at all", silent
    yield "a web page with status 200", _below("protocol", "answered with text/html, not with a stream")
    crashed = "error in the stream: the model crashed"
    yield "a JSON error with status 200", _below("server_error", crashed)
    yield "a redirect", _below("protocol", "127.0.0.1:… redirects elsewhere; that is not followed")
    yield "malformed SSE", _below("protocol", "the stream is not what the protocol says", read)
    yield "half a UTF-8 character", _below("protocol", "the stream is not UTF-8", read)
    yield "giant frame", _below("protocol", "an event of the stream is over 4,194,304 bytes", read)
    yield "empty deltas and an end", _below("protocol", "empty answer", "10+0 $0.000010")
    yield "cut inside a tool call, before any text", broke


BROKE = "the connection broke in mid-answer"


def _leg(kind: Kind, output: int) -> str:
    """The row of a first leg that broke off: our own count, with what it read where that was told."""
    read = 10 if kind == "anthropic" else 7
    return f"first ~{read}+{output} ${(read + 5 * output) / 1e6:.6f}"


def _goes_on(outcome: str, why: str, first: str, second: str) -> Seen:
    """The second one goes on behind what the first one had said."""
    return Seen(
        sees=EXACT,
        why=f"first: {why}",
        rung="second, going on",
        attempts=(f"first {outcome}", "second ok"),
        ledger=(first, f"second {second}"),
    )


def _after(kind: Kind) -> Iterator[tuple[str, Seen]]:
    for way in ("FIN", "RST"):
        # So little that the answer is begun anew.
        anew = _below("cut", BROKE)
        yield f"cut after 1 token ({way})", replace(anew, ledger=(_leg(kind, 3), SECOND))
        yield f"cut after 10 tokens ({way})", _goes_on("cut", BROKE, _leg(kind, 18), "30+173 $0.000895")
        yield f"cut after 100 tokens ({way})", _goes_on("cut", BROKE, _leg(kind, 273), "30+83 $0.000445")
    rest = "30+163 $0.000845"
    stalled = _goes_on("timeout", "silent for 0.4 s", _leg(kind, 37), rest)
    yield "stall in mid-stream", stalled
    yield (
        "stall past the limit for the whole",
        Seen(
            sees="the first 20 tokens, then the failure: BackendError: first: not done after 1.5 s",
            rung="nobody",
            attempts=("first timeout",),
            ledger=(_leg(kind, 37),),
        ),
    )
    yield "keep-alives instead of more tokens", stalled
    yield "one byte at a time from mid-stream on", stalled
    for scene, outcome, why in (
        ("ends in mid-stream, no terminator", "cut", "the stream ended without its end"),
        ("error event in mid-stream", "overloaded", "error in the stream: too busy to go on"),
        ("malformed SSE in mid-stream", "protocol", "the stream is not what the protocol says"),
        ("half a UTF-8 character in mid-stream", "protocol", "the stream is not UTF-8"),
        ("giant frame in mid-stream", "protocol", "an event of the stream is over 4,194,304 bytes"),
        ("cut inside a tool call, after text", "cut", BROKE),
    ):
        yield scene, _goes_on(outcome, why, _leg(kind, 37), rest)
    yield (
        "all tokens, then cut before the terminator",
        _goes_on("cut", BROKE, _leg(kind, 392), "30+1 $0.000035"),
    )


def _twice(kind: Kind) -> Iterator[tuple[str, Seen]]:
    """The second one is not well either."""
    leg = _leg(kind, 37)
    told = kind == "anthropic"
    yield (
        "cut in mid-stream, and the next one begins anew",
        _goes_on("cut", BROKE, leg, "30+182 $0.000940"),
    )
    strayed = "~30+82 $0.000440" if kind == "anthropic" else "~157+82 $0.000567"
    yield (
        "cut in mid-stream, and the next one says something else",
        Seen(
            sees=EXACT,
            why="second: did not go on where the answer broke off",
            attempts=("first cut", "second protocol", "second ok"),
            ledger=(leg, f"second {strayed}", SECOND),
        ),
    )
    yield (
        "cut in mid-stream, and the next one is cut too",
        Seen(
            sees=f"the first 60 tokens, then the failure: BackendError: second: {BROKE}",
            why=f"second: {BROKE}",
            rung="nobody",
            attempts=("first cut", "second cut", "second cut"),
            ledger=(
                leg,
                f"second {'~30+50 $0.000280' if told else '~157+50 $0.000407'}",
                f"second {'~30+63 $0.000345' if told else '~191+63 $0.000506'}",
            ),
        ),
    )
    sick = "second: answered with status 500"
    yield (
        "cut in mid-stream, and the next one is down",
        Seen(
            sees=f"the first 20 tokens, then the failure: BackendError: first: {BROKE}; nobody could go on: "
            f"{sick}; first: {BROKE}",
            why=sick,
            rung="nobody",
            attempts=("first cut", "second server_error", "first cut"),
            ledger=(leg, f"second {NOTHING}", f"first {'~30+37 $0.000215' if told else '~157+37 $0.000342'}"),
        ),
    )


def _refused() -> Iterator[tuple[str, Seen]]:
    for status, outcome, why in (
        (400, "bad_request", "400: messages: at least one is required"),
        (401, "auth", "the key was refused (401)"),
        (402, "quota", "no credit or quota left (402)"),
        (403, "auth", "the key was refused (403)"),
        (404, "not_found", "404: there is no model m"),
        (408, "server_error", "408: request timed out"),
        (413, "context", "413: request exceeds the maximum size"),
        (422, "bad_request", "422: max_tokens: must be an integer"),
        (429, "overloaded", "overloaded (429)"),
        (500, "server_error", "500: internal error"),
        (502, "server_error", "502: bad gateway"),
        (503, "overloaded", "overloaded (503)"),
        (529, "overloaded", "overloaded (529)"),
    ):
        yield str(status), _below(outcome, why)
    for form, seconds in (("in seconds", 30), ("as a date", 3600), ("in milliseconds", 20)):
        yield f"429, Retry-After {form}", _below("overloaded", f"overloaded (429), again in {seconds} s")
    yield (
        "context overflow as a 400",
        _below("context", "400: prompt is too long: 9000 tokens > 8192 maximum"),
    )
    told = "the answer was filtered by the provider"
    yield "content filter as a 400", _filtered("no text", "400: blocked by content policy", NOTHING)
    yield "content filter as finish reason, no text", _filtered("no text", told, "10+0 $0.000010")
    yield "content filter as finish reason, after text", _filtered("the first 20 tokens", told, "10+20 $0.000110")


def _odd() -> Iterator[tuple[str, Seen]]:
    yield "missing usage", _alone("~7+392 $0.001967")
    yield "empty deltas between tokens", _alone("10+182 $0.000920")
    yield "well", _alone("10+182 $0.000920")


def _more() -> Iterator[tuple[str, Seen]]:
    down = "no connection to 127.0.0.1:…"
    nobody = f"no backend could answer: first: {down}; second: {down}"
    both = ("first connect_error", "second connect_error")
    yield (
        "both backends down",
        Seen(
            sees=f"no text, then the failure: NoBackend: {nobody}",
            why=f"first: {down}",
            rung="nobody",
            attempts=both,
            ledger=(f"first {NOTHING}", f"second {NOTHING}"),
        ),
    )
    yield (
        "both backends down, the skill has a reflex",
        Seen(
            sees="'what can be said without a model'",
            why=f"second: {down}",
            rung="reflex",
            attempts=(*both, "reflex ok"),
            ledger=(f"first {NOTHING}", f"second {NOTHING}", f"reflex {NOTHING}"),
        ),
    )
    yield (
        "down, then back again, under 50 callers",
        Seen(
            sees="50 of 50 answers whole, exact",
            why="waits for first, which another turn tries: overloaded (503)",
            rung="first",
            attempts=("1 × first overloaded", "50 × first ok"),
            ledger=("51 rows, 1 probe",),
        ),
    )
    yield (
        "flapping: fails every second request, 8 turns",
        Seen(
            sees="8 of 8 answers whole, exact",
            why="first: answered with status 500",
            attempts=("first ok", "first server_error", "second ok") * 4,
            ledger=("12 rows",),
        ),
    )
    yield (
        "local engine killed before its first token",
        Seen(
            sees=EXACT,
            why="nano: the engine was ended by SIGKILL in mid-answer",
            attempts=("nano crashed", "second ok"),
            ledger=(f"nano {NOTHING}", SECOND),
        ),
    )
    yield (
        "local engine killed in mid-stream",
        Seen(
            sees="what the engine had said, and behind it the rest",
            why="nano: the engine was ended by SIGKILL in mid-answer",
            rung="second, going on",
            attempts=("nano crashed", "second ok"),
            ledger=("nano … $0.000000", "second …"),
        ),
    )
