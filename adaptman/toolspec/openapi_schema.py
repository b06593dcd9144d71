"""Schemas of OpenAPI 3.0, and of Gemini's subset of it, as JSON Schema; keys stay in their author's order."""

from __future__ import annotations

from typing import Any

from adaptman.toolspec.keywords import LISTS, MAPS, ONE

_NOT_ASSERTED = ("propertyOrdering", "discriminator", "xml", "externalDocs", "example")
_TOLD = ("description", "default", "examples")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def as_json_schema(node: Any) -> Any:
    """The same contract in JSON Schema: `nullable` becomes a type, upper-case types lower-case ones, an
    exclusive bound that is `true` takes the bound's value. What is JSON Schema already stays as it is.
    """
    if not isinstance(node, dict):
        return node
    found = {
        key: _inner(key, value) for key, value in node.items() if key not in (*_NOT_ASSERTED, "nullable")
    }
    if "example" in node and "examples" not in found:
        found["examples"] = [node["example"]]
    kind = found.get("type")
    if isinstance(kind, str) and kind.isupper():
        found["type"] = kind.lower()
        if kind == "TYPE_UNSPECIFIED":
            del found["type"]
    if found.get("format") == "enum":  # how Gemini marks a string with an enum
        del found["format"]
    for key in _COUNTS:  # int64 is a string in JSON
        if isinstance(found.get(key), str) and found[key].isdigit():
            found[key] = int(found[key])
    _exclusive(found)
    return _nullable(found) if node.get("nullable") is True else found


def _inner(key: str, value: Any) -> Any:
    if key in MAPS and isinstance(value, dict):
        return {name: as_json_schema(one) for name, one in value.items()}
    if key in LISTS and isinstance(value, list):
        return [as_json_schema(one) for one in value]
    return as_json_schema(value) if key in ONE else value


def _exclusive(found: dict[str, Any]) -> None:
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if found.get(exclusive) is True and bound in found:
            found[exclusive] = found.pop(bound)
        elif isinstance(found.get(exclusive), bool):
            del found[exclusive]


def _nullable(found: dict[str, Any]) -> dict[str, Any]:
    kind = found.get("type")
    if isinstance(kind, str):
        found["type"] = [kind, "null"]
        if isinstance(found.get("enum"), list) and None not in found["enum"]:
            found["enum"] = [*found["enum"], None]
        return found
    told: dict[str, Any] = {key: found.pop(key) for key in _TOLD if key in found}
    return {**told, "anyOf": [found, {"type": "null"}]} if found else told
