"""Grammars and schemas: what becomes GBNF, what is refused and in which words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoide.engine.grammar import DEPTH_LIMIT, SIZE_LIMIT, grammar_of


def of(schema: Any) -> tuple[str, str]:
    """The grammar of a schema, and what is wrong with it."""
    return grammar_of("", json.dumps(schema))


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        ('root ::= "(((" [(] # (((', ""),
        ('rot ::= "a"', "no rule 'root'"),
        ("root ::= " + "(" * (DEPTH_LIMIT + 1), "deep"),
        ('root ::= "a"' + " " * SIZE_LIMIT, "characters"),
        ('root ::= "\0"', "NUL"),
    ],
    ids=["quoted", "rootless", "deep", "long", "nul"],
)
def test_a_grammar_that_could_harm_never_reaches_native_code(grammar: str, said: str) -> None:
    """What recurses too deep, is too long or has no root is refused in words; quoted brackets do not count."""
    _, fault = grammar_of(grammar, "")
    assert said in fault
    assert bool(fault) == bool(said)


def test_one_of_both() -> None:
    """A grammar and a schema together say what is wrong."""
    assert "one of them" in grammar_of('root ::= "a"', "{}")[1]


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ({"enum": ["a", 'b"', 3]}, r'"\"a\"" | "\"b\\\"\"" | "3"'),
        ({"const": {"a": [1]}}, r'"{\"a\":[1]}"'),
        ({"type": "integer", "minimum": 1, "maximum": 3}, '"1" | "2" | "3"'),
        ({"type": "string", "maxLength": 5}, "char{0,5}"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 4}, 'null ("," ws null){1,3}'),
        ({"type": ["string", "null"]}, "string | null"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "boolean"}}}, "ref0 ::= boolean"),
        (True, "root ::= value"),
    ],
)
def test_a_schema_becomes_a_grammar(schema: Any, part: str) -> None:
    """Each keyword that is known has its rule."""
    grammar, fault = of(schema)
    assert not fault
    assert part in grammar


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "pattern": "a"}, "'pattern' at # is not supported"),
        ({"type": "object", "properties": {"a": {"multipleOf": 3}}}, "'multipleOf' at #/properties/a"),
        ({"type": "string", "maxLength": 100_000_000}, "allowed: 0 to 1000"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "allowed: minItems (3) and more"),
        ({"type": "integer", "minimum": 5}, "minimum"),
        ({"type": "word"}, "allowed: object, array"),
        ({"$ref": "https://example.org/x"}, "allowed: a place in the schema"),
        ({"$ref": "#/nowhere"}, "there is nothing there"),
        ({"$ref": "#"}, "leads to itself"),
        ({"allOf": [{}, {}]}, "allowed: 1"),
        ({"enum": []}, "at least one"),
        ([], "is not a schema"),
    ],
)
def test_a_keyword_that_cannot_be_held_is_refused(schema: Any, said: str) -> None:
    """Nothing of a schema is passed over: what the grammar cannot hold to is named with its place."""
    assert said in of(schema)[1]


def test_a_schema_that_is_no_json_or_too_deep_is_refused() -> None:
    """Depth is bounded, in the text and in the schema."""
    assert "not JSON" in grammar_of("", "{")[1]
    assert grammar_of("", "[" * 60_000)[1]
    deep: Any = {"type": "null"}
    for _ in range(40):
        deep = {"type": "array", "items": deep}
    assert "levels" in of(deep)[1]


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=8),
        lambda each: (
            st.lists(each, max_size=4)
            | st.dictionaries(
                st.sampled_from(["type", "items", "enum", "$ref", "properties", "required", "anyOf", "minItems"]),
                each,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_grammar_or_a_fault(schema: Any) -> None:
    """Whatever is given as a schema comes back as one or the other, never as an accident."""
    grammar, fault = of(schema)
    assert fault or grammar.startswith("root ::= ")
