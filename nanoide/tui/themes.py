"""Themes from TOML files: one accent colour and a scale of greys, as a Textual theme."""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
from textual.theme import Theme

from nanoide.core.errors import SettingsError

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


class Palette(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A theme file. Colours are "#rrggbb"."""

    dark: bool
    accent: str
    """The one colour: focus, and what needs the person."""
    background: str
    surface: str
    """Popups, the line under a cursor, code."""
    line: str
    """Borders without focus."""
    faint: str
    """What may be overlooked: hints, rules."""
    muted: str
    """Facts under an answer, ages, units."""
    text: str
    strong: str
    """What the person wrote, titles."""
    label: str = ""
    """A few words for the palette."""


def load(folders: Iterable[Path]) -> dict[str, Theme]:
    """Every theme in the folders by its file's name; a later folder replaces an earlier one's.

    Raises SettingsError that names the file and the key.
    """
    themes: dict[str, Theme] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
            themes[path.stem] = read(path)
    return themes


def choose(themes: dict[str, Theme], name: str) -> Theme:
    """The theme of that name. Raises SettingsError that lists what there is."""
    try:
        return themes[name]
    except KeyError:
        raise SettingsError(f"unknown theme {name!r}", hint=f"there are: {', '.join(sorted(themes))}") from None


def read(path: Path) -> Theme:
    """The theme in one file. Raises SettingsError."""
    try:
        palette = msgspec.toml.decode(path.read_bytes(), type=Palette)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise SettingsError(f"{path}: {error}", hint="see docs/tui.md") from error
    for field in Palette.__struct_fields__:
        value: object = getattr(palette, field)
        if isinstance(value, str) and field != "label" and not _COLOUR.fullmatch(value):
            raise SettingsError(f"{path}: {field} is {value!r}", hint='a colour is written "#rrggbb"')
    return Theme(
        name=path.stem,
        dark=palette.dark,
        primary=palette.accent,
        secondary=palette.muted,
        accent=palette.accent,
        warning=palette.accent,
        error=palette.accent,
        success=palette.accent,
        foreground=palette.text,
        background=palette.background,
        surface=palette.surface,
        panel=palette.surface,
        variables={
            "line": palette.line,
            "faint": palette.faint,
            "muted": palette.muted,
            "strong": palette.strong,
            "input-cursor-background": palette.accent,
            "input-cursor-foreground": palette.background,
            "input-selection-background": f"{palette.accent} 35%",
            "screen-selection-background": f"{palette.accent} 35%",
        },
    )
