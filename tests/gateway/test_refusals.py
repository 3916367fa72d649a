"""Who is turned away, and how: every refusal as OpenAI's clients know it, told by curl and by the client itself."""

import asyncio

import openai
import pytest

from tests.gateway.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

HI = [{"role": "user", "content": "hi"}]
CHAT = {"model": "route:default", "messages": HI}


async def ask(doors: House, model: str) -> None:
    """One question with the real client."""
    async with doors.client() as client:
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/infill", "/nothing"])
async def test_without_the_token_nothing_is_told(doors: House, path: str) -> None:
    """Not even which paths there are."""
    said = await doors.curl(path, token=False)
    assert (said.status, said.code) == (401, "invalid_api_key")
    assert said.headers["www-authenticate"] == "Bearer"


async def test_a_wrong_token_is_no_token(doors: House) -> None:
    """Another one, a beginning of it, one sent twice, one in another scheme."""
    async with doors.client("sk-something-else") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
    for header in (
        f"Bearer {doors.token[:-1]}",
        f"Bearer {doors.token}x",
        f"Basic {doors.token}",
        "Bearer",
        doors.token,
    ):
        said = await doors.curl("/v1/models", "-H", f"Authorization: {header}", token=False)
        assert said.status == 401, header
    twice = ("-H", f"Authorization: Bearer {doors.token}")
    assert (await doors.curl("/v1/models", *twice, *twice, token=False)).status == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.2:{port}", "localhost:{port}.evil"],
)
async def test_a_foreign_host_is_misdirected(doors: House, host: str) -> None:
    """A web page that gives a name of its own our address gets nothing, whatever token it has, health included."""
    for path in ("/v1/models", "/health"):
        said = await doors.curl(path, "-H", f"Host: {host.format(port=doors.port)}")
        assert (said.status, said.code) == (421, "host")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
async def test_our_own_names_are_answered(doors: House, name: str) -> None:
    """With our port."""
    said = await doors.curl("/v1/models", "-H", f"Host: {name}:{doors.port}")
    assert said.status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
async def test_a_foreign_origin_is_forbidden(doors: House, origin: str) -> None:
    """A web page gets nothing, and is not told that it may read the answer."""
    header = ("-H", f"Origin: {origin.format(port=doors.port)}")
    for said in (
        await doors.curl("/health", *header, token=False),
        await doors.curl("/v1/chat/completions", *header, body=CHAT),
        await doors.curl("/v1/models", *header, "-X", "OPTIONS", "-H", "Access-Control-Request-Method: GET"),
    ):
        assert (said.status, said.code) == (403, "origin")


async def test_no_answer_carries_a_cors_header(doors: House) -> None:
    """Neither an error nor an answer to our own origin."""
    ours = ("-H", f"Origin: http://127.0.0.1:{doors.port}")
    for said in (
        await doors.curl("/v1/models", *ours),
        await doors.curl("/v1/models", *ours, "-X", "OPTIONS"),
        await doors.curl("/v1/chat/completions", *ours, body={**CHAT, "stream": True}),
        await doors.curl("/health", *ours, token=False),
    ):
        assert not [name for name in said.headers if name.startswith("access-control")]


async def test_a_body_over_the_limit_is_too_large(doors: House) -> None:
    """Told to a client that sends all of it, with its length or without."""
    body = '{"model": "route:default", "x": "' + "x" * (8 * 1024 * 1024) + '"}'
    said = await doors.curl("/v1/chat/completions", body=body)
    assert (said.status, said.code) == (413, "too_large")
    said = await doors.curl("/v1/chat/completions", "-H", "Transfer-Encoding: chunked", "-H", "Expect:", body=body)
    assert (said.status, said.code) == (413, "too_large")


@pytest.mark.parametrize("body", ["{", "nonsense", '{"model": "route:default", "messages": [}', "\udcff"])
async def test_what_is_no_json_is_a_bad_request(doors: House, body: str) -> None:
    """Said as such."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", f"{doors.url}/v1/chat/completions", "-H", f"Authorization: Bearer {doors.token}"),
        *("--data-binary", "@-", "-w", "%{http_code}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(body.encode("utf-8", "surrogateescape"))
    assert b'"code":"invalid_json"' in out
    assert out.endswith(b"400")


async def test_unknown_models_and_paths_are_not_found(doors: House) -> None:
    """With the names that are near."""
    for model in ("gpt-4o", "route:nowhere", "backend:nowhere", "skill:nowhere", "route:", "model:ready"):
        with pytest.raises(openai.NotFoundError) as raised:
            await ask(doors, model)
        assert raised.value.code == "model_not_found"
    assert (
        "did you mean 'ready'?"
        in (await doors.curl("/v1/chat/completions", body={**CHAT, "model": "backend:redy"})).body
    )
    assert (await doors.curl("/v1/nothing")).status == 404
    assert (await doors.curl("/v1/chat/completions")).status == 405


async def test_what_policy_keeps_here_is_forbidden(doors: House) -> None:
    """Nobody can be asked through a gateway, so "ask" means no."""
    with pytest.raises(openai.PermissionDeniedError) as raised:
        await ask(doors, "route:far")
    assert raised.value.code == "policy"


async def test_what_the_budget_does_not_pay_is_forbidden(doors: House) -> None:
    """Before anything is sent."""
    before = len(doors.oracle.running.requests)
    with pytest.raises(openai.PermissionDeniedError) as raised:
        await ask(doors, "route:dear")
    assert raised.value.code == "budget"
    assert len(doors.oracle.running.requests) == before


async def test_when_nobody_answers_the_client_hears_when_to_come_back(doors: House) -> None:
    """The time is that of the first breaker that closes again; before any byte it is a plain error, also streamed.

    Asked for what is to be filled in, because a chat would wait for the breaker itself.
    """
    for stream in (False, True):
        body = {"model": "route:nobody", "prompt": "x = ", "suffix": "", "stream": stream}
        said = await doors.curl("/v1/completions", body=body)
        assert (said.status, said.code) == (503, "no_backend")
        assert 1 <= int(said.headers["retry-after"]) <= 60
        assert said.headers["content-type"] == "application/json"


async def test_too_long_a_prompt_is_the_request_s_fault(doors: House) -> None:
    """When every rung says so."""
    with pytest.raises(openai.BadRequestError) as raised:
        await ask(doors, "backend:narrow")
    assert raised.value.code == "context_length_exceeded"


async def test_a_skill_that_only_talks_does_not_fill_in(doors: House) -> None:
    """And says so."""
    said = await doors.curl("/infill", body={"model": "skill:commit-message", "input_prefix": "x"})
    assert said.status == 400
    assert "does not fill in" in said.body
