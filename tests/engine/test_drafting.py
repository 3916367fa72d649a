"""Drafts: what is proposed, and that an answer is the same with them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.core.chat import Fill
from nanoide.engine.context import Library
from nanoide.engine.drafting import GRAM, RETRY, SIZES, Drafter
from nanoide.engine.protocol import Done, Job, Load, Piece, Reply
from nanoide.engine.runner import Runner
from nanoide.paths import bundled_model

ROOT = Path(__file__).parent.parent.parent / "nanoide"


def by_groups(rows: int) -> float:
    """What rows cost on a CPU, about: by fours, and a row alone half of that; the more the cheaper."""
    return 1.0 if rows <= 1 else 2.0 * (-(-rows // 4)) ** 0.9


def free(rows: int) -> float:
    """Where more rows cost nothing, as on a GPU."""
    return 1.0


def dear(rows: int) -> float:
    """Where each row costs what a step costs."""
    return float(rows)


Cost = Callable[[int], float]


def test_what_followed_before_is_proposed() -> None:
    """When the last tokens stood before, those that followed them are the draft."""
    assert Drafter().propose([1, 2, 3, 4, 5, 6, 1, 2, 3], 10, by_groups) == [4, 5, 6]
    assert Drafter().propose([1, 2, 3, 4, 5, 6, 1, 2, 3], 2, by_groups) == [4, 5]
    assert Drafter().propose([1, 2, 3, 4], 10, by_groups) == []
    assert Drafter().propose([1, 2, 3, 4, 5, 6, 1, 2, 3], 10, lambda rows: 0.0) == [], "nothing is known of the cost"


def test_drafts_grow_while_they_are_right() -> None:
    """Long ones pay when nearly all of them are kept."""
    drafter, tokens = Drafter(), list(range(40)) * 2
    sizes = list[int]()
    for _ in range(12):
        sizes.append(len(drafter.propose(tokens, 20, by_groups)))
        drafter.note(sizes[-1], sizes[-1])
    assert sizes[0] == SIZES[0]
    assert sizes[-1] == SIZES[-1]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("cost", [by_groups, free, dear])
def test_drafts_that_are_wrong_are_given_up_and_tried_again_now_and_then(cost: Cost) -> None:
    """When the model says something else each time, few steps are made dearer for it."""
    drafter, tokens = Drafter(), list(range(40)) * 2
    proposed = list[bool]()
    for _ in range(20 * RETRY):
        draft = drafter.propose(tokens, 20, cost)
        proposed.append(bool(draft))
        if draft:
            drafter.note(len(draft), 0)
    late = proposed[4 * RETRY :]
    assert any(late)
    assert cost is free or sum(late) == len(late) // RETRY


@given(
    right=st.lists(st.integers(0, 15), max_size=30),
    costs=st.lists(st.floats(0.01, 1.0), min_size=15, max_size=15),
)
def test_a_draft_is_only_proposed_where_it_may_pay(right: list[int], costs: list[float]) -> None:
    """However often drafts were right and whatever rows cost: even all of it right, it must cost less than that."""
    prices = [sum(costs[: rows + 1]) for rows in range(15)]

    def cost(rows: int) -> float:
        return prices[min(rows, 15) - 1]

    drafter, tokens, passed = Drafter(), list(range(40)) * 2, 0
    for accepted in right:
        draft = drafter.propose(tokens, 20, cost)
        if not draft:
            passed += 1
            continue
        pays = cost(len(draft) + 1) < (len(draft) + 1) * cost(1)
        assert pays or passed >= RETRY - 1
        passed = 0
        drafter.note(len(draft), min(accepted, len(draft)))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(0, 8))
def test_a_draft_is_a_copy(tokens: list[int], most: int) -> None:
    """What is proposed stands in the tokens after the same gram as their last one."""
    drafter, seen = Drafter(), list[int]()
    for token in tokens:
        seen.append(token)
        draft = drafter.propose(seen, most, free)
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
