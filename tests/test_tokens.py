"""Tokens are counted as the bundled model counts them, without a network and without a surprise."""

import subprocess
import sys
from pathlib import Path

import pytest

from nanoide import tokens
from nanoide.paths import bundled_model
from tests.ranks import ranks

SAMPLES = [
    "def f(x):\n    return x + 1\n",
    Path(tokens.__file__).read_text(),
    "Grüße, 世界! 👩\u200d💻 don't  \n\n  x=123456\r\n\tend",
    "   \n" * 50,
]


def test_the_ranks_are_those_of_the_bundled_model() -> None:
    """After the model was replaced, `python -m tests.ranks` makes them anew."""
    assert tokens.RANKS.read_bytes() == ranks(bundled_model())
    assert tokens.RANKS.read_bytes().count(b"\n") == 8192 - 8


def test_nothing_is_nothing() -> None:
    """An empty text has no tokens."""
    assert tokens.count("") == 0


@pytest.mark.parametrize("text", SAMPLES)
def test_the_count_is_the_models_own(text: str) -> None:
    """To the token, on code, on whitespace, on other scripts."""
    llama_cpp = pytest.importorskip("llama_cpp")
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(bundled_model()).encode(), parameters)
    try:
        data = text.encode()
        room = (llama_cpp.llama_token * (len(data) + 8))()
        vocabulary = llama_cpp.llama_model_get_vocab(model)
        own = llama_cpp.llama_tokenize(vocabulary, data, len(data), room, len(room), False, False)
    finally:
        llama_cpp.llama_model_free(model)
    assert tokens.count(text) == own


@pytest.mark.parametrize("text", ["a" * 300_000, " " * 300_000, "漢" * 100_000, "\ud800 lone", "<|endoftext|>"])
def test_odd_texts_are_counted_too(text: str) -> None:
    """Endless runs, lone surrogates and what looks like a control token are text as any other."""
    assert tokens.count(text) >= 2


def test_without_tiktoken_the_length_tells() -> None:
    """A machine where tiktoken does not load still gets an estimate."""
    program = "import sys; sys.modules['tiktoken'] = None; from nanoide import tokens; print(tokens.count('x' * 350))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "100"


def test_importing_is_nearly_free() -> None:
    """The heavy part is loaded when the first text is counted, and nothing opens a socket for it."""
    program = (
        "import sys; from nanoide import tokens; assert 'tiktoken' not in sys.modules;"
        "tokens.count('x'); assert 'tiktoken' in sys.modules and 'requests' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
