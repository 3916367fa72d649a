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

from nanoide.core.errors import NanoideError, UnknownName
from nanoide.gateway import asked, metrics
from nanoide.gateway.answering import Answer, FaultAnswer
from nanoide.gateway.asked import Asked
from nanoide.gateway.desk import Desk
from nanoide.gateway.faults import Fault, fault_of
from nanoide.gateway.guard import Guard
from nanoide.gateway.limits import Limits

MODELS = "/v1/models"


class Gateway:
    """The whole application: guard, routes, counts."""

    def __init__(self, desk: Desk, guard: Guard, limits: Limits) -> None:
        self._desk = desk
        self._guard = guard
        routes = _routes(desk, limits)
        self._known = {route.path for route in routes}
        self._inner = Starlette(
            routes=routes,
            exception_handlers={
                Fault: _fault,
                NanoideError: _nanoide,
                HTTPException: _http,
                ClientDisconnect: _left,
                Exception: _internal,
            },
        )
        self._inner.router.redirect_slashes = False  # there is one path to each thing

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
            app: ASGIApp = self._inner if refusal is None else FaultAnswer(refusal)
            await app(scope, receive, watched)
        finally:
            self._desk.metrics.in_flight -= 1
            self._desk.metrics.request(self._endpoint(scope["path"]), scope.get("outcome", outcome))

    def _endpoint(self, path: str) -> str:
        """What it is counted as: one of a few names, whatever is asked for."""
        if path.startswith(f"{MODELS}/"):
            return MODELS
        return path if path in self._known else "other"


def _routes(desk: Desk, limits: Limits) -> list[Route]:
    """Paths and what stands behind them."""

    def answer(asked: Asked) -> Response:
        return Answer(desk, asked, limits)

    async def chat(request: Request) -> Response:
        return answer(asked.chat(await _body(request, limits), id=_id("chatcmpl"), created=int(time.time())))

    async def completion(request: Request) -> Response:
        return answer(asked.completion(await _body(request, limits), id=_id("cmpl"), created=int(time.time())))

    async def infill(request: Request) -> Response:
        return answer(asked.infill(await _body(request, limits)))

    async def models(_: Request) -> Response:
        return _json({"object": "list", "data": [_model(name) for name in await desk.models()]})

    async def model(request: Request) -> Response:
        name = request.path_params["id"]
        names = await desk.models()
        if name not in names:
            raise UnknownName.among("model", name, names)
        return _json(_model(name))

    async def health(_: Request) -> Response:
        return _json({"status": "ok", "mode": await desk.mode()})

    async def counts(_: Request) -> Response:
        return Response(desk.metrics.text(), media_type=metrics.KIND)

    return [
        Route(MODELS, models, methods=["GET"]),
        Route(f"{MODELS}/{{id:path}}", model, methods=["GET"]),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", completion, methods=["POST"]),
        Route("/infill", infill, methods=["POST"]),
        Route("/health", health, methods=["GET"]),
        Route("/metrics", counts, methods=["GET"]),
    ]


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "nanoide"}


async def _body(request: Request, limits: Limits) -> bytes:
    """The body. Raises Fault when it is packed, too large or too slow."""
    packed = [each for each in request.headers.getlist("content-encoding") if each.strip().lower() != "identity"]
    if packed:
        message = f"the content encoding {packed[0]!r} is not supported here: send the body as it is"
        raise Fault(415, "unsupported_encoding", message, also={"accept-encoding": "identity"})
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.arrival):
            async for part in request.stream():
                size += len(part)
                if size <= limits.body:
                    parts.append(part)
                else:
                    parts.clear()
                if size > limits.swallowed:
                    break
    except TimeoutError as error:
        # Closed, else the rest could go on trickling in for as long as its client likes.
        message = f"the request was not there after {limits.arrival:g} s"
        raise Fault(408, "slow", message, also={"connection": "close"}) from error
    if size > limits.body:
        raise Fault(413, "too_large", f"the request is over {limits.body:,} bytes")
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
    return FaultAnswer(Fault(error.status_code, code, error.detail, also=error.headers))


def _left(_: Request, __: Exception) -> Response:
    """The client went away before it had asked."""
    return Response(status_code=400)


def _internal(_: Request, error: Exception) -> Response:
    return FaultAnswer(Fault(500, "internal", f"internal error: {type(error).__name__}"))
