"""Drafts: what is proposed, and that an answer is the same with them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.core.chat import Fill
from nanoide.engine.context import Library
from nanoide.engine.drafting import DRAFT_MAX, DRAFT_MIN, GRAM, Drafter
from nanoide.engine.protocol import Done, Job, Load, Piece, Reply
from nanoide.engine.runner import Runner
from nanoide.paths import bundled_model

ROOT = Path(__file__).parent.parent.parent / "nanoide"


def test_what_followed_before_is_proposed() -> None:
    """When the last tokens stood before, those that followed them are the draft."""
    assert Drafter().propose([1, 2, 3, 4, 5, 6, 1, 2, 3], 10) == [4, 5, 6]
    assert Drafter().propose([1, 2, 3, 4, 5, 6, 1, 2, 3], 2) == [4, 5]
    assert Drafter().propose([1, 2, 3, 4], 10) == []


def test_drafts_grow_while_they_are_right_and_pause_when_wrong() -> None:
    """Right ones get longer, wrong ones rarer."""
    drafter, tokens = Drafter(), list(range(20)) * 2
    assert len(drafter.propose(tokens, 10)) == DRAFT_MIN
    drafter.note(DRAFT_MIN, DRAFT_MIN)
    assert len(drafter.propose(tokens, 10)) == 2 * DRAFT_MIN
    drafter.note(6, 6)
    assert len(drafter.propose(tokens, 10)) == DRAFT_MAX
    drafter.note(DRAFT_MAX, 0)
    assert [bool(drafter.propose(tokens, 10)) for _ in range(4)] == [False, False, True, True]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(0, 8))
def test_a_draft_is_a_copy(tokens: list[int], most: int) -> None:
    """What is proposed stands in the tokens after the same gram as their last one."""
    drafter, seen = Drafter(), list[int]()
    for token in tokens:
        seen.append(token)
        draft = drafter.propose(seen, most)
        assert len(draft) <= most
        if draft:
            gram = seen[-GRAM:]
            places = range(GRAM, len(seen))
            assert any(seen[at - GRAM : at] == gram and seen[at : at + len(draft)] == draft for at in places)


def fills(count: int) -> list[Fill]:
    """Places in our own files."""
    found = list[Fill]()
    for path in sorted(ROOT.rglob("*.py")):
        lines = path.read_text().splitlines()
        if len(lines) > 20:
            at = 2 * len(lines) // 3
            prefix = "\n".join([*lines[:at], lines[at][: len(lines[at]) // 2]])
            found.append(Fill(prefix=prefix, suffix="\n".join(lines[at + 1 :])))
    return found[:count]


def answers(prompts: list[Fill], *, drafts: bool, emptied: bool = True) -> tuple[list[str], list[float | None], int]:
    """The texts, how sure they were, and in how many steps. One thread: more of them add in another order."""
    load = Load(path=str(bundled_model()), threads=1)
    runner = Runner(load, Library(lambda line: None), cores=1, memory=lambda: 0, drafts=drafts)
    texts, sure, steps = list[str](), list[float | None](), 0
    for id, fill in enumerate(prompts, 1):
        assert runner.add(Job(id=id, key="doc", fill=fill, max_output=32, priority="completion")) is None
        replies = list[Reply]()
        while runner.busy:
            runner.step(replies)
            steps += 1
        # Where in the cache a prompt lies changes the last bits of its logits: each begins with an empty one.
        if emptied:
            runner.release("doc")
        texts.append("".join(each.text for each in replies if isinstance(each, Piece)))
        sure.extend(each.logprob for each in replies if isinstance(each, Done))
    return texts, sure, steps


@pytest.mark.parametrize("count", [10, pytest.param(60, marks=pytest.mark.long)])
def test_an_answer_is_the_same_with_drafts_and_without(count: int) -> None:
    """Only what the model says itself is kept of a draft; the steps are fewer."""
    prompts = fills(count)
    assert len(prompts) == count
    plain, sure, steps = answers(prompts, drafts=False)
    drafted, as_sure, fewer = answers(prompts, drafts=True)
    assert drafted == plain
    assert as_sure == pytest.approx(sure, abs=0.1)
    assert fewer < steps


def test_a_small_model_drafts_nothing() -> None:
    """For the bundled model a row more costs as much as a step more."""
    runner = Runner(Load(path=str(bundled_model())), Library(lambda line: None), cores=1, memory=lambda: 0)
    runner.add(Job(id=1, fill=Fill(prefix="a = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, "), max_output=10))
    replies = list[Reply]()
    steps = 0
    while runner.busy:
        runner.step(replies)
        steps += 1
    end = replies[-1]
    assert isinstance(end, Done)
    assert steps >= end.output
