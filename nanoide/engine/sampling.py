"""From logits to text: what may be asked of the sampler, and how bytes of tokens become text.

Pure; the native side is `sampler`.
"""

import codecs
import math

from nanoide.core.value import Value

STOPS_MAX = 16
"""Stop texts a job may have."""


class Sampling(Value, frozen=True):
    """How the next token is chosen. Within its ranges once `check` found nothing."""

    temperature: float = 0.0
    """0 means greedy."""
    top_p: float = 1.0
    top_k: int = 40
    """0 means the whole vocabulary."""
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    """Penalties look at the end of the answer, never at the prompt: code repeats itself for good reasons."""
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    """None means a new one each time."""
    grammar: str = ""
    """GBNF; empty means that anything may be said."""

    @property
    def penalised(self) -> bool:
        """True when what was said changes what is said next."""
        return self.repeat_penalty != 1.0 or self.frequency_penalty != 0.0 or self.presence_penalty != 0.0

    @property
    def plain(self) -> bool:
        """True when the likeliest token is always taken, whatever was said before."""
        return self.temperature == 0.0 and not self.penalised and not self.grammar


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 5),
    ("top_k", 0, 1_000_000),
    ("min_p", 0, 1),
    ("frequency_penalty", -2, 2),
    ("presence_penalty", -2, 2),
)
"""From and to, both allowed."""


def check(sampling: Sampling, max_output: int, stop: tuple[str, ...]) -> str:
    """What is out of range, as a phrase that says what is allowed; empty when all is well."""
    for name, low, high in _RANGES:
        value: float = getattr(sampling, name)
        if not (math.isfinite(value) and low <= value <= high):
            return f"{name} is {value}; allowed: {low} to {high}"
    if not (math.isfinite(sampling.top_p) and 0 < sampling.top_p <= 1):
        return f"top_p is {sampling.top_p}; allowed: more than 0, at most 1"
    if not (math.isfinite(sampling.repeat_penalty) and 0 < sampling.repeat_penalty <= 10):
        return f"repeat_penalty is {sampling.repeat_penalty}; allowed: more than 0, at most 10"
    if sampling.seed is not None and not 0 <= sampling.seed < 2**63:
        return f"seed is {sampling.seed}; allowed: 0 to 2^63-1"
    if max_output < 1:
        return f"max_output is {max_output}; allowed: 1 and more"
    if len(stop) > STOPS_MAX:
        return f"{len(stop)} stop texts; allowed: {STOPS_MAX}"
    return ""


class TextStream:
    """Bytes of tokens in, text out: no half character leaves, and nothing from a stop text on.

    A tail that may be the beginning of a stop text is held until more is known.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._stop = tuple(each for each in stop if each)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False
        """True once a stop text was met; nothing comes after that."""

    def feed(self, piece: bytes) -> str:
        """The text that may leave after `piece`; often empty."""
        if self.stopped:
            return ""
        text = self._held + self._decoder.decode(piece)
        if not self._stop:
            return text
        # The one that is complete first ends the answer, however the tokens happen to be cut.
        met = min(((at + len(each), at) for each in self._stop if (at := text.find(each)) >= 0), default=None)
        if met is not None:
            self.stopped = True
            self._held = ""
            return text[: met[1]]
        keep = self._may_begin(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held, at the end of the answer. Half a character is dropped: it is no text."""
        held, self._held = self._held, ""
        return held

    def _may_begin(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop text begins."""
        longest = min(len(text), max(len(each) for each in self._stop) - 1)
        for size in range(longest, 0, -1):
            tail = text[-size:]
            if any(each.startswith(tail) for each in self._stop):
                return size
        return 0
