"""One try on one rung: three of the five limits, the bill, and the record.

First token, idle and total are held here, for every kind of backend alike. Connect and headers are
held by the backends that speak HTTP, which alone can tell them apart.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import msgspec

from nanoide import tokens
from nanoide.core.chat import Attempt, Chunk, End, Prompt, Rung, Text, Waits
from nanoide.core.errors import BackendError, Outcome
from nanoide.core.policy import Where
from nanoide.core.usage import FREE, Price, Usage, cost
from nanoide.routing.breaker import Breaker, Leave
from nanoide.routing.egress import Gate, Pass
from nanoide.routing.redact import texts
from nanoide.routing.resume import GOES_ON
from nanoide.routing.seam import Seam
from nanoide.settings import Timeout

_NEVER_BILLED: frozenset[Outcome] = frozenset(
    {"connect_error", "overloaded", "auth", "quota", "bad_request", "not_found", "context", "unavailable", "refused"}
)
"""Turned away at the door: it costs nothing at any price."""


class Try:
    """One attempt. `run` streams it; afterwards it says how far it came."""

    def __init__(
        self,
        gate: Gate,
        rung: Rung,
        limits: Timeout,
        record: Callable[[Attempt], None],
        clock: Callable[[], float],
        breaker: Breaker | None,
        permit: Leave | None,
        seam: Seam | None = None,
    ) -> None:
        """With a `seam` only what goes on with the answer that stands is given out."""
        self.rung = rung
        self.silent: End | None = None
        """The end of a reflex that had nothing to say; it was not given out."""
        self.left = ""
        """Why it is left before its end, as a phrase, when it was not the person who stopped it."""
        self.goes_on = False
        """It failed in such a way that another rung may go on with what it gave out."""
        self._gate = gate
        self._seam = seam
        self._limits = limits
        self._record = record
        self._clock = clock
        self._breaker = breaker
        self._permit = permit
        self._texts: list[str] = []
        """All that came, for the bill."""
        self._given: list[str] = self._texts if seam is None else []
        self._ttft: float | None = None
        self._began = clock()
        self._sent = False

    @property
    def spoke(self) -> bool:
        """True when text was given out: from here on no other rung may begin from nothing unseen."""
        return bool(self._given)

    @property
    def said(self) -> str:
        """The text that was given out."""
        return "".join(self._given)

    @property
    def lost(self) -> bool:
        """True when it did not go on where the answer that stands broke off, or not for certain."""
        return self._seam is not None and self._seam.lost

    async def run(self, leave: Pass) -> AsyncGenerator[Rung | Text | End, None]:
        """The rung, its texts, its end. Raises BackendError, with the backend's name in front.

        The rung comes again each time the backend says what it waits for, with that as its reason, and once
        more when the waiting is over.
        """
        try:
            yield self.rung
            self._began = self._clock()
            end, waits = None, False
            stream = await self._gate.open(leave)
            reader = _Reader(stream, self._limits)
            self._sent = True
            try:
                while end is None:
                    chunk = await reader.next()
                    if waits and not isinstance(chunk, Waits):
                        waits = False
                        yield self.rung
                    if isinstance(chunk, End):
                        end = chunk
                    elif isinstance(chunk, Waits):
                        waits = True
                        reader.waits()
                        yield msgspec.structs.replace(self.rung, reason=chunk.reason, passed=())
                    elif chunk.text:
                        if self._ttft is None:
                            self._ttft = self._clock() - self._began
                            reader.speaks()
                            if self._breaker is not None and self._permit is not None:
                                self._breaker.spoke(self._permit)
                        self._texts.append(chunk.text)
                        if self._seam is None:
                            yield chunk
                        elif text := self._joined(self._seam.feed(chunk.text)):
                            yield text
                if self._seam is not None and (text := self._joined(self._seam.end(), end)):
                    yield text
            finally:
                reader.close()
                await _close(stream)
            self._judge(end, leave.prompt)
        except BackendError as error:
            why = phrase(error, self.rung.backend)
            self.goes_on = self.rung.tier == "model" and error.outcome in GOES_ON and not isinstance(error, _Overdue)
            self._end(
                error.outcome,
                leave.prompt,
                end=error.end if isinstance(error, _Judged) else None,
                told=leave.told(),
                reason=why,
                retry_after=error.retry_after,
                part=error.part,
            )
            if error.message.startswith(f"{self.rung.backend}: "):
                raise
            raise BackendError(
                f"{self.rung.backend}: {why}",
                outcome=error.outcome,
                retry_after=error.retry_after,
                hint=error.hint,
            ) from error
        except (asyncio.CancelledError, GeneratorExit):
            self._end("cancelled", leave.prompt, told=leave.told(), reason=self.left or "stopped")
            raise
        except BaseException as error:
            # No backend should raise anything else; whatever it is, the attempt is in the ledger.
            self._end("crashed", leave.prompt, told=leave.told(), reason=type(error).__name__)
            raise
        self._end("ok", leave.prompt, end=end, reason=self.rung.reason)
        if self._texts or self.rung.tier == "model":
            yield end
        else:
            self.silent = end

    def _joined(self, text: str, end: End | None = None) -> Text | None:
        """What the seam let through, as it is given out. Raises BackendError when the seam is lost."""
        if self.lost:
            why = "did not go on where the answer broke off"
            raise BackendError(why, outcome="protocol") if end is None else _Judged(why, end, outcome="protocol")
        if not text:
            return None
        self._given.append(text)
        return Text(text)

    def _judge(self, end: End, prompt: Prompt) -> None:
        """Raise BackendError for an answer that is none."""
        if end.finish == "content_filter" and self.rung.tier == "model":
            # Also after some text: what the filter broke off must not look like an answer.
            raise _Judged("the answer was filtered by the provider", end, outcome="content_filter")
        if self._texts or self.rung.tier == "reflex" or self.rung.continues:
            return  # where an answer broke off there may be nothing left to say
        if prompt.fill is None:
            why = "the answer is empty: the token limit was reached" if end.finish == "length" else "empty answer"
            raise _Judged(why, end, outcome="protocol")

    def _end(
        self,
        outcome: Outcome,
        prompt: Prompt,
        *,
        end: End | None = None,
        told: Usage | None = None,
        reason: str = "",
        retry_after: float | None = None,
        part: bool = False,
    ) -> None:
        now = self._clock()
        if self._breaker is not None and self._permit is not None:
            # A replica that left its pool says nothing about the replicas that are still in it, and a model that
            # does not find back into an answer nothing about its server.
            heard: Outcome = "cancelled" if part else "bad_request" if self.lost else outcome
            self._breaker.ended(self._permit, heard, now, retry_after=retry_after, reason=reason)
            if end is not None and end.rest_s is not None:
                self._breaker.exhausted(end.rest_s, now)
        usage = end.usage if end is not None else told or self._estimate(prompt)
        amount, source = bill(self.rung.where, self._gate.price, usage, outcome)
        self._record(
            Attempt(
                backend=self.rung.backend,
                where=self.rung.where,
                tier=self.rung.tier,
                outcome=outcome,
                ms=round((now - self._began) * 1000),
                ttft_ms=None if self._ttft is None else round(self._ttft * 1000),
                usage=usage,
                cost_nano=amount,
                model=end.model if end is not None else self._gate.health().model,
                price_source=source,
                reason=reason,
            )
        )

    def _estimate(self, prompt: Prompt) -> Usage:
        """Our own count of what a stream used that broke off; nothing when it never spoke.

        One that was left because another was faster has read its prompt all the same.
        """
        paid = self._sent and self.left and self.rung.where != "device"
        if self.rung.tier == "reflex" or not (self._texts or paid):
            return Usage()
        read = sum(tokens.count(text) for text in texts(prompt))
        return Usage(input=read, output=tokens.count("".join(self._texts)), estimated=True)


class _Judged(BackendError):
    """An answer came whole, with its usage, and is no answer."""

    def __init__(self, message: str, end: End, *, outcome: Outcome) -> None:
        super().__init__(message, outcome=outcome)
        self.end = end


class _Overdue(BackendError):
    """The limit for the whole passed: there is no time for anybody else."""

    def __init__(self, message: str) -> None:
        super().__init__(message, outcome="timeout")


class _Reader:
    """Reads a backend's stream under the limits for the first token, for silence and for the whole.

    As `asyncio.timeout` would do around each chunk, but with one timer for the stream: that one fires a few
    times a stream and not a few times a chunk. It cancels the task only while the task waits in here.
    """

    def __init__(self, stream: AsyncIterator[Chunk], limits: Timeout) -> None:
        self._stream = stream
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._first: float | None = now + limits.first_token
        self._whole = now + limits.total
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waits: asyncio.Task[object] | None = None
        """The task that waits for a chunk right now."""
        self._expired = False

    def waits(self) -> None:
        """The backend works on being able to answer: the limit for the first token begins anew."""
        self._first = self._loop.time() + self._limits.first_token

    def speaks(self) -> None:
        """The first token is there."""
        self._first = None

    async def next(self) -> Chunk:
        """The next chunk. Raises BackendError "timeout" or "cut"."""
        until = self._loop.time() + self._limits.idle if self._first is None else self._first
        self._until = until = min(until, self._whole)
        if self._timer is None or self._timer.when() > until:
            self.close()
            self._timer = self._loop.call_at(until, self._fire)
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        self._waits = task
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            raise BackendError("the stream ended without its end", outcome="cut") from None
        except asyncio.CancelledError as error:
            # Ours alone, or was the task cancelled from elsewhere as well?
            if self._expired and task.uncancel() <= cancelling:
                raise self._timeout() from error
            raise
        finally:
            self._waits = None

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        if self._waits is None:
            return  # the reader is slow, not the backend; the next wait sets a timer of its own
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._fire)
        else:
            self._expired = True
            self._waits.cancel()

    def _timeout(self) -> BackendError:
        if self._until >= self._whole:
            return _Overdue(f"not done after {self._limits.total:g} s")
        if self._first is not None:
            return BackendError(f"first token over {self._limits.first_token:g} s", outcome="timeout")
        return BackendError(f"silent for {self._limits.idle:g} s", outcome="timeout")


async def _close(stream: AsyncIterator[Chunk]) -> None:
    if isinstance(stream, AsyncGenerator):
        await stream.aclose()


def bill(where: Where, price: Price | None, usage: Usage, outcome: Outcome) -> tuple[int | None, str]:
    """Nano-dollars, and the price's source. None means unpriced; a device is free, and so is being turned away."""
    if where == "device":
        return 0, FREE.source
    source = "" if price is None else price.source
    if outcome in _NEVER_BILLED and usage == Usage():
        return 0, source
    return (None, "") if price is None else (cost(usage, price), source)


def phrase(error: BackendError, name: str) -> str:
    """What went wrong, without the backend's name in front."""
    return error.message.removeprefix(f"{name}: ")
