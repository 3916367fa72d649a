"""One model at work: joins model, cache, scheduler and sampler into steps. One thread owns it.

Each `step` admits, plans, decodes once, samples, and returns what there is to say. A job that
fails, whatever the reason, fails alone.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from msgspec.structs import replace

from nanoide.core.chat import Finish
from nanoide.core.errors import Outcome
from nanoide.engine.answer import Answer, sampling_of
from nanoide.engine.computing import Computed, Computing, Refused
from nanoide.engine.context import Context, Library, NativeError
from nanoide.engine.drafting import PARAMETERS_MIN
from nanoide.engine.grammar import grammar_of
from nanoide.engine.kvcache import KvCache
from nanoide.engine.model import Model, Window
from nanoide.engine.pace import Pace
from nanoide.engine.parking import RAM_BYTES, Parking, fingerprint
from nanoide.engine.protocol import Facts, Failed, Job, Load, Reply, Vitals
from nanoide.engine.sampler import DeadEnd, GrammarRefused
from nanoide.engine.sampling import check
from nanoide.engine.scheduler import Rows, Scheduler, Sequence
from nanoide.engine.template import TemplateError

ROWS = 512
"""Rows of a step, and of one native micro-batch: 512 is where prefill is fastest per row."""

SLOTS = 64
"""Sequences in the cache, busy and idle."""

STEMS = 16
"""Common beginnings that have a sequence of their own."""

CELLS = 16_384
"""Tokens of all sequences together; shared beginnings count once."""

CELLS_MIN = 2048

CELL_BUDGET = 1 << 30
"""Bytes of KV cache; a model with dear cells gets fewer of them."""

KEEP = 0.5
"""Part of the cells that idle sequences may hold. Every step attends over all cells in use, idle ones included."""


class Runner:
    """The engine proper."""

    def __init__(
        self,
        load: Load,
        library: Library,
        *,
        cores: int,
        memory: Callable[[], int],
        cells: int = CELLS,
        log: Callable[[str], None] = lambda line: None,
        ram_bytes: int = RAM_BYTES,
        progress: Callable[[int], None] = lambda percent: None,
        drafts: bool | None = None,
        beat: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """Raises NativeError when the model or its context cannot be made.

        `drafts` None: as the size of the model has it. `beat` hears how many rows are decoded next.
        """
        self._memory = memory
        self.model = Model(library, load.path, gpu_layers=load.gpu_layers, fim=load.fim, progress=progress)
        asked = load.context or 0
        cells = max(min(cells, max(CELLS_MIN, CELL_BUDGET // self.model.cell_bytes)), asked)
        self.window = min(asked or self.model.trained, self.model.trained, cells)
        slots, stems = (SLOTS, STEMS) if self.model.partial else (8, 0)
        self._context = Context(
            library.lib,
            self.model.native,
            cells=cells,
            rows=ROWS,
            slots=slots + stems,
            threads=load.threads or cores,
        )
        self._cells = cells
        self._parking = Parking(
            f"{fingerprint(Path(load.path))} {self._context.signature}" if load.parking else "",
            folder=Path(load.parking) if load.parking else None,
            disk_bytes=load.parking_bytes,
            ram_bytes=ram_bytes,
            log=log,
        )
        self._cache = KvCache(
            self._context,
            cells=cells,
            slots=slots,
            keep=int(cells * KEEP),
            stems=stems,
            partial=self.model.partial,
            parking=self._parking,
        )
        self._scheduler = Scheduler(self._cache, rows=ROWS)
        self._computing = Computing(self._context, self._cache, self._scheduler, beat=beat)
        self._answers: dict[int, Answer] = {}
        self._drafts = self.model.partial and (self.model.parameters >= PARAMETERS_MIN if drafts is None else drafts)
        self._speed = 0.0
        self._pace = Pace(ROWS)
        self.drafted = (0, 0)
        """Tokens that were drafted since the start, and those of them that were right."""

    @property
    def facts(self) -> Facts:
        """What the model is and can do."""
        return self.model.facts(self.window)

    @property
    def busy(self) -> bool:
        """True while there is a next step."""
        return self._scheduler.busy

    @property
    def settling(self) -> bool:
        """True while something is written that `vitals` will tell of."""
        return self._parking.writing

    def vitals(self) -> Vitals:
        """How the engine is."""
        return Vitals(
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            kept=self._cache.kept,
            cells=self._cache.used,
            cells_max=self._cells,
            tokens_per_s=round(self._speed, 1),
            memory_bytes=self._memory(),
            prefix_hits=self._cache.hits,
            parked=self._parking.count,
            parked_bytes=self._parking.ram_bytes,
            disk_bytes=self._parking.disk_bytes,
        )

    def warm(self) -> None:
        """Compute one row, so that the first job does not pay for native set-up."""
        line = self._cache.claim("", [0, 0])
        if line is not None:
            self._context.batch.clear()
            self._context.batch.add(line.slot, 0, [0] * min(ROWS, self.window), wanted=True)
            self._context.decode()
            self._cache.drop(line)

    def add(self, job: Job) -> Failed | None:
        """Take on a job, or say why not."""
        grammar, fault = grammar_of(job.grammar, job.json_schema)
        sampling = sampling_of(job, grammar)
        if fault := fault or check(sampling, job.max_output, job.stop):
            return Failed(id=job.id, outcome="bad_request", message=fault)
        fill = job.fill is not None and self.model.fills
        try:
            tokens = self._prompt(job, fill)
            if len(tokens) >= self.window:
                raise Window(len(tokens), self.window)
        except Window as error:
            return Failed(id=job.id, outcome="context", message=f"{self.model.name}: {error}")
        except (TemplateError, NativeError) as error:
            return Failed(id=job.id, outcome="unavailable", message=f"{self.model.name}: {error}")
        if not tokens:
            return Failed(id=job.id, outcome="bad_request", message="the prompt is empty")
        limit = min(len(tokens) + job.max_output, self.window)
        # What stands in an editor's file is nobody's session: it is not written to disk.
        lasting = bool(job.key) and job.priority != "completion"
        key = job.key or f"#{job.id}"
        sequence = Sequence(job.id, key, tokens, limit, job.priority, lasting=lasting)
        try:
            sampler = self.model.sampler(sampling, scored=fill)
        except GrammarRefused as error:
            return Failed(id=job.id, outcome="bad_request", message=str(error))
        drafts = sampling.plain and self._drafts
        self._answers[job.id] = Answer(job, sequence, sampler, fill=fill, drafts=drafts)
        self._scheduler.add(sequence)
        return None

    def cancel(self, id: int) -> None:
        """Nobody waits for the job; its cells stay for the next of its key."""
        answer = self._answers.pop(id, None)
        if answer is not None:
            answer.sampler.free()
            self._scheduler.end(answer.sequence, keep=True)

    def sequence(self, id: int) -> Sequence | None:
        """The sequence of a job that is under way."""
        answer = self._answers.get(id)
        return answer.sequence if answer is not None else None

    def park(self, key: str) -> None:
        """Nobody works on `key` for a while: what is kept for it leaves the cache, to come back when asked."""
        self._cache.park(key)

    def release(self, key: str) -> None:
        """Forget what is kept for `key`, also what is parked."""
        self._cache.release(key)

    def stow(self) -> None:
        """The process ends: what may last goes to files."""
        self._cache.stow()

    def step(self, replies: list[Reply]) -> None:
        """Compute once; what there is to say is added to `replies`. Raises Fatal when the context is beyond use."""
        self._scheduler.admit()
        step = self._scheduler.plan(self._pace.alone, self._pace.beside)
        if not step:
            return
        draft = self._draft(step[0]) if len(step) == 1 else []
        self._computing.whole = True
        begun = time.perf_counter()
        rows, said = self._say_draft(step[0], draft, replies) if draft else self._say_each(step, replies)
        seconds = max(time.perf_counter() - begun, 1e-6)
        if not self._computing.whole:
            return
        self._pace.note(rows, seconds)
        if draft or rows == len(step):
            speed = said / seconds
            self._speed = 0.9 * self._speed + 0.1 * speed if self._speed else speed

    def _prompt(self, job: Job, fill: bool) -> list[int]:
        if fill and job.fill is not None:
            begun = replace(job.fill, prefix=job.fill.prefix + job.partial)
            return self.model.fill_prompt(begun, self.window - min(job.max_output, self.window // 2))
        if job.fill is not None and not job.messages and not job.system:
            raise TemplateError("the file has no fill-in-the-middle tokens")
        if not self.facts.chats:
            raise TemplateError(self.model.template_fault or "completes code only")
        return self.model.chat_prompt(job.system, job.messages, job.partial)

    def _say_each(self, step: list[Rows], replies: list[Reply]) -> tuple[int, int]:
        """Compute a step and say what comes of it: its rows, and how many tokens were chosen."""
        said = 0
        for came in self._computing.run(step):
            match came:
                case Computed():
                    said += 1
                    self._choose(came.sequence, came.row, replies)
                case Refused():
                    self._fail(came.sequence, came.outcome, came.message, replies)
                case _:
                    assert_never(came)
        return sum(each.count for each in step), said

    def _draft(self, rows: Rows) -> list[int]:
        """What a sequence that decodes alone may say next."""
        sequence = rows.sequence
        drafter = self._answers[sequence.id].drafter
        if drafter is None or rows.count != 1 or not rows.samples:
            return []
        most = min(sequence.limit - len(sequence.tokens), self._cache.free - 1)
        return drafter.propose(sequence.tokens, most, self._pace.seconds)

    def _say_draft(self, rows: Rows, draft: list[int], replies: list[Reply]) -> tuple[int, int]:
        """Compute a draft after a row, and say as much of it as the model says itself."""
        answer = self._answers[rows.sequence.id]
        assert answer.drafter is not None

        def choose(row: int) -> tuple[int, bool]:
            token = self._context.sample(answer.sampler, row)
            return token, self.model.ends(token, fill=answer.fill)

        said = self._computing.check(rows, draft, choose)
        if not said:
            answer.drafter = None  # whatever it was, the next step meets it without a draft
        else:
            answer.drafter.note(len(draft), len(said) - 1)
            self.drafted = (self.drafted[0] + len(draft), self.drafted[1] + len(said) - 1)
        for token in said:
            if rows.sequence.id in self._answers:
                self._say(answer, token, replies)
        return 1 + len(draft), len(said)

    def _choose(self, sequence: Sequence, row: int, replies: list[Reply]) -> None:
        answer = self._answers[sequence.id]
        try:
            token = self._context.sample(answer.sampler, row)
        except DeadEnd as error:
            self._fail(sequence, "bad_request", str(error), replies)
            return
        self._say(answer, token, replies)

    def _say(self, answer: Answer, token: int, replies: list[Reply]) -> None:
        """The next token of an answer."""
        finish: Finish | None = "stop"
        if not self.model.ends(token, fill=answer.fill):
            finish = answer.take(token, self.model.piece(token), replies)
        if finish is not None:
            answer.close(finish, replies)
            self.cancel(answer.sequence.id)

    def _fail(self, sequence: Sequence, outcome: Outcome, message: str, replies: list[Reply]) -> None:
        answer = self._answers.pop(sequence.id)
        answer.sampler.free()
        self._scheduler.end(sequence, keep=False)
        replies.append(Failed(id=sequence.id, outcome=outcome, message=f"{self.model.name}: {message}"))
