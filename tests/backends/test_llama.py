"""The llama backend with the real engine and the bundled model."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
import psutil
import pytest

from nanoide.backends.engine_process import scrub
from nanoide.backends.llama import LlamaBackend
from nanoide.core.chat import Chunk, End, Fill, Message, Prompt, Text
from nanoide.core.errors import BackendError
from nanoide.engine.parking import file_of
from nanoide.paths import bundled_model
from nanoide.settings import BackendTable
from tests.engine.gguf import variant

TABLE = BackendTable(name="nano", kind="llama", model="nano")

FIBONACCI = Fill(
    prefix='def fibonacci(n):\n    """Return the nth number."""\n    if n < 2:\n        ',
    suffix="\n    return fibonacci(n - 1) + fibonacci(n - 2)\n",
    path="fibonacci.py",
    language="python",
)

LONG = Prompt(fill=Fill(prefix="numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, "), max_output=1000, temperature=1.5, seed=7)
"""Goes on for long enough to be interrupted."""

Make = Callable[..., LlamaBackend]


def prompt(number: int = 0, **changes: object) -> Prompt:
    """A completion, a little different for each number."""
    fill = Fill(prefix=f"import os\n\n\ndef read_{number}(path):\n    with ", suffix="\n    return text\n")
    return Prompt(**{"fill": fill, "max_output": 24, "temperature": 0.0, **changes})


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make backends that are closed at the end."""
    made = list[LlamaBackend]()

    def build(**changes: object) -> LlamaBackend:
        arguments = {"model": bundled_model(), "log": tmp_path / "engine.log", "unload_after_s": 0.0, **changes}
        table = arguments.pop("table", TABLE)
        made.append(LlamaBackend(table, **arguments))
        return made[-1]

    yield build
    for each in made:
        await each.aclose()


async def answer(backend: LlamaBackend, question: Prompt) -> tuple[str, End]:
    """The whole text and the end."""
    parts = list[str]()
    async for chunk in backend.stream(question):
        if isinstance(chunk, End):
            return "".join(parts), chunk
        if isinstance(chunk, Text):  # not Waits: a machine may be slow to load
            parts.append(chunk.text)
    raise AssertionError("the stream ended without its End")


async def begun(stream: AsyncGenerator[Chunk, None]) -> None:
    """Wait for the first text of a stream."""
    async for chunk in stream:
        if isinstance(chunk, Text):
            return
    raise AssertionError("the stream had no text")


async def gone(pid: int) -> None:
    """Wait until there is no such process any more, or only its zombie."""
    async with asyncio.timeout(20):
        while psutil.pid_exists(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    return
            await asyncio.sleep(0.02)


async def test_completes_python_in_the_middle(make: Make) -> None:
    """A completion is text that makes Python of what stands around it, with exact usage."""
    backend = make()
    text, end = await answer(backend, Prompt(fill=FIBONACCI, max_output=16, temperature=0.0, stop=("\n",)))
    assert text.strip()
    compile(FIBONACCI.prefix + text + FIBONACCI.suffix, "fibonacci.py", "exec")
    assert end.model == "nano-base"
    assert end.usage.input > 20
    assert 0 < end.usage.output <= 16
    assert not end.usage.estimated
    assert backend.health().state == "ready"
    assert backend.health().memory_bytes > 0


async def test_is_deterministic_and_reuses_what_it_computed(make: Make) -> None:
    """Greedy twice gives the same text, and the second time the prompt comes from the cache."""
    backend = make()
    first, before = await answer(backend, prompt(session="a"))
    second, after = await answer(backend, prompt(session="a"))
    assert first == second
    assert before.usage.cache_read == 0
    assert after.usage.cache_read == after.usage.input - 1


async def test_a_seed_decides(make: Make) -> None:
    """With a temperature, the same seed gives the same text."""
    backend = make()
    warm = prompt(temperature=1.0, seed=5)
    assert (await answer(backend, warm))[0] == (await answer(backend, warm))[0]


async def test_sixteen_at_once_answer_as_each_alone(make: Make) -> None:
    """Sixteen streams share one process, and each gets an answer of its own."""
    backend = make()
    together = await asyncio.gather(*(answer(backend, prompt(number)) for number in range(16)))
    assert all(text for text, _ in together)
    assert all(end.usage.output <= 24 for _, end in together)
    assert backend.health().running == 0


async def test_closing_one_of_many_leaves_the_others(make: Make) -> None:
    """A stream that is closed midway frees its work; the others come to their end."""
    backend = make()
    others = [asyncio.create_task(answer(backend, prompt(number))) for number in range(6)]
    async with aclosing(backend.stream(LONG)) as stream:
        await begun(stream)
    assert all(text for text, _ in await asyncio.gather(*others))
    assert backend.health().running == 0


async def test_cancelling_the_reader_stops_the_work(make: Make) -> None:
    """Cancelling the task that reads a stream counts as closing it."""
    backend = make()
    reading = asyncio.Event()

    async def read() -> None:
        async for _ in backend.stream(LONG):
            reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.health().running == 0
    assert (await answer(backend, prompt()))[0]


async def test_a_killed_engine_fails_its_turns_and_the_next_starts_another(make: Make) -> None:
    """SIGKILL in mid-stream is a BackendError that says so, and only for those who were running."""
    backend = make()
    streams = [backend.stream(LONG) for _ in range(3)]
    for stream in streams:
        await begun(stream)
    pid = backend.health().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for stream in streams:
        with pytest.raises(BackendError, match="SIGKILL") as caught:
            async for _ in stream:
                pass
        assert caught.value.outcome == "crashed"
    assert backend.health().state == "asleep"
    assert (await answer(backend, prompt()))[0]
    assert backend.health().pid != pid


async def test_three_crashes_in_a_minute_and_it_is_left_alone(make: Make) -> None:
    """After the third crash streams fail at once and health says why, until a minute has passed."""
    now = [1000.0]
    backend = make(clock=lambda: now[0])
    for _ in range(3):
        stream = backend.stream(LONG)
        await begun(stream)
        os.kill(backend.health().pid or 0, signal.SIGKILL)
        with pytest.raises(BackendError, match="SIGKILL"):
            async for _ in stream:
                pass
    assert backend.health().state == "down"
    assert "3 times" in backend.health().reason
    with pytest.raises(BackendError) as caught:
        await answer(backend, prompt())
    assert caught.value.outcome == "crashed"
    assert caught.value.retry_after is not None
    now[0] += 61
    assert (await answer(backend, prompt()))[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"PK\x03\x04 not a model", "is not a GGUF"),
        (b"GGUF\x03\x00\x00\x00", "is no GGUF"),
        (bundled_model().read_bytes()[:5_000_000], "is cut short: the tensor"),
    ],
    ids=["missing", "not-gguf", "header-only", "truncated"],
)
async def test_a_bad_file_is_told_in_words(make: Make, tmp_path: Path, content: bytes | None, said: str) -> None:
    """A file that is no model fails the turn as unavailable, with its name or the library's complaint."""
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content)
    backend = make(model=path)
    with pytest.raises(BackendError, match=said) as caught:
        await answer(backend, prompt())
    assert caught.value.outcome == "unavailable"
    assert backend.health().state == "down"
    assert backend.health().reason


async def test_it_completes_code_only(make: Make) -> None:
    """The bundled model objects to a chat, without being started, and stream refuses it too."""
    backend = make()
    chat = Prompt(messages=(Message("user", "hello"),))
    assert backend.objection(chat) == "completes code only"
    assert backend.objection(prompt()) == ""
    assert backend.objection(Prompt(fill=FIBONACCI, messages=chat.messages)) == ""
    with pytest.raises(BackendError, match="completes code only") as caught:
        await answer(backend, chat)
    assert caught.value.outcome == "unavailable"
    assert backend.health().state == "asleep"


async def test_an_unknown_file_objects_once_it_was_loaded(make: Make, tmp_path: Path) -> None:
    """Nothing is said of a file before the engine has read it; then what it cannot do is known."""
    path = tmp_path / "other.gguf"
    path.symlink_to(bundled_model())
    backend = make(model=path)
    chat = Prompt(messages=(Message("user", "hello"),))
    assert backend.objection(chat) == ""
    with pytest.raises(BackendError, match="completes code only"):
        await answer(backend, chat)
    assert backend.objection(chat) == "completes code only"


async def test_parameters_out_of_range_are_refused(make: Make) -> None:
    """A temperature that makes no sense fails its own turn with what is allowed."""
    backend = make()
    with pytest.raises(BackendError, match="allowed: 0 to 5") as caught:
        await answer(backend, prompt(temperature=-1.0))
    assert caught.value.outcome == "bad_request"
    assert (await answer(backend, prompt()))[0]


async def test_an_idle_engine_is_ended(make: Make) -> None:
    """After the idle time the process is gone, and the next turn starts it again."""
    backend = make(unload_after_s=0.05)
    await answer(backend, prompt())
    pid = backend.health().pid
    assert pid is not None
    await gone(pid)
    assert backend.health().state == "asleep"
    assert (await answer(backend, prompt()))[0]


async def test_the_engine_ends_with_its_parent(make: Make, tmp_path: Path) -> None:
    """When whoever started the engine is killed, the engine ends by itself."""
    script = (
        "import asyncio, os, sys, pathlib\n"
        "from nanoide.backends.llama import LlamaBackend\n"
        "from nanoide.paths import bundled_model\n"
        "from nanoide.settings import BackendTable\n"
        "async def main():\n"
        "    table = BackendTable(name='nano', kind='llama', model='nano')\n"
        "    backend = LlamaBackend(table, model=bundled_model(), log=pathlib.Path(sys.argv[1]), unload_after_s=0)\n"
        "    await backend.warm()\n"
        "    print(backend.health().pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "log"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    process.kill()
    await process.wait()
    await gone(pid)


async def test_a_start_is_shared_and_survives_who_asked_first(make: Make) -> None:
    """Cancelling the first of those who wait for a start does not stop it for the others."""
    backend = make()
    first = asyncio.create_task(answer(backend, prompt(1)))
    second = asyncio.create_task(answer(backend, prompt(2)))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)[0]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_warm_never_raises(make: Make, tmp_path: Path) -> None:
    """Warming up a model that does not load is told by health, not by an exception."""
    backend = make(model=tmp_path / "missing.gguf")
    await backend.warm()
    assert backend.health().state == "down"
    assert (await backend.probe()).state == "down"


def test_the_engine_gets_no_secrets() -> None:
    """Variables that look like secrets are not in the engine's environment."""
    environ = {
        "PATH": "/bin",
        "OPENAI_API_KEY": "x",
        "GH_TOKEN": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "DB_PASSWORD": "x",
        "KEYBOARD": "us",
        "TOKENIZERS_PARALLELISM": "1",
    }
    assert set(scrub(environ)) == {"PATH", "KEYBOARD", "TOKENIZERS_PARALLELISM"}


async def test_a_machine_without_the_library_is_off(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When llama.cpp does not load in the child, the backend is off with the reason, and says so to each turn."""
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    backend = make()
    with pytest.raises(BackendError, match="does not load") as caught:
        await answer(backend, prompt())
    assert caught.value.outcome == "unavailable"
    assert backend.health().state == "off"
    assert "llama-cpp-python does not load" in backend.health().reason
    monkeypatch.delenv("LLAMA_CPP_LIB_PATH")
    assert (await backend.probe()).state == "ready"


@pytest.mark.long
async def test_a_stopped_engine_can_still_be_closed(make: Make) -> None:
    """An engine that does not react any more is killed when the backend closes."""
    backend = make()
    await backend.warm()
    pid = backend.health().pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await backend.aclose()
    await gone(pid)


async def test_a_parked_session_survives_engine_and_hub(make: Make, tmp_path: Path) -> None:
    """What was parked comes back in a new engine; what is removed leaves no file, even when no engine runs."""
    folder = tmp_path / "parked"
    backend = make(parking=folder)
    long = Fill(prefix="".join(f"value_{number} = {number}\n" for number in range(60)), suffix="\n")
    question = Prompt(fill=long, max_output=4, temperature=0.0, session="a", priority="visible")
    await answer(backend, question)
    backend.park("a")
    async with asyncio.timeout(20):
        while not backend.health().disk_bytes:  # noqa: ASYNC110 -- the engine tells by itself, of nothing to wait for
            await asyncio.sleep(0.01)
    assert backend.health().parked == 1
    await answer(backend, msgspec.structs.replace(question, session="b"))
    await backend.aclose()
    assert len(list(folder.iterdir())) >= 2, "the idle session is kept too"
    again = make(parking=folder)
    _, end = await answer(again, question)
    assert end.usage.cache_read > 0.9 * end.usage.input
    assert again.health().parked >= 2
    assert again.health().disk_bytes > 0
    assert again.health().kv_size >= again.health().kv_used > 0
    assert again.health().prefix_hits > 0
    await again.aclose()
    again.release("a")
    again.release("b")
    assert not {file_of(folder, "a"), file_of(folder, "b")} & set(folder.iterdir())


async def test_the_form_of_an_answer_holds_through_the_process(make: Make) -> None:
    """A schema holds, a parameter out of its range is refused by name, and the end says how sure the model was."""
    backend = make()
    text, end = await answer(backend, prompt(json_schema='{"type": "integer", "minimum": 3, "maximum": 5}'))
    assert text in {"3", "4", "5"}
    assert end.logprob is not None
    assert end.logprob < 0
    with pytest.raises(BackendError, match=r"min_p is 2\.0; allowed: 0 to 1") as caught:
        await answer(backend, prompt(min_p=2.0))
    assert caught.value.outcome == "bad_request"
    assert backend.health().device


async def test_a_stand_in_for_a_template_is_told(make: Make, tmp_path: Path) -> None:
    """A model whose template is broken chats all the same, and its health says with which one."""
    backend = make(model=variant(tmp_path / "broken.gguf", template="{% for"))
    assert (await answer(backend, Prompt(messages=(Message("user", "hello"),), max_output=2)))[1].usage.input > 0
    assert backend.health().state == "ready"
    assert "ChatML stands in" in backend.health().reason
