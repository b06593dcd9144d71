"""The conjunction of two canonical schemas as one plain schema, where there is such a schema."""

from __future__ import annotations

from typing import Any

from adaptman.toolspec.canonical import Contract, type_of, types_of
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.keywords import ASSERTIONS

_HIGHER = frozenset(
    {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"}
)  # of two lower bounds the higher one counts
_LOWER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"})
_OBJECT = frozenset({"properties", "additionalProperties"})
_ARRAY = frozenset({"items", "prefixItems"})
_ENTANGLED = {
    "additionalProperties": frozenset({"patternProperties", "unevaluatedProperties"}),
    "properties": frozenset({"patternProperties", "unevaluatedProperties"}),
    "items": frozenset({"unevaluatedItems"}),
    "prefixItems": frozenset({"unevaluatedItems"}),
}
MAX_DEPTH = 12


class CannotMergeError(Exception):
    """No plain schema says both."""


def conjoin(one: Any, other: Any, contract: Contract, depth: int = 0) -> Any:
    """A schema for exactly the values that are valid under both; annotations of `one` go first.

    Raises:
        CannotMergeError: it would need a keyword that cannot stand twice.
    """
    if one is False or other is False:
        return False
    if not ASSERTIONS & one.keys() or not ASSERTIONS & other.keys():
        return {**other, **one}
    if depth > MAX_DEPTH:
        raise CannotMergeError("$ref")
    one, other = contract.resolve(one), contract.resolve(other)
    if one is False or other is False:
        return False
    _check_entangled(one, other)
    merged = {
        keyword: _keyword(keyword, one, other, contract, depth)
        for keyword in sorted(one.keys() | other.keys())
        if keyword not in _OBJECT | _ARRAY | {"type", "enum"}
    }
    merged |= _objects(one, other, contract, depth) if _OBJECT & (one.keys() | other.keys()) else {}
    merged |= _arrays(one, other, contract, depth) if _ARRAY & (one.keys() | other.keys()) else {}
    return _typed(merged, one, other)


def _check_entangled(one: dict[str, Any], other: dict[str, Any]) -> None:
    for keyword, partners in _ENTANGLED.items():
        for a, b in ((one, other), (other, one)):
            if keyword in a and partners & b.keys():
                raise CannotMergeError(keyword)


def _keyword(keyword: str, one: dict[str, Any], other: dict[str, Any], contract: Contract, depth: int) -> Any:
    if keyword not in one or keyword not in other:
        return one.get(keyword, other.get(keyword))
    a, b = one[keyword], other[keyword]
    if keyword not in ASSERTIONS or canonical_json(a) == canonical_json(b):
        return a
    if keyword in _HIGHER:
        return max(a, b)
    if keyword in _LOWER:
        return min(a, b)
    if keyword == "required":
        return sorted({*a, *b})
    if keyword == "allOf":
        return [*a, *b]
    if keyword == "uniqueItems":
        return a or b
    if keyword == "propertyNames":
        return conjoin(a, b, contract, depth + 1)
    if keyword == "multipleOf" and (a % b == 0 or b % a == 0):
        return max(a, b)
    raise CannotMergeError(keyword)


def _objects(one: dict[str, Any], other: dict[str, Any], contract: Contract, depth: int) -> dict[str, Any]:
    more_one, more_other = one.get("additionalProperties", {}), other.get("additionalProperties", {})
    named_one, named_other = one.get("properties", {}), other.get("properties", {})
    properties = {
        name: conjoin(named_one.get(name, more_one), named_other.get(name, more_other), contract, depth + 1)
        for name in sorted(named_one.keys() | named_other.keys())
    }
    more = conjoin(more_one, more_other, contract, depth + 1)
    both = {"properties": properties, "additionalProperties": more}
    return {key: value for key, value in both.items() if value != {}}


def _arrays(one: dict[str, Any], other: dict[str, Any], contract: Contract, depth: int) -> dict[str, Any]:
    first_one, first_other = one.get("prefixItems", []), other.get("prefixItems", [])
    rest_one, rest_other = one.get("items", {}), other.get("items", {})
    first = [
        conjoin(item_at(first_one, rest_one, i), item_at(first_other, rest_other, i), contract, depth + 1)
        for i in range(max(len(first_one), len(first_other)))
    ]
    both = {"prefixItems": first, "items": conjoin(rest_one, rest_other, contract, depth + 1)}
    return {key: value for key, value in both.items() if value not in ({}, [])}


def item_at(first: list[Any], rest: Any, index: int) -> Any:
    """The schema of the item at `index`."""
    return first[index] if index < len(first) else rest


def _typed(merged: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> Any:
    enums = [schema["enum"] for schema in (one, other) if "enum" in schema]
    kinds = [types_of(schema) for schema in (one, other) if "type" in schema]
    types = kinds[0] if kinds else None
    for more in kinds[1:]:
        types = common_types(types or (), more or ())
    if types is not None and not types:
        return False
    if enums:
        texts = {canonical_json(value) for value in enums[-1]}
        values = [value for value in enums[0] if canonical_json(value) in texts]
        values = [v for v in values if types is None or common_types((type_of(v),), types)]
        if not values:
            return False
        merged["enum"] = values
        types = tuple(sorted({type_of(value) for value in values}))
    if types is not None:
        merged["type"] = types[0] if len(types) == 1 else list(types)
    return merged


def common_types(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """The types that both allow; `integer` is a part of `number`."""
    both = set(one) & set(other)
    if "integer" in {*one, *other} and ("number" in one or "number" in other) and "number" not in both:
        whole = ("integer" in one and "number" in other) or ("integer" in other and "number" in one)
        both |= {"integer"} if whole else set()
    return tuple(sorted(both))
