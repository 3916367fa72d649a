"""What the contenders are asked, and what came back when."""

from dataclasses import dataclass, replace

from nanoide.core.chat import Priority
from tests.bench.gguf import text


@dataclass(frozen=True)
class Question:
    """One turn of a session."""

    system: str
    turns: tuple[tuple[str, str], ...]
    """Role and text, the person's last."""
    max_output: int
    session: str = ""
    priority: Priority = "focused"

    def again(self, answer: str, text: str) -> "Question":
        """The next turn of the session."""
        return replace(self, turns=(*self.turns, ("assistant", answer), ("user", text)))


@dataclass(frozen=True)
class Answer:
    """What came of it."""

    text: str
    stamps: tuple[float, ...]
    """Seconds after the question at which each piece of text was there."""
    seconds: float
    output: int
    """Tokens."""
    computed: int
    """Tokens of the prompt that were not in a cache; 0 where the server does not say."""

    @property
    def first(self) -> float:
        """Seconds to the first text."""
        return self.stamps[0]

    @property
    def gaps(self) -> list[float]:
        """Seconds between one piece and the next."""
        return [after - before for before, after in zip(self.stamps, self.stamps[1:], strict=False)]


def sessions(count: int, *, skill: int = 1) -> list[Question]:
    """First turns of `count` sessions of one skill: 500 tokens of instruction, 40 of question, 64 wanted."""
    system = text(500, 7_000 + skill)
    return [
        Question(system=system, turns=(("user", text(40, 100 * skill + number)),), max_output=64, session=f"s{number}")
        for number in range(count)
    ]


def alone(number: int, tokens: int, max_output: int, priority: Priority, session: str = "") -> Question:
    """A prompt of about `tokens` tokens that nobody has asked before."""
    return Question(
        system="",
        turns=(("user", text(tokens, 20_000 + number)),),
        max_output=max_output,
        session=session,
        priority=priority,
    )
