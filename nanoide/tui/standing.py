"""How the ladder stands, in the words of the status line: as much as there is room for, and never jumping."""

from textual.content import Content

from nanoide.core.sanitize import clean_line
from nanoide.tui.prose import fit
from nanoide.tui.wording import Glyphs
from nanoide.wire import HubStatus


def standing(status: HubStatus, left_s: float | None, width: int, glyphs: Glyphs) -> Content:
    """The mode, since when, whose fault it is and when that is tried again.

    `left_s` are the seconds until then as they are now; `width` is that of the whole line, and it alone decides how
    much is told, so that nothing comes and goes while figures change.
    """
    parts = [status.mode]
    if status.mode not in {"full", "local only"}:
        if width >= 120 and status.mode_since is not None:
            parts[0] += f" since {status.mode_since.astimezone():%H:%M}"
        if width >= 140 and status.mode_reason:
            parts.append(fit(clean_line(status.mode_reason), 44))
        elif status.mode_backend:
            parts.append(fit(clean_line(status.mode_backend), 12 if width < 120 else 16))
        if left_s is not None:
            parts.append(_next(left_s, short=width < 120))
    elif status.mode == "local only" and width >= 140 and status.mode_reason:
        parts.append(fit(clean_line(status.mode_reason), 44))
    return Content.assemble((glyphs.modes[status.mode], "$accent"), f" {f' {glyphs.dot} '.join(parts)}")


def room(width: int) -> int:
    """How many columns the longest standing takes in a line of `width`: what stands before it must not need them."""
    return 42 if width < 120 else 76 if width < 140 else 104


def turned(before: HubStatus, after: HubStatus) -> str:
    """What a change of mode means, as a line that is told once; empty when the mode is the same."""
    if before.mode == after.mode:
        return ""
    why = clean_line(after.mode_reason)
    if after.mode_backend:
        return f"{after.mode}: {why}" if why else after.mode
    back = clean_line(before.mode_backend)
    return f"{back} is back: {after.mode}" if back else f"{after.mode}{f': {why}' if why else ''}"


def _next(seconds: float, *, short: bool) -> str:
    if seconds < 0.5:
        return "tried next" if short else "tried by the next question"
    told = f"{seconds:>2.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return told if short else f"tried again in {told}"
