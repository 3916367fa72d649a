"""What an answer may look like: a GBNF grammar, checked before native code reads it.

Pure. llama.cpp's parser recurses into groups, so what could overflow its stack is refused here; what is
merely no grammar it refuses itself.
"""

import re

from nanoide.engine.schema import SchemaError, to_gbnf

SIZE_LIMIT = 64 * 1024
"""Characters of a grammar, also of one made from a schema."""

DEPTH_LIMIT = 64
"""Groups within groups."""

_ROOT = re.compile(r"^[ \t]*root[ \t]*::=", re.MULTILINE)
_QUIET = re.compile(r'"(?:\\.|[^"\\\n])*"|\[(?:\\.|[^\]\\\n])*\]|#[^\n]*')
"""Literals, character classes and comments: parentheses mean nothing in them."""


def grammar_of(grammar: str, json_schema: str) -> tuple[str, str]:
    """The GBNF that holds for an answer (empty when none does), and what is wrong with it, as a phrase."""
    if grammar and json_schema:
        return "", "grammar and json_schema are both given; allowed: one of them"
    if json_schema:
        if len(json_schema) > SIZE_LIMIT:
            return "", f"json_schema has {len(json_schema)} characters; allowed: {SIZE_LIMIT}"
        try:
            grammar = to_gbnf(json_schema)
        except SchemaError as error:
            return "", f"json_schema: {error}"
    return grammar, _fault(grammar) if grammar else ""


def _fault(grammar: str) -> str:
    if len(grammar) > SIZE_LIMIT:
        return f"grammar has {len(grammar)} characters; allowed: {SIZE_LIMIT}"
    if "\0" in grammar:
        return "grammar holds a NUL character; allowed: GBNF"
    if not _ROOT.search(grammar):
        return "grammar has no rule 'root'; allowed: GBNF with 'root ::= …'"
    depth = 0
    for character in _QUIET.sub("", grammar):
        depth += (character == "(") - (character == ")")
        if depth > DEPTH_LIMIT:
            return f"grammar has groups more than {DEPTH_LIMIT} deep; allowed: {DEPTH_LIMIT}"
    return ""
