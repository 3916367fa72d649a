"""What was found becomes lines of config.toml that load, under names of their own, with nothing secret in them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.backends.discovery import KEYS, Found, LocalServer, ModelFile, OfferedKey
from nanoide.backends.offers import PROVIDERS, Possible, appended, by_hand, possible, quoted
from nanoide.settings import Settings, parse

OLLAMA = LocalServer("Ollama", "http://127.0.0.1:11434/v1", ("nomic-embed-text", "qwen3:8b", "llama3"))
SMALL = ModelFile("/models/small.gguf", 100)
LARGE = ModelFile("/models/Large Model.gguf", 900)
HUGE = ModelFile("/models/huge.gguf", 5_000)
KEY = OfferedKey("ANTHROPIC_API_KEY", "Anthropic")
EVERYTHING = Found(servers=(OLLAMA,), files=(SMALL, LARGE, HUGE, ModelFile("/models/mmproj-x.gguf", 1)), keys=(KEY,))


def of(found: Found, settings: Settings | None = None) -> tuple[Possible, ...]:
    """What is possible, with room for 1,000 bytes."""
    return possible(found, settings or Settings(), room=1_000, path_of=Path)


def written(before: bytes, found: Found) -> Settings:
    """The settings after everything found was appended to `before`."""
    settings = parse(before, "before")
    return parse(before + appended(of(found, settings), settings, before).encode(), "after")


def test_every_key_that_is_looked_for_has_a_provider() -> None:
    """And no provider is there for a key that nobody looks for."""
    assert {env for env, _ in KEYS} == {provider.env for provider in PROVIDERS}


def test_the_lines_are_what_a_person_would_write() -> None:
    """A model that answers, the others named; the key's place and never the key; remote only when asked."""
    server, *_, key = of(EVERYTHING)
    assert appended((server, key), Settings(), b"") == (
        '[[backend]]\nname = "ollama"\nkind = "openai"\nbase_url = "http://127.0.0.1:11434/v1"\nmodel = "qwen3:8b"\n'
        "# it also has llama3\n"
        '\n[[backend]]\nname = "anthropic"\nkind = "anthropic"\nbase_url = "https://api.anthropic.com"\n'
        'model = "claude-haiku-4-5"\nkey = { env = "ANTHROPIC_API_KEY" }\n'
        '\n[route.default]\nladder = ["ollama", "nano", "anthropic", "reflex"]\negress = "ask"\n'
    )


def test_the_usual_choice_is_modest() -> None:
    """Servers and keys; of the files one that fits, and only where no server is."""
    assert [each.offer.title for each in of(EVERYTHING) if each.offer.usual] == [
        "Ollama at 127.0.0.1:11434",
        "Anthropic",
    ]
    alone = of(Found(files=(SMALL, LARGE, HUGE)))
    assert [(each.offer.backend, each.offer.usual) for each in alone] == [
        ("small", False),
        ("large-model", True),
        ("huge", False),
    ]


def test_what_the_file_names_already_is_no_offer() -> None:
    """An address, a path, a key; and a name that is taken gets a number."""
    settings = written(b"", EVERYTHING)
    assert of(EVERYTHING, settings) == ()
    other = LocalServer("Ollama", "http://127.0.0.1:9/v1", ("x",))
    (again,) = of(Found(servers=(other,)), settings)
    assert again.offer.backend == "ollama-2"


@pytest.mark.parametrize("before", [b"", b"[ui]\nmouse = false", b"[ui]\nmouse = false\n", b"# only this"])
def test_the_rest_of_the_file_stays_as_it_is(before: bytes) -> None:
    """The new lines come behind it, and the whole loads."""
    after = written(before, EVERYTHING)
    assert after.ui == parse(before, "before").ui
    assert [each.name for each in after.backend] == ["ollama", "small", "large-model", "huge", "anthropic"]
    route = after.route["default"]
    assert (route.egress, route.ladder[-2:], route.ladder[0]) == ("ask", ("anthropic", "reflex"), "ollama")


def test_a_ladder_of_ones_own_is_not_touched_and_that_is_said() -> None:
    """Nothing can be put into a table that stands above."""
    ladder = parse(b'[route.default]\nladder = ["nano"]\n', "x")
    assert written(b'[route.default]\nladder = ["nano"]\n', EVERYTHING).route == ladder.route
    assert by_hand(of(EVERYTHING), ladder).startswith('[route.default] has a ladder of its own: add "ollama", "small"')
    loose = parse(b'[route.default]\negress = "remote"\n', "x")
    assert "without a question" in by_hand(of(EVERYTHING), loose)
    assert by_hand(of(Found(servers=(OLLAMA,))), loose) == ""
    assert by_hand(of(EVERYTHING), Settings()) == ""


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_is_quoted(text: str) -> None:
    """A name from elsewhere cannot end its string."""
    assert parse(f"[ui.keys]\nzoom = {quoted(text)}".encode(), "x").ui.keys == {"zoom": text}


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1), st.integers(0, 1_000))
def test_any_name_makes_a_table_that_loads(name: str, size: int) -> None:
    """Whatever a file is called."""
    written(b"", Found(files=(ModelFile(f"/m/{name}.gguf", size),)))
