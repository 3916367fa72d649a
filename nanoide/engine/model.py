"""A GGUF: what it is, how text becomes its tokens, and where its answers end.

Model files are hostile; this runs in the engine process only.
"""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from nanoide.core.chat import Fill, Message
from nanoide.engine import gguf
from nanoide.engine.context import Handle, Library, NativeError
from nanoide.engine.protocol import Facts, FimOrder
from nanoide.engine.sampler import Candidates, Sampler
from nanoide.engine.sampling import Sampling
from nanoide.engine.stand_ins import stand_in
from nanoide.engine.template import Template, TemplateError

BUNDLED = "nano-base"
"""How the bundled model calls itself: it was trained suffix first, in 512 tokens, without BOS."""

FILL_TOKENS = 2048
"""Prefix and suffix together, for other models: more context costs more time than it helps at a cursor."""

_CHARS_PER_TOKEN = 12
"""Text that is cut before it is tokenised: no usual token is longer."""

_ANCHOR = 64
"""The beginning of a long prefix is cut at multiples of this, so that typing on does not move the cut
and the KV cache of the last completion stays good."""


class Window(Exception):
    """The prompt does not fit."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"the prompt has {tokens} tokens; the window has {limit}")


class Model:
    """A loaded model and its vocabulary."""

    def __init__(
        self,
        library: Library,
        path: str,
        *,
        gpu_layers: int,
        fim: FimOrder,
        progress: Callable[[int], None] = lambda percent: None,
    ) -> None:
        """Raises NativeError when the file cannot be loaded. `progress` hears how many percent of it are there."""
        if reason := gguf.fault(Path(path)) or _too_large(Path(path)):
            raise NativeError(f"the model {path!r} cannot be loaded: {reason}")
        lib = library.lib
        self._lib = lib
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers

        def hear(part: float, _: object) -> bool:
            progress(int(100 * part))
            return True

        callback = lib.llama_progress_callback(hear)  # a name of its own: ctypes does not hold it
        params.progress_callback = callback
        self.native: Handle = lib.llama_model_load_from_file(path.encode(), params)
        if not self.native:
            raise NativeError(f"llama.cpp cannot load the file: {library.complaint or 'it does not say why'}")
        self._vocab: Handle = lib.llama_model_get_vocab(self.native)
        self._candidates = Candidates(lib, self._vocab, lib.llama_vocab_n_tokens(self._vocab))
        self.name = self._text("general.name")[:128] or Path(path).stem
        self.bundled = self.name == BUNDLED
        self.parameters: int = lib.llama_model_n_params(self.native)
        self.trained: int = lib.llama_model_n_ctx_train(self.native)
        self.partial = not (lib.llama_model_is_recurrent(self.native) or lib.llama_model_is_hybrid(self.native))
        """Whether a sequence's state can be cut and shared in part."""
        self._pieces: dict[int, bytes] = {}
        self._buffer = ctypes.create_string_buffer(256)
        self._bos: int = lib.llama_vocab_bos(self._vocab)
        self._add_bos = bool(lib.llama_vocab_get_add_bos(self._vocab)) and self._bos >= 0
        self._pre: int = lib.llama_vocab_fim_pre(self._vocab)
        self._suf: int = lib.llama_vocab_fim_suf(self._vocab)
        self._mid: int = lib.llama_vocab_fim_mid(self._vocab)
        fim_only = (lib.llama_vocab_fim_pad, lib.llama_vocab_fim_rep, lib.llama_vocab_fim_sep)
        self._fim = {self._pre, self._suf, self._mid, *(each(self._vocab) for each in fim_only)} - {-1}
        self._suffix_first = fim == "spm" or (fim == "auto" and self.bundled)
        self.fills = fim != "none" and min(self._pre, self._suf, self._mid) >= 0
        self.template_fault = ""
        """Why the chat template of the file cannot be used; empty when it can, or when there is none."""
        self.warning = ""
        """What was put in place of what the file should have, as a phrase."""
        self._template = self._choose_template()
        if self.warning:
            library.log(f"{self.name}: {self.warning}")
        self._device = library.device

    @property
    def cell_bytes(self) -> int:
        """Memory of one KV cell at 16 bits, as far as the head counts tell."""
        lib, model = self._lib, self.native
        heads = max(1, lib.llama_model_n_head(model))
        width = max(1, lib.llama_model_n_embd(model)) // heads * max(1, lib.llama_model_n_head_kv(model))
        return 4 * width * max(1, lib.llama_model_n_layer(model))

    def facts(self, window: int) -> Facts:
        """What the hub may know, with the `window` that was given to it."""
        return Facts(
            name=self.name,
            window=window,
            chats=self._template is not None,
            fills=self.fills,
            warning=self.warning[:300],
            device=self._device,
        )

    def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of `text`, nothing added. `special`: names of special tokens in it count as such."""
        raw = text.encode("utf-8", "replace")
        size = len(raw) + 8
        ids = (ctypes.c_int32 * size)()
        count = self._lib.llama_tokenize(self._vocab, raw, len(raw), ids, size, False, special)
        if count < 0:
            raise NativeError(f"a text of {len(raw)} bytes could not be tokenised")
        return ids[:count]

    def sampler(self, sampling: Sampling, *, scored: bool) -> Sampler:
        """What chooses the tokens of one job. Raises GrammarRefused."""
        return Sampler(self._candidates, sampling, scored=scored)

    def piece(self, token: int) -> bytes:
        """The bytes of a token; none for a special one."""
        known = self._pieces.get(token)
        if known is None:
            size = self._lib.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, False)
            if size < 0:
                self._buffer = ctypes.create_string_buffer(-size)
                size = self._lib.llama_token_to_piece(self._vocab, token, self._buffer, -size, 0, False)
            known = self._pieces[token] = self._buffer.raw[: max(0, size)]
        return known

    def ends(self, token: int, *, fill: bool) -> bool:
        """True when an answer is over at this token. A filled middle also ends at any special token."""
        lib = self._lib
        if token in self._fim or lib.llama_vocab_is_eog(self._vocab, token):
            return True
        return fill and bool(lib.llama_vocab_is_control(self._vocab, token))

    def fill_prompt(self, fill: Fill, room: int) -> list[int]:
        """The tokens of a fill-in-the-middle prompt of at most `room` tokens.

        The far ends of prefix and suffix are left out when there is more than fits: that is the design,
        what counts is near the cursor.
        """
        total, most_suffix = (450, 120) if self.bundled else (FILL_TOKENS, FILL_TOKENS // 4)
        total = max(8, min(total, room - 4))
        most_suffix = min(most_suffix, total // 3)
        suffix = self.tokens(fill.suffix[: most_suffix * _CHARS_PER_TOKEN])[:most_suffix]
        prefix = _last(self.tokens(_tail(fill.prefix, total * _CHARS_PER_TOKEN)), total - len(suffix))
        bos = [self._bos] if self._add_bos and not self.bundled else []
        if self._suffix_first:
            return [*bos, self._pre, self._suf, *suffix, self._mid, *prefix]
        return [*bos, self._pre, *prefix, self._suf, *suffix, self._mid]

    def chat_prompt(self, system: str, messages: tuple[Message, ...], partial: str = "") -> list[int]:
        """The tokens of a conversation, the answer to it begun with `partial`. Raises TemplateError."""
        if self._template is None:
            raise TemplateError("there is none")
        ids = list[int]()
        for text, frame in self._template.render(system, messages):
            ids += self.tokens(text, special=frame)
        if self._add_bos and ids[:1] != [self._bos]:
            ids.insert(0, self._bos)
        if partial:
            ids += self.tokens(partial)
        return ids

    def _choose_template(self) -> Template | None:
        """The file's own if it renders, else one that models like it share; None when the model does not chat."""
        source: bytes | None = self._lib.llama_model_chat_template(self.native, None)
        if not source:
            return None
        try:
            return self._compile(source.decode("utf-8", "replace"))
        except TemplateError as error:
            self.template_fault = str(error)
        other = stand_in(self._text("general.architecture"), self._is_special)
        if other is None:
            self.warning = f"its chat template cannot be used: {self.template_fault}"
            return None
        self.warning = f"its chat template cannot be used, {other.name} stands in: {self.template_fault}"
        return self._compile(other.source)

    def _compile(self, source: str) -> Template:
        """A template that was seen to render a short conversation. Raises TemplateError."""
        eos = self._marker(self._lib.llama_vocab_eos(self._vocab))
        template = Template(source, bos=self._marker(self._bos), eos=eos)
        template.render("brief", (Message("user", "hello"),))
        return template

    def _is_special(self, name: str) -> bool:
        """True when the vocabulary has a special token of that name."""
        ids = self.tokens(name, special=True)
        # What a person writes must not be taken for it: the same text, read plainly, is another token.
        return len(ids) == 1 and ids != self.tokens(name)

    def _text(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(1024)
        size = self._lib.llama_model_meta_val_str(self.native, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size > 0 else ""

    def _marker(self, token: int) -> str:
        """A special token as the template writes it."""
        if token < 0:
            return ""
        text: bytes | None = self._lib.llama_vocab_get_text(self._vocab, token)
        return text.decode("utf-8", "replace") if text else ""


def _too_large(path: Path) -> str:
    """Why the file does not fit this machine, as a phrase; empty when it may. It would run from the disk."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return ""
    size = path.stat().st_size
    return f"it has {size / 1e9:.1f} GB, this machine {memory / 1e9:.1f} GB of memory" if size > memory > 0 else ""


def _tail(text: str, most: int) -> str:
    """The last `most` characters or somewhat fewer, cut where the next keys will cut too, at a line's beginning."""
    if len(text) <= most:
        return text
    step = most // 4
    start = -(-(len(text) - most) // step) * step
    line = text.find("\n", start, start + step)
    return text[line + 1 if line >= 0 else start :]


def _last(ids: list[int], most: int) -> list[int]:
    """The last `most` ids or somewhat fewer, cut at a multiple of the anchor."""
    if len(ids) <= most:
        return ids
    start = -(-(len(ids) - most) // _ANCHOR) * _ANCHOR
    return ids[start:] if len(ids) - start >= most // 2 else ids[len(ids) - most :]
