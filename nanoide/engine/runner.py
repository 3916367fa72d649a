"""One model at work: joins model, cache, scheduler and sampler into steps. One thread owns it.

Each `step` admits, plans, decodes once, samples, and returns what there is to say. A job that
fails, whatever the reason, fails alone.
"""

import time
from collections.abc import Callable
from pathlib import Path

from nanoide.core.chat import Finish
from nanoide.core.errors import Outcome
from nanoide.engine.context import Context, Library, NativeError
from nanoide.engine.drafting import PARAMETERS_MIN, Drafter
from nanoide.engine.grammar import grammar_of
from nanoide.engine.kvcache import KvCache
from nanoide.engine.model import Model, Window
from nanoide.engine.pace import Pace
from nanoide.engine.parking import RAM_BYTES, Parking, fingerprint
from nanoide.engine.protocol import Done, Facts, Failed, Job, Load, Piece, Reply, Vitals
from nanoide.engine.sampler import DeadEnd, GrammarRefused, Sampler
from nanoide.engine.sampling import Sampling, TextStream, check
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

FAULTS = 3
"""Computations of a single sequence that may fail in a row before the native context counts as lost."""


class Fatal(Exception):
    """The native context is beyond use."""


class _Work:
    """What is known of a job beside its sequence."""

    __slots__ = ("drafter", "fill", "output", "sampler", "sequence", "text", "wanted")

    def __init__(self, sequence: Sequence, sampler: Sampler, text: TextStream, wanted: int, fill: bool) -> None:
        self.sequence = sequence
        self.sampler = sampler
        self.text = text
        self.wanted = wanted
        self.fill = fill
        self.output = 0
        self.drafter: Drafter | None = None
        """Only where drafts may help: a greedy answer of a model that is not small."""


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
    ) -> None:
        """Raises NativeError when the model or its context cannot be made.

        `drafts` None: as the size of the model has it.
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
        self._work: dict[int, _Work] = {}
        self._drafts = self.model.partial and (self.model.parameters >= PARAMETERS_MIN if drafts is None else drafts)
        self._speed = 0.0
        self._pace = Pace(ROWS)
        self._faults = 0

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
        sampling = _sampling(job, grammar)
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
        work = self._work[job.id] = _Work(sequence, sampler, TextStream(job.stop), job.max_output, fill)
        if sampling.plain and self._drafts:
            work.drafter = Drafter()
        self._scheduler.add(sequence)
        return None

    def cancel(self, id: int) -> None:
        """Nobody waits for the job; its cells stay for the next of its key."""
        work = self._work.pop(id, None)
        if work is not None:
            work.sampler.free()
            self._scheduler.end(work.sequence, keep=True)

    def sequence(self, id: int) -> Sequence | None:
        """The sequence of a job that is under way."""
        work = self._work.get(id)
        return work.sequence if work is not None else None

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
        if draft:
            self._compute_draft(step[0], draft, replies)
            return
        begun = time.perf_counter()
        self._compute(step, replies)
        seconds = max(time.perf_counter() - begun, 1e-6)
        self._pace.note(sum(each.count for each in step), seconds)
        if all(each.count == 1 for each in step):
            speed = len(step) / seconds
            self._speed = 0.9 * self._speed + 0.1 * speed if self._speed else speed

    def _prompt(self, job: Job, fill: bool) -> list[int]:
        if fill and job.fill is not None:
            return self.model.fill_prompt(job.fill, self.window - min(job.max_output, self.window // 2))
        if job.fill is not None and not job.messages and not job.system:
            raise TemplateError("the file has no fill-in-the-middle tokens")
        if not self.facts.chats:
            raise TemplateError(self.model.template_fault or "completes code only")
        return self.model.chat_prompt(job.system, job.messages)

    def _compute(self, step: list[Rows], replies: list[Reply]) -> None:
        """Decode `step` and sample, whatever llama_decode answers."""
        batch = self._context.batch
        batch.clear()
        wanted = list[tuple[Rows, int]]()
        for rows in step:
            line = rows.sequence.line
            assert line is not None
            piece = rows.sequence.tokens[rows.start : rows.start + rows.count]
            wanted.append((rows, batch.add(line.slot, rows.start, piece, rows.samples)))
        code = self._context.decode()
        if code == 0:
            self._faults = 0
            for rows, row in wanted:
                line = rows.sequence.line
                assert line is not None
                self._cache.extend(line, rows.sequence.tokens[rows.start : rows.start + rows.count])
                if rows.samples:
                    self._sampled(rows.sequence, row, replies)
            return
        # Whatever came of the step, the cache says what is really there.
        left = list[Rows]()
        for rows in step:
            line = rows.sequence.line
            assert line is not None
            start = self._cache.settle(line, rows.sequence.tokens)
            left.append(Rows(rows.sequence, start, max(1, rows.start + rows.count - start)))
        self._recover(code, left, replies)

    def _draft(self, rows: Rows) -> list[int]:
        """What a sequence that decodes alone may say next."""
        sequence = rows.sequence
        drafter = self._work[sequence.id].drafter
        if drafter is None or rows.count != 1 or not rows.samples:
            return []
        return drafter.propose(sequence.tokens, min(sequence.limit - len(sequence.tokens), self._cache.free - 1))

    def _compute_draft(self, rows: Rows, draft: list[int], replies: list[Reply]) -> None:
        """Decode one row and a draft after it; what the model would not have said itself is forgotten."""
        sequence, line, batch = rows.sequence, rows.sequence.line, self._context.batch
        work = self._work[sequence.id]
        assert line is not None
        assert work.drafter is not None
        batch.clear()
        batch.add(line.slot, rows.start, sequence.tokens[rows.start :], wanted=True)
        for at, token in enumerate(draft, start=rows.start + 1):
            batch.add(line.slot, at, [token], wanted=True)
        if self._context.decode() != 0:
            self._cache.settle(line, sequence.tokens)
            work.drafter = None  # whatever it was, the next step meets it without a draft
            return
        said = list[int]()
        for row, guess in enumerate([*draft, None]):
            said.append(self._context.sample(work.sampler, row))
            if said[-1] != guess or self.model.ends(said[-1], fill=work.fill):
                break
        right = len(said) - 1
        work.drafter.note(len(draft), right)
        self._context.cut(line.slot, rows.start + 1 + right)
        self._cache.extend(line, [sequence.tokens[-1], *draft[:right]])
        for token in said:
            if sequence.id in self._work:
                self._say(work, token, replies)

    def _recover(self, code: int, step: list[Rows], replies: list[Reply]) -> None:
        """Find whose fault it was, by halves; the others go on.

        1: no room. 2: aborted, the rest comes in the next step. -1: an invalid row. Less: the computation failed.
        """
        if code == 2 or (code == 1 and self._cache.room(self._cache.free + 1)):
            return
        if len(step) > 1:
            half = len(step) // 2
            self._compute(step[:half], replies)
            self._compute(step[half:], replies)
            return
        rows = step[0]
        if code == 1 and rows.count > 1:
            self._compute([Rows(rows.sequence, rows.start, rows.count // 2)], replies)
        elif code == 1 and self._scheduler.running > 1:
            self._scheduler.preempt(rows.sequence)
        elif code == 1:
            self._fail(rows.sequence, "overloaded", "there is no room in the KV cache", replies)
        elif code == -1:
            self._fail(rows.sequence, "bad_request", "the model refused a token of the prompt", replies)
        else:
            self._fail(rows.sequence, "server_error", f"the computation failed ({code})", replies)
            self._faults += 1
            if self._faults >= FAULTS:
                raise Fatal(f"llama_decode answered {code}, {FAULTS} times in a row")

    def _sampled(self, sequence: Sequence, row: int, replies: list[Reply]) -> None:
        work = self._work[sequence.id]
        try:
            token = self._context.sample(work.sampler, row)
        except DeadEnd as error:
            self._fail(sequence, "bad_request", str(error), replies)
            return
        self._say(work, token, replies)

    def _say(self, work: _Work, token: int, replies: list[Reply]) -> None:
        """The next token of an answer."""
        sequence = work.sequence
        if self.model.ends(token, fill=work.fill):
            self._finish(work, "stop", replies)
            return
        sequence.tokens.append(token)
        work.output += 1
        text = work.text.feed(self.model.piece(token))
        if text:
            replies.append(Piece(id=sequence.id, text=text))
        if work.text.stopped:
            self._finish(work, "stop", replies)
        elif work.output >= work.wanted or len(sequence.tokens) >= sequence.limit:
            self._finish(work, "length", replies)

    def _finish(self, work: _Work, finish: Finish, replies: list[Reply]) -> None:
        sequence = work.sequence
        if text := work.text.flush():
            replies.append(Piece(id=sequence.id, text=text))
        replies.append(
            Done(
                id=sequence.id,
                finish=finish,
                input=sequence.prompt,
                reused=sequence.reused,
                output=work.output,
                logprob=work.sampler.logprob,
            )
        )
        self.cancel(sequence.id)

    def _fail(self, sequence: Sequence, outcome: Outcome, message: str, replies: list[Reply]) -> None:
        work = self._work.pop(sequence.id)
        work.sampler.free()
        self._scheduler.end(sequence, keep=False)
        replies.append(Failed(id=sequence.id, outcome=outcome, message=f"{self.model.name}: {message}"))


def _sampling(job: Job, grammar: str) -> Sampling:
    return Sampling(
        temperature=job.temperature,
        top_p=job.top_p,
        top_k=job.top_k,
        min_p=job.min_p,
        repeat_penalty=job.repeat_penalty,
        frequency_penalty=job.frequency_penalty,
        presence_penalty=job.presence_penalty,
        seed=job.seed,
        grammar=grammar,
    )
