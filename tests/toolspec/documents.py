"""Small tool documents for the tests of this room, and strategies for schemas and JSON values."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from adaptman.toolspec.changes import Change, ChangeSet, ToolChange
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import Tool, ToolDocument
from adaptman.toolspec.keywords import ASSERTIONS
from adaptman.toolspec.readers import document_from_openai, read_document


def function(name: str, parameters: dict[str, Any], description: str = "") -> dict[str, Any]:
    """A tool in OpenAI's chat form."""
    body = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": body}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """The schema of an object that holds nothing else."""
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": list(required)} if required else {})


def opened(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """The schema of an object that may hold more."""
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"required": list(required)} if required else {})


def document(*tools: dict[str, Any]) -> ToolDocument:
    """A document of tools in OpenAI's chat form."""
    return document_from_openai(tools)


def one(parameters: dict[str, Any], description: str = "", name: str = "act") -> ToolDocument:
    """A document of a single tool."""
    return document(function(name, parameters, description))


def read(value: Any, origin: str = "tools.json") -> ToolDocument:
    """`value` as a file would hold it, read."""
    return read_document(json.dumps(value).encode(), origin)


def changes_of(old: dict[str, Any], new: dict[str, Any]) -> tuple[Change, ...]:
    """The changes from one parameters schema to another."""
    (tool,) = diff(one(old), one(new)).tools
    return tool.changes


def by_name(changes: ChangeSet, name: str) -> ToolChange:
    """The change of the tool of that (new) name."""
    return next(tool for tool in changes.tools if tool.name == name)


def tool_of(parameters: dict[str, Any]) -> Tool:
    """The only tool of a document."""
    return one(parameters).tools[0]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["</tool_call>", "<tool_call>", "a\n</tool_call>\nb", "<tools>", '"}', "\\", "</tool"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=5)

_names = st.sampled_from(["city", "unit", "count", "tags", "when"])
_words = st.sampled_from(["celsius", "kelvin", "fahrenheit", "a", "bb"])
_small = st.integers(min_value=-3, max_value=6)


def _with(base: dict[str, Any], optional: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({key: st.just(value) for key, value in base.items()}, optional=optional)


_strings = _with(
    {"type": "string"},
    {
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(3, 8),
        "pattern": st.sampled_from(["^[a-z]+$", "^[a-m]*$", "[0-9]", "^a"]),
        "format": st.sampled_from(["date", "email", "uuid"]),
        "description": _words,
        "default": _words,
    },
)
_numbers = st.sampled_from(["integer", "number"]).flatmap(
    lambda kind: _with(
        {"type": kind},
        {
            "minimum": _small,
            "maximum": st.integers(4, 9),
            "exclusiveMinimum": _small,
            "multipleOf": st.just(2),
        },
    )
)
_enums = st.fixed_dictionaries(
    {"enum": st.lists(st.one_of(_words, _small, st.none(), st.booleans()), min_size=1, max_size=4)}
)
_nullable = _with({"type": ["string", "null"]}, {"maxLength": st.integers(1, 5)})
_leaves = st.one_of(_strings, _numbers, _enums, _nullable, st.just({"type": "boolean"}), st.just({}))


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def build(properties: dict[str, Any], needed: set[str], more: Any) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        schema["required"] = sorted(needed & properties.keys())
        return schema if more is None else {**schema, "additionalProperties": more}

    more = st.sampled_from([None, False, True, {"type": "string"}, {"type": "integer"}])
    return st.builds(build, st.dictionaries(_names, inner, max_size=3), st.sets(_names, max_size=2), more)


def _arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    optional = {
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(2, 4),
        "uniqueItems": st.booleans(),
        "prefixItems": st.lists(inner, min_size=1, max_size=2),
    }
    return st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional=optional)


def _unions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    branches = st.lists(inner, min_size=1, max_size=3)
    return st.sampled_from(["anyOf", "anyOf", "oneOf", "allOf"]).flatmap(
        lambda keyword: st.fixed_dictionaries({keyword: branches})
    )


schemas = st.recursive(
    _leaves, lambda inner: st.one_of(_objects(inner), _arrays(inner), _unions(inner)), max_leaves=5
)
parameter_schemas = _objects(schemas)


_scraps = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 5)
    | st.floats(-3, 3)
    | st.sampled_from(["", "a", "string", "object", "date", "#", "#/$defs/a", "^a", "(a+)+$", "(?=a)"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "type", "properties", "$ref"]), inner, max_size=3)
    ),
    max_leaves=5,
)
scrap_schemas = st.dictionaries(
    st.sampled_from(
        [*sorted(ASSERTIONS), "$defs", "dependencies", "$id", "nullable", "description", "default"]
    ),
    _scraps,
    max_size=4,
)
"""Keywords with any values: most of these are refused, and some are not."""


@st.composite
def schema_pairs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A parameters schema, and the same with some part of it replaced."""
    old = draw(parameter_schemas)
    new = copy.deepcopy(old)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(_names)
        action = draw(st.sampled_from(["put", "drop", "need", "free", "open", "tweak", "rename"]))
        _mutate(new, name, action, draw)
    return old, new


def _mutate(schema: dict[str, Any], name: str, action: str, draw: st.DrawFn) -> None:
    properties = schema["properties"]
    if action == "put":
        properties[name] = draw(schemas)
    elif action == "drop":
        properties.pop(name, None)
    elif action == "need":
        schema["required"] = sorted({*schema["required"], name})
    elif action == "free":
        schema["required"] = [other for other in schema["required"] if other != name]
    elif action == "open":
        schema["additionalProperties"] = draw(st.sampled_from([False, True, {"type": "string"}]))
    elif action == "rename" and name in properties:
        properties[name + "s"] = properties.pop(name)
    elif name in properties:
        properties[name] = {**properties[name], **draw(_leaves)}
