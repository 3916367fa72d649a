"""A home that the tests of a module share, so that its hub starts once."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoide.cli.main import run
from tests.cli.conftest import doors


@pytest.fixture(scope="module")
def house() -> Iterator[Path]:
    """The home; the first server that greets starts its hub."""
    home = Path(tempfile.mkdtemp(prefix="nano-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANOIDE_HOME", str(home))
        patch.setenv("HOME", str(home))
        yield home
        assert run(["hub", "stop"], doors()) == 0
    shutil.rmtree(home, ignore_errors=True)
