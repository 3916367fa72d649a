"""The doctor's questions to the hub: what works, what does not, and what mends it."""

import asyncio
from pathlib import Path

from nanoide import wire
from nanoide.backends.discovery import Found
from nanoide.core.errors import SkillError
from nanoide.core.sanitize import clean_line
from nanoide.hub.bootstrap import model_path
from nanoide.hub.workshop import Workshop
from nanoide.paths import Paths, bundled_model
from nanoide.skills.skill import load

_BUILD = (
    'CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-cache-dir llama-cpp-python '
    "(AMD: -DGGML_HIP=on, others: -DGGML_VULKAN=on, a Mac: -DGGML_METAL=on)"
)
"""How llama-cpp-python is built for a GPU."""


async def checks(workshop: Workshop, folder: str = "") -> tuple[wire.Check, ...]:
    """One check a line, the essential ones first. Models are looked for below `folder` too."""
    from nanoide.hub import setup  # seldom asked for, and not needed to start

    lines, seen = await asyncio.gather(workshop.rungs.router.probe(), setup.look(workshop, folder))
    found = [_database(workshop), _settings(workshop), _model()]
    found.extend(_rung(line, workshop.paths) for line in lines)
    found.extend(_device(lines))
    found.extend(_skills(workshop))
    found.extend(_offers(workshop, seen))
    return tuple(found)


def check_skill(folder: Path) -> tuple[wire.Check, ...]:
    """Whether `folder` holds a skill that loads, as if it were the person's own."""
    try:
        skill = load(folder, "user")
    except SkillError as error:
        return (wire.Check(name=folder.name, ok=False, detail=error.message, mend=error.hint),)
    gathers = ", ".join(skill.context) or "only what is given"
    reflex = "has a reflex" if skill.reflex else "no reflex: without a model it cannot answer"
    return (
        wire.Check(name=folder.name, ok=True, detail=skill.description),
        wire.Check(name="instruction", ok=bool(skill.instruction), detail=f"{len(skill.instruction)} characters"),
        wire.Check(name="context", ok=True, detail=gathers),
        wire.Check(name="reflex", ok=True, detail=reflex),
    )


def _database(workshop: Workshop) -> wire.Check:
    path = workshop.paths.database
    size = path.stat().st_size if path.exists() else 0
    return wire.Check(name="database", ok=True, detail=f"{path}, {size / 1e6:.1f} MB")


def _settings(workshop: Workshop) -> wire.Check:
    if workshop.rungs.problem:
        mend = f"edit {workshop.paths.config}"
        return wire.Check(name="config", ok=False, detail=f"not in force: {workshop.rungs.problem}", mend=mend)
    path = workshop.paths.config
    return wire.Check(name="config", ok=True, detail=str(path) if path.exists() else "none; defaults hold")


def _model() -> wire.Check:
    path = bundled_model()
    if path.is_file():
        return wire.Check(name="bundled model", ok=True, detail=f"{path.name}, {path.stat().st_size / 1e6:.1f} MB")
    return wire.Check(name="bundled model", ok=False, detail=f"{path} is missing", mend="reinstall nanoide")


def _rung(line: wire.BackendLine, paths: Paths) -> wire.Check:
    ok = line.state in {"ready", "starting", "asleep"}
    detail = f"{line.kind} on {line.where}: {line.state}"
    if line.reason:
        detail += f", {line.reason}"
    mend = ""
    if not ok and line.state == "off":
        mend = "pip install --force-reinstall llama-cpp-python"
    elif not ok:  # a model of one's own that does not load is a matter of what config.toml names
        mend = f"${{EDITOR:-vi}} {paths.config}" if line.kind == "llama" and line.name != "nano" else "nanoide backends"
    return wire.Check(name=f"backend {line.name}", ok=ok, detail=detail, mend=mend)


def _device(lines: tuple[wire.BackendLine, ...]) -> list[wire.Check]:
    """What local models are computed on, and how to change that. A CPU is no fault."""
    told = next((line.device for line in lines if line.device), "")
    if not told:
        return []
    another = "" if "layers" in told else f"; another build: {_BUILD}"
    return [wire.Check(name="local models", ok=True, detail=told + another)]


def _offers(workshop: Workshop, seen: wire.Discovered) -> list[wire.Check]:
    """What this machine has that config.toml does not name yet. It is told, and not used."""
    found = workshop.found or Found()
    named = workshop.rungs.settings.backends()
    addresses = {address.rstrip("/") for each in named for address in each.addresses}
    files = {str(model_path(each.model, workshop.paths)) for each in named if each.kind == "llama"}
    keys = {each.key.env for each in named if each.key is not None}
    told = [
        f"{server.name} at {server.base_url} with {', '.join(server.models) or 'no models'}"
        for server in found.servers
        if server.base_url not in addresses
    ]
    told += [f"model {file.path}, {file.bytes / 1e6:.0f} MB" for file in found.files if file.path not in files]
    told += [f"a key for {key.provider} in {key.env}, not used" for key in found.keys if key.env not in keys]
    if seen.offers:
        told.append("to use it: nanoide doctor --set-up, which shows the lines before it writes them")
    return [wire.Check(name="found", ok=True, detail=clean_line(each)) for each in told]


def _skills(workshop: Workshop) -> list[wire.Check]:
    lines = workshop.library.lines("")
    broken = [line for line in lines if line.problem]
    found = [wire.Check(name="skills", ok=not broken, detail=f"{len(lines) - len(broken)} load")]
    for line in broken:
        found.append(
            wire.Check(
                name=f"skill {line.name}", ok=False, detail=line.problem, mend=f"nanoide skills check {line.name}"
            )
        )
    return found
