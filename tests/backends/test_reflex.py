import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from nanoide.backends.reflex import ReflexBackend
from nanoide.backends.reflex_worker import HEAD
from nanoide.core.chat import Chunk, Context, End, Prompt, Reflex, Source, Text
from nanoide.core.errors import BackendError

Write = Callable[[str], Prompt]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a reflex, get the prompt that runs it."""
    script = tmp_path / "greet" / "reflex.py"
    script.parent.mkdir()

    def put(body: str) -> Prompt:
        script.write_text(body)
        context = Context(text="Ada", sources=(Source("file", "a.py", "x = 1\n"),))
        return Prompt(skill="greet", reflex=Reflex(str(script), context))

    return put


@pytest.fixture
async def reflex() -> AsyncIterator[ReflexBackend]:
    """A backend whose children have as long for an answer as a busy machine may take."""
    backend = ReflexBackend("reflex", limit_s=30.0)
    yield backend
    await backend.aclose()


async def _ask(backend: ReflexBackend, prompt: Prompt) -> list[Chunk]:
    async with aclosing(backend.stream(prompt)) as chunks:  # type: ignore[type-var]
        return [chunk async for chunk in chunks]


async def _fails(backend: ReflexBackend, prompt: Prompt) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await _ask(backend, prompt)
    return caught.value


def _said(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Text))


async def test_a_script_answers_from_its_context(reflex: ReflexBackend, write: Write) -> None:
    """A text that is returned is the answer; no tokens are counted."""
    chunks = await _ask(reflex, write("def answer(context):\n    return context.text + context.sources[0].text\n"))
    assert chunks == [Text("Adax = 1\n"), End(model="reflex")]


async def test_a_script_may_give_its_answer_in_pieces(reflex: ReflexBackend, write: Write) -> None:
    """An iterator streams; empty pieces are left out."""
    chunks = await _ask(reflex, write("def answer(context):\n    yield 'a'\n    yield ''\n    yield 'b'\n"))
    assert chunks[:-1] == [Text("a"), Text("b")]


async def test_nothing_to_say_is_an_end_without_text(reflex: ReflexBackend, write: Write) -> None:
    """An empty answer is no error."""
    assert await _ask(reflex, write("def answer(context):\n    return ''\n")) == [End(model="reflex")]


async def test_the_child_stays_and_the_script_is_loaded_again_when_it_changes(
    reflex: ReflexBackend, write: Write
) -> None:
    """Two answers come from one process; a changed file counts at once."""
    body = "import os\ndef answer(context):\n    return f'{os.getpid()} %s'\n"
    first = _said(await _ask(reflex, write(body % "one")))
    second = _said(await _ask(reflex, write(body % "second")))
    assert first.split()[0] == second.split()[0]
    assert second.endswith("second")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("def answer(context):\n    return 1 / 0\n", "greet/reflex.py:2: ZeroDivisionError: division by zero"),
        ("def answer(context):\n    return 7\n", "greet/reflex.py: TypeError: answer() returned int, not text"),
        ("def answer(context)\n", "greet/reflex.py:1: SyntaxError"),
        ("x = 1\n", "AttributeError"),
        ("import sys\ndef answer(context):\n    sys.exit(3)\n", "greet/reflex.py:3: SystemExit: 3"),
    ],
)
async def test_a_script_that_fails_is_told_in_one_line(
    reflex: ReflexBackend, write: Write, body: str, line: str
) -> None:
    """The script, the line and the exception; the child goes on."""
    error = await _fails(reflex, write(body))
    assert error.outcome == "crashed"
    assert line in error.message
    assert "\n" not in error.message
    assert _said(await _ask(reflex, write("def answer(context):\n    return 'well again'\n"))) == "well again"


async def test_a_script_that_hangs_is_ended(write: Write) -> None:
    """The limit holds, and the next question gets a new child."""
    reflex = ReflexBackend("reflex", limit_s=2.0)
    error = await _fails(reflex, write("def answer(context):\n    while True: pass\n"))
    assert (error.outcome, error.message) == ("timeout", "its script took over 2 s")
    assert _said(await _ask(reflex, write("def answer(context):\n    return 'new'\n"))) == "new"
    await reflex.aclose()


async def test_a_child_that_dies_is_told_and_replaced(reflex: ReflexBackend, write: Write) -> None:
    """Not even an abort in native code goes further than its own question."""
    error = await _fails(reflex, write("import os\ndef answer(context):\n    os.abort()\n"))
    assert error.outcome == "crashed"
    assert "signal 6" in error.message
    assert _said(await _ask(reflex, write("def answer(context):\n    return 'new'\n"))) == "new"


async def test_what_a_script_prints_does_not_disturb(reflex: ReflexBackend, write: Write) -> None:
    """Standard output belongs to nobody; standard input is empty."""
    body = "import sys\ndef answer(context):\n    print('noise', flush=True)\n    return sys.stdin.read() + 'clear'\n"
    assert _said(await _ask(reflex, write(body))) == "clear"


async def test_the_child_gets_no_secrets(reflex: ReflexBackend, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, tokens and passwords of the environment stay with the hub."""
    for name in ("ACME_API_KEY", "GH_TOKEN", "DB_PASSWORD", "CLIENT_SECRET_FILE"):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("MONKEY_BUSINESS", "fine")
    names = _said(await _ask(reflex, write("import os\ndef answer(context):\n    return ' '.join(os.environ)\n")))
    assert "MONKEY_BUSINESS" in names
    assert not {"ACME_API_KEY", "GH_TOKEN", "DB_PASSWORD", "CLIENT_SECRET_FILE"} & set(names.split())


async def test_many_questions_at_once_are_all_answered(reflex: ReflexBackend, write: Write) -> None:
    """Twenty share two children, and no answer goes to another question."""
    prompt = write("def answer(context):\n    return context.text * 1000\n")
    assert prompt.reflex is not None
    prompts = [Prompt(reflex=Reflex(prompt.reflex.script, Context(text=f"{number},"))) for number in range(20)]
    answers = await asyncio.gather(*(_ask(reflex, each) for each in prompts))
    assert [_said(answer) for answer in answers] == [f"{number}," * 1000 for number in range(20)]


async def test_one_that_hangs_does_not_hold_up_the_others(reflex: ReflexBackend, write: Write, tmp_path: Path) -> None:
    """While a script runs and runs, another is answered."""
    hang = write("def answer(context):\n    while True: pass\n")
    other = tmp_path / "other.py"
    other.write_text("def answer(context):\n    return 'here'\n")
    hanging = asyncio.create_task(_ask(reflex, hang))
    await asyncio.sleep(0)
    assert _said(await _ask(reflex, Prompt(reflex=Reflex(str(other), Context())))) == "here"
    assert not hanging.done()
    hanging.cancel()
    await asyncio.wait([hanging])


async def test_leaving_an_answer_ends_its_child(reflex: ReflexBackend, write: Write) -> None:
    """A cancelled question does not leave a script running."""
    chunks = reflex.stream(write("import os\ndef answer(context):\n    yield str(os.getpid())\n    while True: pass\n"))
    first = await anext(chunks)
    assert isinstance(first, Text)
    await chunks.aclose()  # type: ignore[attr-defined]
    await reflex.aclose()
    with pytest.raises(ProcessLookupError):
        os.kill(int(first.text), 0)


async def test_an_unused_child_ends_by_itself(write: Write) -> None:
    """After its rest the process is gone, and the next question starts another."""
    reflex = ReflexBackend("reflex", idle_s=0.0)
    prompt = write("import os\ndef answer(context):\n    return str(os.getpid())\n")
    first = int(_said(await _ask(reflex, prompt)))
    async with asyncio.timeout(10):
        while reflex.health().state != "asleep":  # noqa: ASYNC110  # a process tells no event of its end
            await asyncio.sleep(0)
    await reflex.aclose()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert int(_said(await _ask(reflex, prompt))) != first
    await reflex.aclose()


def test_without_a_reflex_it_objects() -> None:
    """The reason names the skill."""
    assert ReflexBackend("reflex").objection(Prompt(skill="greet")) == "skill greet has no reflex"


async def test_a_worker_ends_when_nobody_is_left_to_answer_even_in_a_script_that_hangs(tmp_path: Path) -> None:
    """A hub that is killed leaves no process behind."""
    script = tmp_path / "reflex.py"
    script.write_text("def answer(context):\n    yield 'begun'\n    while True: pass\n")
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "nanoide.backends.reflex_worker", stdin=PIPE, stdout=PIPE
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    frame = msgspec.msgpack.encode(Reflex(str(script), Context()))
    worker.stdin.write(HEAD.pack(len(frame)) + frame)
    seen = b""
    while b"begun" not in seen:
        seen += await worker.stdout.read(100)
    worker.stdin.close()
    assert await worker.wait() == 0
