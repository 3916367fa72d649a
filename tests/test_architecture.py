"""The house keeps to its plan: what imports what, how large a room is, what travels in the wheel."""

import subprocess
import sys
from pathlib import Path

import pytest

from nanoide import wire

ROOT = Path(__file__).parent.parent

ONLY_IN = {
    "textual": "tui",
    "pygls": "lsp",
    "starlette": "gateway",
    "uvicorn": "gateway",
    "apsw": "store",
    "httpx2": "backends",
    "httpcore2": "backends",
    "llama_cpp": "engine",
}
"""Libraries that have one room."""


def sources() -> list[Path]:
    """All of our Python files that ship."""
    return sorted([*ROOT.glob("nanoide/**/*.py"), *ROOT.glob("skills/**/*.py")])


def imported_by(module: str) -> set[str]:
    """The modules that are loaded after importing `module` in a fresh process."""
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(("library", "room"), ONLY_IN.items())
def test_a_library_is_imported_in_its_room_alone(library: str, room: str) -> None:
    """Each heavy library has exactly one room."""
    for path in sources():
        if path.is_relative_to(ROOT / "nanoide" / room):
            continue
        for line in path.read_text().splitlines():
            words = line.split()
            assert not (words[:1] in (["import"], ["from"]) and words[1].split(".")[0] == library), path


def test_no_file_is_longer_than_500_lines() -> None:
    """A file over 500 lines is two rooms."""
    long = [path for path in [*sources(), *ROOT.glob("tests/**/*.py")] if len(path.read_text().splitlines()) > 500]
    assert not long


def test_the_core_loads_no_window_and_no_network() -> None:
    """Importing the core brings neither Textual nor asyncio nor HTTP with it."""
    loaded = imported_by("nanoide.core.session")
    assert not loaded & {"textual", "asyncio", "httpcore2", "socket", "apsw"}


def test_the_hub_loads_no_window() -> None:
    """Importing the hub brings no front door, and no heavy library before it is needed."""
    loaded = imported_by("nanoide.hub.bootstrap")
    assert not loaded & {"textual", "rich", "pygls", "click", "llama_cpp", "httpcore2", "git", "watchdog", "tiktoken"}


def test_every_request_has_a_handler() -> None:
    """The hub answers each request of the wire, and no other."""
    from nanoide.hub.handlers import HANDLERS

    assert set(HANDLERS) | {wire.Initialize} == set(wire.REQUESTS.values())


def test_the_version_is_told_without_loading_anything() -> None:
    """`nanoide --version` loads no library at all."""
    code = "import sys; sys.argv = ['nanoide', '--version']; from nanoide.__main__ import main; main(); "
    code += "print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & {"click", "msgspec", "asyncio", "rich", "textual"}


def test_the_plan_of_the_house_names_every_module() -> None:
    """docs/architecture.md shows the house as built."""
    plan = (ROOT / "docs" / "architecture.md").read_text()
    modules = [path.relative_to(ROOT / "nanoide") for path in ROOT.glob("nanoide/**/*.py")]
    assert not [str(each) for each in modules if each.name != "__init__.py" and f"`{each.as_posix()}`" not in plan]
