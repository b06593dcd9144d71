"""Documents that cannot be used: what is wrong, with which tool, the way out; quickly, and no traceback."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from hypothesis import given

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.describe import describe
from adaptman.toolspec.diff import diff
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.readers import document_from_openai, read_document
from adaptman.toolspec.validate import validate_call
from tests.toolspec.documents import closed, function, json_objects, one, read, scrap_schemas

TEXT = {"type": "string"}


def _p(schema: Any, **more: Any) -> list[dict[str, Any]]:
    """A document of one tool `act` with one parameter `p`."""
    return [function("act", {"type": "object", "properties": {"p": schema}, **more})]


RAW: dict[str, tuple[bytes, str]] = {
    "not json": (b'[\n {"name": }]', "t.json: not JSON: expecting value at line 2, column 11"),
    "nothing": (b"", "not JSON: expecting value at line 1, column 1"),
    "cut off": (b'{"tools": [', "not JSON"),
    "not utf-8": (b'{"tools": "\xff"}', "not UTF-8 at byte 11"),
    "utf-16": ("[]".encode("utf-16"), "not UTF-8 at byte 0"),
    "nan": (b'[{"name": NaN}]', "`NaN` is not a JSON number"),
    "infinity": (b'{"a": -Infinity}', "`-Infinity` is not a JSON number"),
    "number beyond doubles": (b'{"a": 1e999}', "the number `1e999` is too large"),
    "number of 5000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "is too large"),
    "key twice": (b'{"tools": [], "tools": []}', "the key `tools` stands twice in one object"),
    "half a surrogate pair": (rb'[{"name": "\ud800"}]', r"'\\ud800' holds half of a surrogate pair"),
    "10,000 levels": (b"[" * 10_000 + b"]" * 10_000, "nested deeper than 128 levels"),
    "10,000 levels, never closed": (b'{"a":' * 10_000, "nested deeper than 128 levels"),
    "200 levels": (b"[" * 200 + b"]" * 200, "nested deeper than 128 levels"),
    "50 MB": (b" " * 50_000_000, r"47\.7 MiB is too large for a tool document"),
}


@pytest.mark.parametrize("case", RAW)
def test_bytes_that_are_no_document(case: str) -> None:
    data, message = RAW[case]
    started = time.perf_counter()
    with pytest.raises(ToolDocumentError, match=message) as caught:
        read_document(data, "t.json")
    assert caught.value.message.startswith("t.json: ")
    assert caught.value.hint
    assert time.perf_counter() - started < 2


SHAPES: dict[str, tuple[Any, str]] = {
    "a number": (3, "a tool document is a JSON object or list"),
    "an empty list": ([], "there is no tool in it"),
    "an empty object": ({}, "of unknown shape, its keys are none"),
    "an empty tools list": ({"tools": []}, "there is no tool in it"),
    "a list of texts": (["a"], "tool number 1 is not an object"),
    "an object of something": ({"model": "m", "messages": []}, "its keys are `model`, `messages`"),
    "a tool of a vendor": (
        [{"type": "web_search_preview"}],
        "is of type `web_search_preview`: a tool that its vendor runs",
    ),
    "a schema without a name": (closed({"a": TEXT}), "is a JSON Schema without a name"),
    "two forms": (
        [function("a", {}), {"name": "b", "inputSchema": {}}],
        "written in 2 forms: `mcp`, `openai-chat`",
    ),
    "one page of many": (
        {"tools": [{"name": "a", "inputSchema": {}}], "nextCursor": "p2"},
        "the list goes on at the cursor `p2`",
    ),
    "an error for an answer": (
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601}},
        "the server answered with an error",
    ),
    "two tools of one name": (
        [function("a", {}), function("b", {}), function("a", {})],
        "two tools are called `a`: number 1 and 3",
    ),
    "no name": ([function("", {})], "tool number 1 has no name"),
    "a blank for a name": ([function("  ", {})], "tool number 1 has no name"),
    "a number for a name": ([{"type": "function", "function": {"name": 3}}], "has no name"),
    "a name of 129 characters": ([function("a" * 129, {})], "its name has 129 characters"),
    "a control character in a name": ([function("a\x07b", {})], r"holds a control character: 'a\\x07b'"),
    "a line break in a name": ([function("a\nb", {})], "holds a control character"),
    "a change of direction in a name": ([function("a\u202eb", {})], "holds a control character"),
    "a slash in a name": ([function("../etc/passwd", {})], r"the name `\.\./etc/passwd` looks like a path"),
    "a backslash in a name": ([function("a\\b", {})], "looks like a path"),
    "two dots for a name": ([function("..", {})], "looks like a path"),
    "a description that is a list": (
        [{"name": "a", "description": [], "inputSchema": {}}],
        "its description",
    ),
    "parameters that are a list": ([{"name": "a", "inputSchema": []}], "its parameters are not an object"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_json_that_is_no_tool_document(case: str) -> None:
    value, message = SHAPES[case]
    with pytest.raises(ToolDocumentError, match=message) as caught:
        read(value)
    assert caught.value.message.startswith("tools.json")
    assert caught.value.hint
    assert not caught.value.message.endswith(".")


def _defs(**schemas: Any) -> dict[str, Any]:
    return {"$defs": schemas}


def _doubling(levels: int) -> dict[str, Any]:
    """Definitions of which each uses the next one twice."""
    names = [f"d{number}" for number in range(levels)]
    both = {
        name: {"type": "object", "properties": {key: {"$ref": f"#/$defs/{after}"} for key in "ab"}}
        for name, after in itertools.pairwise(names)
    }
    return {"$defs": {**both, names[-1]: TEXT}}


def _chain(levels: int) -> dict[str, Any]:
    schemas = {f"d{n}": {"items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(levels)}
    return {"$defs": {**schemas, f"d{levels}": TEXT}}


SCHEMAS: dict[str, tuple[Any, str]] = {
    "a type of another language": (_p({"type": "dict"}), "`type` at `#/properties/p` is `'dict'`"),
    "a list of types that are none": (_p({"type": ["string", "any"]}), "`type` at"),
    "required at the parameter": (_p({**TEXT, "required": True}), "`required` at `#/properties/p` is `True`"),
    "required that is a text": (_p(TEXT, required="p"), "`required` at `#` is `'p'`"),
    "enum that is no list": (_p({"enum": "a"}), "`enum` at"),
    "minimum that is a text": (_p({"type": "integer", "minimum": "1"}), "`minimum` at"),
    "a length below 0": (_p({**TEXT, "minLength": -1}), "`minLength` at"),
    "multiples of 0": (_p({"multipleOf": 0}), "`multipleOf` at"),
    "a pattern that is a list": (_p({"pattern": []}), "`pattern` at"),
    "properties that are a list": ([function("act", {"properties": []})], "`properties` at `#`"),
    "a property that is a text": (_p("string"), "`properties` at `#`"),
    "no alternatives": (_p({"anyOf": []}), "`anyOf` at"),
    "not of an object": ([function("act", {"type": "array"})], "is of type `array`, not of an object"),
    "no schema at all": ([function("act", {"anyOf": [TEXT, TEXT], "type": "string"})], "not of an object"),
    "remote reference": (_p({"$ref": "https://example.org/s.json"}), "points out of the document"),
    "reference to a file": (_p({"$ref": "file:///etc/passwd"}), "points out of the document"),
    "reference to a neighbour": (_p({"$ref": "other.json#/a"}), "points out of the document"),
    "reference to nothing": (_p({"$ref": "#/$defs/none"}), "points to `#/\\$defs/none`, which is not there"),
    "reference that is a number": (_p({"$ref": 3}), "`\\$ref` at `#/properties/p` is not a string"),
    "reference to itself": (_p({"$ref": "#/properties/p"}), "leads back to itself"),
    "references in a circle": (
        _p({"$ref": "#/$defs/a"}, **_defs(a={"$ref": "#/$defs/b"}, b={"$ref": "#/$defs/a"})),
        "leads back to itself",
    ),
    "a circle through alternatives": (
        _p({"$ref": "#/$defs/a"}, **_defs(a={"anyOf": [TEXT, {"$ref": "#/$defs/a"}]})),
        "leads back to itself",
    ),
    "the whole within itself": ([function("act", {"allOf": [{"$ref": "#"}]})], "leads back to itself"),
    "dynamic reference": (_p({"$dynamicRef": "#a"}), "`\\$dynamicRef` at .* is not supported"),
    "definitions that double": (_p({"$ref": "#/$defs/d0"}, **_doubling(40)), "holds more than 50000 parts"),
    "definitions in a long chain": (
        _p({"$ref": "#/$defs/d0"}, **_chain(3_000)),
        "goes deeper than 64 levels",
    ),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_schemas_that_cannot_be_used(case: str) -> None:
    value, message = SCHEMAS[case]
    started = time.perf_counter()
    with pytest.raises(ToolDocumentError, match=message) as caught:
        read(value)
    assert caught.value.message.startswith("tools.json: tool `act`: ")
    assert caught.value.hint
    assert time.perf_counter() - started < 5


@given(scrap_schemas, json_objects)
def test_any_scrap_of_a_schema_is_read_or_refused(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    try:
        scrap = one(schema)
    except ToolDocumentError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert refusal.hint
        return
    validate_call(scrap, ToolCall("act", arguments))
    for changes in (diff(scrap, one({})), diff(one({}), scrap)):
        assert describe(changes)


def test_too_many_tools() -> None:
    tools = [function(f"t{number}", {}) for number in range(5_001)]
    with pytest.raises(ToolDocumentError, match="5001 tools are too many"):
        read(tools)


def test_a_hint_says_how_a_key_is_spelled() -> None:
    with pytest.raises(ToolDocumentError) as caught:
        read([{"name": "f", "paramters": {}}])
    assert caught.value.hint.startswith("did you mean `parameters`?")


def test_values_in_memory_are_checked_like_files() -> None:
    deep: Any = TEXT
    for _ in range(10_000):
        deep = {"items": deep}
    with pytest.raises(ToolDocumentError, match="tools: nested deeper than 128 levels"):
        document_from_openai([function("act", {"properties": {"p": deep}})])


@pytest.mark.parametrize("levels", [30, 60])
def test_nesting_within_the_limit_is_read(levels: int) -> None:
    deep: Any = TEXT
    for _ in range(levels):
        deep = {"type": "array", "items": deep}
    assert read(_p(deep)).tools[0].contract.schema["properties"]["p"] == deep
