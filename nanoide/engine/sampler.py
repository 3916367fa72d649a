"""The native sampler of a job: which token comes next, and how likely the model found it.

llama.cpp aborts the process when a grammar is made to accept what it forbids. So a grammar is never part
of the chain: it is asked, and told only what it allows.
"""

import ctypes
import math
from typing import Any

from nanoide.engine.sampling import Sampling

LAST = 64
"""Tokens of the answer that penalties look at."""

HEARD = 128
"""Among so many of the likeliest tokens the probability of a greedy one is told; what the others have is little."""

LEAST = -104.0
"""The log-probability of what has none in 32 bits."""

_RANDOM_SEED = 0xFFFFFFFF
_FLOAT = "f"
_FIELDS = 3
"""Of a candidate: id, logit, p; each has four bytes."""


class GrammarRefused(Exception):
    """The grammar does not parse."""


class DeadEnd(Exception):
    """The grammar allows none of the model's tokens."""


class Candidates:
    """All tokens with their logits, in an array that is filled again for each row. One for a model."""

    def __init__(self, lib: Any, vocab: Any, size: int) -> None:
        self.lib = lib
        self.vocab = vocab
        self.size = size
        kind = lib.llama_token_data * size
        fresh = kind()
        for token in range(size):
            fresh[token].id = token
        self._fresh = bytes(fresh)
        self._data = kind()
        self._floats = memoryview(self._data).cast("B").cast(_FLOAT)
        self._all = lib.llama_token_data_array()
        self._one = lib.llama_token_data_array()
        self._single = (lib.llama_token_data * 1)()
        self._greedy = lib.llama_sampler_init_greedy()
        # It is used for the probabilities that it computes, not for what it draws.
        self._softmax = lib.llama_sampler_init_dist(0)

    def load(self, ctx: Any, row: int) -> None:
        """Take the logits of a row of the last step."""
        ctypes.memmove(self._data, self._fresh, len(self._fresh))
        logits = self.lib.llama_get_logits_ith(ctx, row)
        source = (ctypes.c_float * self.size).from_address(ctypes.addressof(logits.contents))
        self._floats[1::_FIELDS] = memoryview(source).cast("B").cast(_FLOAT)
        self._all.data = self._data
        self._all.size = self.size
        self._all.selected = -1
        self._all.sorted = False

    def apply(self, sampler: Any) -> None:
        """Let a sampler look at all candidates: it may drop, reorder and select."""
        self.lib.llama_sampler_apply(sampler, ctypes.byref(self._all))

    @property
    def selected(self) -> int:
        """The token that was selected."""
        return self._data[self._all.selected].id

    def likeliest(self) -> tuple[int, float]:
        """The likeliest token and its logit."""
        self.apply(self._greedy)
        chosen = self._data[self._all.selected]
        return chosen.id, chosen.logit

    def logprob(self, token: int) -> float:
        """The log-probability of a token, straight after `load`."""
        self.apply(self._softmax)
        return _log(self._data[token].p)

    def allowed(self, grammar: Any, token: int) -> bool:
        """True when the grammar goes on with this token."""
        self._single[0].id = token
        self._single[0].logit = 1.0
        self._one.data = self._single
        self._one.size = 1
        self._one.selected = -1
        self._one.sorted = False
        self.lib.llama_sampler_apply(grammar, ctypes.byref(self._one))
        return self._single[0].logit > -math.inf


class _Ear:
    """The last part of a chain: hears how likely the chosen token is.

    Far cheaper than to look at all logits again from Python (20 against 130 µs for 8,192 of them).
    """

    def __init__(self, lib: Any) -> None:
        self.p = 1.0

        def apply(_: object, candidates: Any) -> None:
            found = candidates.contents
            self.p = found.data[found.selected].p

        # The library keeps pointers to these: they live as long as the chain.
        self._iface = lib.llama_sampler_i(apply=lib.llama_sampler_i_apply(apply))
        self.native = lib.llama_sampler_init(ctypes.byref(self._iface), None)


class Sampler:
    """Chooses the tokens of one job; `free` it."""

    def __init__(self, candidates: Candidates, sampling: Sampling, *, scored: bool) -> None:
        """`scored`: note how likely each token was. Raises GrammarRefused."""
        self._candidates = candidates
        self._lib = lib = candidates.lib
        self._scored = scored
        self._ear = _Ear(lib) if scored and sampling.plain else None
        self._sum = 0.0
        self._count = 0
        self._grammar: Any = None
        if sampling.grammar:
            self._grammar = lib.llama_sampler_init_grammar(
                candidates.vocab, sampling.grammar.encode("utf-8", "replace"), b"root"
            )
            if not self._grammar:
                raise GrammarRefused("grammar does not parse; allowed: GBNF as llama.cpp reads it")
        self._chain: Any = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for part in self._parts(sampling):
            lib.llama_sampler_chain_add(self._chain, part)

    @property
    def logprob(self) -> float | None:
        """The mean log-probability of the tokens so far; None when it was not looked at."""
        return self._sum / self._count if self._count else None

    def sample(self, ctx: Any, row: int) -> int:
        """The token that follows a row of the last step. Raises DeadEnd."""
        if self._grammar is None:
            token: int = self._lib.llama_sampler_sample(self._chain, ctx, row)
        else:
            token = self._within(ctx, row)
        if self._scored:
            self._count += 1
            if self._ear is not None:
                self._sum += _log(self._ear.p)
            else:
                self._candidates.load(ctx, row)
                self._sum += self._candidates.logprob(token)
        return token

    def free(self) -> None:
        """Give the native memory back; the sampler is not usable after that."""
        if self._chain is not None:
            self._lib.llama_sampler_free(self._chain)
            self._chain = None
        if self._grammar is not None:
            self._lib.llama_sampler_free(self._grammar)
            self._grammar = None

    def _within(self, ctx: Any, row: int) -> int:
        """A token that the grammar allows. What the chain would take anyway is tried first: it is mostly allowed."""
        candidates = self._candidates
        candidates.load(ctx, row)
        candidates.apply(self._chain)
        token = candidates.selected
        if not candidates.allowed(self._grammar, token):
            candidates.load(ctx, row)
            candidates.apply(self._grammar)
            if candidates.likeliest()[1] == -math.inf:
                raise DeadEnd("no token of this model goes on as the grammar wants it")
            candidates.apply(self._chain)
            token = candidates.selected
        self._lib.llama_sampler_accept(self._chain, token)
        self._lib.llama_sampler_accept(self._grammar, token)
        return token

    def _parts(self, sampling: Sampling) -> list[Any]:
        lib = self._lib
        parts = list[Any]()
        if sampling.penalised:
            penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
            parts.append(_penalties(lib, self._candidates.size, *penalties))
        if self._ear is not None:
            likeliest = (lib.llama_sampler_init_top_k(HEARD), lib.llama_sampler_init_dist(0))
            return [*likeliest, lib.llama_sampler_init_greedy(), self._ear.native]
        if sampling.temperature == 0.0:
            return [*parts, lib.llama_sampler_init_greedy()]
        seed = _RANDOM_SEED if sampling.seed is None else sampling.seed % _RANDOM_SEED
        if sampling.top_k:
            parts.append(lib.llama_sampler_init_top_k(sampling.top_k))
        parts.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p:
            parts.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
        parts.append(lib.llama_sampler_init_temp(sampling.temperature))
        parts.append(lib.llama_sampler_init_dist(seed))
        return parts


def _penalties(lib: Any, size: int, repeat: float, frequency: float, presence: float) -> Any:
    return lib.llama_sampler_init_penalties(size, LAST, repeat, frequency, presence)


def _log(p: float) -> float:
    return math.log(p) if p > 0 else LEAST
