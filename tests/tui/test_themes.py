"""Themes are small files; a wrong one is named."""

from pathlib import Path

import pytest

from nanoide.core.errors import SettingsError
from nanoide.paths import bundled_themes
from nanoide.tui import themes

GOOD = """
dark = true
accent = "#112233"
background = "#000000"
surface = "#111111"
line = "#222222"
faint = "#333333"
muted = "#444444"
text = "#555555"
strong = "#666666"
"""


NAMES = ("contrast", "dusk", "ember", "fjord", "linen", "moss", "paper")


def test_themes_travel_with_nanoide() -> None:
    """Dark ones, two light ones and one of high contrast."""
    found = themes.load((bundled_themes(),))
    assert tuple(found) == NAMES
    assert {name for name in NAMES if not found[name].dark} == {"linen", "paper"}


def test_a_theme_of_the_person_replaces_the_bundled_one(tmp_path: Path) -> None:
    """By the file's name; a folder that is not there is no error."""
    (tmp_path / "dusk.toml").write_text(GOOD)
    found = themes.load((bundled_themes(), tmp_path, tmp_path / "no"))
    assert found["dusk"].primary == "#112233"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace('"#112233"', '"red"'), "accent is 'red'"),
        (GOOD + 'shine = "#000000"\n', "shine"),
        ("dark = maybe", "Invalid"),
        ("dark = true", "accent"),
    ],
)
def test_a_wrong_theme_is_named(tmp_path: Path, text: str, said: str) -> None:
    """File, key and what is allowed, in one line."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        themes.read(path)
    assert str(path) in str(caught.value)
    assert said.lower() in str(caught.value).lower()


def test_an_unknown_theme_lists_what_there_is() -> None:
    """So that the person need not look it up."""
    with pytest.raises(SettingsError, match=", ".join(NAMES)):
        themes.choose(themes.load((bundled_themes(),)), "mauve")


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", NAMES)
def test_text_can_be_read(name: str) -> None:
    """Text, the accent and facts stand out from the background; in contrast everything does."""
    theme = themes.load((bundled_themes(),))[name]
    colours = {"text": theme.foreground, "accent": theme.primary, **theme.variables}

    def ratio(kind: str) -> float:
        light, dark = sorted((_luminance(colours[kind] or ""), _luminance(theme.background or "")), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    floor = {"text": 7.0, "strong": 7.0, "accent": 4.5, "muted": 4.5, "faint": 2.5}
    if name == "contrast":
        floor = dict.fromkeys(floor, 7.0)
    for kind, least in floor.items():
        assert ratio(kind) >= least, kind
