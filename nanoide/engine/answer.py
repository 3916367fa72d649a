"""One job's answer as it grows: what chooses its tokens, what was said, and when it is over."""

from nanoide.core.chat import Finish
from nanoide.engine.drafting import Drafter
from nanoide.engine.protocol import Done, Job, Piece, Reply
from nanoide.engine.sampler import Sampler
from nanoide.engine.sampling import Sampling, TextStream
from nanoide.engine.scheduler import Sequence


class Answer:
    """What is known of a job beside its sequence."""

    __slots__ = ("_output", "_text", "_wanted", "drafter", "fill", "sampler", "sequence")

    def __init__(self, job: Job, sequence: Sequence, sampler: Sampler, *, fill: bool, drafts: bool) -> None:
        """`fill`: the middle of a text is wanted. `drafts`: it may copy from what stands before it."""
        self.sequence = sequence
        self.sampler = sampler
        self.fill = fill
        self.drafter = Drafter() if drafts else None
        self._text = TextStream(job.stop)
        self._wanted = job.max_output
        self._output = 0

    def take(self, token: int, piece: bytes, replies: list[Reply]) -> Finish | None:
        """The next token, and its bytes. Why the answer is over with it; None while it goes on."""
        self.sequence.tokens.append(token)
        self._output += 1
        text = self._text.feed(piece)
        if text:
            replies.append(Piece(id=self.sequence.id, text=text))
        if self._text.stopped:
            return "stop"
        if self._output >= self._wanted or len(self.sequence.tokens) >= self.sequence.limit:
            return "length"
        return None

    def close(self, finish: Finish, replies: list[Reply]) -> None:
        """It is over: the rest of its text, and what it took."""
        sequence = self.sequence
        if text := self._text.flush():
            replies.append(Piece(id=sequence.id, text=text))
        replies.append(
            Done(
                id=sequence.id,
                finish=finish,
                input=sequence.prompt,
                reused=sequence.reused,
                output=self._output,
                logprob=self.sampler.logprob,
            )
        )


def sampling_of(job: Job, grammar: str) -> Sampling:
    """What a job asks of the sampler, held to `grammar`."""
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
