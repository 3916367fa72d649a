"""The doctor's questions to the hub: what works, what does not, and what mends it."""

from pathlib import Path

from nanoide import wire
from nanoide.core.errors import SkillError
from nanoide.hub.workshop import Workshop
from nanoide.paths import bundled_model
from nanoide.skills.skill import load


async def checks(workshop: Workshop) -> tuple[wire.Check, ...]:
    """One check a line, the essential ones first."""
    found = [_database(workshop), _settings(workshop), _model()]
    found.extend(_rung(line) for line in await workshop.rungs.router.probe())
    found.extend(_skills(workshop))
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


def _rung(line: wire.BackendLine) -> wire.Check:
    ok = line.state in {"ready", "starting", "asleep"}
    detail = f"{line.kind} on {line.where}: {line.state}"
    if line.reason:
        detail += f", {line.reason}"
    mend = ""
    if not ok:
        mend = "pip install --force-reinstall llama-cpp-python" if line.state == "off" else "nanoide backends"
    return wire.Check(name=f"backend {line.name}", ok=ok, detail=detail, mend=mend)


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
