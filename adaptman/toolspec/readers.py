"""Read tool documents in any vendor's form.

Which form it is shows in the shape: OpenAI's chat form has `function`, its responses form `parameters`
beside `type: function`, Anthropic `input_schema`, MCP `inputSchema`, Gemini `functionDeclarations`,
`transformers`' `get_json_schema` a `function` with `return`, OpenAPI `paths`; the rest may be JSON Schema.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.document import SourceFormat, Tool, ToolDocument
from adaptman.toolspec.jsontext import MAX_BYTES, check_json, parse_json, too_large
from adaptman.toolspec.openapi import is_openapi, operations
from adaptman.toolspec.openapi_schema import as_json_schema
from adaptman.toolspec.yamltext import read_yaml

MAX_TOOLS = 5_000
MAX_NAME = 128

_SHAPES = (
    "known shapes: OpenAI tools (chat or responses), Anthropic `input_schema`, MCP `tools/list`, Gemini "
    "`functionDeclarations`, OpenAPI 3, Hugging Face `get_json_schema`, or JSON Schema with a `title`"
)


class _Entry(NamedTuple):
    """A tool as its author wrote it, and in which form."""

    value: dict[str, Any]
    form: SourceFormat
    name: str | None = None


def read_document(data: bytes, origin: str) -> ToolDocument:
    """Read a tool document; `origin` (a file's name) stands at the head of each message.

    It is JSON; an OpenAPI document may be YAML, where its name ends so or it begins with `openapi:`.

    Raises:
        ToolDocumentError: not JSON, of unknown shape, too large (8 MiB, 128 levels, 5,000 tools), or
            with a tool whose name or schema cannot be used.
    """
    return _document(_parsed(data, origin), origin)


def _parsed(data: bytes, origin: str) -> Any:
    named = origin.lower().endswith((".yaml", ".yml")) or data.lstrip().startswith(b"openapi:")
    if not named or data.lstrip()[:1] in (b"{", b"["):
        return parse_json(data, origin)
    if len(data) > MAX_BYTES:
        raise too_large(origin, len(data))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolDocumentError(
            f"{origin}: not UTF-8 at byte {error.start}", hint="save it as UTF-8"
        ) from None
    source = read_yaml(text, origin, hint="a YAML document is an OpenAPI one")
    check_json(source, origin)
    return source


def read_document_file(path: Path) -> ToolDocument:
    """Read a tool document from a file; one that is too large is refused by its size, unread.

    Raises:
        ToolDocumentError: like `read_document`, or the file cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise too_large(str(path), size)
        data = path.read_bytes()
    except OSError as error:
        raise ToolDocumentError(
            f"{path}: {(error.strerror or str(error)).lower()}", hint="give the path of a tool document"
        ) from None
    return read_document(data, str(path))


def document_from_openai(tools: Sequence[Mapping[str, Any]]) -> ToolDocument:
    """A document from tools in OpenAI's chat form; no tools at all are allowed here.

    Raises:
        ToolDocumentError: like `read_document`.
    """
    source = [dict(tool) for tool in tools]
    check_json(source, "tools")
    if not source:
        return ToolDocument((), SourceFormat.OPENAI_CHAT, source)
    return _document(source, "tools")


def _document(source: Any, origin: str) -> ToolDocument:
    entries = list(_entries(source, origin))
    if not entries:
        raise ToolDocumentError(f"{origin}: there is no tool in it", hint=_SHAPES)
    if len(entries) > MAX_TOOLS:
        raise ToolDocumentError(
            f"{origin}: {len(entries)} tools are too many, at most {MAX_TOOLS} are read",
            hint="split the document by what the tools are for",
        )
    forms = sorted({entry.form for entry in entries})
    if SourceFormat.HUGGINGFACE in forms and set(forms) <= _CHAT_FORMS:
        forms = [SourceFormat.HUGGINGFACE]
    if len(forms) > 1:
        raise ToolDocumentError(
            f"{origin}: its tools are written in {len(forms)} forms: " + ", ".join(f"`{f}`" for f in forms),
            hint="write all of them in one form",
        )
    tools = tuple(_tool(entry, index, origin) for index, entry in enumerate(entries))
    _check_unique(tools, origin)
    return ToolDocument(tools, forms[0], source)


_CHAT_FORMS = {SourceFormat.HUGGINGFACE, SourceFormat.OPENAI_CHAT}


def _check_unique(tools: Sequence[Tool], origin: str) -> None:
    seen: dict[str, int] = {}
    for index, tool in enumerate(tools):
        if tool.name in seen:
            raise ToolDocumentError(
                f"{origin}: two tools are called `{tool.name}`: number {seen[tool.name] + 1} and {index + 1}",
                hint="a call names its tool, so each name may stand once",
            )
        seen[tool.name] = index


def _entries(source: Any, origin: str) -> Iterator[_Entry]:
    if isinstance(source, list):
        for index, value in enumerate(source):
            where = f"{origin}: tool number {index + 1}"
            keys = [key for key in _DECLARATIONS if isinstance(value, dict) and key in value]
            inner = value[keys[0]] if keys else None
            yield from [_entry(value, where)] if inner is None else _declared(inner, where)
    elif isinstance(source, dict):
        yield from _entries_of_object(source, origin)
    else:
        raise ToolDocumentError(f"{origin}: a tool document is a JSON object or list", hint=_SHAPES)


_DECLARATIONS = ("functionDeclarations", "function_declarations")


def _declared(listed: Any, origin: str) -> Iterator[_Entry]:
    """What Gemini calls declarations of functions."""
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ToolDocumentError(f"{origin}: its function declarations are no list of objects", hint=_SHAPES)
    yield from (_Entry(one, SourceFormat.GEMINI) for one in listed)


def _entries_of_object(source: dict[str, Any], origin: str) -> Iterator[_Entry]:
    if is_openapi(source):
        for one in operations(source, origin):
            yield _Entry(one._asdict(), SourceFormat.OPENAPI)
        return
    if "jsonrpc" in source and "error" in source:
        raise ToolDocumentError(f"{origin}: the server answered with an error", hint="ask `tools/list` again")
    for key in ("result", "tools", "functions", *_DECLARATIONS):
        inner = source.get(key)
        if isinstance(inner, list) or (key == "result" and isinstance(inner, dict) and "tools" in inner):
            _check_whole(source, origin)
            yield from (_declared if key in _DECLARATIONS else _entries)(inner, origin)
            return
    form = _form(source)
    if form is not None:
        yield _Entry(source, form)
    elif source and all(_is_schema(value) for value in source.values()):
        for name, value in source.items():
            yield _Entry(value, SourceFormat.JSON_SCHEMA, name)
    else:
        raise _unknown(source, origin)


def _check_whole(source: Mapping[str, Any], origin: str) -> None:
    if source.get("nextCursor"):
        raise ToolDocumentError(
            f"{origin}: the list goes on at the cursor `{str(source['nextCursor'])[:60]}`",
            hint="ask `tools/list` for the other pages and put all tools into one list",
        )


def _entry(value: Any, where: str) -> _Entry:
    if not isinstance(value, dict):
        raise ToolDocumentError(f"{where} is not an object", hint=_SHAPES)
    form = _form(value)
    if form is None:
        raise _unknown(value, where)
    return _Entry(value, form)


def _form(value: Mapping[str, Any]) -> SourceFormat | None:
    """Whose form one tool is written in; None for none that is known."""
    function = value.get("function")
    if isinstance(function, dict):
        return SourceFormat.HUGGINGFACE if "return" in function else SourceFormat.OPENAI_CHAT
    if "input_schema" in value:
        return SourceFormat.ANTHROPIC
    if "inputSchema" in value:
        return SourceFormat.MCP
    if isinstance(value.get("name"), str) and _speaks_gemini(value):
        return SourceFormat.GEMINI
    if isinstance(value.get("name"), str) and value.get("type") == "function":
        return SourceFormat.OPENAI_RESPONSES
    if isinstance(value.get("name"), str) and "parameters" in value and "type" not in value:
        return SourceFormat.HUGGINGFACE if "return" in value else SourceFormat.OPENAI_CHAT
    if isinstance(value.get("title"), str) and _is_schema(value):
        return SourceFormat.JSON_SCHEMA
    return None


def _speaks_gemini(value: Mapping[str, Any]) -> bool:
    parameters = value.get("parameters")
    kind = parameters.get("type") if isinstance(parameters, dict) else None
    return any(key in value for key in _JSON_PARAMETERS) or (isinstance(kind, str) and kind.isupper())


_JSON_PARAMETERS = ("parametersJsonSchema", "parameters_json_schema")


def _is_schema(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    marks = {"type", "properties", "$ref", "anyOf", "allOf", "oneOf", "$schema"}
    return bool(marks & value.keys()) and not isinstance(value.get("properties", {}), (str, list))


def _unknown(value: Mapping[str, Any], where: str) -> ToolDocumentError:
    kind = value.get("type")
    if isinstance(kind, str) and kind not in ("function", "object"):
        return ToolDocumentError(
            f"{where} is of type `{kind[:60]}`: a tool that its vendor runs has no schema to learn",
            hint="leave it out of the document",
        )
    if _is_schema(value):
        return ToolDocumentError(
            f"{where} is a JSON Schema without a name", hint="give it a `title`: that is the tool's name"
        )
    keys = ", ".join(f"`{key[:40]}`" for key in list(value)[:6]) or "none"
    near = [m for key in value for m in difflib.get_close_matches(key, ["function", "parameters"], n=1)]
    spelled = f"did you mean `{near[0]}`? " if near and near[0] not in value else ""
    return ToolDocumentError(f"{where}: of unknown shape, its keys are {keys}", hint=spelled + _SHAPES)


class _Parts(NamedTuple):
    name: Any
    description: Any
    parameters: Any
    annotations: Any = None
    written: dict[str, Any] | None = None


def _chat_parts(entry: _Entry) -> _Parts:
    function = entry.value.get("function")
    function = function if isinstance(function, dict) else entry.value
    return _Parts(
        function.get("name"), function.get("description"), function.get("parameters"), written=function
    )


def _responses_parts(entry: _Entry) -> _Parts:
    return _Parts(*(entry.value.get(key) for key in ("name", "description", "parameters")))


def _anthropic_parts(entry: _Entry) -> _Parts:
    return _Parts(*(entry.value.get(key) for key in ("name", "description", "input_schema")))


def _mcp_parts(entry: _Entry) -> _Parts:
    keys = ("name", "description", "inputSchema", "annotations")
    return _Parts(*(entry.value.get(key) for key in keys))


def _gemini_parts(entry: _Entry) -> _Parts:
    value = entry.value
    plain = next((value[key] for key in _JSON_PARAMETERS if key in value), None)
    parameters = as_json_schema(value.get("parameters")) if plain is None else plain
    return _Parts(value.get("name"), value.get("description"), parameters)


def _openapi_parts(entry: _Entry) -> _Parts:
    return _Parts(**entry.value)


def _schema_parts(entry: _Entry) -> _Parts:
    name = entry.name if entry.name is not None else entry.value.get("title")
    return _Parts(name, entry.value.get("description"), entry.value)


_PARTS: dict[SourceFormat, Callable[[_Entry], _Parts]] = {
    SourceFormat.OPENAI_CHAT: _chat_parts,
    SourceFormat.HUGGINGFACE: _chat_parts,
    SourceFormat.OPENAI_RESPONSES: _responses_parts,
    SourceFormat.ANTHROPIC: _anthropic_parts,
    SourceFormat.MCP: _mcp_parts,
    SourceFormat.GEMINI: _gemini_parts,
    SourceFormat.OPENAPI: _openapi_parts,
    SourceFormat.JSON_SCHEMA: _schema_parts,
}


def _tool(entry: _Entry, index: int, origin: str) -> Tool:
    parts = _PARTS[entry.form](entry)
    name = _checked_name(parts.name, f"{origin}: tool number {index + 1}")
    where = f"{origin}: tool `{name}`"
    for key, value, kind in (
        ("description", parts.description, str),
        ("annotations", parts.annotations, dict),
        ("parameters", parts.parameters, dict),
    ):
        if value is not None and not isinstance(value, kind):
            wanted = "a string" if kind is str else "an object"
            raise ToolDocumentError(
                f"{where}: its {key} are not {wanted}", hint=f"write {wanted}, or nothing"
            )
    tool = Tool(
        name, parts.description or "", parts.parameters or {}, parts.annotations or {}, written=parts.written
    )
    try:
        tool.contract  # noqa: B018 - read once here, so that a schema that cannot be used is told with its file
    except ToolDocumentError as error:
        raise ToolDocumentError(f"{where}: {error.message}", hint=error.hint) from None
    return tool


def _checked_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ToolDocumentError(f"{where} has no name", hint="each tool needs a `name`")
    if len(name) > MAX_NAME:
        raise ToolDocumentError(
            f"{where}: its name has {len(name)} characters: `{name[:40]}…`",
            hint=f"at most {MAX_NAME} are read",
        )
    if any(unicodedata.category(char).startswith("C") for char in name):
        raise ToolDocumentError(
            f"{where}: its name holds a control character: {name!a}", hint="use visible characters"
        )
    if "/" in name or "\\" in name or name in (".", "..") or name != name.strip():
        raise ToolDocumentError(
            f"{where}: the name `{name}` looks like a path, or begins or ends with a blank",
            hint="use letters, digits, `_`, `-` and `.`",
        )
    return name
