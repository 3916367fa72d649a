"""What this machine already offers: servers on loopback, GGUF files, keys in the environment.

It looks and tells; it writes nothing, uses no key, and asks no address but loopback.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic

import msgspec

from nanoide.backends.http import Server
from nanoide.core.errors import BackendError
from nanoide.core.sanitize import clean_line
from nanoide.core.value import Value
from nanoide.settings import BackendTable, Timeout

PORTS: tuple[tuple[str, int], ...] = (
    ("Ollama", 11434),
    ("llama-server", 8080),
    ("LM Studio", 1234),
    ("vLLM", 8000),
)
"""Where the usual servers listen by default."""

KEYS: tuple[tuple[str, str], ...] = (
    ("ANTHROPIC_API_KEY", "Anthropic"),
    ("OPENAI_API_KEY", "OpenAI"),
    ("OPENROUTER_API_KEY", "OpenRouter"),
    ("GROQ_API_KEY", "Groq"),
    ("MISTRAL_API_KEY", "Mistral"),
    ("CODESTRAL_API_KEY", "Mistral Codestral"),
    ("DEEPSEEK_API_KEY", "DeepSeek"),
    ("GEMINI_API_KEY", "Google Gemini"),
)
"""Variables that hold a provider's key."""

_PROBE_S = 0.3
"""For a connection, and again for an answer. Who is on this machine answers at once."""

_PATIENCE = Timeout(connect=_PROBE_S, headers=_PROBE_S, first_token=_PROBE_S, idle=_PROBE_S, total=1.0)

_FILES_S = 0.8
"""For looking into folders; what was found by then is what is told."""

_MOST_MODELS = 50
"""Of one server or all folders, that are told."""

_MOST_FOLDERS = 2_000
"""Looked into for GGUF files; a home folder may be a jungle."""

_DEEPEST = 6


class LocalServer(Value, frozen=True):
    """A server on this machine that speaks OpenAI's protocol."""

    name: str
    """What usually listens there; it may be something else."""
    base_url: str
    models: tuple[str, ...]


class ModelFile(Value, frozen=True):
    """A GGUF file."""

    path: str
    bytes: int


class OfferedKey(Value, frozen=True):
    """A key that is there to be used; its text stays where it is."""

    env: str
    provider: str


class Found(Value, frozen=True):
    """All that was found."""

    servers: tuple[LocalServer, ...] = ()
    files: tuple[ModelFile, ...] = ()
    keys: tuple[OfferedKey, ...] = ()


async def discover(
    models: Path,
    *,
    home: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    ports: Iterable[tuple[str, int]] = PORTS,
    folder: Path | None = None,
) -> Found:
    """Look everywhere at once, for about a second at most.

    `models` is nanoide's own folder for models; `home` None means no other folders; `folder` may hold models too.
    """
    folders = (models, *(() if folder is None else (folder / "models",)), *(() if home is None else _usual(home)))
    servers, files = await asyncio.gather(
        asyncio.gather(*(_server(name, port) for name, port in ports)),
        asyncio.to_thread(lambda: tuple(_files(folders))),
    )
    return Found(servers=tuple(server for server in servers if server is not None), files=files, keys=offered(environ))


def offered(environ: Mapping[str, str]) -> tuple[OfferedKey, ...]:
    """The providers whose keys stand in the environment."""
    return tuple(OfferedKey(env=env, provider=provider) for env, provider in KEYS if environ.get(env, "").strip())


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def _server(name: str, port: int) -> LocalServer | None:
    if not await _listens(port):
        return None
    base = f"http://127.0.0.1:{port}/v1"
    server = Server(BackendTable(name=name, kind="openai", base_url=base, model="any", timeout=_PATIENCE))
    try:
        found = msgspec.json.decode(await server.get("/models", {"accept": "application/json"}), type=_Models)
    except (BackendError, msgspec.DecodeError, UnicodeDecodeError):
        return None  # nobody there, or somebody else
    finally:
        await server.aclose()
    names = tuple(clean_line(model.id) for model in found.data[:_MOST_MODELS])
    return LocalServer(name=name, base_url=base, models=names)


async def _listens(port: int) -> bool:
    """Whether anybody does; asked first, because nearly always the answer is no and nothing has to be loaded for it."""
    try:
        async with asyncio.timeout(_PROBE_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _usual(home: Path) -> tuple[Path, ...]:
    return (
        home / ".lmstudio" / "models",
        home / ".cache" / "lm-studio" / "models",
        home / ".cache" / "llama.cpp",
        home / ".cache" / "huggingface" / "hub",
        home / "Library" / "Caches" / "llama.cpp",
        home / "models",
    )


def _files(folders: Iterable[Path]) -> Iterator[ModelFile]:
    left = _MOST_MODELS
    until = monotonic() + _FILES_S
    seen: set[Path] = set()
    for folder in folders:
        for path in _walk(folder, until):
            real = path.resolve()  # the cache of Hugging Face holds links to one blob
            if left == 0:
                return
            if real not in seen and _is_plain(path) and _is_gguf(real):
                seen.add(real)
                left -= 1
                yield ModelFile(path=str(path), bytes=real.stat().st_size)


def _walk(folder: Path, until: float) -> Iterator[Path]:
    depth = len(folder.parts)
    for visited, (root, below, names) in enumerate(os.walk(folder)):
        if visited >= _MOST_FOLDERS or monotonic() > until:
            return
        if len(Path(root).parts) - depth >= _DEEPEST:
            below.clear()
        below.sort()
        for name in sorted(names):
            # A large model comes in numbered parts; the first one stands for all.
            if name.endswith(".gguf") and ("-of-" not in name or "-00001-of-" in name):
                yield Path(root) / name


def _is_plain(path: Path) -> bool:
    """Whether the name can be shown and written as it is; others are passed over."""
    text = str(path)
    return text.isprintable() and text == clean_line(text)


def _is_gguf(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False
