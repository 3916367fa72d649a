"""What the palette offers: actions, sessions, skills, themes."""

from collections.abc import Mapping, Sequence

from nanoide.core.events import SessionId
from nanoide.core.session import Session
from nanoide.tui.keymap import Keymap
from nanoide.tui.picker import Choice
from nanoide.tui.wording import by_need, label, state_word
from nanoide.wire import SkillLine


def choices(
    keymap: Keymap, sessions: Mapping[SessionId, Session], skills: Sequence[SkillLine], themes: Sequence[str]
) -> list[Choice]:
    """Everything that can be done from here; sessions that need the person come first."""
    needy = by_need(dict(sessions))
    others = sorted((each for each in sessions.values() if each not in needy), key=lambda each: each.number)
    leader = keymap.shown("leader")
    found: list[Choice] = [_session(each) for each in needy]
    for action in keymap.actions:
        if action.palette:
            key = keymap.shown(action.name) or (f"{leader} {action.leader}" if action.leader else "")
            found.append(Choice(f"action:{action.name}", action.title, action.section.lower(), key))
    found += [_session(each) for each in others]
    found += [Choice(f"skill:{each.name}", f"New {each.name}", each.description) for each in skills if not each.problem]
    found += [Choice(f"theme:{name}", f"Theme {name}", "view") for name in themes]
    return found


def _session(session: Session) -> Choice:
    return Choice(f"session:{session.id}", f"{session.number} {label(session)}", state_word(session.state))
