"""config.toml is understood, or the error names the file, the key and what is allowed."""

from pathlib import Path

import pytest

from nanoide.core.errors import SettingsError
from nanoide.core.policy import Where
from nanoide.settings import Settings, load, parse, where_is

WHOLE = b"""
[[backend]]
name = "sonnet"
kind = "anthropic"
base_url = "https://api.example.com"
model = "m"
key = { env = "KEY" }
where = "remote"
price = { input = "0.25", output = "1.25", cache_read = "0.03" }
timeout = { connect = 1.0, total = 60 }

[[backend]]
name = "box"
kind = "openai"
base_url = "http://192.168.1.7:8080/v1"
model = "qwen"

[route.default]
ladder = ["nano", "sonnet", "reflex"]
egress = "ask"
hedge = true

[route.quick]
egress = "local-only"

[budget]
day_usd = "2.00"
on_breach = "stop"
[budget.skill.file-query]
month_usd = "5"

[hub]
stop_after_min = 0

[ui]
theme = "paper"
keys = { zoom = "ctrl+z" }
"""


def problem(text: str) -> str:
    """The one line that `text` is refused with."""
    with pytest.raises(SettingsError) as caught:
        parse(text.encode(), "config.toml")
    assert caught.value.message.startswith("config.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


BACKEND = '[[backend]]\nname = "a"\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\nmodel = "m"\n'
POOL = """[[backend]]
name = "a"
kind = "openai"
base_urls = ["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1"]
model = "m"
"""


def test_with_no_file_everything_has_a_default(tmp_path: Path) -> None:
    """Nano and the reflex are always there; the default route tries both."""
    settings = load(tmp_path / "config.toml")
    assert settings == Settings()
    assert [each.name for each in settings.backends()] == ["nano", "reflex"]
    route = settings.route_for("")
    assert route is not None
    assert (route.ladder, route.egress) == (("nano", "reflex"), "ask")
    assert settings.route_for("none-such") is None


def test_the_contracts_example() -> None:
    """Every table and key of it is understood."""
    settings = parse(WHOLE, "config.toml")
    sonnet, box = settings.backend
    assert (sonnet.locality, box.locality) == ("remote", "lan")
    price = sonnet.prices()
    assert price is not None
    assert (price.input, price.output, price.cache_read, price.source) == (250_000, 1_250_000, 30_000, "config")
    assert (sonnet.timeout.connect, sonnet.timeout.total, sonnet.timeout.idle) == (1.0, 60.0, 15.0)
    assert box.prices() is None
    quick = settings.route_for("quick")
    assert quick is not None
    assert quick.ladder == ("sonnet", "box", "nano", "reflex")
    assert settings.budget.skill["file-query"].month_usd == "5"
    assert settings.ui.keys == {"zoom": "ctrl+z"}


def test_a_pool_is_one_backend_with_a_table_for_each_replica() -> None:
    """All are in the same place: the one the addresses tell, or the one that is said for all of them."""
    table = parse(POOL.encode(), "config.toml").backend[0]
    assert (table.locality, table.addresses) == ("lan", ("http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1"))
    assert [(each.base_url, each.base_urls, each.where) for each in table.replicas()] == [
        ("http://10.0.0.1:8000/v1", (), "lan"),
        ("http://10.0.0.2:8000/v1", (), "lan"),
    ]
    mixed = POOL.replace("10.0.0.2", "127.0.0.1") + 'where = "lan"'
    assert [each.where for each in parse(mixed.encode(), "config.toml").backend[0].replicas()] == ["lan", "lan"]
    alone = parse(BACKEND.encode(), "config.toml").backend[0]
    assert alone.replicas() == (alone,)


def test_nano_can_be_set_otherwise() -> None:
    """A backend of that name in the file takes its place and is not doubled."""
    settings = parse(b'[[backend]]\nname = "nano"\nkind = "llama"\nmodel = "nano"\nthreads = 1', "config.toml")
    assert [each.name for each in settings.backends()] == ["nano", "reflex"]
    assert settings.backends()[0].threads == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[backend]]\nnam = 1", ["unknown key", "nam", "allowed: name, kind, base_url"]),
        ("colour = 1", ["unknown key 'colour'", "allowed: backend, route, budget, hub, ui"]),
        ("[ui]\ntheem = 'x'", ["'ui.theem'", "allowed: theme"]),
        ("[route.x]\nladders = []", ["ladders", "allowed: ladder, egress, hedge"]),
        ("[hub]\nstop_after_min = 'soon'", ["hub.stop_after_min", "expected `float`"]),
        ("[hub]\npark_after_min = -1", ["hub.park_after_min is negative"]),
        ("[budget]\nday_usd = 'much'", ["budget.day_usd", "'much' is not a decimal number"]),
        ("[budget]\nday_usd = '-1'", ["budget.day_usd", "at least 0"]),
        ("[budget.backend.x]\nweek_usd = 'NaN'", ["budget.backend.x.week_usd"]),
        ("[budget]\non_breach = 'pay'", ["budget.on_breach"]),
        ("[route.default]\nladder = ['ghost']", ["route.default.ladder names 'ghost'", "there are: nano, reflex"]),
        ("[route.default]\negress = 'everything'", ["egress"]),
        (BACKEND + 'key = "sk-123"', ["a literal key is refused", "env"]),
        (BACKEND + "key = {}", ["exactly one of env, keyring, file"]),
        (BACKEND + 'key = { env = "A", file = "b" }', ["exactly one of env, keyring, file"]),
        (BACKEND + BACKEND, ["backend[1] 'a'", "used twice"]),
        (BACKEND + 'price = { input = "-1", output = "1" }', ["price", "'-1' is not a price"]),
        (BACKEND + 'price = { input = "1" }', ["output"]),
        (BACKEND + "timeout = { connect = 0 }", ["timeout.connect is 0", "more than 0"]),
        (BACKEND + "timeout = { total = nan }", ["timeout.total is nan"]),
        (BACKEND.replace("127.0.0.1", "10.0.0.1") + 'where = "device"', ["'10.0.0.1' is not loopback"]),
        (BACKEND.replace("http://127.0.0.1:1/v1", "ftp://x"), ["'ftp://x' is no http(s) address"]),
        (BACKEND.replace("http://127.0.0.1:1/v1", "http://[::1"), ["'http://[::1' is no http(s) address"]),
        (BACKEND.replace('model = "m"', ""), ["model is missing"]),
        (BACKEND.replace('"openai"', '"magic"'), ["kind", "magic"]),
        (BACKEND.replace('name = "a"', 'name = "../a"'), ["'../a'", "letters"]),
        ('[[backend]]\nname = "l"\nkind = "llama"', ["model is missing", ".gguf"]),
        ("[[backend", ["not valid TOML"]),
        (
            POOL + 'base_url = "http://10.0.0.9"',
            ["backend[0] 'a'", "base_url or base_urls, not both"],
        ),
        (POOL.replace("http://10.0.0.2:8000/v1", "ftp://x"), ["base_urls 'ftp://x' is no http(s) address"]),
        (POOL.replace("10.0.0.2:8000/v1", "10.0.0.1:8000/v1/"), ["base_urls names an address twice"]),
        (
            POOL.replace("10.0.0.2", "farm.example"),
            ["not all in the same place", "'http://10.0.0.1:8000/v1' is lan", "farm.example:8000/v1' is remote"],
        ),
        (POOL + 'where = "device"', ["'10.0.0.1' is not loopback"]),
        (POOL.replace("openai", "llama"), ["base_urls is for openai and anthropic"]),
        (POOL.replace('["http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1"]', "[]"), ["'' is no http(s) address"]),
    ],
)
def test_what_is_refused_and_how(text: str, words: list[str]) -> None:
    """One line with the place, the key and what is allowed."""
    said = problem(text)
    assert [word for word in words if word not in said] == []


def test_a_literal_key_is_not_repeated_in_the_error() -> None:
    """An error ends up in logs and screenshots."""
    assert "sk-123" not in problem(BACKEND + 'key = "sk-123"')


def test_bytes_that_are_no_utf8() -> None:
    """One line, no traceback."""
    with pytest.raises(SettingsError, match="not valid TOML"):
        parse(b"\xff\xfe", "config.toml")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder in its place, for example."""
    with pytest.raises(SettingsError, match=r"cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://127.0.0.1:8080/v1", "device"),
        ("http://[::1]:1", "device"),
        ("http://localhost", "device"),
        ("http://localhost.example.com", "remote"),
        ("http://127.0.0.1.example.com", "remote"),
        ("http://192.168.1.7", "lan"),
        ("http://box.local", "lan"),
        ("https://api.example.com", "remote"),
        ("https://8.8.8.8", "remote"),
        ("http://user@127.0.0.1@example.com/", "remote"),
        ("", "remote"),
        ("http://0.0.0.0", "lan"),
    ],
)
def test_where_an_address_is(url: str, where: Where) -> None:
    """By the address alone; when in doubt it is remote, which policy treats most strictly."""
    assert where_is(url) == where
