"""The model that copies says what we say it says; nothing is timed here."""

from pathlib import Path

import pytest

from tests.bench.engine_drafts import KINDS, LEAD, OUTPUT, measure, prompt
from tests.bench.gguf import Shape, circle, made

SMALL = Shape(width=64, heads=2, heads_kv=1, layers=2, hidden=64, copies=True)


def test_the_words_go_round() -> None:
    """Each word comes once, and the order is the same each time."""
    assert len(set(circle())) == len(circle())
    assert circle() == circle()


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_holds_its_answer_more_or_less(kind: str) -> None:
    """It ends with the words that the answer follows; before them stands a copy, broken as the kind has it."""
    before, answer = (text.split() for text in prompt(kind, 3))
    assert len(answer) == OUTPUT
    assert before[:LEAD] == before[-LEAD:] or kind == "never"
    alike = sum(a == b for a, b in zip(before[LEAD:-LEAD], answer, strict=True)) / OUTPUT
    assert alike == {"whole": 1.0, "often": pytest.approx(0.92, abs=0.05), "seldom": pytest.approx(0.8, abs=0.05)}.get(
        kind, pytest.approx(0.0, abs=0.05)
    )


def test_the_model_follows_the_circle_with_drafts_and_without(tmp_path: Path) -> None:
    """Word for word, whatever is drafted; what was not broken is right, and fewer steps are taken for it."""
    found = measure(str(made(tmp_path, SMALL)), 1)
    assert all(each["same"] for each in found.values())
    assert found["whole"]["right"] == 1.0
    assert found["whole"]["steps_with"] < found["whole"]["steps_without"]
    assert found["never"]["right"] == 0.0
