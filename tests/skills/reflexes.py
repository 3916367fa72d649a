"""Reflexes as the hub loads them: by the path of their script."""

import importlib.util
from collections.abc import Callable
from types import ModuleType

from nanoide.core.chat import Context
from nanoide.paths import bundled_skills


def script(skill: str) -> ModuleType:
    """The reflex script of a bundled skill, as a module."""
    path = bundled_skills() / skill / "reflex.py"
    spec = importlib.util.spec_from_file_location(f"reflex_{skill.replace('-', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reflex(skill: str) -> Callable[[Context], str]:
    """The reflex of a bundled skill."""
    return script(skill).answer
