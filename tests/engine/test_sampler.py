"""The native sampler, with the bundled model: what is asked of it holds."""

import json
from typing import Any

import pytest

from nanoide.core.chat import Fill
from nanoide.engine.context import Library
from nanoide.engine.protocol import Done, Failed, Job, Load, Piece, Reply
from nanoide.engine.runner import Runner
from nanoide.paths import bundled_model

LIST = Fill(prefix="numbers = [1, 2, 3, ", suffix="\n")


@pytest.fixture(scope="module")
def runner() -> Runner:
    """An engine with the bundled model."""
    library = Library(lambda line: None)
    return Runner(Load(path=str(bundled_model()), threads=1), library, cores=1, memory=lambda: 0)


def answer(runner: Runner, **changes: Any) -> tuple[str, Done | Failed]:
    """The text and the end of one completion."""
    job = Job(**{"id": 1, "key": "one", "fill": LIST, "max_output": 40, "priority": "completion", **changes})
    failed = runner.add(job)
    if failed is not None:
        return "", failed
    replies = list[Reply]()
    while runner.busy:
        runner.step(replies)
    text = "".join(each.text for each in replies if isinstance(each, Piece))
    return text, next(each for each in replies if isinstance(each, Done | Failed))


def test_an_answer_keeps_to_its_grammar(runner: Runner) -> None:
    """Nothing comes out that the grammar forbids, greedy or drawn."""
    grammar = 'root ::= ("yes" | "no") "!"'
    for temperature in (0.0, 1.5):
        text, end = answer(runner, grammar=grammar, temperature=temperature, seed=5)
        assert text in {"yes!", "no!"}
        assert isinstance(end, Done)
        assert end.finish == "stop"


def test_characters_of_several_tokens_keep_to_a_grammar(runner: Runner) -> None:
    """A grammar holds for characters, also when a token is only a part of one."""
    assert answer(runner, grammar='root ::= "日本" "語"?')[0] in {"日本", "日本語"}


def test_an_answer_fits_its_schema(runner: Runner) -> None:
    """What comes is JSON with the properties that the schema has."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "size": {"type": "integer", "minimum": 1, "maximum": 5},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
        },
        "required": ["name", "size", "tags"],
    }
    for seed in range(5):
        text, end = answer(runner, json_schema=json.dumps(schema), temperature=1.0, seed=seed, max_output=120)
        assert isinstance(end, Done)
        assert end.finish == "stop"
        found = json.loads(text)
        assert set(found) == {"name", "size", "tags"}
        assert len(found["name"]) <= 8
        assert 1 <= found["size"] <= 5
        assert len(found["tags"]) <= 2


def test_a_seed_repeats_an_answer(runner: Runner) -> None:
    """The same seed draws the same tokens, another one others."""
    first, again, other = (answer(runner, temperature=2.0, top_k=0, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_penalties_break_a_repetition(runner: Runner) -> None:
    """What was said lately is said less often."""
    plain, _ = answer(runner)
    varied, _ = answer(runner, repeat_penalty=1.5, frequency_penalty=1.0, presence_penalty=1.0)
    assert plain != varied


def test_min_p_of_one_leaves_the_likeliest(runner: Runner) -> None:
    """With min_p at its most only the likeliest token is left, however high the temperature."""
    assert answer(runner, temperature=3.0, min_p=1.0, top_k=0)[0] == answer(runner)[0]


def test_a_completion_tells_how_sure_it_was(runner: Runner) -> None:
    """The mean log-probability is negative and finite, and lower for what is drawn at random."""
    sure, unsure = answer(runner)[1], answer(runner, temperature=4.0, top_k=0, seed=1)[1]
    assert isinstance(sure, Done)
    assert isinstance(unsure, Done)
    assert sure.logprob is not None
    assert unsure.logprob is not None
    assert unsure.logprob < sure.logprob <= 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top_k": -1}, "top_k is -1; allowed: 0 to"),
        ({"min_p": 1.5}, "min_p is 1.5; allowed: 0 to 1"),
        ({"repeat_penalty": 0.0}, "repeat_penalty is 0.0; allowed: more than 0"),
        ({"frequency_penalty": 3.0}, "frequency_penalty is 3.0; allowed: -2 to 2"),
        ({"presence_penalty": float("nan")}, "presence_penalty is nan; allowed: -2 to 2"),
        ({"grammar": "root ::= ("}, "grammar does not parse"),
        ({"grammar": 'root ::= root "a"'}, "grammar does not parse"),
        ({"json_schema": '{"type": "word"}'}, "type at # is 'word'"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(runner: Runner, changes: dict[str, Any], said: str) -> None:
    """The job fails as a bad request that names the parameter, its value and what is allowed."""
    _, end = answer(runner, **changes)
    assert isinstance(end, Failed)
    assert end.outcome == "bad_request"
    assert said in end.message
