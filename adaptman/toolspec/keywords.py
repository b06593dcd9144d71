"""The keywords of JSON Schema that this room knows, and whether their values are well formed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from adaptman.errors import ToolDocumentError

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")

NOISE = frozenset(
    {
        "$schema",
        "$id",
        "id",
        "$comment",
        "$anchor",
        "$vocabulary",
        "$defs",
        "definitions",
        "title",
        "nullable",
    }
)
"""Changes no call: identity, dialect, comments, and definitions once their references are inlined."""

REFUSED = frozenset({"$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor"})

CONSUMING_MAPS = frozenset({"properties", "patternProperties"})
IN_PLACE_MAPS = frozenset({"dependentSchemas"})
CONSUMING_LISTS = frozenset({"prefixItems"})
IN_PLACE_LISTS = frozenset({"allOf", "anyOf", "oneOf"})
CONSUMING_ONE = frozenset(
    {
        "items",
        "contains",
        "additionalProperties",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
IN_PLACE_ONE = frozenset({"not", "if", "then", "else"})
MAPS = CONSUMING_MAPS | IN_PLACE_MAPS
LISTS = CONSUMING_LISTS | IN_PLACE_LISTS
ONE = CONSUMING_ONE | IN_PLACE_ONE

_COUNTS = frozenset(
    {
        *("minLength", "maxLength", "minItems", "maxItems"),
        *("minProperties", "maxProperties", "minContains", "maxContains"),
    }
)
_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_VALUES = frozenset(
    {
        "type",
        "enum",
        "const",
        "multipleOf",
        "pattern",
        "format",
        "required",
        "uniqueItems",
        "dependentRequired",
    }
)
ASSERTIONS = MAPS | LISTS | ONE | _COUNTS | _NUMBERS | _VALUES | {"$ref"}
"""Everything that can make a value invalid; each other keyword only tells the reader something."""


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    wanted: str


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


def _is_schema_map(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_schema(item) for item in value.values())


def _is_schema_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_schema(item) for item in value)


def _is_dependencies(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_names(item) for item in value.values())


def _is_types(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return isinstance(names, list) and bool(names) and all(isinstance(n, str) and n in TYPES for n in names)


def _rules() -> dict[str, _Rule]:
    rules = {
        "type": _Rule(_is_types, "one of " + ", ".join(TYPES) + ", or a list of them"),
        "enum": _Rule(lambda value: isinstance(value, list), "a list of values"),
        "required": _Rule(_is_names, "a list of property names, beside `properties`"),
        "pattern": _Rule(lambda value: isinstance(value, str), "a string"),
        "format": _Rule(lambda value: isinstance(value, str), "a string"),
        "description": _Rule(lambda value: isinstance(value, str), "a string"),
        "uniqueItems": _Rule(lambda value: isinstance(value, bool), "true or false"),
        "multipleOf": _Rule(lambda value: _is_number(value) and value > 0, "a number above 0"),
        "dependentRequired": _Rule(_is_dependencies, "lists of property names by property"),
    }
    rules |= dict.fromkeys(_COUNTS, _Rule(_is_count, "a whole number of at least 0"))
    rules |= dict.fromkeys(_NUMBERS, _Rule(_is_number, "a number"))
    rules |= dict.fromkeys(MAPS, _Rule(_is_schema_map, "an object of schemas"))
    rules |= dict.fromkeys(LISTS, _Rule(_is_schema_list, "a list of schemas"))
    rules |= dict.fromkeys(ONE, _Rule(_is_schema, "a schema: an object, true or false"))
    return rules


_RULES = _rules()


def check_keywords(schema: Mapping[str, Any], where: str) -> None:
    """Refuse a keyword whose value cannot be what it must be.

    Raises:
        ToolDocumentError: names the keyword, where it stands and what it must be.
    """
    for keyword, value in schema.items():
        if keyword in REFUSED:
            raise ToolDocumentError(
                f"`{keyword}` at `{where}` is not supported", hint="use `$ref` and `$defs` instead"
            )
        rule = _RULES.get(keyword)
        if rule is not None and not rule.holds(value):
            shown = repr(value)
            shown = shown if len(shown) <= 60 else shown[:57] + "…"
            raise ToolDocumentError(
                f"`{keyword}` at `{where}` is `{shown}`, which JSON Schema does not allow",
                hint=f"`{keyword}` must be {rule.wanted}",
            )
