"""The canonical form: references inlined, recursion kept, names of definitions without meaning."""

from __future__ import annotations

from typing import Any

import pytest

from adaptman.toolspec.canonical import canonical_schema, same_contract
from tests.toolspec.documents import closed, one, tool_of

TEXT = {"type": "string"}


def canonical(schema: dict[str, Any]) -> dict[str, Any]:
    """The canonical form of the one property `p`."""
    found: dict[str, Any] = canonical_schema({"type": "object", "properties": {"p": schema}}).schema[
        "properties"
    ]["p"]
    return found


def test_finite_references_are_inlined() -> None:
    plain = closed({"p": closed({"q": TEXT})})
    by_reference = {
        **closed({"p": {"$ref": "#/$defs/P"}}),
        "$defs": {"P": closed({"q": {"$ref": "#/$defs/Q"}}), "Q": TEXT, "unused": {"type": "integer"}},
    }
    assert one(by_reference).digest == one(plain).digest


@pytest.mark.parametrize(
    "reference",
    ["#/definitions/a~1b", "#/definitions/a%7E1b", "#anchor", "https://x.org/s#/definitions/a~1b"],
)
def test_references_of_every_local_kind(reference: str) -> None:
    schema = {
        "$id": "https://x.org/s",
        "type": "object",
        "properties": {"p": {"$ref": reference}},
        "definitions": {"a/b": {**TEXT, "$anchor": "anchor"}},
    }
    assert canonical_schema(schema).schema["properties"]["p"] == TEXT


def test_definitions_that_use_one_another_once_do_not_grow() -> None:
    chain = {f"d{n}": closed({"q": {"$ref": f"#/$defs/d{n + 1}"}}) for n in range(20)}
    schema = {**closed({"p": {"$ref": "#/$defs/d0"}}), "$defs": {**chain, "d20": TEXT}}
    plain: dict[str, Any] = TEXT
    for _ in range(20):
        plain = closed({"q": plain})
    assert canonical_schema(schema).schema["properties"]["p"] == plain


def _tree(name: str, keyword: str = "$defs") -> dict[str, Any]:
    node = closed({"value": TEXT, "children": {"type": "array", "items": {"$ref": f"#/{keyword}/{name}"}}})
    return {**closed({"root": {"$ref": f"#/{keyword}/{name}"}}), keyword: {name: node}}


def test_recursion_is_kept_and_its_name_does_not_count() -> None:
    contract = canonical_schema(_tree("Node"))
    assert contract.schema["properties"]["root"] == {"$ref": "#/$defs/r1"}
    assert contract.definitions["r1"]["properties"]["children"]["items"] == {"$ref": "#/$defs/r1"}
    assert one(_tree("Node")).digest == one(_tree("tree_node", "definitions")).digest


def test_a_schema_may_recurse_into_its_root() -> None:
    contract = canonical_schema(closed({"value": TEXT, "next": {"$ref": "#"}}))
    assert contract.schema["properties"]["next"] == {"$ref": "#/$defs/r1"}
    assert contract.definitions["r1"] == contract.schema


def test_what_stands_beside_a_reference_wins() -> None:
    schema = {
        **closed({"p": {"$ref": "#/$defs/P", "description": "mine", "maxLength": 3}}),
        "$defs": {"P": {**TEXT, "description": "theirs"}},
    }
    found = canonical_schema(schema).schema["properties"]["p"]
    assert found == {
        "allOf": [{"description": "theirs", "type": "string"}, {"maxLength": 3}],
        "description": "mine",
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": 1.0}, {"enum": [1], "type": "integer"}),
        ({"const": None}, {"type": "null"}),
        ({"enum": [True, False]}, {"type": "boolean"}),
        ({"enum": [0, 1]}, {"enum": [0, 1], "type": "integer"}),
        ({"type": "string", "enum": ["a", 1]}, {"enum": ["a"], "type": "string"}),
        ({"type": ["number", "integer"]}, {"type": "number"}),
        ({"type": "integer", "nullable": True}, {"type": ["integer", "null"]}),
        ({"enum": ["a"], "nullable": True}, {"enum": ["a", None], "type": ["null", "string"]}),
        ({"type": "integer", "nullable": False}, {"type": "integer"}),
        ({"dependencies": {"a": ["b"]}}, {"dependentRequired": {"a": ["b"]}}),
        ({"exclusiveMaximum": True, "maximum": 3}, {"exclusiveMaximum": 3}),
        ({"exclusiveMaximum": False, "maximum": 3}, {"maximum": 3}),
        ({"items": [TEXT], "additionalItems": False}, {"items": False, "prefixItems": [TEXT]}),
        ({"anyOf": [TEXT], "description": "d"}, {"description": "d", "type": "string"}),
        ({"title": "P", "$comment": "c", "description": None, "minItems": 0, "items": True}, {}),
        (True, {}),
    ],
)
def test_one_way_to_say_it(schema: Any, expected: Any) -> None:
    assert canonical(schema) == expected


def test_a_property_may_be_called_like_a_keyword() -> None:
    names = dict.fromkeys(("title", "$schema", "$ref", "type", "default", "required", "enum"), TEXT)
    assert canonical_schema(closed(names, "title")).schema["properties"] == names


def test_the_contract_is_what_calls_depend_on() -> None:
    told = closed({"p": {**TEXT, "description": "d", "default": "x", "title": "P"}})
    assert same_contract(tool_of(told), tool_of(closed({"p": TEXT})))
    assert not same_contract(tool_of(told), tool_of(closed({"p": {**TEXT, "maxLength": 1}})))
    assert one(told).digest != one(closed({"p": TEXT})).digest
