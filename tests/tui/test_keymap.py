"""Bindings come from one registry, and a config that cannot work is refused in one line."""

from pathlib import Path

import pytest

from nanoide.core.errors import SettingsError
from nanoide.paths import Paths
from nanoide.settings import Settings, UiTable
from nanoide.tui import keymap
from nanoide.tui.app import make
from nanoide.tui.keymap import ACTIONS


def test_the_defaults_have_no_conflict() -> None:
    """The keymap builds, and every action has keys or a leader key."""
    built = keymap.build({})
    assert all(built.keys(action.name) or action.leader for action in ACTIONS)


def test_no_default_fights_the_terminal_or_tmux() -> None:
    """Flow control, Esc in disguise and tmux's prefix are left alone."""
    taken = {key for action in ACTIONS for key in action.keys}
    assert not taken & {"ctrl+s", "ctrl+q", "ctrl+b", "ctrl+m", "ctrl+i", "ctrl+["}


def test_the_page_names_every_action() -> None:
    """What can be rebound can be looked up."""
    page = (Path(__file__).parents[2] / "docs" / "tui.md").read_text()
    assert [action.name for action in ACTIONS if not action.name.startswith("jump-") and action.name not in page] == []


def test_leader_keys_are_unique() -> None:
    """Each key after the leader stands for one action."""
    leaders = [action.leader for action in ACTIONS if action.leader]
    assert len(leaders) == len(set(leaders))


def test_an_override_replaces_the_defaults() -> None:
    """The new keys are in force, the old ones are free."""
    built = keymap.build({"zoom": "f5, Z"})
    assert built.keys("zoom") == ("f5", "Z")
    assert built.shown("zoom") == "f5"
    bound = {binding.key for binding in built.bindings() if binding.action == "zoom"}
    assert bound == {"f5", "Z"}


def test_an_empty_override_takes_the_keys_away() -> None:
    """The palette and the leader still reach the action."""
    assert keymap.build({"zoom": ""}).keys("zoom") == ()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"zooom": "f5"}, "ui.keys names 'zooom', which is no action (did you mean 'zoom'?)"),
        ({"zoom": "alt+j"}, "the key 'alt+j' is bound to 'next-needy' and to 'zoom'"),
        ({"usage": "n"}, "the key 'n' is bound to 'new-session' and to 'usage'"),
        ({"zoom": "ctrl+s"}, "'ctrl+s' does not arrive: it is flow control"),
        ({"zoom": "hyper+x"}, "'hyper+x' is no key"),
    ],
)
def test_what_cannot_work_is_one_clear_line(keys: dict[str, str], said: str) -> None:
    """An unknown action, a conflict and a key that never arrives are named, with what to do."""
    with pytest.raises(SettingsError) as caught:
        keymap.build(keys, "/c/config.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("/c/config.toml: ")
    assert "\n" not in str(caught.value)


def test_the_app_refuses_them_before_it_shows(paths: Paths) -> None:
    """Nothing is drawn with a config that is wrong."""

    async def never() -> None:
        raise AssertionError

    for ui in (UiTable(keys={"nothing": "x"}), UiTable(theme="mauve")):
        with pytest.raises(SettingsError) as caught:
            make(never, paths, Settings(ui=ui), folder="/")  # type: ignore[arg-type]
        assert "there are:" in str(caught.value)
