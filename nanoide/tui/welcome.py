"""What a person sees before there is any session: what works here, now, and the next key."""

from collections.abc import Sequence
from typing import assert_never

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from nanoide.core.sanitize import clean_line
from nanoide.tui.prose import wrap
from nanoide.tui.wording import Glyphs
from nanoide.wire import BackendLine, Offer, SkillLine


class Welcome(VerticalScroll):
    """Stands in the deck's place."""

    DEFAULT_CSS = """
    Welcome { width: 1fr; height: 1fr; padding: 1 2; scrollbar-size: 0 0; color: $foreground; }
    Welcome > Static { height: auto; }
    """

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(can_focus=False)
        self._glyphs = glyphs
        self._text = Static("", markup=False)
        self._told: tuple[Sequence[BackendLine], Sequence[SkillLine], bool | None, dict[str, str]] | None = None
        self._offers: Sequence[Offer] = ()

    def compose(self) -> ComposeResult:
        """One text."""
        yield self._text

    def say_hidden(self, keys: dict[str, str]) -> None:
        """There are sessions, but no pane is shown."""
        self._told = None
        self._text.update(
            Content.assemble(
                ("Every pane is hidden.\n\n", "$strong bold"),
                (f"  {keys['show-all']}", "$accent bold"),
                (" show all   ", "$muted"),
                (f"  {keys['go-to']}", "$accent bold"),
                (" go to one", "$muted"),
            )
        )

    def show(
        self,
        backends: Sequence[BackendLine],
        skills: Sequence[SkillLine],
        left: bool | None,
        keys: dict[str, str],
        offers: Sequence[Offer] | None = None,
    ) -> None:
        """Say what there is. `left` tells whether anything has left this machine; None when that is not known.

        `offers` is what was found and is not set up; None means as before.
        """
        self._told = (backends, skills, left, keys)
        self._offers = self._offers if offers is None else offers
        width = max(24, self.size.width - 4)
        self._text.update(text(backends, skills, left, keys, width, self._glyphs, self._offers))

    def on_resize(self) -> None:
        """Wrap again."""
        if self._told is not None:
            self.show(*self._told)


def text(
    backends: Sequence[BackendLine],
    skills: Sequence[SkillLine],
    left: bool | None,
    keys: dict[str, str],
    width: int,
    glyphs: Glyphs,
    offers: Sequence[Offer] = (),
) -> Content:
    """The welcome as one text."""
    greeting = "Welcome. What is ready below works now"
    greeting += "; nothing has left this machine." if left is False else "."
    lines = [Content.assemble((line, "$strong bold")) for line in wrap(greeting, width)]
    lines.append(Content(""))
    dot = f" {glyphs.dot} "
    for name, said in [*_rows(backends, skills, dot), *_found(offers)]:
        room = width - 14
        if room < 20:
            lines += [Content.assemble((name, "$accent")), *(Content(f"  {line}") for line in wrap(said, width - 2))]
            continue
        first, *more = wrap(said, room)
        lines.append(Content.assemble((f"  {name:<10}  ", "$accent"), first))
        lines += [Content(" " * 14 + line) for line in more]
    lines.append(Content(""))
    hints: list[tuple[str, str]] = []
    verbs = [("new-session", "start with a session"), ("palette", "everything"), ("help", "keys")]
    if offers:
        verbs.insert(1, ("set-up", "set up what was found"))
    for name, said in verbs:
        if keys.get(name):
            hints += [(f"  {keys[name]}", "$accent bold"), (f" {said}   ", "$muted")]
    return Content("\n").join([*lines, Content.assemble(*hints)])


def _rows(backends: Sequence[BackendLine], skills: Sequence[SkillLine], dot: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for each in backends:
        what = clean_line(each.name) + (f" ({clean_line(each.model)})" if each.model not in {"", each.name} else "")
        if each.tier == "reflex":
            continue
        reason = f": {clean_line(each.reason)}" if each.reason else ""
        match each.state:
            case "ready" | "starting":
                rows.append(("ready", f"{what}{dot}{_place(each)}"))
            case "asleep":
                rows.append(("ready", f"{what}{dot}{_place(each)}, starts when asked"))
            case "cooling" | "down":
                rows.append(("not now", what + reason))
            case "off":
                rows.append(("off", what + reason))
            case _:
                assert_never(each.state)
    able = [clean_line(each.name) for each in skills if not each.problem]
    by_reflex = [clean_line(each.name) for each in skills if each.reflex and not each.problem]
    if able:
        rows.append(("skills", _some(able)))
    if by_reflex:
        rows.append(("reflex", f"{_some(by_reflex)} also answer without any model"))
    rows += [("broken", f"{clean_line(each.name)}: {clean_line(each.problem)}") for each in skills if each.problem]
    return rows


def _found(offers: Sequence[Offer]) -> list[tuple[str, str]]:
    """What this machine offers and nobody uses yet."""
    told = [f"a key for {clean_line(each.title)}" if each.kind == "key" else clean_line(each.title) for each in offers]
    return (
        [("found", f"{_some(told, 4)}; not used until you set {'it' if len(told) == 1 else 'them'} up")] if told else []
    )


def _place(line: BackendLine) -> str:
    match line.where:
        case "device":
            return "on this device"
        case "lan":
            return "on the local network"
        case "remote":
            return "remote"
        case _:
            assert_never(line.where)


def _some(names: Sequence[str], most: int = 6) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
