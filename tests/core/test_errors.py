"""Errors say what, where and what to try, and end a command with the right code."""

import pytest

from nanoide.core import errors
from nanoide.core.errors import ERRORS, NanoideError, UnknownName


def subclasses(cls: type[NanoideError]) -> set[type[NanoideError]]:
    """All of the tree below `cls`, and itself."""
    return {cls}.union(*(subclasses(each) for each in cls.__subclasses__()))


def test_every_error_can_cross_the_wire() -> None:
    """None is missing from the table."""
    ours = {each for each in subclasses(NanoideError) if each.__module__ == errors.__name__}
    assert ours == set(ERRORS.values())
    assert all(name == each.__name__ for name, each in ERRORS.items())


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("NanoideError", 1),
        ("UsageError", 2),
        ("UnknownName", 2),
        ("SettingsError", 2),
        ("InputError", 2),
        ("PolicyRefused", 3),
        ("BudgetRefused", 3),
        ("NoBackend", 4),
        ("BackendError", 1),
        ("StoreError", 1),
        ("Interrupted", 130),
    ],
)
def test_exit_codes(name: str, code: int) -> None:
    """As the contract has them."""
    assert ERRORS[name].exit_code == code


def test_an_error_is_one_line_with_its_hint() -> None:
    """What happened, then what to try."""
    assert str(NanoideError("no disk", hint="buy one")) == "no disk (buy one)"
    assert str(NanoideError("no disk")) == "no disk"


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("comit-message", ["commit-message", "file-query"], "did you mean 'commit-message'?"),
        ("zzz", ["b", "a"], "there are: a, b"),
        (
            "zzz",
            [f"n{number:02}" for number in range(20)],
            "there are: n00, n01, n02, n03, n04, n05, n06, n07, n08, n09, n10, n11 …",
        ),
        ("zzz", [], "there is no skill yet"),
    ],
)
def test_an_unknown_name_says_which_are_known(name: str, known: list[str], hint: str) -> None:
    """The nearest ones, or the first few."""
    error = UnknownName.among("skill", name, known)
    assert error.message == f"unknown skill {name!r}"
    assert error.hint == hint
