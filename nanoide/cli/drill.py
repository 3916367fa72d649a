"""`nanoide backends drill`: cut a backend off for a while, and see what the sessions do."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec.structs import replace

from nanoide.cli import printer
from nanoide.cli.door import connected, here, run_async
from nanoide.cli.drilled import Watch
from nanoide.core.chat import Document
from nanoide.core.errors import HubError
from nanoide.core.events import SessionId
from nanoide.wire import Ask, Attach, Drill, DrillPlan, Input, PlanDrill, Published, RemoveSession

if TYPE_CHECKING:
    from nanoide.client.connection import Connection, Notices

_BEGIN_S = 20.0
"""For a sample to begin its answer; a model may have to load first."""

_SETTLE_S = 30.0
"""For what is under way when the backend is back."""

_SAMPLES = (
    "def shortest(words):\n    return min(words, key=len, default='')\n",
    "def halve(numbers):\n    middle = len(numbers) // 2\n    return numbers[:middle], numbers[middle:]\n",
)
"""What is asked when nothing is under way: the first is cut in mid-answer, the second comes while it is cut."""


@click.command()
@click.argument("name", required=False, default="")
@click.option("--seconds", default=60.0, show_default=True, metavar="N", help="For so long.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str, seconds: float, as_json: bool) -> int:
    """Cut backend NAME off for a minute and report what happened; exits 1 when an answer was lost.

    Without NAME the first model of the default ladder that is not on this device is cut off. Ctrl+C brings it
    back at once.
    """
    drill = _Drill(name, seconds)
    try:
        run_async(drill.run(here()))
    finally:
        if drill.plan is not None:
            _report(drill, drill.plan, as_json=as_json)
    return 1 if drill.lost else 0


class _Drill:
    """One drill, from its plan to the last answer."""

    def __init__(self, name: str, seconds: float) -> None:
        self.plan: DrillPlan | None = None
        """Known once the hub agreed."""
        self.watch: Watch | None = None
        self.samples: list[SessionId] = []
        self.whole = False
        """True when it was not ended early."""
        self._name = name
        self._seconds = seconds
        self._heard = asyncio.Event()

    @property
    def lost(self) -> int:
        """Answers that nobody finished."""
        return sum(each.outcome == "lost" for each in self.watch.fates()) if self.watch is not None else 0

    async def run(self, folder: str) -> None:
        """Leaving the connection, however that happens, brings the backend back."""
        async with connected("cli drill") as connection:
            plan = await connection.call(PlanDrill(backend=self._name))
            notices = connection.notices()
            attached = await connection.call(Attach())
            watch = self.watch = Watch(plan.backend, attached.sessions)
            listening = asyncio.create_task(self._listen(notices, watch))
            try:
                if not watch.under_way:
                    await self._first_sample(connection, plan, watch, folder)
                await self._cut(connection, plan, watch, folder)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            for session in self.samples:
                with suppress(HubError):
                    await connection.call(RemoveSession(session=session))

    async def _first_sample(self, connection: "Connection", plan: DrillPlan, watch: Watch, folder: str) -> None:
        printer.note("nothing is under way: two small questions are asked, within your policy")
        await self._ask(connection, plan, folder, 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(_BEGIN_S):
                while watch.under_way and not watch.speaking:
                    await self._news()

    async def _cut(self, connection: "Connection", plan: DrillPlan, watch: Watch, folder: str) -> None:
        drilling = asyncio.create_task(connection.call(Drill(backend=plan.backend, seconds=self._seconds)))
        try:
            await asyncio.sleep(0)  # its request goes first
            self.plan = plan
            below = ", ".join(plan.below) or "nobody"
            printer.note(f"{plan.backend} is cut off for {self._seconds:g} s; below it: {below}; ctrl+c brings it back")
            if self.samples:
                await self._ask(connection, plan, folder, 1)
            await drilling
        finally:
            drilling.cancel()
            watch.closing = True
        self.whole = True
        printer.note(f"{plan.backend} is back")
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while watch.under_way:
                    await self._news()

    async def _ask(self, connection: "Connection", plan: DrillPlan, folder: str, number: int) -> None:
        asked = await connection.call(_sample(plan, folder, _SAMPLES[number], f"sample {number + 1}"))
        self.samples.append(asked.session.id)

    async def _listen(self, notices: "Notices", watch: Watch) -> None:
        async for notice in notices:
            if isinstance(notice, Published):
                line = watch.hear(notice.event)
                if line:
                    printer.note(line)
                self._heard.set()

    async def _news(self) -> None:
        self._heard.clear()
        await self._heard.wait()


def _sample(plan: DrillPlan, folder: str, code: str, label: str) -> Ask:
    """A question of the kind that the backend answers; nobody is asked for consent, so what may not leave stays."""
    if plan.chats:
        given = (Input(kind="stdin", label=label, text=code),)
        ask = Ask(skill="explain-code", folder=folder, inputs=given)
    else:
        head = code.partition("return")[0] + "return "
        line = head.count("\n")
        place = Document(path="", text=head, line=line, character=len(head.split("\n")[line]), language="python")
        ask = Ask(skill="inline-completion", folder=folder, document=place)
    # Ambient as a session, which needs nobody; as work it would be given to a cheaper rung, and tell nothing.
    return replace(ask, interactive=False, ambient=True, priority="background")


def _report(drill: _Drill, plan: DrillPlan, *, as_json: bool) -> None:
    fates = drill.watch.fates() if drill.watch is not None else ()
    if as_json:
        printer.json_object(
            {
                "backend": plan.backend,
                "below": list(plan.below),
                "whole": drill.whole,
                "samples": bool(drill.samples),
                "lost": drill.lost,
                "sessions": [msgspec.structs.asdict(each) for each in fates],
            }
        )
        return
    if not fates:
        printer.answer(f"{plan.backend} was cut off, and nobody asked anything")
        return
    rows = [
        (
            each.session,
            each.outcome,
            each.rung or "–",
            "–" if each.added_ms is None else f"{each.added_ms} ms",
            each.why,
        )
        for each in fates
    ]
    printer.table(("SESSION", "OUTCOME", "RUNG", "ADDED", "WHY"), rows, right=(3,))
    early = "" if drill.whole else ", ended early"
    asked = ", sample questions" if drill.samples else ""
    printer.answer(f"\n{plan.backend} cut off{early}{asked}: {len(fates)} answers, {drill.lost} lost")
