"""A command line to type into: in this process for speed, or as a process of its own."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanoide import __main__ as front
from nanoide.cli.door import Doors
from nanoide.cli.main import run


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def object(self) -> dict[str, Any]:
        """Standard output as the one JSON object that it must be."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        assert self.err.startswith("nanoide: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.removeprefix("nanoide: ").rstrip("\n")


class Shell:
    """Runs commands in a home and a folder."""

    def __init__(self, home: Path, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.folder = folder
        self._capture = capture

    def __call__(self, *words: str) -> Said:
        """Run a command in this process, standard input closed."""
        self._capture.readouterr()
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            code = run(list(words), doors())
        finally:
            os.chdir(before)
        return Said(code, *self._capture.readouterr())

    def start(self, *words: str, **more: Any) -> "subprocess.Popen[str]":
        """Start a command as a process."""
        return subprocess.Popen(
            [sys.executable, "-m", "nanoide", *words],
            stdin=more.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "NANOIDE_HOME": str(self.home), **more.pop("env", {})},
            **more,
        )

    def process(self, *words: str, given: str | None = None, **more: Any) -> Said:
        """Run a command as a process; `given` is its standard input."""
        stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
        with self.start(*words, stdin=stdin, **more) as process:
            out, err = process.communicate(given, timeout=60)
        return Said(process.returncode, out, err)


def doors() -> Doors:
    """The real ones."""
    return Doors(tui=front._tui, lsp=front._lsp, hub=front._hub, gateway=front._gateway)  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(scope="module")
def house() -> Iterator[Path]:
    """A home that the tests of a module share, and so its hub."""
    home = Path(tempfile.mkdtemp(prefix="nano-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANOIDE_HOME", str(home))
        patch.setenv("HOME", str(home))
        yield home
        assert run(["hub", "stop"], doors()) == 0
    asyncio.set_event_loop(None)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def shell(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in an empty folder, with the module's home."""
    return Shell(house, tmp_path, capsys)


@pytest.fixture
def alone(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in an empty folder, with a home of its own."""
    return Shell(home, tmp_path, capsys)
