"""Gemini's declarations and OpenAPI's operations: the same contract in JSON Schema, or one clear error."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.canonical import same_contract
from adaptman.toolspec.document import SourceFormat, Tool
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.openapi_schema import as_json_schema
from adaptman.toolspec.readers import read_document
from adaptman.toolspec.validate import validate_call
from tests.toolspec.documents import closed, function, json_objects, read

PETS: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "1"},
    "paths": {
        "/pets/{petId}": {
            "parameters": [
                {"name": "petId", "in": "path", "required": True, "schema": {"type": "integer"}},
                {"name": "Accept", "in": "header", "schema": {"type": "string"}},
            ],
            "get": {
                "operationId": "getPet",
                "summary": "One pet",
                "deprecated": True,
                "parameters": [
                    {"$ref": "#/components/parameters/Fields"},
                    {"name": "trace", "in": "header", "description": "An id", "schema": {"type": "string"}},
                ],
            },
            "put": {
                "summary": "Change a pet",
                "description": "All of it.",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            },
        },
        "/pets": {
            "post": {
                "operationId": "add pets",
                "requestBody": {
                    "content": {
                        "text/plain": {"schema": {"type": "string"}},
                        "application/json": {
                            "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}
                        },
                    }
                },
            }
        },
    },
    "components": {
        "parameters": {
            "Fields": {"name": "fields", "in": "query", "schema": {"type": "string", "nullable": True}}
        },
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "example": "Rex"},
                    "age": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                    "mother": {"$ref": "#/components/schemas/Pet"},
                },
            }
        },
    },
}
YAML = """\
openapi: 3.1.0
info: {title: Weather, version: "1"}
paths:
  /weather:
    get:
      operationId: get_weather
      parameters:
        - {name: city, in: query, required: true, schema: {type: string}}
"""


def tools(source: Any) -> dict[str, Tool]:
    return {tool.name: tool for tool in read(source).tools}


def fits(name: str, arguments: dict[str, Any]) -> bool:
    return not validate_call(read(PETS), ToolCall(name, arguments))


def test_every_operation_is_a_tool() -> None:
    found = read(PETS)
    assert found.source_format is SourceFormat.OPENAPI
    assert found.names == ("getPet", "put_pets_petId", "add_pets")
    assert [tool.description for tool in found.tools] == ["One pet", "Change a pet\nAll of it.", ""]


@pytest.mark.parametrize(
    ("name", "arguments", "right"),
    [
        ("getPet", {"petId": 7}, True),
        ("getPet", {"petId": 7, "fields": None, "trace": "x"}, True),
        ("getPet", {"fields": "age"}, False),
        ("getPet", {"petId": "7"}, False),
        ("put_pets_petId", {"petId": 7, "name": "Rex", "age": 0.5}, True),
        ("put_pets_petId", {"petId": 7, "name": "Rex", "mother": {"name": "Ada"}}, True),
        ("put_pets_petId", {"petId": 7, "name": "Rex", "mother": {"age": 3}}, False),
        ("put_pets_petId", {"petId": 7, "name": "Rex", "age": 0}, False),
        ("put_pets_petId", {"petId": 7}, False),
        ("add_pets", {}, True),
        ("add_pets", {"body": [{"name": "Rex"}]}, True),
        ("add_pets", {"body": "Rex"}, False),
    ],
)
def test_arguments_are_parameters_and_body(name: str, arguments: dict[str, Any], right: bool) -> None:
    assert fits(name, arguments) is right


def test_a_header_that_the_specification_ignores_is_no_argument() -> None:
    assert set(tools(PETS)["getPet"].parameters["properties"]) == {"petId", "fields", "trace"}


def test_a_description_beside_the_schema_is_its_own() -> None:
    assert tools(PETS)["getPet"].parameters["properties"]["trace"]["description"] == "An id"


def test_a_body_with_a_parameters_name_is_one_argument() -> None:
    source = copy.deepcopy(PETS)
    source["paths"]["/pets/{petId}"]["put"]["parameters"] = [{"name": "name", "in": "query", "schema": {}}]
    parameters = tools(source)["put_pets_petId"].parameters
    assert set(parameters["properties"]) == {"petId", "name", "body"}
    assert parameters["required"] == ["petId", "body"]


def test_yaml_by_its_name_and_by_its_beginning() -> None:
    for origin in ("api.yaml", "-"):
        assert read_document(YAML.encode(), origin).names == ("get_weather",)


def test_references_into_lists_and_with_escapes() -> None:
    source = copy.deepcopy(PETS)
    schemas = source["components"]["schemas"]
    schemas["a/b"] = {"type": "integer"}
    pointer = "#/paths/~1pets~1%7BpetId%7D/parameters/0/schema"
    schemas["Pet"]["properties"] |= {
        "slash": {"$ref": "#/components/schemas/a~1b"},
        "dot": {"$ref": "#/components/schemas/a.b"},
        "id": {"$ref": pointer},
    }
    schemas["a.b"] = {"type": "string"}
    told = read(source)
    right = {"petId": 7, "name": "Rex", "slash": 1, "dot": "x", "id": 2}
    assert not validate_call(told, ToolCall("put_pets_petId", right))
    for key, wrong in (("slash", "x"), ("dot", 1), ("id", "x")):
        assert validate_call(told, ToolCall("put_pets_petId", {**right, key: wrong})), key


def test_a_chain_of_ten_thousand_references() -> None:
    source = copy.deepcopy(PETS)
    links = {
        f"L{at}": {"type": "object", "properties": {"next": {"$ref": f"#/components/schemas/L{at + 1}"}}}
        for at in range(10_000)
    }
    source["components"]["schemas"] |= links | {"L10000": {"type": "string"}}
    source["components"]["schemas"]["Pet"]["properties"]["chain"] = {"$ref": "#/components/schemas/L0"}
    with pytest.raises(ToolDocumentError, match="goes deeper than 64 levels"):
        read(source)


def _changed(**changes: Any) -> dict[str, Any]:
    source = copy.deepcopy(PETS)
    for path, value in changes.items():
        node = source
        *steps, last = path.split("__")
        for step in steps:
            node = node[step]
        node[last] = value
    return source


BROKEN = {
    "swagger 2": ({"swagger": "2.0", "paths": {}}, "OpenAPI 2.0 is not read"),
    "paths that are a list": (_changed(paths=[]), "its `paths` are not an object"),
    "a reference out of it": (
        _changed(components__schemas__Pet={"$ref": "https://example.com/pet.json"}),
        "`https://example.com/pet.json` leads out of the document",
    ),
    "a reference nowhere": (_changed(components__parameters={}), "leads nowhere"),
    "references in a circle": (
        _changed(components__parameters__Fields={"$ref": "#/components/parameters/Fields"}),
        "its references go round in a circle",
    ),
    "a parameter that is a text": (
        {"openapi": "3.0.0", "paths": {"/a": {"get": {"parameters": ["x"]}}}},
        "a parameter is no object",
    ),
    "no operations": ({"openapi": "3.0.0", "paths": {}}, "there is no tool in it"),
    "one name twice": (
        {"openapi": "3.0.0", "paths": {"/a b": {"get": {}}, "/a_b": {"get": {}}}},
        "two tools are called `get_a_b`",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_used(case: str) -> None:
    source, told = BROKEN[case]
    with pytest.raises(ToolDocumentError) as caught:
        read(source)
    assert told in caught.value.message
    assert caught.value.hint


@given(st.data(), json_objects)
def test_a_document_with_a_part_gone_wrong_is_read_or_refused(data: st.DataObject, scrap: Any) -> None:
    """Any node replaced by any value: a document or a `ToolDocumentError`, and nothing else."""
    source = copy.deepcopy(PETS)
    node: Any = source
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], (dict, list)) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(st.sampled_from([scrap, [scrap], "x", 7, None, True, [], {}]))
    with contextlib.suppress(ToolDocumentError):
        assert read_document(json.dumps(source).encode(), "t.json").tools


CITY = closed({"city": {"type": "string"}, "days": {"type": "integer"}}, "city")
GEMINI = {
    "name": "get_weather",
    "description": "Weather",
    "parameters": {
        "type": "OBJECT",
        "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER", "nullable": True}},
        "required": ["city"],
        "propertyOrdering": ["city", "days"],
    },
}


@pytest.mark.parametrize(
    "source",
    [
        {"functionDeclarations": [GEMINI]},
        {"function_declarations": [GEMINI]},
        [{"functionDeclarations": [GEMINI]}],
        {"tools": [{"functionDeclarations": [GEMINI]}]},
        [GEMINI],
        GEMINI,
    ],
)
def test_gemini_in_each_wrapping(source: Any) -> None:
    found = read(source)
    assert found.source_format is SourceFormat.GEMINI
    assert found.names == ("get_weather",)
    assert found.tools[0].parameters == {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": ["integer", "null"]}},
        "required": ["city"],
    }


def test_geminis_json_schema_stays_as_it_is() -> None:
    schema = {**CITY, "nullable": True}
    assert read([{"name": "f", "parametersJsonSchema": schema}]).tools[0].parameters == schema


def test_the_contract_is_that_of_the_same_tool_elsewhere() -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    gemini = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
    declared = [{"functionDeclarations": [{"name": "f", "description": "", "parameters": gemini}]}]
    assert same_contract(read(declared).tools[0], read([function("f", parameters)]).tools[0])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (
            {"type": "string", "nullable": True, "enum": ["a"]},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        ({"nullable": True, "$ref": "#/a"}, {"anyOf": [{"$ref": "#/a"}, {"type": "null"}]}),
        ({"nullable": False, "type": "string"}, {"type": "string"}),
        ({"maximum": 3, "exclusiveMaximum": True}, {"exclusiveMaximum": 3}),
        ({"maximum": 3, "exclusiveMaximum": False}, {"maximum": 3}),
        ({"exclusiveMinimum": True}, {}),
        ({"type": "STRING", "format": "enum", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "ARRAY", "minItems": "2"}, {"type": "array", "minItems": 2}),
        ({"type": "TYPE_UNSPECIFIED"}, {}),
        ({"example": 3}, {"examples": [3]}),
        ({"properties": {"type": {"type": "STRING"}}}, {"properties": {"type": {"type": "string"}}}),
        (True, True),
    ],
)
def test_a_schema_in_json_schema(written: Any, meant: Any) -> None:
    assert as_json_schema(written) == meant
    assert as_json_schema(meant) == meant
