"""What is answered where. Each request passes the guard first; whatever goes wrong is an error as OpenAI says it."""

import asyncio
import secrets
import time

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nanoide.core.errors import NanoideError
from nanoide.gateway import asked, metrics
from nanoide.gateway.answering import Answer, FaultAnswer
from nanoide.gateway.desk import Desk
from nanoide.gateway.faults import Fault, fault_of
from nanoide.gateway.guard import Guard

BODY_LIMIT = 8 * 1024 * 1024
"""Bytes of a request."""

BODY_TIME = 30.0
"""Seconds that a request may take to come in."""

SWALLOWED = 8 * BODY_LIMIT
"""Bytes of a request that is too large which are read all the same: else its client never hears why."""


class Gateway:
    """The whole application: guard, routes, counts."""

    def __init__(self, desk: Desk, guard: Guard) -> None:
        self._desk = desk
        self._guard = guard
        routes = _routes(desk)
        self._known = {route.path for route in routes}
        self._inner: ASGIApp = Starlette(
            routes=routes,
            exception_handlers={
                Fault: _fault,
                NanoideError: _nanoide,
                HTTPException: _http,
                ClientDisconnect: _left,
                Exception: _internal,
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and count it."""
        if scope["type"] != "http":
            return
        outcome = "cancelled"

        async def watched(message: Message) -> None:
            nonlocal outcome
            if message["type"] == "http.response.start":
                outcome = "ok" if message["status"] < 400 else str(message["status"])
            await send(message)

        self._desk.metrics.in_flight += 1
        try:
            refusal = self._guard.refusal(scope["path"], scope["headers"])
            app = self._inner if refusal is None else FaultAnswer(refusal)
            await app(scope, receive, watched)
        finally:
            self._desk.metrics.in_flight -= 1
            endpoint = scope["path"] if scope["path"] in self._known else "other"
            self._desk.metrics.request(endpoint, scope.get("outcome", outcome))


def _routes(desk: Desk) -> list[Route]:
    """Paths and what stands behind them."""

    async def chat(request: Request) -> Response:
        return Answer(desk, asked.chat(await _body(request), id=_id("chatcmpl"), created=int(time.time())))

    async def completion(request: Request) -> Response:
        return Answer(desk, asked.completion(await _body(request), id=_id("cmpl"), created=int(time.time())))

    async def infill(request: Request) -> Response:
        return Answer(desk, asked.infill(await _body(request)))

    async def models(_: Request) -> Response:
        names = await desk.models()
        lines = [{"id": name, "object": "model", "created": 0, "owned_by": "nanoide"} for name in names]
        return _json({"object": "list", "data": lines})

    async def health(_: Request) -> Response:
        return _json({"status": "ok", "mode": await desk.mode()})

    async def counts(_: Request) -> Response:
        return Response(desk.metrics.text(), media_type=metrics.KIND)

    return [
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", completion, methods=["POST"]),
        Route("/infill", infill, methods=["POST"]),
        Route("/health", health, methods=["GET"]),
        Route("/metrics", counts, methods=["GET"]),
    ]


async def _body(request: Request) -> bytes:
    """The body. Raises Fault when it is too large or too slow."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIME):
            async for part in request.stream():
                size += len(part)
                if size <= BODY_LIMIT:
                    parts.append(part)
                else:
                    parts.clear()
                if size > SWALLOWED:
                    break
    except TimeoutError as error:
        raise Fault(408, "slow", f"the request was not there after {BODY_TIME:g} s") from error
    if size > BODY_LIMIT:
        raise Fault(413, "too_large", f"the request is over {BODY_LIMIT:,} bytes")
    return b"".join(parts)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"


def _fault(_: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    return FaultAnswer(error)


def _nanoide(_: Request, error: Exception) -> Response:
    assert isinstance(error, NanoideError)
    return FaultAnswer(fault_of(error))


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "unknown_url", 405: "method_not_allowed"}.get(error.status_code, "http")
    return FaultAnswer(Fault(error.status_code, code, error.detail))


def _left(_: Request, __: Exception) -> Response:
    """The client went away before it had asked."""
    return Response(status_code=400)


def _internal(_: Request, error: Exception) -> Response:
    return FaultAnswer(Fault(500, "internal", f"internal error: {type(error).__name__}"))
