"""What a backend is asked and what comes back.

A `Prompt` is all that a rung of any kind needs: chat messages for a model that chats, a `Fill` for
one that completes, and the gathered `Context` with the skill's script for the reflex. A backend
answers with `Chunk`s: any number of `Text`, then exactly one `End`. The router adds a `Rung` before
each attempt, and accounts for each with an `Attempt`.
"""

from typing import Literal

from nanoide.core.errors import Outcome
from nanoide.core.policy import Egress, Tier, Where
from nanoide.core.usage import Usage
from nanoide.core.value import Value

Role = Literal["user", "assistant"]

Priority = Literal["completion", "focused", "visible", "background", "ambient"]
"""From what a person waits for at the cursor down to what nobody waits for."""

PRIORITIES: tuple[Priority, ...] = ("completion", "focused", "visible", "background", "ambient")
"""Highest first."""


class Message(Value, frozen=True):
    """One message of a conversation; the system instruction is `Prompt.system`."""

    role: Role
    text: str


class Fill(Value, frozen=True):
    """Fill in the middle: what should stand between `prefix` and `suffix`?"""

    prefix: str
    suffix: str = ""
    path: str = ""
    """Of the file, relative to its root; empty when unknown."""
    language: str = ""
    """LSP language id such as "python"; empty when unknown."""


SourceKind = Literal["selection", "file", "diff", "query", "stdin", "diagnostic"]


class Source(Value, frozen=True):
    """One piece of gathered context: untrusted data, never an instruction."""

    kind: SourceKind
    label: str
    """What the person sees: "auth/session.py:80-95", "staged diff", "standard input"."""
    text: str
    path: str = ""
    """Relative to the context's root where it lies below it, else absolute; empty when it is no file."""
    line: int = 0
    """First line, one-based; 0 when it does not apply."""
    tokens: int = 0
    """Estimated."""
    score: float = 0.0
    """Rank of a query's passage, higher is better; 0 when not ranked."""


class Document(Value, frozen=True):
    """An open text and the place in it that a completion is wanted for."""

    path: str
    text: str
    line: int
    """Zero-based."""
    character: int
    """Zero-based, in UTF-16 code units, as LSP counts by default."""
    language: str = ""


class Context(Value, frozen=True):
    """All that was gathered for one turn. A skill's reflex gets this and nothing else."""

    text: str = ""
    """What the person asked; may be empty."""
    root: str = ""
    """Absolute folder the session works in; empty when there is none."""
    sources: tuple[Source, ...] = ()
    document: Document | None = None
    note: str = ""
    """What the person has to know about what was gathered, as a sentence; empty when all is there."""


class Reflex(Value, frozen=True):
    """The deterministic rung of a skill: a script and what it is given."""

    script: str
    """Absolute path of the skill's reflex.py."""
    context: Context


class Prompt(Value, frozen=True):
    """One question to one backend. Either `messages` or `fill` is set, or both where either would do."""

    skill: str = ""
    session: str = ""
    """Stickiness and prefix reuse; empty for a one-off."""
    system: str = ""
    messages: tuple[Message, ...] = ()
    fill: Fill | None = None
    reflex: Reflex | None = None
    """None when the skill has no reflex: the reflex rung is then passed over."""
    partial: str = ""
    """What stands of the answer already: the backend goes on right behind it. Only for one that `resumes`."""
    max_output: int = 256
    """Tokens."""
    temperature: float = 0.2
    """0 means greedy."""
    top_p: float = 0.95
    top_k: int = 40
    """Of how many likeliest tokens one is taken; 0 means of all."""
    min_p: float = 0.0
    """Tokens less likely than this share of the likeliest are left out; 0 means none."""
    repeat_penalty: float = 1.0
    """Divides what speaks for a token that was said lately; 1 means no penalty."""
    frequency_penalty: float = 0.0
    """Taken off a token for each time it was said lately; 0 means no penalty."""
    presence_penalty: float = 0.0
    """Taken off a token that was said lately at all; 0 means no penalty."""
    seed: int | None = None
    grammar: str = ""
    """GBNF, with a rule `root`: the answer is a text of this grammar. Only models on this device hold to it."""
    json_schema: str = ""
    """JSON: the answer is JSON that fits this schema. Not together with `grammar`; empty means anything."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these; the stop text itself is not part of it."""
    priority: Priority = "focused"
    egress: Egress = "ask"
    """The policy in force for this prompt: the narrowest of route, skill and flag."""
    files: tuple[str, ...] = ()
    """Absolute paths of the files that the text comes from. What git or .nanoideignore hides among them stays here."""


Finish = Literal["stop", "length", "content_filter"]
"""stop: a natural end or a stop text. length: `max_output` was reached."""


class Text(Value, frozen=True, tag="text"):
    """The next piece of the answer; never empty, never half a character."""

    text: str


class Waits(Value, frozen=True, tag="waits"):
    """From a backend, before its first text: what it is busy with until it can begin. It has not failed."""

    reason: str
    """As a phrase: "loads the model, 43 %"."""


class End(Value, frozen=True, tag="end"):
    """The answer is complete. A stream that ends without it was cut."""

    finish: Finish = "stop"
    usage: Usage = Usage()
    model: str = ""
    """As the backend names it."""
    logprob: float | None = None
    """How sure the model was: nats a token in the mean, 0 at most; None when it was not asked or does not tell."""
    rest_s: float | None = None
    """Seconds for which the backend takes no more questions: its allowance is used up; None when it is not."""


class Passed(Value, frozen=True):
    """A rung that was not tried, and why, as a phrase: "nano: completes code only"."""

    backend: str
    reason: str


class Rung(Value, frozen=True, tag="rung"):
    """From the router: an attempt on this rung begins."""

    backend: str
    where: Where
    tier: Tier
    reason: str = ""
    """Why this rung, as a phrase a person can read; empty for the first one of the ladder."""
    passed: tuple[Passed, ...] = ()
    """Rungs passed over since the attempt before."""
    continues: bool = False
    """The text before it stays: this rung goes on where the answer broke off. Else all text before it is void."""


class Seam(Value, frozen=True):
    """A place in an answer where one rung broke off and another went on."""

    after: int
    """Code points of the answer before it."""
    backend: str
    """Who went on."""
    reason: str = ""
    """Why, as a phrase: "sonnet: silent for 15 s"."""


class Attempt(Value, frozen=True):
    """One try on one rung, ended. Each is one row of the ledger."""

    backend: str
    where: Where
    tier: Tier
    outcome: Outcome
    ms: int
    """From the start of the attempt to its end."""
    ttft_ms: int | None = None
    """To the first token; None when there was none."""
    usage: Usage = Usage()
    cost_nano: int | None = None
    """Nano-dollars; None means unpriced, which is not free."""
    model: str = ""
    price_source: str = ""
    reason: str = ""
    """What went wrong, or why this rung, as a phrase."""


Chunk = Text | Waits | End
"""What a plain backend yields."""

RoutedChunk = Text | End | Rung
"""What the router yields: a `Rung` before each attempt, then `Text`s, at last `End`."""
