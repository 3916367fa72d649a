"""Sequences at rest: bounded, found again, and never in anyone's way."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoide.engine import parking as module
from nanoide.engine.parking import Parking, file_of, fingerprint

Make = Callable[..., Parking]


def park(parking: Parking, key: str, size: int = 100, *, now: bool = False, first: int = 0) -> bytes:
    """Let a sequence of as many tokens as bytes rest; its state."""
    data = bytes((first + at) % 251 for at in range(size))
    parking.put(key, list(range(first, first + size)), data, lasting=True, now=now)
    return data


def woken(parking: Parking, key: str, size: int = 100, first: int = 0) -> bytes | None:
    """What rests for a prompt that goes on from those tokens."""
    entry, common = parking.longest(key, [*range(first, first + size), 9999], whole=False)
    return parking.load(entry) if entry is not None and common == size else None


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Parkings over one folder, as one process after the other would have them."""

    def build(made_by: str = "model", **changes: int) -> Parking:
        limits = {"ram_bytes": 10_000, "disk_bytes": 10_000, **changes}
        return Parking(made_by, folder=tmp_path / "parked", log=lambda line: None, **limits)

    return build


def files(tmp_path: Path) -> list[Path]:
    """What is in the folder."""
    return sorted((tmp_path / "parked").iterdir())


def test_what_rests_outlives_the_process(make: Make, tmp_path: Path) -> None:
    """A parked sequence is in a private file, and the next process finds it by its beginning."""
    first = make()
    data = park(first, "a", now=True)
    first.flush()
    (path,) = files(tmp_path)
    assert path == file_of(tmp_path / "parked", "a")
    assert path.stat().st_mode & 0o777 == 0o600
    second = make()
    assert (second.count, second.disk_bytes, second.ram_bytes) == (1, 100, 0)
    assert woken(second, "a") == data
    assert second.longest("b", [*range(60), 5], whole=False)[1] == 60


def test_ram_overflows_into_files_and_files_are_bounded(make: Make, tmp_path: Path) -> None:
    """The least recently used goes to a file first, and from there for good."""
    parking = make(ram_bytes=1000, disk_bytes=2000)
    for number in range(60):
        park(parking, f"key {number}", first=1000 * number)
        assert parking.ram_bytes <= 1000 + 250
    parking.flush()
    assert parking.ram_bytes <= 1000
    assert parking.disk_bytes <= 2000
    assert len(files(tmp_path)) * 100 <= 2000
    assert woken(parking, "key 59", first=59_000) is not None


def test_dropping_deletes_the_file(make: Make, tmp_path: Path) -> None:
    """What is dropped is nowhere any more."""
    parking = make()
    park(parking, "a", now=True)
    parking.flush()
    parking.drop("a")
    assert files(tmp_path) == []
    assert (parking.count, parking.disk_bytes, parking.ram_bytes) == (0, 0, 0)
    park(parking, "b", now=True)
    parking.drop("b")
    parking.flush()
    assert files(tmp_path) == []


def test_another_model_deletes_what_it_cannot_read(make: Make, tmp_path: Path) -> None:
    """Files of another model, or with other parameters, are no error; they go."""
    first = make()
    park(first, "a", now=True)
    first.flush()
    assert make("another model").count == 0
    assert files(tmp_path) == []


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 2000), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_no_error(tmp_path_factory: pytest.TempPathFactory, at: int, flip: int, cut: bool) -> None:
    """Whatever bytes a file has, what comes out of it is what went in, or nothing."""
    folder = tmp_path_factory.mktemp("damage")
    first = Parking("m", folder=folder, disk_bytes=10_000, log=lambda line: None)
    data = park(first, "a", 200, now=True)
    first.flush()
    (path,) = folder.iterdir()
    raw = bytearray(path.read_bytes())
    if cut:
        del raw[at % len(raw) :]
    else:
        raw[at % len(raw)] ^= flip
    path.write_bytes(raw)
    second = Parking("m", folder=folder, disk_bytes=10_000, log=lambda line: None)
    entry, _ = second.longest("a", [*range(200), 7], whole=False)
    if entry is not None:
        loaded = second.load(entry)
        assert loaded in (data, None)
        assert loaded is not None or (second.count == 0 and not any(folder.iterdir()))


def test_foreign_files_are_cleared_away(make: Make, tmp_path: Path) -> None:
    """What a dead writer left, or what nobody knows, does not stay in the folder."""
    folder = tmp_path / "parked"
    folder.mkdir()
    (folder / "half.part").write_bytes(b"half")
    (folder / "other.kv").write_bytes(b"nanoide kv 1\n\xff\xff\xff\xff")
    assert make().count == 0
    assert files(tmp_path) == []


def test_a_full_disk_skips_the_file(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no room on the disk nothing is written and nothing fails; RAM still holds it."""
    monkeypatch.setattr(module, "RESERVE_BYTES", 1 << 62)
    parking = make()
    data = park(parking, "a", now=True)
    parking.flush()
    assert files(tmp_path) == []
    assert woken(parking, "a") == data


def test_a_folder_that_cannot_be_made_means_ram_only(tmp_path: Path) -> None:
    """Parking works without its folder."""
    (tmp_path / "file").write_text("in the way")
    parking = Parking("m", folder=tmp_path / "file" / "parked", disk_bytes=1000, log=lambda line: None)
    data = park(parking, "a", now=True)
    parking.flush()
    assert woken(parking, "a") == data


def test_a_file_that_vanished_is_computed_again(make: Make, tmp_path: Path) -> None:
    """When someone cleared the folder, the sequence is not there, and that is all."""
    first = make()
    park(first, "a", now=True)
    first.flush()
    second = make()
    files(tmp_path)[0].unlink()
    assert woken(second, "a") is None
    assert second.count == 0


def test_a_model_file_is_told_from_others(tmp_path: Path) -> None:
    """One byte somewhere makes another model."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(3_000_000))
    two.write_bytes(bytes(100) + b"x" + bytes(2_999_899))
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(two)
