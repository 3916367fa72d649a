"""`nanoide tour`: the main job, once, over the current folder, without a terminal's help.

Four sessions are asked at the same time through one connection. Nothing is staged: the texts are the
sessions' own answers about the folder's own files.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from nanoide.cli import printer
from nanoide.cli.door import connected, here, is_terminal, run_async
from nanoide.cli.sights import Sights, look
from nanoide.cli.turns import Telling, attempt_object, cost, describe, error_object, shown, usage_object
from nanoide.core.errors import ERRORS, HubError, NanoideError
from nanoide.core.events import TextArrived, TurnAsked, TurnCancelled, TurnFailed, TurnFinished, TurnStarted
from nanoide.core.value import Value
from nanoide.wire import Ask

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from nanoide.client.connection import Connection
    from nanoide.core.chat import Attempt

Tell = Callable[[int, str], None]
"""Tells how far a stop is: its number, and a word."""


_LINES = 14
"""Of an answer that are printed for a person; JSON has all."""


class Stop(Value, frozen=True):
    """One session of the tour, before it was asked."""

    what: str
    """What it does, for a person."""
    ask: Ask
    expected: str | None = None
    """For the completion: what stood where the line was cut."""


class Visit(Value, frozen=True):
    """One session of the tour, ended. Times are milliseconds since the tour began to ask."""

    stop: Stop
    session: str
    started_ms: int
    finished_ms: int
    attempts: tuple["Attempt", ...] = ()
    finished: TurnFinished | None = None
    error: NanoideError | None = None

    @property
    def text(self) -> str:
        """The answer; empty when there is none."""
        return shown(self.finished.text, self.stop.ask.document) if self.finished else ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> int:
    """Run the main job once: several sessions at the same time, over the current folder."""
    return run_tour(as_json=as_json)


def run_tour(*, as_json: bool) -> int:
    """Run it and print what each session did. Returns 0 when every session answered."""
    folder = here()
    sights = look(folder)
    try:
        visits = run_async(_visit_all(plan(sights, folder)))
    except NanoideError as error:
        if not as_json:
            raise
        printer.json_object(tour_object(folder, ()) | error_object(error))
        return error.exit_code
    if as_json:
        printer.json_object(tour_object(folder, visits))
    else:
        _print(folder, sights, visits)
    failed = next((each.error for each in visits if each.error is not None), None)
    return 0 if failed is None else failed.exit_code


def plan(sights: Sights, folder: str) -> tuple[Stop, ...]:
    """The sessions to ask."""
    place = sights.place.document
    shown = sights.label if sights.sample else f"{place.path}:{place.line + 1}"

    base = Ask(folder=folder, interactive=False, ambient=True)
    # In a folder without any text there is nothing to search: the sample itself is given.
    given = (sights.file,) if sights.sample else ()
    change = () if sights.change is None else (sights.change,)
    return (
        Stop(
            what=f"continues {shown} after {sights.place.before.strip()[-60:]!r}",
            ask=replace(base, skill="inline-completion", document=place),
            expected=sights.place.expected,
        ),
        Stop(
            what=f"is asked: {sights.question}",
            ask=replace(base, skill="file-query", text=sights.question, inputs=given),
        ),
        Stop(
            what="writes a message for " + (sights.change.label if sights.change else "the change at hand"),
            ask=replace(base, skill="commit-message", inputs=change),
        ),
        Stop(what=f"explains {sights.label}", ask=replace(base, skill="explain-code", inputs=(sights.file,))),
    )


def concurrent(visits: tuple[Visit, ...]) -> int:
    """How many sessions were at work at the same time, at most."""
    return max((sum(a.started_ms <= b.started_ms < a.finished_ms for a in visits) for b in visits), default=0)


def tour_object(folder: str, visits: tuple[Visit, ...]) -> dict[str, object]:
    """The tour as `--json` prints it."""
    return {
        "folder": folder,
        "sessions": [_visit_object(each) for each in visits],
        "concurrent": concurrent(visits),
        "total_ms": max((each.finished_ms for each in visits), default=0),
    }


async def _visit_all(stops: tuple[Stop, ...]) -> tuple[Visit, ...]:
    async with connected("cli tour") as connection:
        with _Board(stops) as board:
            begin = datetime.now(UTC)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_visit(connection, stop, begin, number, board.tell))
                    for number, stop in enumerate(stops)
                ]
        return tuple(task.result() for task in tasks)


async def _visit(connection: "Connection", stop: Stop, begin: datetime, number: int, tell: Tell) -> Visit:
    """Ask one session to its end. A failure is part of the visit: the others go on."""
    from nanoide.client.asking import Asking

    def since(at: datetime) -> int:
        return round((at - begin).total_seconds() * 1000)

    session = ""
    started = since(datetime.now(UTC))
    attempts: tuple[Attempt, ...] = ()
    try:
        asking = await Asking.start(connection, stop.ask)
        session = asking.asked.session.name
        told = Telling(asking.asked.session)
        async for event in asking.events():
            told.hear(event)
            attempts = tuple(told.attempts)
            match event:
                case TurnAsked():
                    started = since(event.at)
                case TurnStarted():
                    tell(number, f"{event.backend} works")
                case TextArrived():
                    tell(number, "answers")
                case TurnFinished():
                    tell(number, "done")
                    return Visit(stop, session, started, since(event.at), attempts, event)
                case TurnFailed():
                    tell(number, "failed")
                    error = ERRORS.get(event.error, NanoideError)(event.message, hint=event.hint)
                    return Visit(stop, session, started, since(event.at), attempts, error=error)
                case TurnCancelled():
                    error = NanoideError("the turn was stopped from elsewhere")
                    return Visit(stop, session, started, since(event.at), attempts, error=error)
                case _:
                    pass
        error: NanoideError = HubError("the hub went away")
    except NanoideError as caught:
        tell(number, "failed")
        error = caught
    return Visit(stop, session, started, since(datetime.now(UTC)), attempts, error=error)


class _Board:
    """The progress, on standard error, when that is a terminal; else nothing."""

    def __init__(self, stops: tuple[Stop, ...]) -> None:
        self._stops = stops
        self._progress: Progress | None = None
        self._rows: list[TaskID] = []

    def tell(self, number: int, word: str) -> None:
        if self._progress is not None:
            ended = word in {"done", "failed"}
            self._progress.update(self._rows[number], word=word, completed=1 if ended else 0)

    def __enter__(self) -> "_Board":
        if is_terminal(2):
            from rich.console import Console
            from rich.progress import Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.fields[skill]:<18} {task.fields[word]}", markup=False), TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.start()
            self._rows = [
                self._progress.add_task("", total=1, skill=stop.ask.skill, word="waits") for stop in self._stops
            ]
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def _print(folder: str, sights: Sights, visits: tuple[Visit, ...]) -> None:
    total = printer.millis(max((each.finished_ms for each in visits), default=0))
    printer.answer(f"{folder}: {len(visits)} sessions, {concurrent(visits)} at the same time, {total}")
    if sights.sample:
        printer.answer("The folder has no text file; the sessions work on a small built-in sample.")
    for each in visits:
        printer.answer(f"\n{each.session or each.stop.ask.skill} {each.stop.what}")
        if each.finished is None:
            printer.answer(f"  ✗ {each.error}")
            continue
        lines = each.text.splitlines() or [""]
        for line in lines[:_LINES]:
            printer.answer(f"  │ {line}")
        if len(lines) > _LINES:
            printer.answer(f"  … {len(lines) - _LINES} more lines: nanoide session show {each.session}")
        if each.stop.expected is not None:
            printer.answer(f"  (there stood: {printer.cut(each.stop.expected.strip(), 80)})")
        printer.answer(f"  {describe(each.finished)}")


def _visit_object(visit: Visit) -> dict[str, object]:
    event = visit.finished
    found: dict[str, object] = {
        "session": visit.session,
        "skill": visit.stop.ask.skill,
        "what": visit.stop.what,
        "ok": visit.error is None,
        "text": visit.text,
        "backend": event.backend if event else None,
        "where": event.where if event else None,
        "tier": event.tier if event else None,
        "attempts": [attempt_object(each) for each in visit.attempts],
        "usage": usage_object(event.usage) if event else None,
        "cost_usd": cost(event.cost_nano) if event else None,
        "priced": event is not None and event.cost_nano is not None,
        "ttft_ms": event.ttft_ms if event else None,
        "total_ms": event.total_ms if event else visit.finished_ms - visit.started_ms,
        "started_ms": visit.started_ms,
        "finished_ms": visit.finished_ms,
        "sources": list(event.sources) if event else [],
    }
    if visit.stop.expected is not None:
        found["expected"] = visit.stop.expected
    if visit.error is not None:
        found |= error_object(visit.error)
    return found
