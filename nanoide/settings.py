"""config.toml, read once, as frozen values. An error names the file, the key and what is allowed."""

import ipaddress
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from nanoide.core.errors import SettingsError
from nanoide.core.policy import Egress, Where
from nanoide.core.usage import Price, nano_from_usd, price_per_million


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of config.toml: an unknown key is an error."""


class Key(_Table, frozen=True):
    """Where a secret is; never the secret itself. Exactly one is set."""

    env: str = ""
    keyring: str = ""
    """service/user"""
    file: str = ""


class PriceTable(_Table, frozen=True):
    """USD per million tokens, as decimal strings."""

    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None


class Timeout(_Table, frozen=True):
    """The five limits of an attempt, in seconds."""

    connect: float = 2.0
    headers: float = 10.0
    first_token: float = 10.0
    idle: float = 15.0
    total: float = 120.0


class BackendTable(_Table, frozen=True):
    """One `[[backend]]`."""

    name: str
    kind: Literal["openai", "anthropic", "llama", "reflex"]
    base_url: str = ""
    base_urls: tuple[str, ...] = ()
    """Several servers that answer alike, in place of `base_url`; empty means there is one."""
    model: str = ""
    """For llama: "nano" (bundled) or a path to a .gguf; else the name the server knows."""
    key: Key | None = None
    where: Where | None = None
    """None means: as the address tells (loopback is device, private is lan, else remote)."""
    price: PriceTable | None = None
    timeout: Timeout = Timeout()
    context: int | None = None
    """Window in tokens; None means unknown, or as the model file says."""
    fim: Literal["auto", "psm", "spm", "none"] = "auto"
    """For llama: the order of a fill-in-the-middle prompt; auto takes psm where the file has the tokens.
    For openai: none when the server has no completions with a suffix."""
    threads: int | None = None
    gpu_layers: int = -1
    """For llama: -1 offloads what the build can."""

    @property
    def locality(self) -> Where:
        """Where it runs, told or read off the address."""
        if self.kind in {"llama", "reflex"}:
            return "device"
        return self.where or where_is(self.addresses[0])

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it is asked: one server, or the replicas of a pool."""
        return self.base_urls or (self.base_url,)

    def replicas(self) -> tuple["BackendTable", ...]:
        """One table for each address, all in the same place."""
        if not self.base_urls:
            return (self,)
        return tuple(
            msgspec.structs.replace(self, base_url=each, base_urls=(), where=self.locality) for each in self.base_urls
        )

    def prices(self) -> Price | None:
        """The price that config.toml sets; None when it sets none."""
        if self.price is None:
            return None
        table = self.price
        return Price(
            input=price_per_million(table.input),
            output=price_per_million(table.output),
            cache_read=None if table.cache_read is None else price_per_million(table.cache_read),
            cache_write=None if table.cache_write is None else price_per_million(table.cache_write),
            source="config",
        )


class Route(_Table, frozen=True):
    """One `[route.NAME]`."""

    ladder: tuple[str, ...] = ()
    """Backends in the order they are tried. Empty means: every local one, then the reflex."""
    egress: Egress = "ask"
    hedge: bool = False


class Limit(_Table, frozen=True):
    """Limits in USD, as decimal strings; None means unlimited."""

    day_usd: str | None = None
    week_usd: str | None = None
    month_usd: str | None = None


class SessionLimit(_Table, frozen=True):
    """`[budget.session]`: what one session may use of models, wherever they run. None means unlimited."""

    tokens: int | None = None
    """Read and written, of all its turns."""
    attempts: int | None = None
    """A turn that goes on elsewhere makes several."""


class Budget(Limit, frozen=True):
    """`[budget]`."""

    on_breach: Literal["local", "ask", "stop"] = "local"
    skill: dict[str, Limit] = {}
    backend: dict[str, Limit] = {}
    session: SessionLimit = SessionLimit()


class HubTable(_Table, frozen=True):
    """`[hub]`: how long things stay without being used."""

    stop_after_min: float = 30.0
    """With no client and no work the hub ends; 0 means never."""
    park_after_min: float = 10.0
    """An idle session is parked; 0 means never."""
    unload_after_min: float = 10.0
    """An engine that nobody asks is ended; 0 means never."""


class UiTable(_Table, frozen=True):
    """`[ui]`."""

    theme: str = "dusk"
    ascii: bool = False
    """Glyphs for terminals without Unicode."""
    mouse: bool = True
    keys: dict[str, str] = {}
    """Action name → key, in place of the default."""


class Settings(_Table, frozen=True):
    """All of config.toml. `Settings()` is what holds with no file at all."""

    backend: tuple[BackendTable, ...] = ()
    route: dict[str, Route] = {}
    budget: Budget = Budget()
    hub: HubTable = HubTable()
    ui: UiTable = UiTable()

    def backends(self) -> tuple[BackendTable, ...]:
        """Those of the file, and `nano` and `reflex`, which are always there."""
        named = {each.name for each in self.backend}
        always = (
            BackendTable(name="nano", kind="llama", model="nano"),
            BackendTable(name="reflex", kind="reflex"),
        )
        return (*self.backend, *(each for each in always if each.name not in named))

    def route_for(self, name: str) -> Route | None:
        """The route of that name with its ladder filled in; None when there is none.

        The default ladder is every backend in the order of the file, then nano, then the reflex; the
        egress policy keeps the remote ones out until the person agrees.
        """
        route = self.route.get(name or "default")
        if route is None:
            if name not in {"", "default"}:
                return None
            route = Route()
        if route.ladder:
            return route
        return msgspec.structs.replace(route, ladder=tuple(each.name for each in self.backends()))


def load(path: Path) -> Settings:
    """The settings in the file at `path`; defaults when there is none. Raises SettingsError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(text, str(path))


def parse(text: bytes, origin: str) -> Settings:
    """The settings in `text`, read from `origin`. Raises SettingsError that names origin, key and what is allowed."""
    try:
        settings = msgspec.toml.decode(text, type=Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{origin}: {_explain(str(error))}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise SettingsError(f"{origin}: not valid TOML: {error}", hint="see docs/config.md") from error
    _check(settings, origin)
    return settings


def where_is(url: str) -> Where:
    """Where the host of `url` is, by its address alone; a name that is no address is remote."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return "device"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "lan" if host.endswith((".local", ".lan", ".home.arpa")) else "remote"
    if address.is_loopback:
        return "device"
    return "lan" if address.is_private else "remote"


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_AT = re.compile(r"(?P<what>.*?) - at `\$\.?(?P<path>[^`]*)`")

_TABLES: dict[str, type[_Table]] = {
    "": Settings,
    "backend": BackendTable,
    "backend.key": Key,
    "backend.price": PriceTable,
    "backend.timeout": Timeout,
    "route": Route,
    "budget": Budget,
    "budget.skill": Limit,
    "budget.backend": Limit,
    "budget.session": SessionLimit,
    "hub": HubTable,
    "ui": UiTable,
}


def _explain(text: str) -> str:
    """Say msgspec's complaint with the key and what is allowed there."""
    if unknown := _UNKNOWN.match(text):
        path = unknown["path"] or ""
        table = _TABLES.get(re.sub(r"\[[^\]]*\]", "", path).strip("."))
        key = f"{path}.{unknown['field']}" if path else unknown["field"]
        allowed = f"; allowed: {', '.join(table.__struct_fields__)}" if table else ""
        return f"unknown key {key!r}{allowed}"
    if at := _AT.match(text):
        if at["path"].endswith(".key") and "got `str`" in at["what"]:
            return f'key {at["path"]!r}: a literal key is refused; write {{ env = "NAME" }}, keyring or file'
        return f"key {at['path']!r}: {at['what'][0].lower()}{at['what'][1:]}"
    return text


def _check(settings: Settings, origin: str) -> None:
    names: set[str] = set()
    for place, backend in enumerate(settings.backend):
        where = f"{origin}: backend[{place}] {backend.name!r}"
        _check_backend(backend, where)
        if backend.name in names:
            raise SettingsError(f"{where}: the name is used twice", hint="give each backend a name of its own")
        names.add(backend.name)
    known = {each.name for each in settings.backends()}
    for name, route in settings.route.items():
        for rung in route.ladder:
            if rung not in known:
                raise SettingsError(
                    f"{origin}: route.{name}.ladder names {rung!r}, which is no backend",
                    hint=f"there are: {', '.join(sorted(known))}",
                )
    limits = [("budget", settings.budget)]
    limits += [(f"budget.skill.{name}", limit) for name, limit in settings.budget.skill.items()]
    limits += [(f"budget.backend.{name}", limit) for name, limit in settings.budget.backend.items()]
    for key, limit in limits:
        for field in ("day_usd", "week_usd", "month_usd"):
            text: str | None = getattr(limit, field)
            try:
                _ = None if text is None else nano_from_usd(text)
            except ValueError as error:
                raise SettingsError(f"{origin}: {key}.{field}: {error}") from error
    for field in ("tokens", "attempts"):
        cap: int | None = getattr(settings.budget.session, field)
        if cap is not None and cap < 1:
            raise SettingsError(f"{origin}: budget.session.{field} is {cap}; allowed: 1 and more")
    for field in ("stop_after_min", "park_after_min", "unload_after_min"):
        if getattr(settings.hub, field) < 0:
            raise SettingsError(f"{origin}: hub.{field} is negative", hint="0 means never")


def _check_backend(backend: BackendTable, where: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", backend.name):
        raise SettingsError(f"{where}: a name has 1 to 64 letters, digits, '.', '_' or '-'")
    if backend.base_urls and backend.kind not in {"openai", "anthropic"}:
        raise SettingsError(f"{where}: base_urls is for openai and anthropic")
    if backend.kind in {"openai", "anthropic"}:
        _check_addresses(backend, where)
        if not backend.model:
            raise SettingsError(f"{where}: model is missing", hint="name the model that the server knows")
    if backend.kind == "llama" and not backend.model:
        raise SettingsError(f"{where}: model is missing", hint='"nano", or the path of a .gguf file')
    if (
        backend.key is not None
        and sum(bool(each) for each in (backend.key.env, backend.key.keyring, backend.key.file)) != 1
    ):
        raise SettingsError(f"{where}: key takes exactly one of env, keyring, file")
    try:
        backend.prices()
    except ValueError as error:
        raise SettingsError(f"{where}: price: {error}") from error
    for field in Timeout.__struct_fields__:
        seconds: float = getattr(backend.timeout, field)
        if not 0 < seconds <= 86_400:
            raise SettingsError(
                f"{where}: timeout.{field} is {seconds}; allowed: more than 0 and at most 86400 seconds"
            )


def _check_addresses(backend: BackendTable, where: str) -> None:
    key = "base_urls" if backend.base_urls else "base_url"
    if backend.base_url and backend.base_urls:
        raise SettingsError(f"{where}: takes base_url or base_urls, not both", hint="put all addresses into base_urls")
    for address in backend.addresses:
        try:
            parts = urlsplit(address)
            whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError as error:  # a bracket that does not close, a port that is no number
            raise SettingsError(f"{where}: {key} {address!r} is no http(s) address: {error}") from error
        if not whole:
            raise SettingsError(f"{where}: {key} {address!r} is no http(s) address")
        if backend.where == "device" and where_is(address) != "device":
            raise SettingsError(
                f'{where}: where = "device", but {parts.hostname!r} is not loopback', hint='use "lan" or "remote"'
            )
    if len({each.rstrip("/") for each in backend.addresses}) < len(backend.addresses):
        raise SettingsError(f"{where}: base_urls names an address twice")
    places = {where_is(each): each for each in reversed(backend.addresses)}
    if backend.where is None and len(places) > 1:
        told = ", ".join(f"{address!r} is {place}" for place, address in reversed(places.items()))
        farthest = "remote" if "remote" in places else "lan"
        raise SettingsError(
            f"{where}: base_urls are not all in the same place: {told}",
            hint=f'where = "{farthest}" treats all of them alike, or make a backend for each place',
        )
