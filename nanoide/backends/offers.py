"""What was found, as lines of config.toml. Pure: nothing is looked for and nothing is written in here."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from nanoide.backends.discovery import Found, LocalServer, ModelFile
from nanoide.core.value import Value
from nanoide.settings import BackendTable, Settings
from nanoide.wire import Offer


class Provider(Value, frozen=True):
    """Whom a key is for."""

    env: str
    name: str
    """Of the backend."""
    title: str
    base_url: str
    model: str
    """A small one; a name that goes on meaning something, where the provider has such."""
    kind: Literal["openai", "anthropic"] = "openai"


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "ANTHROPIC_API_KEY", "anthropic", "Anthropic", "https://api.anthropic.com", "claude-haiku-4-5", "anthropic"
    ),
    Provider("OPENAI_API_KEY", "openai", "OpenAI", "https://api.openai.com/v1", "gpt-5-mini"),
    Provider("OPENROUTER_API_KEY", "openrouter", "OpenRouter", "https://openrouter.ai/api/v1", "openrouter/auto"),
    Provider("GROQ_API_KEY", "groq", "Groq", "https://api.groq.com/openai/v1", "llama-3.3-70b-versatile"),
    Provider("MISTRAL_API_KEY", "mistral", "Mistral", "https://api.mistral.ai/v1", "mistral-small-latest"),
    Provider(
        "CODESTRAL_API_KEY", "codestral", "Mistral Codestral", "https://codestral.mistral.ai/v1", "codestral-latest"
    ),
    Provider("DEEPSEEK_API_KEY", "deepseek", "DeepSeek", "https://api.deepseek.com/v1", "deepseek-chat"),
    Provider(
        "GEMINI_API_KEY",
        "gemini",
        "Google Gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "gemini-flash-latest",
    ),
)
"""For the keys that `discovery.KEYS` names."""

_NO_CHAT = re.compile(r"embed|rerank|whisper|mmproj|(^|[-/_])(bge|clip)[-_]", re.IGNORECASE)
"""Names of models that answer nothing."""


class Possible(Value, frozen=True):
    """An offer, and what would be written for it."""

    offer: Offer
    lines: str
    """One table, with its newline."""
    remote: bool


def possible(found: Found, settings: Settings, *, room: int, path_of: Callable[[str], Path]) -> tuple[Possible, ...]:
    """What of `found` config.toml does not name yet.

    A model file is usual when it is the largest within `room` bytes and no server is there. `path_of` tells where
    the model that a llama backend names is.
    """
    named = settings.backends()
    taken = {each.name for each in named}
    addresses = {address.rstrip("/") for each in named for address in each.addresses}
    paths = {str(path_of(each.model)) for each in named if each.kind == "llama"}
    keys = {each.key.env for each in named if each.key is not None}
    made: list[Possible] = []
    for server in found.servers:
        models = [each for each in server.models if not _NO_CHAT.search(each)]
        if models and server.base_url not in addresses:
            made.append(_server(server, models, _free(server.name, taken)))
    files = [each for each in found.files if each.path not in paths and not _NO_CHAT.search(Path(each.path).name)]
    served = bool(made) or any(each.kind != "reflex" and each.name != "nano" for each in named)
    fitting = [each for each in files if each.bytes <= room]
    best = None if served or not fitting else max(fitting, key=lambda each: each.bytes)
    made += [_file(each, _free(Path(each.path).stem, taken), usual=each == best) for each in files]
    for provider in PROVIDERS:
        if provider.env not in keys and any(each.env == provider.env for each in found.keys):
            made.append(_key(provider, _free(provider.name, taken)))
    return tuple(made)


def appended(chosen: Sequence[Possible], settings: Settings, before: bytes) -> str:
    """What is added to a file that holds `before`; empty when nothing is chosen."""
    if not chosen:
        return ""
    tables = [each.lines for each in chosen]
    if "default" not in settings.route:
        here = [each.offer.backend for each in chosen if not each.remote]
        away = [each.offer.backend for each in chosen if each.remote]
        known = [each.name for each in settings.backend if each.name not in {"nano", "reflex"}]
        ladder = ", ".join(map(quoted, (*known, *here, "nano", *away, "reflex")))
        tables.append(f'[route.default]\nladder = [{ladder}]\negress = "ask"\n')
    between = "" if not before else "\n" if before.endswith(b"\n") else "\n\n"
    return between + "\n".join(tables)


def by_hand(chosen: Sequence[Possible], settings: Settings) -> str:
    """What the file says already and the new lines cannot change, as a sentence; empty when that is nothing."""
    route = settings.route.get("default")
    if route is None or not chosen:
        return ""
    names = ", ".join(quoted(each.offer.backend) for each in chosen)
    if route.ladder:
        return f"[route.default] has a ladder of its own: add {names} to it to have them asked."
    if route.egress == "remote" and any(each.remote for each in chosen):
        return '[route.default] says egress = "remote": prompts will leave this machine without a question.'
    return ""


def quoted(text: str) -> str:
    """`text` as a TOML string."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _server(server: LocalServer, models: Sequence[str], name: str) -> Possible:
    more = f"# it also has {', '.join(models[1:6])}\n" if models[1:] else ""
    table = BackendTable(name=name, kind="openai", base_url=server.base_url, model=models[0])
    offer = Offer(
        id=f"server:{server.base_url}",
        kind="server",
        title=f"{server.name} at {server.base_url.removeprefix('http://').removesuffix('/v1')}",
        detail=", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else ""),
        backend=name,
        usual=True,
    )
    return Possible(offer=offer, lines=_table(table) + more, remote=False)


def _file(file: ModelFile, name: str, *, usual: bool) -> Possible:
    table = BackendTable(name=name, kind="llama", model=file.path)
    offer = Offer(
        id=f"file:{file.path}",
        kind="file",
        title=Path(file.path).name,
        detail=f"{file.bytes / 1e6:,.0f} MB in {Path(file.path).parent}",
        backend=name,
        usual=usual,
    )
    return Possible(offer=offer, lines=_table(table), remote=False)


def _key(provider: Provider, name: str) -> Possible:
    table = BackendTable(name=name, kind=provider.kind, base_url=provider.base_url, model=provider.model)
    offer = Offer(
        id=f"key:{provider.env}",
        kind="key",
        title=provider.title,
        detail=f"its key is in {provider.env}; you are asked before anything is sent",
        backend=name,
        usual=True,
    )
    return Possible(offer=offer, lines=_table(table) + f"key = {{ env = {quoted(provider.env)} }}\n", remote=True)


def _table(table: BackendTable) -> str:
    pairs = [("name", table.name), ("kind", table.kind), ("base_url", table.base_url), ("model", table.model)]
    return "[[backend]]\n" + "".join(f"{key} = {quoted(value)}\n" for key, value in pairs if value)


def _free(name: str, taken: set[str]) -> str:
    """A backend's name made of `name` that nobody has; from now on it is taken."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:48] or "found"
    free = next(each for each in _numbered(plain) if each not in taken)
    taken.add(free)
    return free


def _numbered(name: str) -> Iterable[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1
