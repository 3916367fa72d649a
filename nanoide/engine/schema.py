"""A JSON schema as a GBNF grammar. Pure.

Every text of the grammar fits the schema, though not every text that fits is in the grammar: objects get
the properties that are named, in order, the required ones first. A keyword that the grammar could not
hold to is refused by name, never passed over. Of `oneOf` it holds that one fits, not that only one does.
"""

import json
from typing import Any, cast

from nanoide.core.value import Value

DEPTH_LIMIT = 32
"""Levels of a schema."""

COUNT_LIMIT = 1000
"""Most items or characters that a schema may ask for; llama.cpp's grammars repeat no more than about that."""

RANGE_LIMIT = 256
"""Most integers between a minimum and a maximum: each becomes a literal."""

_ALWAYS = {
    "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples",
    "deprecated", "readOnly", "writeOnly",
}  # fmt: skip
"""Keywords that say nothing about what fits."""

_OF_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "format"},
    "integer": {"minimum", "maximum"},
    "number": set[str](),
    "boolean": set[str](),
    "null": set[str](),
}

_FORMATS = {
    "date": '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])',
    "time": '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"',
    "uuid": '[0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12}',
}
_FORMATS["date-time"] = f'{_FORMATS["date"]} "T" {_FORMATS["time"]}'

_COMMON = {
    "ws": '" "?',
    "char": r'[^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})',
    "string": r'"\"" char* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": 'integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "object": '"{" ws (pair ("," ws pair)*)? ws "}"',
    "pair": 'string ":" ws value',
    "array": '"[" ws (value ("," ws value)*)? ws "]"',
    "value": "object | array | string | number | boolean | null",
}

Schema = dict[str, Any]


class SchemaError(Exception):
    """The schema cannot become a grammar; the message says where and why, as a phrase."""


class _Place(Value, frozen=True):
    """Where in the schema something stands."""

    path: str
    depth: int

    def at(self, name: object) -> "_Place":
        """One level deeper."""
        return _Place(f"{self.path}/{name}", self.depth + 1)


def to_gbnf(text: str) -> str:
    """The grammar of the JSON that fits the schema in `text`. Raises SchemaError."""
    try:
        schema: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"it is not JSON: {error}") from error
    return _Writer(schema).write()


class _Writer:
    def __init__(self, schema: object) -> None:
        self._schema = schema
        self._rules: dict[str, str] = {}
        self._refs: dict[str, str] = {}

    def write(self) -> str:
        root = self._rule(self._schema, _Place("#", 0))
        common = "\n".join(f"{name} ::= {rule}" for name, rule in _COMMON.items())
        own = "\n".join(f"{name} ::= {rule}" for name, rule in self._rules.items())
        return f"root ::= {root}\n{own}\n{common}\n"

    def _rule(self, schema: object, place: _Place) -> str:
        """The name of the rule for `schema`."""
        if place.depth > DEPTH_LIMIT:
            raise SchemaError(f"it has more than {DEPTH_LIMIT} levels at {place.path}")
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, dict):
            raise SchemaError(f"{place.path} is not a schema")
        known = cast("Schema", schema)
        if "$ref" in known:
            self._only(known, {"$ref"}, place)
            return self._reference(known["$ref"], place)
        return self._add(self._body(known, place))

    def _add(self, body: str) -> str:
        if body in _COMMON:
            return body
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name

    def _reference(self, target: object, place: _Place) -> str:
        if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
            raise SchemaError(f"$ref at {place.path} is {target!r}; allowed: a place in the schema, '#/…'")
        if target not in self._refs:
            found: object = self._schema
            for part in target.split("/")[1:]:
                key = part.replace("~1", "/").replace("~0", "~")
                if not isinstance(found, dict) or key not in found:
                    raise SchemaError(f"$ref at {place.path} is {target!r}; there is nothing there")
                found = cast("Schema", found)[key]
            # Named before it is written: it may refer to itself.
            name = self._refs[target] = f"ref{len(self._refs)}"
            inner = self._rule(found, _Place(target, place.depth + 1))
            if inner == name:
                raise SchemaError(f"$ref at {place.path} leads to itself")
            self._rules[name] = inner
        return self._refs[target]

    def _body(self, schema: Schema, place: _Place) -> str:
        if "const" in schema:
            self._only(schema, {"const", "type"}, place)
            return _literal(schema["const"])
        if "enum" in schema:
            self._only(schema, {"enum", "type"}, place)
            return " | ".join(_literal(each) for each in _many(schema["enum"], place.at("enum")))
        for name in ("anyOf", "oneOf", "allOf"):
            if name in schema:
                self._only(schema, {name}, place)
                choices = _many(schema[name], place.at(name))
                if name == "allOf" and len(choices) > 1:
                    raise SchemaError(f"allOf at {place.path} has {len(choices)} schemas; allowed: 1")
                return " | ".join(self._rule(each, place.at(name).at(at)) for at, each in enumerate(choices))
        kinds = schema.get("type")
        if isinstance(kinds, list):
            listed = _many(cast("object", kinds), place.at("type"))
            every = {"type"}.union(*(_OF_TYPE.get(str(each), ()) for each in listed))
            self._only(schema, every, place)
            return " | ".join(self._add(self._typed(str(each), schema, place)) for each in listed)
        kind = (
            str(kinds) if kinds is not None else next((each for each in _OF_TYPE if _OF_TYPE[each] & set(schema)), "")
        )
        if not kind and not set(schema) - _ALWAYS:
            return "value"
        self._only(schema, {"type", *_OF_TYPE.get(kind, ())}, place)
        return self._typed(kind, schema, place)

    def _typed(self, kind: str, schema: Schema, place: _Place) -> str:
        match kind:
            case "object":
                return self._object(schema, place)
            case "array":
                return self._array(schema, place)
            case "string":
                return self._string(schema, place)
            case "integer":
                return _integer(schema, place)
            case "number" | "boolean" | "null":
                return kind
            case _:
                raise SchemaError(f"type at {place.path} is {kind!r}; allowed: {', '.join(_OF_TYPE)}")

    def _object(self, schema: Schema, place: _Place) -> str:
        properties: object = schema.get("properties", {})
        required: object = schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise SchemaError(f"properties or required at {place.path} is not what it should be")
        named = cast("Schema", properties)
        needed = [str(each) for each in cast("list[object]", required)]
        more: object = schema.get("additionalProperties", True)
        if not named and not needed:
            if more is False:
                return '"{" ws "}"'
            pair = f'string ":" ws {self._rule(more, place.at("additionalProperties"))}'
            return "object" if more is True else f'"{{" ws ({pair} ("," ws {pair})*)? ws "}}"'
        pairs = {
            name: f'{_literal(name)} ":" ws {self._rule(named.get(name, True), place.at("properties").at(name))}'
            for name in dict.fromkeys([*(each for each in named if each in needed), *needed, *named])
        }
        first = [pair for name, pair in pairs.items() if name in needed]
        rest = [pair for name, pair in pairs.items() if name not in needed]
        if first:
            inner = ' "," ws '.join(first) + "".join(f' ("," ws {pair})?' for pair in rest)
            return f'"{{" ws {inner} ws "}}"'
        # Any of the optional ones may be the first; each has a rule for those that may follow it.
        after, starts = "", list[str]()
        for pair in reversed(rest):
            starts.insert(0, f"{pair} {after}".rstrip())
            after = self._add(f'("," ws {pair})? {after}'.rstrip())
        return f'"{{" ws ({" | ".join(starts)})? ws "}}"'

    def _array(self, schema: Schema, place: _Place) -> str:
        least, most = _bounds(schema, "minItems", "maxItems", place)
        if "prefixItems" in schema:
            heads = _many(schema["prefixItems"], place.at("prefixItems"))
            self._only(schema, {"type", "prefixItems", "items"}, place)
            inner = ' "," ws '.join(self._rule(each, place.at("prefixItems").at(at)) for at, each in enumerate(heads))
            if "items" in schema and schema["items"] is not False:
                inner += f' ("," ws {self._rule(schema["items"], place.at("items"))})*'
            return f'"[" ws {inner} ws "]"'
        item = self._rule(schema.get("items", True), place.at("items"))
        if most == 0:
            return '"[" ws "]"'
        further = f'("," ws {item}){_times(max(0, least - 1), None if most is None else most - 1)}'
        inner = f"{item} {further}"
        return f'"[" ws {inner if least else f"({inner})?"} ws "]"'

    def _string(self, schema: Schema, place: _Place) -> str:
        if "format" in schema:
            self._only(schema, {"type", "format"}, place)
            if (body := _FORMATS.get(str(schema["format"]))) is None:
                raise SchemaError(f"format at {place.path} is {schema['format']!r}; allowed: {', '.join(_FORMATS)}")
            return rf'"\"" {body} "\""'
        least, most = _bounds(schema, "minLength", "maxLength", place)
        if not least and most is None:
            return "string"
        return rf'"\"" char{_times(least, most)} "\""'

    def _only(self, schema: Schema, allowed: set[str], place: _Place) -> None:
        for name in schema:
            if name not in allowed and name not in _ALWAYS:
                raise SchemaError(f"{name!r} at {place.path} is not supported")


def _integer(schema: Schema, place: _Place) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None and most is None:
        return "integer"
    if least == 0 and most is None:
        return '"0" | [1-9] [0-9]{0,15}'
    if not (isinstance(least, int) and isinstance(most, int) and 0 <= most - least < RANGE_LIMIT):
        raise SchemaError(
            f"minimum and maximum at {place.path} are {least} and {most}; "
            f"allowed: a minimum of 0 alone, or both with at most {RANGE_LIMIT} integers between"
        )
    return " | ".join(_literal(each) for each in range(least, most + 1))


def _bounds(schema: Schema, low: str, high: str, place: _Place) -> tuple[int, int | None]:
    least: object = schema.get(low, 0)
    most: object = schema.get(high)
    for name, value in ((low, least), (high, 0 if most is None else most)):
        if not isinstance(value, int) or not 0 <= value <= COUNT_LIMIT:
            raise SchemaError(f"{name} at {place.path} is {value!r}; allowed: 0 to {COUNT_LIMIT}")
    lowest, highest = cast("int", least), cast("int | None", most)
    if highest is not None and highest < lowest:
        raise SchemaError(f"{high} at {place.path} is {highest}; allowed: {low} ({lowest}) and more")
    return lowest, highest


def _times(least: int, most: int | None) -> str:
    if most is None:
        return f"{{{least},}}" if least else "*"
    return f"{{{least},{most}}}"


def _many(value: object, place: _Place) -> list[object]:
    if not isinstance(value, list) or not value:
        raise SchemaError(f"{place.path} is not a list of at least one")
    return cast("list[object]", value)


def _literal(value: object) -> str:
    """A JSON value as a GBNF literal."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
