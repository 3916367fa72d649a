"""What was found becomes lines of config.toml: looked for, shown, and written only when the person says so."""

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path

import psutil

from nanoide import wire
from nanoide.backends.discovery import discover
from nanoide.backends.offers import Possible, appended, by_hand, possible
from nanoide.core.errors import NanoideError, SettingsError, UnknownName, UsageError
from nanoide.hub import bootstrap, status
from nanoide.hub.workshop import Workshop
from nanoide.settings import parse


async def look(workshop: Workshop, folder: str) -> wire.Discovered:
    """Look around now, also in `folder`'s models; remembered for `plan`."""
    workshop.found = await discover(workshop.paths.models, home=home(), folder=Path(folder) if folder else None)
    offers = tuple(each.offer for each in _possible(workshop))
    path = workshop.paths.config
    return wire.Discovered(config=str(path), exists=path.exists(), offers=offers)


async def plan(workshop: Workshop, ids: tuple[str, ...] | None) -> wire.SetUpPlan:
    """The lines for these offers. Raises UnknownName for one that is none."""
    if workshop.found is None:
        await look(workshop, "")
    all_ = _possible(workshop)
    known = {each.offer.id for each in all_}
    for id in ids or ():
        if id not in known:
            raise UnknownName.among("offer", id, known)
    chosen = [each for each in all_ if (each.offer.usual if ids is None else each.offer.id in ids)]
    before = await asyncio.to_thread(_read, workshop.paths.config)
    settings = parse(before or b"", str(workshop.paths.config))
    return wire.SetUpPlan(
        config=str(workshop.paths.config),
        text=appended(chosen, settings, before or b""),
        before=_stamp(before),
        note=by_hand(chosen, settings),
    )


async def write(workshop: Workshop, request: wire.SetUp) -> None:
    """Append, and take it up. Raises UsageError when the file changed since, SettingsError when it would not load."""
    path = workshop.paths.config
    if not request.text:
        raise UsageError("there is nothing to write")
    before = await asyncio.to_thread(_read, path)
    if _stamp(before) != request.before:
        raise UsageError(f"{path} has changed meanwhile", hint="look again, and confirm what is shown then")
    whole = (before or b"") + request.text.encode()
    parse(whole, str(path))
    await asyncio.to_thread(_write, path, whole)
    await bootstrap.reload(workshop)
    workshop.broker.tell_status(await status.read(workshop))


def home() -> Path | None:
    """The person's home folder; None when it cannot be told."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _possible(workshop: Workshop) -> tuple[Possible, ...]:
    assert workshop.found is not None
    return possible(
        workshop.found,
        workshop.rungs.settings,
        room=psutil.virtual_memory().total // 2,
        path_of=lambda model: bootstrap.model_path(model, workshop.paths),
    )


def _read(path: Path) -> bytes | None:
    """The file's bytes; None when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error


def _stamp(before: bytes | None) -> str:
    return "" if before is None else hashlib.sha256(before).hexdigest()


def _write(path: Path, whole: bytes) -> None:
    """All or nothing, for this user alone; a link goes on pointing where it does."""
    real = path.resolve()
    try:
        handle, name = tempfile.mkstemp(prefix=".config-", dir=real.parent)  # 0600 whatever the umask
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(whole)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(real)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NanoideError(f"{path}: cannot be written: {error.strerror}", hint="it is as it was") from error
