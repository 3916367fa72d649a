"""The native side: llama.cpp's low-level API behind a few typed methods. `llama_cpp` is imported here only.

`Llama`, the library's own class, is not used: it serves one sequence at a time and copies score
buffers of hundreds of megabytes.
"""

import ctypes
import importlib
import importlib.util
import re
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from nanoide.engine.crew import Crew
from nanoide.engine.sampler import Sampler

Lib = Any
"""The ctypes module llama_cpp.llama_cpp; it carries no types that say anything."""

Handle = Any
"""A pointer that belongs to the library."""

_WARN = 3
_ERROR = 4


_OFFLOADED = re.compile(rb"offloaded (\d+/\d+) layers to GPU")
_CPU = 0
_ACCELERATOR = 3
"""Kinds of ggml devices that are no GPU."""


class NativeError(Exception):
    """The library said no."""


class Library:
    """llama.cpp, loaded; what it complains of goes to `log`."""

    def __init__(self, log: Callable[[str], None]) -> None:
        """Raises ImportError or RuntimeError when the library is missing or does not fit this machine."""
        self.log = log
        self.offloaded = ""
        """Of the last model: "29/29" layers on a GPU; empty when it did not say."""
        self.complaint = ""
        """The first error it logged; says why a model does not load."""
        self.lib: Lib = _import()

        def hear(level: int, text: bytes, _: object) -> None:
            if found := _OFFLOADED.search(text):
                self.offloaded = found[1].decode()
            if level in {_WARN, _ERROR}:
                line = text.decode("utf-8", "replace").rstrip()
                if level == _ERROR and not self.complaint:
                    self.complaint = line.partition(": ")[2] or line
                log(line)

        # ctypes does not hold the callback: it must live as long as the library may call it, which is always.
        self.lib.nanoide_hears = self.lib.llama_log_callback(hear)
        self.lib.llama_log_set(self.lib.nanoide_hears, None)
        self.lib.llama_backend_init()

    @property
    def device(self) -> str:
        """What computes, as a phrase: as the build can and as the last model was loaded."""
        if not self.lib.llama_supports_gpu_offload():
            return "CPU only, this build of llama-cpp-python uses no GPU"
        found = ", ".join(_gpus(self.lib))
        if not found:
            return "CPU only, the build can use a GPU and found none"
        return f"{found}, {self.offloaded or 'some'} layers offloaded"


class Batch:
    """Rows for one step, in arrays that are filled by slices: a loop over five fields a row is slower."""

    def __init__(self, lib: Lib, rows: int) -> None:
        self._token = (ctypes.c_int32 * rows)()
        self._pos = (ctypes.c_int32 * rows)()
        self._count = (ctypes.c_int32 * rows)(*([1] * rows))
        self._slot = (ctypes.c_int32 * rows)()
        self._slots = (ctypes.POINTER(ctypes.c_int32) * rows)()
        self._wanted = (ctypes.c_int8 * rows)()
        size = ctypes.sizeof(ctypes.c_int32)
        for row in range(rows):
            address = ctypes.addressof(self._slot) + row * size
            self._slots[row] = ctypes.cast(address, ctypes.POINTER(ctypes.c_int32))
        self.native = lib.llama_batch()
        self.native.token = self._token
        self.native.pos = self._pos
        self.native.n_seq_id = self._count
        self.native.seq_id = self._slots
        self.native.logits = self._wanted
        self.size = 0

    def clear(self) -> None:
        """No rows."""
        self.size = 0

    def add(self, slot: int, start: int, tokens: list[int], wanted: bool) -> int:
        """Rows for `tokens` from position `start` on; the row whose logits are `wanted`, which is the last."""
        first, end = self.size, self.size + len(tokens)
        self._token[first:end] = tokens
        self._pos[first:end] = range(start, start + len(tokens))
        self._slot[first:end] = [slot] * len(tokens)
        self._wanted[first:end] = [0] * len(tokens)
        if wanted:
            self._wanted[end - 1] = 1
        self.size = end
        return end - 1


class Context:
    """One native context with its KV memory; also the `Memory` of the cache. One thread owns it."""

    def __init__(self, lib: Lib, model: Handle, *, cells: int, rows: int, slots: int, threads: int) -> None:
        """Raises NativeError when there is no memory for it."""
        self._lib = lib
        self._threads = threads
        self._crew = Crew(threads, lib.llama_model_n_params(model))
        params = lib.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = rows
        params.n_ubatch = rows
        params.n_seq_max = slots
        # Logits of one row a sequence are all that is ever read.
        params.n_outputs_max = slots
        params.n_threads = threads
        params.n_threads_batch = threads
        # One pool of cells for all sequences: a shared beginning is then shared, not copied.
        params.kv_unified = True
        params.no_perf = True
        self._ctx: Handle = lib.llama_init_from_model(model, params)
        if not self._ctx:
            raise NativeError(f"no context of {cells} tokens could be made")
        self._memory: Handle = lib.llama_get_memory(self._ctx)
        kinds = (params.type_k, params.type_v, params.flash_attn_type, params.rope_scaling_type, params.swa_full)
        self._signature = " ".join(map(str, (_version(), *kinds)))
        self.batch = Batch(lib, rows)

    def decode(self) -> int:
        """Compute the rows of the batch: llama_decode's own answer."""
        self.batch.native.n_tokens = self.batch.size
        threads = self._crew.choose(self.batch.size)
        if threads != self._threads:
            self._threads = threads
            self._lib.llama_set_n_threads(self._ctx, threads, threads)
        begun = time.perf_counter()
        code = self._lib.llama_decode(self._ctx, self.batch.native)
        self._crew.note(self.batch.size, threads, time.perf_counter() - begun)
        return code

    def sample(self, sampler: Sampler, row: int) -> int:
        """The next token after `row` of the last step. Raises DeadEnd."""
        return sampler.sample(self._ctx, row)

    @property
    def signature(self) -> str:
        """What else a saved state depends on, beside the model file."""
        return self._signature

    def copy(self, source: int, target: int, length: int, start: int = 0) -> None:
        """See `kvcache.Memory`."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, start, length)

    def share(self, source: int, target: int, length: int) -> None:
        """See `kvcache.Memory`."""
        self._lib.llama_memory_seq_rm(self._memory, target, 0, length)
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def save(self, slot: int) -> bytes:
        """See `kvcache.Memory`."""
        size: int = self._lib.llama_state_seq_get_size(self._ctx, slot)
        buffer = (ctypes.c_uint8 * size)()
        written: int = self._lib.llama_state_seq_get_data(self._ctx, buffer, size, slot)
        return bytes(memoryview(buffer)[:written])

    def restore(self, slot: int, data: bytes, length: int) -> bool:
        """See `kvcache.Memory`."""
        # The library reads the bytes where they are; it does not write to them.
        view = ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_uint8))
        read: int = self._lib.llama_state_seq_set_data(self._ctx, view, len(data), slot)
        return read == len(data) and self.length(slot) == length

    def cut(self, slot: int, length: int) -> bool:
        """See `kvcache.Memory`."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, slot, length, -1))

    def drop(self, slot: int) -> None:
        """See `kvcache.Memory`."""
        self._lib.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def length(self, slot: int) -> int:
        """See `kvcache.Memory`."""
        return self._lib.llama_memory_seq_pos_max(self._memory, slot) + 1


def _version() -> str:
    """Of llama-cpp-python; the format of a saved state may change with it."""
    from importlib import metadata

    try:
        return metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        return "unknown"


def _gpus(lib: Lib) -> list[str]:
    """The GPUs that the build can use, as they call themselves."""
    try:
        ggml = lib._lib
        ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
        ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
        ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
        ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
        ggml.ggml_backend_dev_description.restype = ctypes.c_char_p
        ggml.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
        devices = [ggml.ggml_backend_dev_get(at) for at in range(ggml.ggml_backend_dev_count())]
        found = [each for each in devices if ggml.ggml_backend_dev_type(each) not in {_CPU, _ACCELERATOR}]
        return [ggml.ggml_backend_dev_description(each).decode("utf-8", "replace")[:60] for each in found]
    except AttributeError:  # a build that hides them; it works all the same
        return ["GPU"]


def _import() -> Lib:
    """The ctypes module alone. The package around it imports numpy, Jinja and more: 0.4 s and 28 MB."""
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.submodule_search_locations is None:
        raise ImportError("llama-cpp-python is not installed")
    package = ModuleType("llama_cpp")
    package.__path__ = list(found.submodule_search_locations)
    whole = sys.modules.get("llama_cpp")
    sys.modules["llama_cpp"] = package
    try:
        return importlib.import_module("llama_cpp.llama_cpp")
    finally:  # whoever wants the whole package finds it as ever
        del sys.modules["llama_cpp"]
        if whole is not None:
            sys.modules["llama_cpp"] = whole
