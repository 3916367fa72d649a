"""What the doctor hears from the hub."""

import os
from pathlib import Path

import pytest

from nanoide import wire
from nanoide.client.launch import connect
from nanoide.paths import Paths


async def test_what_the_machine_offers_is_told_and_not_used(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model file in the models folder and a key in the environment: seen, no trouble, and no secret told."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-not-to-be-seen")
    paths.prepare()
    paths.models.mkdir()
    (paths.models / "mine.gguf").write_bytes(b"GGUF" + bytes(2_000_000))
    async with await connect(paths, client="test") as hub:
        checks = await hub.call(wire.Examine())
        names = {line.name for line in await hub.call(wire.ListBackends())}
    told = {check.detail for check in checks if check.name == "found" and check.ok}
    assert f"model {paths.models / 'mine.gguf'}, 2 MB" in told
    assert "a key for Anthropic in ANTHROPIC_API_KEY, not used" in told
    assert not any("sk-not" in check.detail for check in checks)
    assert names == {"nano", "reflex"}


async def test_a_model_that_config_names_is_no_find(paths: Paths) -> None:
    """It has a line of its own, which says what is wrong with it and where to mend that."""
    paths.prepare()
    paths.models.mkdir()
    (paths.models / "mine.gguf").write_bytes(b"GGUF" + bytes(100))
    paths.config.write_text('[[backend]]\nname = "mine"\nkind = "llama"\nmodel = "mine"\n')
    async with await connect(paths, client="test") as hub:
        checks = await hub.call(wire.Examine())
    assert not any("mine.gguf" in check.detail for check in checks if check.name == "found")
    (mine,) = [check for check in checks if check.name == "backend mine"]
    assert not mine.ok
    assert mine.mend.endswith(os.fspath(paths.config))


async def test_no_home_is_no_trouble(paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there are no usual folders, none are looked into."""
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    async with await connect(paths, client="test") as hub:
        assert all(check.ok for check in await hub.call(wire.Examine()))
