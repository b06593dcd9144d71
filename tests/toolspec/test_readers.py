"""One tool in every vendor's form gives the same contract; what the author wrote is kept as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.document import SourceFormat
from adaptman.toolspec.readers import document_from_openai, read_document_file
from tests.toolspec.documents import closed, document, function, one, read

SCHEMA = closed({"unit": {"enum": ["c", "k"]}, "city": {"type": "string", "description": "Where"}}, "city")
TOLD = {"name": "get_weather", "description": "Weather of a city"}
CHAT: dict[str, Any] = {"type": "function", "function": {**TOLD, "parameters": SCHEMA}}

FORMS: dict[str, tuple[Any, SourceFormat]] = {
    "openai chat": ([CHAT], SourceFormat.OPENAI_CHAT),
    "openai chat, wrapped": ({"model": "m", "tools": [CHAT]}, SourceFormat.OPENAI_CHAT),
    "openai chat, one tool": (CHAT, SourceFormat.OPENAI_CHAT),
    "openai chat, strict": (
        [{"type": "function", "function": {**CHAT["function"], "strict": True}}],
        SourceFormat.OPENAI_CHAT,
    ),
    "openai functions": ({"functions": [{**TOLD, "parameters": SCHEMA}]}, SourceFormat.OPENAI_CHAT),
    "openai responses": (
        [{"type": "function", **TOLD, "parameters": SCHEMA, "strict": True}],
        SourceFormat.OPENAI_RESPONSES,
    ),
    "anthropic": ([{**TOLD, "input_schema": SCHEMA}], SourceFormat.ANTHROPIC),
    "anthropic, wrapped": ({"tools": [{**TOLD, "input_schema": SCHEMA}]}, SourceFormat.ANTHROPIC),
    "mcp": ({"tools": [{**TOLD, "title": "Weather", "inputSchema": SCHEMA}]}, SourceFormat.MCP),
    "mcp, answer": (
        {"jsonrpc": "2.0", "id": 2, "result": {"tools": [{**TOLD, "inputSchema": SCHEMA, "execution": {}}]}},
        SourceFormat.MCP,
    ),
    "hugging face": (
        [{"type": "function", "function": {**CHAT["function"], "return": {"type": "string"}}}],
        SourceFormat.HUGGINGFACE,
    ),
    "json schema with a title": (
        {"$schema": "x", "title": "get_weather", "description": "Weather of a city", **SCHEMA},
        SourceFormat.JSON_SCHEMA,
    ),
    "json schemas by name": (
        {"get_weather": {"description": "Weather of a city", **SCHEMA}},
        SourceFormat.JSON_SCHEMA,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_found_by_its_shape(form: str) -> None:
    value, expected = FORMS[form]
    found = read(value)
    assert found.source_format is expected
    assert found.names == ("get_weather",)
    assert found.tools[0].description == "Weather of a city"
    assert found.source == value


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("json schema")])
def test_every_form_gives_the_same_contract_and_the_same_parameters(form: str) -> None:
    found = read(FORMS[form][0])
    assert found.digest == document(CHAT).digest
    assert json.dumps(found.tools[0].parameters) == json.dumps(SCHEMA)


def test_a_json_schema_tells_its_description_twice_but_means_the_same_calls() -> None:
    found = read(FORMS["json schemas by name"][0])
    assert found.tools[0].contract.schema["properties"] == one(SCHEMA).tools[0].contract.schema["properties"]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_shown_to_a_model_is_openai_chat(form: str) -> None:
    (shown,) = read(FORMS[form][0]).as_openai()
    assert shown["type"] == "function"
    assert shown["function"]["name"] == "get_weather"
    assert read([shown]).names == ("get_weather",)


def test_what_the_author_wrote_is_never_put_in_order() -> None:
    backwards = {"parameters": {"required": ["b"], "properties": {"b": {}, "a": {}}}, "name": "f"}
    (shown,) = document({"function": backwards, "type": "function"}).as_openai()
    assert json.dumps(shown["function"]) == json.dumps(backwards)


def test_what_is_handed_out_is_a_copy() -> None:
    read_one = document(CHAT)
    read_one.as_openai()[0]["function"]["parameters"]["properties"].clear()
    assert read_one.as_openai()[0] == CHAT


def test_annotations_of_mcp_are_read() -> None:
    found = read({"tools": [{"name": "f", "inputSchema": {}, "annotations": {"readOnlyHint": True}}]})
    assert found.tools[0].annotations == {"readOnlyHint": True}


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}])
def test_a_tool_may_have_no_parameters(parameters: Any) -> None:
    found = read([{"type": "function", "name": "f", "parameters": parameters}])
    assert found.tools[0].contract.schema == {"type": "object"}


def test_subset_keeps_the_order_of_the_author() -> None:
    tools = document(function("b", {}), function("a", {}), function("c", {}))
    part = tools.subset(["c", "b", "nobody"])
    assert part.names == ("b", "c")
    assert part.get("b") == tools.get("b")
    assert part.get("a") is None
    assert part.digest == document(function("c", {}), function("b", {})).digest


def test_digests_tell_contract_and_text_apart() -> None:
    first = read([CHAT])
    other_order = read([{"type": "function", "function": dict(reversed(CHAT["function"].items()))}])
    assert first.digest == other_order.digest
    assert first.document_digest != other_order.document_digest
    assert first.document_digest == read([CHAT]).document_digest


def test_no_tools_at_all_are_a_document_for_a_caller_that_shows_none() -> None:
    assert document_from_openai([]).names == ()


def test_a_byte_order_mark_is_no_part_of_the_document(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([CHAT]).encode())
    assert read_document_file(path).names == ("get_weather",)


def test_a_file_that_is_too_large_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    with path.open("wb") as file:
        file.truncate(50 * 2**20)
    with pytest.raises(ToolDocumentError, match=r"tools\.json: 50\.0 MiB is too large"):
        read_document_file(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolDocumentError, match=r"none\.json: no such file or directory"):
        read_document_file(tmp_path / "none.json")
