"""What was found is written only as it was shown, into a file that keeps every byte it had."""

import stat
from pathlib import Path

import pytest

from nanoide import wire
from nanoide.client.connection import Connection
from nanoide.client.launch import connect
from nanoide.core.errors import SettingsError, UnknownName, UsageError
from nanoide.paths import Paths

BEFORE = b"# mine\r\n[ui]\nmouse = false  # odd \xe2\x80\xa6"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a model of its own."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.gguf").write_bytes(b"GGUF" + bytes(100))
    return tmp_path


async def found(hub: Connection, folder: Path) -> wire.Offer:
    """The one model of the folder."""
    discovered = await hub.call(wire.Discover(folder=str(folder)))
    (offer,) = [each for each in discovered.offers if each.title == "own.gguf"]
    return offer


async def test_what_was_shown_is_appended_and_taken_up(paths: Paths, folder: Path) -> None:
    """Byte for byte behind what was there, for this user alone, and the hub has the backend at once."""
    paths.prepare()
    paths.config.write_bytes(BEFORE)
    paths.config.chmod(0o644)
    async with await connect(paths, client="test") as hub:
        offer = await found(hub, folder)
        plan = await hub.call(wire.PlanSetUp(offers=(offer.id,)))
        assert paths.config.read_bytes() == BEFORE
        assert "own" not in {line.name for line in await hub.call(wire.ListBackends())}
        await hub.call(wire.SetUp(text=plan.text, before=plan.before))
        assert paths.config.read_bytes() == BEFORE + plan.text.encode()
        assert stat.S_IMODE(paths.config.stat().st_mode) == 0o600
        assert "own" in {line.name for line in await hub.call(wire.ListBackends())}
        assert "own.gguf" not in {each.title for each in (await hub.call(wire.Discover(folder=str(folder)))).offers}
        assert [each.name for each in paths.config.parent.glob(".config-*")] == []


async def test_at_first_there_is_no_file(hub: Connection, paths: Paths, folder: Path) -> None:
    """Looking and planning make none; writing does."""
    offer = await found(hub, folder)
    plan = await hub.call(wire.PlanSetUp(offers=(offer.id,)))
    assert not paths.config.exists()
    await hub.call(wire.SetUp(text=plan.text, before=plan.before))
    assert paths.config.read_text() == plan.text
    assert 'egress = "ask"' in plan.text


async def test_a_file_that_changed_meanwhile_is_left_alone(hub: Connection, paths: Paths, folder: Path) -> None:
    """What the person saw is no longer what would come of it."""
    offer = await found(hub, folder)
    plan = await hub.call(wire.PlanSetUp(offers=(offer.id,)))
    paths.config.write_bytes(b"# meanwhile\n")
    with pytest.raises(UsageError, match="has changed meanwhile"):
        await hub.call(wire.SetUp(text=plan.text, before=plan.before))
    assert paths.config.read_bytes() == b"# meanwhile\n"


async def test_what_would_not_load_is_not_written(hub: Connection, paths: Paths) -> None:
    """The file on the disk always loads; and nothing is no lines."""
    before = (await hub.call(wire.PlanSetUp(offers=()))).before
    with pytest.raises(SettingsError, match="unknown key"):
        await hub.call(wire.SetUp(text="[ui]\nnonsense = 1\n", before=before))
    with pytest.raises(UsageError, match="nothing to write"):
        await hub.call(wire.SetUp(text="", before=before))
    with pytest.raises(UnknownName):
        await hub.call(wire.PlanSetUp(offers=("file:/none",)))
    assert not paths.config.exists()


async def test_a_link_goes_on_pointing_where_it_does(paths: Paths, folder: Path, tmp_path: Path) -> None:
    """Settings that are kept elsewhere are written there."""
    paths.prepare()
    real = tmp_path / "dotfiles.toml"
    real.write_bytes(BEFORE)
    paths.config.symlink_to(real)
    async with await connect(paths, client="test") as hub:
        offer = await found(hub, folder)
        plan = await hub.call(wire.PlanSetUp(offers=(offer.id,)))
        await hub.call(wire.SetUp(text=plan.text, before=plan.before))
    assert paths.config.is_symlink()
    assert real.read_bytes() == BEFORE + plan.text.encode()
