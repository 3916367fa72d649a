"""Finds skills and says which may be used: bundled, the person's own, other tools' and the project's.

A name found twice is settled by rank: user, then bundled, then agents, then project. A repository can
therefore never take the place of a skill that the person already has, and none of its skills is used
before its folder, as it is now, was trusted. What does not load is listed with its problem.
"""

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from threading import Lock

import msgspec
from msgspec.structs import replace

from nanoide import wire
from nanoide.core.errors import SkillError, UnknownName
from nanoide.skills.folders import root_of
from nanoide.skills.skill import MANIFEST, Origin, Skill, load, settings

RANK: tuple[Origin, ...] = ("user", "bundled", "agents", "project")
"""Who keeps a name that is found twice, first to last."""

PROJECT_FOLDERS = (".nanoide/skills", ".agents/skills", ".claude/skills")

_FILES_LIMIT = 500
"""Files in one skill's folder; a folder with more is not looked through."""

_BYTES_LIMIT = 4 * 1024 * 1024
"""Bytes of all files in one skill's folder."""

_FOLDERS_LIMIT = 200
"""Skills in one place."""

_Stamp = tuple[tuple[str, int, int, int, int], ...]
"""What changes when anything in a folder does: path, inode, size, mtime and ctime of each file."""


class _Trusted(msgspec.Struct, frozen=True):
    """The trust file: what each project skill's folder held when the person trusted it."""

    digests: dict[str, str] = {}
    """By absolute folder."""


class _Entry(msgspec.Struct, frozen=True):
    """A folder, read."""

    stamp: _Stamp
    skill: Skill | None
    problem: str
    description: str = ""


class Library:
    """All skills that can be seen from a folder. Reads again what changed, and only that."""

    def __init__(self, *, bundled: Path, user: Path, agents: Path, trust_file: Path) -> None:
        self._places: tuple[tuple[Origin, Path], ...] = (("bundled", bundled), ("user", user), ("agents", agents))
        self._trust_file = trust_file
        self._lock = Lock()
        self._entries: dict[tuple[Origin, Path], _Entry] = {}
        self._digests: dict[Path, tuple[_Stamp, str]] = {}

    def lines(self, folder: str) -> tuple[wire.SkillLine, ...]:
        """Every skill seen from `folder`, by name; broken, hidden and untrusted ones say so in `problem`."""
        return tuple(line for line, _ in self._all(folder))

    def find(self, name: str, folder: str) -> Skill:
        """The skill called `name`. Raises UnknownName, or SkillError when it is there but cannot be used."""
        return self._find(name, folder)[1]

    def text(self, name: str, folder: str) -> wire.SkillText:
        """The skill, whole. Raises as `find`."""
        line, skill = self._find(name, folder)
        return wire.SkillText(line=line, instruction=skill.instruction, settings=settings(skill))

    def trust(self, folder: str) -> None:
        """Use the skills that the repository around `folder` brings, as they are now."""
        with self._lock:
            digests = dict(self._read_trust().digests)
            root = root_of(folder)
            if root is None:
                return
            for place in _project_places(root):
                for each in _folders(place):
                    if (digest := self._digest(each)) is not None:
                        digests[str(each)] = digest
            self._write_trust(_Trusted(digests))

    def _find(self, name: str, folder: str) -> tuple[wire.SkillLine, Skill]:
        named = self._all(folder, name) if 0 < len(name) <= 64 else []
        for line, skill in named:
            if skill is not None and not line.problem:
                return line, skill
        for line, _ in named:
            raise SkillError(f"skill {name!r} cannot be used: {line.problem}")
        raise UnknownName.among("skill", name, {line.name for line in self.lines(folder) if not line.problem})

    def _all(self, folder: str, only: str = "") -> list[tuple[wire.SkillLine, Skill | None]]:
        """Every skill, or those called `only`: a skill's name is its folder's, so that one look is enough."""
        with self._lock:
            found: list[tuple[wire.SkillLine, Skill | None]] = []
            for where, place in self._places:
                found += [self._line(where, each) for each in _folders(place, only)]
            if root := root_of(folder):
                trusted = self._read_trust().digests
                known = {place.resolve() for _, place in self._places if place.is_dir()}
                for place in _project_places(root):
                    if place.resolve() not in known:  # a home folder that is a repository has its own skills once
                        found += [self._project_line(each, trusted) for each in _folders(place, only)]
        found.sort(key=lambda each: (each[0].name, RANK.index(_origin(each[0].where))))
        holder: dict[str, str] = {}
        out: list[tuple[wire.SkillLine, Skill | None]] = []
        for line, skill in found:
            if not line.problem and (first := holder.get(line.name)):
                line = replace(line, problem=f"hidden by the {first} skill of the same name")
            elif not line.problem:
                holder[line.name] = line.where
            out.append((line, skill))
        return out

    def _line(self, where: Origin, folder: Path) -> tuple[wire.SkillLine, Skill | None]:
        entry = self._entry(where, folder)
        skill = entry.skill
        line = wire.SkillLine(
            name=folder.name,
            description=skill.description if skill else "",
            where=where,
            folder=str(folder),
            route=skill.route if skill else "",
            egress=skill.egress if skill else None,
            action=skill.action if skill else "none",
            reflex=bool(skill and skill.reflex),
            problem=entry.problem,
        )
        return line, skill

    def _project_line(self, folder: Path, trusted: dict[str, str]) -> tuple[wire.SkillLine, Skill | None]:
        digest = self._digest(folder)
        before = trusted.get(str(folder))
        if digest is None:
            problem = "its folder cannot be looked through: a link, too many files or too large"
        elif before is None:
            problem = "not trusted yet: read it, then run `nanoide trust`"
        elif before != digest:
            problem = "changed since it was trusted: read it again, then run `nanoide trust`"
        else:
            return self._line("project", folder)
        # Nothing of an untrusted folder is parsed; its name alone is shown.
        line = wire.SkillLine(
            name=folder.name, description="", where="project", folder=str(folder), route="", egress=None,
            action="none", reflex=False, problem=problem,
        )  # fmt: skip
        return line, None

    def _entry(self, where: Origin, folder: Path) -> _Entry:
        stamp = _stamp(folder) or ()
        known = self._entries.get((where, folder))
        if known is not None and known.stamp == stamp and stamp:
            return known
        try:
            entry = _Entry(stamp, load(folder, where), "")
        except SkillError as error:
            entry = _Entry(stamp, None, str(error))
        self._entries[where, folder] = entry
        return entry

    def _digest(self, folder: Path) -> str | None:
        """The hash over names and contents of all files in `folder`; None when it cannot be taken."""
        stamp = _stamp(folder)
        if stamp is None:
            return None
        known = self._digests.get(folder)
        if known is not None and known[0] == stamp:
            return known[1]
        whole = sha256()
        try:
            for path, *_ in stamp:
                content = (folder / path).read_bytes()
                whole.update(f"{len(os.fsencode(path))}:{len(content)}:".encode())
                whole.update(os.fsencode(path))
                whole.update(content)
        except OSError:
            return None
        self._digests[folder] = (stamp, whole.hexdigest())
        return whole.hexdigest()

    def _read_trust(self) -> _Trusted:
        try:
            return msgspec.json.decode(self._trust_file.read_bytes(), type=_Trusted)
        except (OSError, msgspec.DecodeError):
            return _Trusted()  # nothing readable means nothing is trusted

    def _write_trust(self, trusted: _Trusted) -> None:
        """Write beside, then rename: a reader never sees half a file."""
        beside = self._trust_file.with_name(f"{self._trust_file.name}.{os.getpid()}")
        try:
            self._trust_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(msgspec.json.format(msgspec.json.encode(trusted, order="sorted")) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._trust_file)
        except OSError as error:
            raise SkillError(f"cannot write {self._trust_file}: {error.strerror}") from error


def _origin(where: str) -> Origin:
    for each in RANK:
        if each == where:
            return each
    raise AssertionError(where)


def _folders(place: Path, only: str = "") -> list[Path]:
    """The skills' folders in one place, by name, or the one called `only`."""
    try:
        found = [place / only] if only and Path(only).name == only else [] if only else list(place.iterdir())
    except OSError:
        return []
    found = [each for each in found if not each.name.startswith((".", "_"))]
    found = [each for each in found if each.is_dir() and (each / MANIFEST).exists()]
    return sorted(found)[:_FOLDERS_LIMIT]


def _project_places(root: Path) -> Iterator[Path]:
    """Those of the three folders that are really inside the repository: no links on the way."""
    for name in PROJECT_FOLDERS:
        place = root / name
        if place.is_dir() and not place.is_symlink() and not place.parent.is_symlink():
            yield place


def _stamp(folder: Path) -> _Stamp | None:
    """None when the folder holds a link or a special file, or too much."""
    rows: list[tuple[str, int, int, int, int]] = []
    total = 0
    if folder.is_symlink():
        return None
    for top, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(each for each in folders if each != "__pycache__")
        for name in (*folders, *sorted(files)):
            path = Path(top, name)
            try:
                info = path.lstat()
            except OSError:
                return None
            if stat.S_ISDIR(info.st_mode):
                continue
            total += info.st_size
            if not stat.S_ISREG(info.st_mode) or len(rows) >= _FILES_LIMIT or total > _BYTES_LIMIT:
                return None
            rows.append((str(path.relative_to(folder)), info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns))
    return tuple(sorted(rows))
