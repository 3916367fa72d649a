"""Words, numbers and glyphs as a person reads them: short, with units, the same everywhere."""

from datetime import datetime
from typing import Literal, assert_never

from nanoide.core.chat import Seam
from nanoide.core.events import SessionId
from nanoide.core.sanitize import clean_line
from nanoide.core.session import ASCII_GLYPHS, GLYPHS, Session, State, TurnState
from nanoide.core.usage import NANO
from nanoide.core.value import Value

Group = Literal["needs you", "working", "done", "idle", "parked"]

GROUPS: tuple[Group, ...] = ("needs you", "working", "done", "idle", "parked")
"""As the sidebar shows them, from the top."""


class Glyphs(Value, frozen=True):
    """The signs in use; `ASCII` is for terminals without Unicode."""

    states: dict[State, str]
    modes: dict[str, str]
    switch: str
    """Before a change of rung."""
    goes_on: str
    """Where another rung goes on with an answer."""
    arrow: str
    cursor: str
    """Where text that arrives will go on."""
    dot: str
    """Between facts."""
    dash: str
    """Fills the border between a title and a state."""
    branch: str
    ellipsis: str
    minus: str
    selected: str
    bars: str
    """Eight heights, the lowest first."""
    full: str
    empty: str


UNICODE = Glyphs(
    states=GLYPHS,
    modes={"full": "●", "degraded": "◐", "local only": "◑", "reflex only": "○", "": "○"},
    switch="↯",
    goes_on="↷",
    arrow="→",
    cursor="▌",
    dot="·",
    dash="─",
    branch="⎇",
    ellipsis="…",
    minus="−",
    selected="▏",
    bars="▁▂▃▄▅▆▇█",
    full="█",
    empty="░",
)

ASCII = Glyphs(
    states=ASCII_GLYPHS,
    modes={"full": "*", "degraded": "~", "local only": "~", "reflex only": "o", "": "o"},
    switch="~",
    goes_on="~",
    arrow="->",
    cursor="_",
    dot="-",
    dash="-",
    branch="on",
    ellipsis="...",
    minus="-",
    selected="|",
    bars="_.-=+*%#",
    full="#",
    empty=".",
)


def group_of(session: Session) -> Group:
    """Where the session stands in the sidebar. An ambient one needs nobody."""
    match session.state:
        case "asking":
            return "needs you"
        case "failed":
            return "idle" if session.ambient else "needs you"
        case "queued" | "working" | "streaming":
            return "working"
        case "done":
            return "idle" if session.ambient else "done"
        case "idle":
            return "idle"
        case "parked":
            return "parked"
        case _:
            assert_never(session.state)


def label(session: Session) -> str:
    """The session's name, clean; the name it has by default says its number twice, and is cut."""
    return clean_line(session.skill if session.name == f"{session.skill}-{session.number}" else session.name)


def went_on(seam: Seam) -> str:
    """Who went on with an answer, and what broke it off, in one line."""
    reason = f": {clean_line(seam.reason)}" if seam.reason else ""
    return f"went on with {clean_line(seam.backend)}{reason}"


def state_word(state: State | TurnState) -> str:
    """The state as a pane's border tells it."""
    return "asks you" if state == "asking" else state


def age(now: datetime, then: datetime) -> str:
    """How long ago: "now", "9s", "4m", "2h", "3d"."""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s" if seconds >= 2 else "now"


def money(nano: int) -> str:
    """Dollars with as many digits as they need: "$0", "$1.92", "$0.18", "$0.0011"."""
    dollars = nano / NANO
    if nano == 0:
        return "$0"
    if abs(dollars) >= 0.1:
        return f"${dollars:,.2f}"
    places = 2
    while places < 9 and abs(dollars) < 10 ** (1 - places):
        places += 1
    return f"${dollars:.{places}f}"


def cost(nano: int | None) -> str:
    """Money, or that there is no price."""
    return "no price" if nano is None else money(nano)


def count(number: int) -> str:
    """A count of tokens: "1,204", "412 k", "3.1 M"."""
    if number >= 1_000_000:
        return f"{number / 1_000_000:.1f} M"
    return f"{number // 1_000} k" if number >= 10_000 else f"{number:,}"


def memory(size: int) -> str:
    """Bytes: "310 MB", "1.2 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def duration(ms: int) -> str:
    """Milliseconds: "38 ms", "1.2 s"."""
    return f"{ms} ms" if ms < 1_000 else f"{ms / 1_000:.1f} s"


def plural(number: int, noun: str) -> str:
    """A count with its noun: "1 source", "2 sources"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def by_need(sessions: dict[SessionId, Session]) -> list[Session]:
    """Those that need the person, the most urgent first: questions, failures, answers; each the oldest first."""
    order: tuple[State, ...] = ("asking", "failed", "done")
    needy = [each for each in sessions.values() if each.unread and (each.state == "asking" or not each.ambient)]
    return sorted(needy, key=lambda each: (order.index(each.state), each.since, each.number))
