"""How an answer that broke off goes on: what the next rung is asked. Pure.

Where a backend takes raw text the answer so far is simply the prompt's end. Elsewhere the model is asked to
repeat the last characters and to go on; the `Seam` finds the place. Where neither is certain to be exact, the
whole answer is asked anew.
"""

from typing import Final

from msgspec.structs import replace

from nanoide import tokens
from nanoide.core.chat import Message, Prompt
from nanoide.core.errors import Outcome
from nanoide.core.value import Value
from nanoide.routing.seam import Seam, anchor_of

HOPS: Final = 2
"""So often an answer goes on elsewhere; then it has failed."""

GOES_ON: frozenset[Outcome] = frozenset(
    {"cut", "timeout", "server_error", "overloaded", "crashed", "protocol", "connect_error"}
)
"""What went wrong in the middle was the backend's or the line's. Anything else is the prompt's or the key's."""

_WRAPPING: Final = 24
"""Tokens that a model may spend around the anchor."""

_ASK: Final = (
    "Your answer above broke off because the connection was lost. Go on with it. First repeat its last {count} "
    "characters exactly as they stand, then go on right behind them until the answer is complete. Write nothing "
    "else: no introduction, no quotation marks, no code fence around it, nothing from further above. "
    "The last {count} characters stand between these two arrows:\n→{anchor}←"
)


class Leg(Value, frozen=True):
    """What one rung is asked."""

    prompt: Prompt
    said: str = ""
    """What stands of the answer already, and stays; empty when the rung begins from nothing."""
    anchor: str = ""
    """What the rung repeats at first; empty when it takes up the text itself."""

    @property
    def continues(self) -> bool:
        """True when the text before it stays."""
        return bool(self.said)

    def seam(self) -> Seam | None:
        """What finds the place at which its stream goes on; None when that is its beginning."""
        return Seam(self.said, self.anchor) if self.anchor else None


def leg(prompt: Prompt, said: str, *, raw: bool) -> Leg:
    """`prompt` for a rung that goes on behind `said`; with `raw` it takes the text itself.

    A leg that does not continue is the prompt as it was: going on could not be exact.
    """
    left = max(1, prompt.max_output - tokens.count(said))
    if raw:
        return Leg(replace(prompt, partial=said, max_output=left), said)
    # An answer that must be of a grammar or a schema has no room for an anchor.
    anchor = "" if prompt.grammar or prompt.json_schema or not prompt.messages else anchor_of(said)
    if not anchor:
        return Leg(prompt)
    ask = _ASK.format(count=len(anchor), anchor=anchor)
    messages = (*prompt.messages, Message("assistant", said), Message("user", ask))
    left += tokens.count(anchor) + _WRAPPING
    return Leg(replace(prompt, messages=messages, fill=None, max_output=left), said, anchor)
