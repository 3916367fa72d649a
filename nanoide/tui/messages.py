"""What the feed tells the app, as Textual messages."""

from dataclasses import dataclass

from textual.message import Message

from nanoide.core.errors import NanoideError
from nanoide.core.events import SessionId
from nanoide.wire import HubStatus


@dataclass
class SessionsReset(Message):
    """The feed is attached: every session was replaced."""


@dataclass
class SessionsChanged(Message):
    """Sessions changed since the last frame."""

    changed: frozenset[SessionId]
    outlines: bool
    """True when more than the text of an answer changed."""


@dataclass
class StatusArrived(Message):
    """The hub's figures changed."""

    status: HubStatus


@dataclass
class HubLost(Message):
    """The hub cannot be reached; the feed tries again by itself."""

    error: NanoideError
    retry_s: float


@dataclass
class Complaint(Message):
    """A request that nobody waits for was refused."""

    error: NanoideError
