"""The one registry of actions: bindings, the palette, the leader's popup and the help are all read off it."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Literal

from textual.binding import Binding

from nanoide.core.errors import SettingsError
from nanoide.core.value import Value

Scope = Literal["anywhere", "pane", "composer", "consent"]
"""anywhere: always, before any widget. pane: while no text is being written. composer: while writing.
consent: while the focused session asks; before `pane`."""

Section = Literal["Sessions", "Panes", "Answers", "Reading", "View"]

SECTIONS: tuple[Section, ...] = ("Sessions", "Panes", "Answers", "Reading", "View")


class Action(Value, frozen=True):
    """Something that a person can do. `App.action_NAME` does it, with "-" written as "_"; jump-3 is jump(3)."""

    name: str
    title: str
    """As the palette and the help say it."""
    section: Section
    keys: tuple[str, ...] = ()
    """Defaults, the one to show first."""
    leader: str = ""
    """After the leader key; empty when it is not in the popup."""
    scope: Scope = "pane"
    palette: bool = True
    short: str = ""
    """For the line of next keys; empty means that it is not shown there."""

    @property
    def method(self) -> str:
        """The action as Textual runs it."""
        verb, _, number = self.name.rpartition("-")
        return f"{verb}({number})" if number.isdigit() else self.name.replace("-", "_")


JUMPS = tuple(range(1, 10))
"""Sessions that a single key jumps to, by number."""

ACTIONS: tuple[Action, ...] = (
    Action("new-session", "New session", "Sessions", ("n", "alt+n"), "n", short="new"),
    Action("go-to", "Go to session …", "Sessions", ("g", "alt+g"), "g"),
    Action(
        "next-needy",
        "Next session that needs me",
        "Sessions",
        ("alt+j",),
        "j",
        scope="anywhere",
        short="next that needs you",
    ),
    Action("rename-session", "Rename session …", "Sessions", ("r",), "r"),
    Action("pin-session", "Pin session: never park it", "Sessions", (), "i"),
    Action("park-session", "Park session: free its memory", "Sessions", (), "k"),
    Action("remove-session", "Remove session …", "Sessions", ("delete",), "d"),
    Action("hide-pane", "Hide pane", "Panes", ("alt+h", "h"), "h", scope="anywhere", short="hide"),
    Action("show-all", "Show all panes", "Panes", ("a",), "a"),
    Action("zoom", "Zoom pane", "Panes", ("alt+z", "z"), "z", scope="anywhere", short="zoom"),
    Action("next-pane", "Next pane", "Panes", ("tab", "l"), "l"),
    Action("previous-pane", "Previous pane", "Panes", ("shift+tab", "H"), ""),
    Action("write", "Write in the pane", "Panes", ("i", "enter"), "", palette=False, short="write"),
    Action("leave-composer", "Leave the composer", "Panes", ("escape",), "", scope="composer", palette=False),
    Action("cancel-turn", "Stop the answer", "Answers", ("ctrl+c", "escape"), "c", scope="anywhere"),
    Action("ask-again", "Ask the last question again", "Answers", ("R",), "e"),
    Action("copy-answer", "Copy the last answer", "Answers", ("y",), "y"),
    Action("consent-once", "Send it once", "Answers", ("y",), "", scope="consent", palette=False),
    Action("consent-session", "Send for this session", "Answers", ("s",), "", scope="consent", palette=False),
    Action("consent-always", "Send always", "Answers", ("a",), "", scope="consent", palette=False),
    Action("consent-stay", "Stay on this machine", "Answers", ("n",), "", scope="consent", palette=False),
    Action("down", "Down", "Reading", ("j", "down"), palette=False),
    Action("up", "Up", "Reading", ("k", "up"), palette=False),
    Action("page-down", "Page down", "Reading", ("space", "pagedown"), palette=False),
    Action("page-up", "Page up", "Reading", ("b", "pageup"), palette=False),
    Action("to-top", "To the beginning", "Reading", ("home",), palette=False),
    Action("to-end", "To the end", "Reading", ("end", "G"), palette=False),
    Action("palette", "Everything", "View", ("ctrl+p",), "p", scope="anywhere", palette=False, short="everything"),
    Action("filter", "Filter sessions", "View", ("/",), "/", short="filter"),
    Action("focus-sidebar", "Go to the sidebar", "View", ("s", "alt+0"), "s"),
    Action("toggle-sidebar", "Show or hide the sidebar", "View", (), "b"),
    Action("usage", "Usage and cost", "View", ("u",), "u"),
    Action("set-up", "Set up what this machine offers …", "View", ("o",), "o"),
    Action("theme", "Theme …", "View", ("t",), "t"),
    Action("help", "Keys", "View", ("?", "f1"), "?", short="keys"),
    Action("leader", "Leader: all keys without Alt", "View", ("ctrl+x",), "", scope="anywhere", palette=False),
    Action("detach", "Detach: the hub goes on", "View", ("ctrl+d",), "q", scope="anywhere"),
    *(
        Action(
            f"jump-{number}", f"Go to session {number}", "Sessions", (f"alt+{number}",), str(number), "anywhere", False
        )
        for number in JUMPS
    ),
)


class Keymap:
    """The actions with the keys that are in force."""

    def __init__(self, actions: Iterable[Action], keys: Mapping[str, tuple[str, ...]]) -> None:
        self.actions = tuple(actions)
        self._keys = dict(keys)

    def keys(self, name: str) -> tuple[str, ...]:
        """The action's keys, the one to show first."""
        return self._keys[name]

    def shown(self, name: str) -> str:
        """The action's first key as a person reads it; empty when it has none."""
        keys = self._keys[name]
        return shown(keys[0]) if keys else ""

    def find(self, name: str) -> Action:
        """The action of that name; KeyError when there is none."""
        for action in self.actions:
            if action.name == name:
                return action
        raise KeyError(name)

    def after_leader(self) -> dict[str, Action]:
        """By the key that follows the leader."""
        return {action.leader: action for action in self.actions if action.leader}

    def bindings(self) -> list[Binding]:
        """For Textual: those of a narrower scope first, because the first that applies is run."""
        order: tuple[Scope, ...] = ("consent", "composer", "pane", "anywhere")
        return [
            Binding(key, action.method, action.title, show=False, priority=_is_priority(action, key))
            for scope in order
            for action in self.actions
            if action.scope == scope
            for key in self._keys[action.name]
        ]


def build(overrides: Mapping[str, str], origin: str = "config.toml") -> Keymap:
    """The keymap with `[ui.keys]` in force. Raises SettingsError for an unknown action, key or a conflict.

    An override holds one or more keys, separated by commas, in place of the defaults; empty means none.
    """
    names = {action.name for action in ACTIONS}
    for name in overrides:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(names))}"
            raise SettingsError(f"{origin}: ui.keys names {name!r}, which is no action", hint=hint)
    keys = {action.name: action.keys for action in ACTIONS}
    for name, text in overrides.items():
        keys[name] = tuple(_checked(each, name, origin) for each in _split(text))
    taken: dict[tuple[str, str], str] = {}
    for action in ACTIONS:
        for key in keys[action.name]:
            for layer in _layers(action, key):
                other = taken.setdefault((layer, key), action.name)
                if other != action.name:
                    raise SettingsError(
                        f"{origin}: the key {key!r} is bound to {other!r} and to {action.name!r}",
                        hint="give one of them another key under [ui.keys]",
                    )
    return Keymap(ACTIONS, keys)


def shown(key: str) -> str:
    """A key as a person reads it: "alt+j", "?", "esc"."""
    names = {"escape": "esc", "question_mark": "?", "slash": "/", "pagedown": "pgdn", "pageup": "pgup"}
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    return "+".join([*modifiers, names.get(last, last)])


def is_letter(key: str) -> bool:
    """True for a key that means something else while the person writes: a character, or Esc."""
    return len(key) == 1 or key in {"space", "escape"}


def _is_priority(action: Action, key: str) -> bool:
    """True for a key that is taken before any widget sees it: a composer would write the letter of an alt+letter."""
    return key.startswith(("alt+", "ctrl+")) or (action.scope == "anywhere" and not is_letter(key))


def _layers(action: Action, key: str) -> tuple[str, ...]:
    """Where a key counts; two actions may share one only where these differ."""
    if _is_priority(action, key):
        return ("pane", "composer", "consent")
    return ("pane",) if action.scope == "anywhere" else (action.scope,)


def _split(text: str) -> list[str]:
    return [","] if text.strip() == "," else [each.strip() for each in text.split(",") if each.strip()]


_FORBIDDEN = {"ctrl+q": "flow control", "ctrl+s": "flow control", "ctrl+m": "enter", "ctrl+i": "tab", "ctrl+[": "esc"}


def _checked(key: str, name: str, origin: str) -> str:
    if key in _FORBIDDEN:
        raise SettingsError(f"{origin}: ui.keys.{name}: {key!r} does not arrive: it is {_FORBIDDEN[key]}")
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    known = len(last) == 1 or last.replace("_", "").isalnum()
    if not known or any(each not in {"ctrl", "alt", "shift"} for each in modifiers):
        raise SettingsError(f"{origin}: ui.keys.{name}: {key!r} is no key", hint='write for example "alt+j" or "f2"')
    return key
