"""Whether calls are the accepted ones, by the AST rules of the Berkeley Function Calling Leaderboard.

Names are exact. Every parameter that is given must be an expected one that the tool has, of the type its
schema says (an integer passes for a number, a boolean for neither), with an accepted value; one that is left
out must be optional in the schema and have "" among its accepted values. Strings are compared without spaces,
case and ``,./-_*^``, lists element by element, objects key by key, each key with its own list of accepted
values. Several calls may come in any order, but not fewer and not more. With ``exact``, strings are compared
as they are.

The rules are those of `bfcl-eval` (Patil et al., 2025), categories simple, multiple and parallel, with
arguments in JSON. Where its checker falls short of them, tests/evaluation/test_bfcl_agreement.py says how.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from adaptman.evaluation.suites import ExpectedCall
from adaptman.toolspec.formats import ToolCall

_IGNORED = re.compile(r"[ ,./\-_*^]")
_OMITTABLE = ""
# With one of these, `properties` need not name every parameter.
_OPEN_ENDED = ("additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref")

_TYPE_NAMES = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "float": "number",
    "boolean": "boolean",
    "array": "array",
    "tuple": "array",
    "object": "object",
    "dict": "object",
    "null": "null",
}


def check_calls(
    calls: Sequence[ToolCall],
    accept: Sequence[ExpectedCall],
    tools: Sequence[Mapping[str, Any]],
    *,
    exact: bool = False,
) -> str:
    """What is wrong with the calls, in words; "" where they are the accepted ones."""
    if len(calls) != len(accept):
        were = "was" if len(accept) == 1 else "were"
        return f"{_count(len(calls))} where {_count(len(accept))} {were} expected"
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}
    if len(accept) == 1:
        return check_call(calls[0], accept[0], schemas.get(accept[0].name, {}), exact=exact)
    fits = [
        [not check_call(call, wanted, schemas.get(wanted.name, {}), exact=exact) for call in calls]
        for wanted in accept
    ]
    unmatched = _unmatched(fits)
    return "" if unmatched is None else f"no call fits the expected `{accept[unmatched].name}`"


def _count(number: int) -> str:
    return {0: "no call", 1: "1 call"}.get(number, f"{number} calls")


def _unmatched(fits: Sequence[Sequence[bool]]) -> int | None:
    """The first row without a column of its own in a greatest matching, found by augmenting paths."""
    owner: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column in (column for column, fit in enumerate(fits[row]) if fit and column not in tried):
            tried.add(column)
            if column not in owner or place(owner[column], tried):
                owner[column] = row
                return True
        return False

    return next((row for row in range(len(fits)) if not place(row, set())), None)


def check_call(
    call: ToolCall, wanted: ExpectedCall, schema: Mapping[str, Any], *, exact: bool = False
) -> str:
    """What is wrong with one call, in words; "" where it is the accepted one. `schema` is its arguments'."""
    if call.name != wanted.name:
        return f"called `{call.name}`, expected `{wanted.name}`"
    for name, value in call.arguments.items():
        if name not in wanted.arguments or not is_parameter(schema, name):
            return f"unexpected parameter `{name}`"
        problem = _value_problem(value, wanted.arguments[name], _property(schema, name), exact)
        if problem:
            return f"`{name}`: {problem}"
    left_out = _left_out(call, wanted, schema)
    return f"`{left_out}` is left out" if left_out else ""


def is_parameter(schema: Mapping[str, Any], name: str) -> bool:
    """Whether a tool with this schema of arguments takes a parameter of that name."""
    properties = schema.get("properties")
    return not properties or name in properties or any(schema.get(key) for key in _OPEN_ENDED)


def _left_out(call: ToolCall, wanted: ExpectedCall, schema: Mapping[str, Any]) -> str | None:
    required = schema.get("required") or ()
    for name, accepted in wanted.arguments.items():
        if name not in call.arguments and not _accepts_omission(accepted):
            return name
    return next((name for name in required if name not in call.arguments), None)


def _accepts_omission(accepted: Sequence[Any]) -> bool:
    return any(isinstance(value, str) and value == _OMITTABLE for value in accepted)


def _property(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = (schema.get("properties") or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _value_problem(value: Any, accepted: Sequence[Any], schema: Mapping[str, Any], exact: bool) -> str:
    types = _types(schema)
    as_declared = _is_of(value, types)
    if not as_declared and type(value) not in _types_of(accepted):
        return f"{_type(value)} where {' or '.join(sorted(types))} was expected"
    if isinstance(value, list) and not _elements_fit(value, accepted, schema):
        return f"an element of `{_short(value)}` is of a wrong type"
    # text where the schema says otherwise is a variable's name, let in by the accepted ones: compared as is
    strict = exact or (isinstance(value, str) and not as_declared)
    if any(_same(value, wanted, strict) for wanted in accepted):
        return ""
    return f"`{_short(value)}` is not an accepted value"


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    """The declared JSON types; empty where any is allowed."""
    declared = schema.get("type")
    names = declared if isinstance(declared, list) else [declared]
    known = [_TYPE_NAMES.get(str(name)) for name in names]
    return frozenset() if None in known else frozenset(name for name in known if name)


def _is_of(value: Any, types: frozenset[str]) -> bool:
    return not types or _type(value) in types or (_type(value) == "integer" and "number" in types)


def _types_of(accepted: Sequence[Any]) -> set[type]:
    return {type(value) for value in accepted if value != _OMITTABLE}


def _elements_fit(value: Sequence[Any], accepted: Sequence[Any], schema: Mapping[str, Any]) -> bool:
    items = schema.get("items")
    types = _types(items) if isinstance(items, Mapping) else frozenset()
    known = {type(element) for wanted in accepted if isinstance(wanted, list) for element in wanted}
    return all(_is_of(element, types) or type(element) in known for element in value)


def _type(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _same(value: Any, wanted: Any, exact: bool) -> bool:
    """Equal, or equal by the rules; an object matches where each of its keys has an accepted value."""
    if isinstance(value, str) and isinstance(wanted, str):
        return value == wanted if exact else _stripped(value) == _stripped(wanted)
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(
            _same(*pair, exact) for pair in zip(value, wanted, strict=True)
        )
    if isinstance(value, dict) and isinstance(wanted, dict):
        return _equal_objects(value, wanted, exact) or _accepted_object(value, wanted, exact)
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def _equal_objects(value: Mapping[str, Any], wanted: Mapping[str, Any], exact: bool) -> bool:
    return value.keys() == wanted.keys() and all(_same(value[key], wanted[key], exact) for key in value)


def _accepted_object(value: Mapping[str, Any], wanted: Mapping[str, Any], exact: bool) -> bool:
    if (
        not all(isinstance(accepted, list) for accepted in wanted.values())
        or not value.keys() <= wanted.keys()
    ):
        return False
    given = all(any(_same(value[key], accepted, exact) for accepted in wanted[key]) for key in value)
    return given and all(key in value or _accepts_omission(accepted) for key, accepted in wanted.items())


def _stripped(text: str) -> str:
    return _IGNORED.sub("", text).lower().replace("'", '"')


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
