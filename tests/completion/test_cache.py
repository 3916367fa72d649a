"""Completions that were made already."""

from msgspec.structs import replace

from nanoide.completion.cache import LOOK_BACK, Cache
from nanoide.core.chat import Document
from nanoide.core.document import at_end

HERE = Document(path="x.py", text="a = \nrest", line=0, character=4)


def typed(text: str, *, of: Document = HERE) -> Document:
    """The document after typing `text`."""
    lines = of.text.split("\n")
    lines[of.line] = lines[of.line][: of.character] + text + lines[of.line][of.character :]
    return replace(of, text="\n".join(lines), character=of.character + len(text))


def test_what_was_put_is_found_again() -> None:
    """The same place in the same text gets the same completion; another place gets none."""
    cache = Cache()
    cache.put(HERE, "value")
    assert cache.get(HERE) == "value"
    assert cache.get(replace(HERE, text="b = \nrest")) is None
    assert cache.get(replace(HERE, text="a = \nother")) is None
    assert cache.get(replace(HERE, path="y.py")) is None


def test_typing_into_a_completion_shows_the_rest_of_it() -> None:
    """Every character that agrees shortens it; one that does not, or the last, ends it."""
    cache = Cache()
    cache.put(HERE, "value")
    assert cache.get(typed("v")) == "value"[1:]
    assert cache.get(typed("valu")) == "e"
    assert cache.get(typed("value")) is None
    assert cache.get(typed("x")) is None


def test_a_completion_longer_than_the_look_back_is_not_followed_for_ever() -> None:
    """Past the look-back a completion counts as left behind."""
    cache = Cache()
    text = "x" * (LOOK_BACK + 10)
    cache.put(HERE, text)
    assert cache.get(typed("x" * LOOK_BACK)) == "x" * 10
    assert cache.get(typed("x" * (LOOK_BACK + 1))) is None


def test_knowing_that_there_is_nothing_is_knowing() -> None:
    """An empty completion is kept as such, and typing on asks anew."""
    cache = Cache()
    cache.put(HERE, "")
    assert cache.get(HERE) == ""
    assert cache.get(typed("v")) is None


def test_the_oldest_give_way() -> None:
    """The cache holds so many and no more, and the latest of one place replaces the one before."""
    cache = Cache(limit=3)
    for number in range(10):
        cache.put(at_end("x.py", f"line {number}"), str(number))
        cache.put(at_end("x.py", f"line {number}"), f"{number}!")
    assert len(cache) == 3
    assert cache.get(at_end("x.py", "line 9")) == "9!"
    assert cache.get(at_end("x.py", "line 0")) is None
