"""What the terminal sends for Alt, read the way a person means it."""

from dataclasses import dataclass
from string import ascii_lowercase, digits

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS

_ESC = "\x1b"


@dataclass(frozen=True)
class _Key:
    """Stands where Textual has a member of its enum of keys."""

    value: str


def teach_alt() -> None:
    """Let ESC and a digit or a small letter be Alt with it, at once. Done once, before the app runs.

    Textual reads ESC 1 as the sign that a Mac's Option key writes with 1, and waits a tenth of a second
    after ESC and a letter, in which a second Alt key is taken apart into its letters.
    """
    table: dict[str, object] = ANSI_SEQUENCES_KEYS  # type: ignore[assignment] - the values are read as `.value` only
    for sign in digits + ascii_lowercase:
        if sign in digits or _ESC + sign not in table:
            table[_ESC + sign] = (_Key(f"alt+{sign}"),)
