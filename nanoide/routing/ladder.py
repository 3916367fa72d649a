"""Which rung may be tried now, and why not. Pure: everything that is known arrives as a value."""

from collections.abc import Sequence

from nanoide.core.errors import BudgetRefused, NanoideError, NoBackend, PolicyRefused
from nanoide.core.policy import Egress, Tier, Where, decide
from nanoide.core.value import Value
from nanoide.settings import BackendTable, Timeout

MODEL_ATTEMPTS = 3
"""At most so many models are tried for one turn; the reflex may always follow."""


class Candidate(Value, frozen=True):
    """A rung as it stands at this moment."""

    name: str
    where: Where
    tier: Tier
    objection: str = ""
    """Its own: why it cannot answer this prompt."""
    refusal: str = ""
    """Its breaker's: why it may not be asked now."""
    window: int | None = None
    """Tokens; None when unknown or when the backend minds it itself."""
    spared: str = ""
    """Why the machine, as it stands, should not do this now."""


class Trouble(Value, frozen=True):
    """A rung that did not answer, for the sentence at the end."""

    backend: str
    why: str
    kind: str = ""
    """"policy" or "budget" for a rung that was kept from leaving, "rests" for one whose breaker is not closed,
    "context" for one whose window is too short; else what an attempt ended with, or empty."""
    hint: str = ""


def kept_here(candidate: Candidate, policy: Egress) -> str:
    """Why `policy` keeps the prompt from the candidate, as a phrase; empty when it does not."""
    if decide(policy, candidate.where) != "refuse":
        return ""
    return f"local-only keeps this {'from the network' if candidate.where == 'lan' else 'on this machine'}"


def why_not(
    candidate: Candidate, *, models: int, tokens: int | None, max_output: int, overflown: int | None = None
) -> str:
    """Why the candidate is passed over, policy aside, as a phrase; empty when it may be tried.

    `models` are the model attempts of this turn so far; `tokens` is the prompt's estimate, None when not counted;
    `overflown` is the longest window that turned out to be too short.
    """
    if candidate.objection:
        return candidate.objection
    if candidate.tier == "model" and models >= MODEL_ATTEMPTS:
        return f"{MODEL_ATTEMPTS} models were tried already"
    return candidate.spared or candidate.refusal or too_long(candidate, tokens, max_output, overflown)


def obstacle(
    candidate: Candidate, *, models: int, tokens: int | None, max_output: int, overflown: int | None = None
) -> tuple[str, str, str] | None:
    """As `why_not`, with the kind of a `Trouble` and what to do about it; None when the candidate may be tried."""
    why = why_not(candidate, models=models, tokens=tokens, max_output=max_output, overflown=overflown)
    if not why:
        return None
    if why == candidate.refusal:
        return why, "rests", ""
    if (
        candidate.window is not None
        and tokens is not None
        and why == too_long(candidate, tokens, max_output, overflown)
    ):
        return why, "context", trim(tokens, max_output, candidate.window)
    return why, "", ""


def too_long(candidate: Candidate, tokens: int | None, max_output: int, overflown: int | None) -> str:
    """Why the prompt does not fit the candidate's window, as a phrase; empty when it does, or nothing is known."""
    if candidate.window is None:
        return ""
    if overflown is not None and candidate.window <= overflown:
        return f"its window of {candidate.window:,} is no longer than the one that was too short"
    if tokens is not None and tokens + max_output > candidate.window:
        return f"about {tokens:,} tokens and {max_output:,} for the answer are over its window of {candidate.window:,}"
    return ""


def trim(tokens: int, max_output: int, window: int) -> str:
    """What to do about a prompt that is longer than the `window`, as a phrase."""
    return f"give it less: it has about {tokens:,} tokens and {max_output:,} for the answer, the window {window:,}"


def because(troubles: Sequence[Trouble], *, first: bool) -> str:
    """Why a rung is tried, as a phrase: what kept the one before it; empty for the first of the ladder."""
    if first or not troubles:
        return ""
    last = troubles[-1]
    return f"{last.backend}: {last.why}"


def may_wait(trouble: Trouble) -> bool:
    """True when a rung that did not answer may do so a little later in the same turn.

    It rests, or asked for a rest itself. One that failed otherwise is not asked twice: the request may be why.
    """
    return trouble.kind in {"rests", "overloaded"}


def nobody(troubles: Sequence[Trouble]) -> NanoideError:
    """The error for a ladder at whose foot nobody answered: one line that says why, rung by rung."""
    line = "; ".join(f"{each.backend}: {each.why}" for each in troubles) or "the ladder is empty"
    # That it is too long is what a person can do something about, whatever else went wrong.
    hints = [each.hint for each in troubles if each.kind == "context"] + [each.hint for each in troubles]
    hint = next((each for each in hints if each), "")
    kinds = {each.kind for each in troubles}
    if "policy" in kinds:
        return PolicyRefused(
            f"nothing here could answer, and the rest may not be asked: {line}",
            hint=hint or "put a backend of this machine into the ladder, or let the route out: egress in config.toml",
        )
    if "budget" in kinds:
        return BudgetRefused(f"nothing within the budget could answer: {line}", hint=hint)
    return NoBackend(f"no backend could answer: {line}", hint=hint or "nanoide backends shows how each one is")


def limits(table: BackendTable | None) -> Timeout:
    """The five limits of a backend.

    A model on this machine may have to load and to wait for its turn: where config.toml says nothing, its
    limits are wider than those of a server.
    """
    if table is None:
        return Timeout()
    if table.kind == "llama" and table.timeout == Timeout():
        return Timeout(first_token=60.0, idle=60.0, total=600.0)
    return table.timeout
