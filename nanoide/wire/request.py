"""What every request has: a method name and the type of its reply."""

from typing import ClassVar, Generic, TypeVar

from nanoide.core.value import Value

Reply = TypeVar("Reply")


class Request(Value, Generic[Reply], frozen=True):
    """A question to the hub. Subclasses name their METHOD and the type of their REPLY."""

    METHOD: ClassVar[str]
    REPLY: ClassVar[object]


class Done(Value, frozen=True):
    """The reply to a request that has nothing to say but that it was carried out."""
