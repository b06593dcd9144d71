"""The operations of an OpenAPI 3 document as tools: one object of arguments from parameters and body."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.openapi_schema import as_json_schema

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_SCHEMAS = "#/components/schemas/"
# The specification says that parameters of these names are ignored.
_IGNORED_HEADERS = ("accept", "content-type", "authorization")
# Beside these the properties of a body are not all there is to it.
_MORE = {"allOf", "anyOf", "oneOf", "additionalProperties", "patternProperties"}
_HINT = "adaptman reads OpenAPI 3.0 and 3.1 documents that hold all they refer to"
_MAX_HOPS = 16


class Operation(NamedTuple):
    """An operation as a tool."""

    name: str
    description: str
    parameters: dict[str, Any]
    annotations: dict[str, Any]


def is_openapi(source: Any) -> bool:
    """Whether a document is an OpenAPI one, of whichever version."""
    return isinstance(source, dict) and ("openapi" in source or "swagger" in source) and "paths" in source


def operations(source: Mapping[str, Any], origin: str) -> Iterator[Operation]:
    """The operations in the order of the document, each named by its `operationId`, or by method and path.

    Arguments are its parameters and the properties of its JSON body; where names clash, or the body is no
    object, the body is one argument `body`.

    Raises:
        ToolDocumentError: another version, or a reference that leads out of the document or nowhere.
    """
    version = str(source.get("openapi") or source.get("swagger"))
    if not version.startswith("3."):
        raise ToolDocumentError(f"{origin}: OpenAPI {version[:20]} is not read", hint=_HINT)
    paths = source["paths"]
    if not isinstance(paths, dict):
        raise ToolDocumentError(f"{origin}: its `paths` are not an object", hint=_HINT)
    reader = _Reader(source, origin)
    for path, item in paths.items():
        item = reader.resolved(item)
        for method in _METHODS:
            if isinstance(item, dict) and isinstance(item.get(method), dict):
                yield reader.operation(path, method, item)


class _Reader:
    def __init__(self, source: Mapping[str, Any], origin: str) -> None:
        self._source, self._origin = source, origin

    def resolved(self, node: Any) -> Any:
        """What a reference leads to."""
        for _ in range(_MAX_HOPS):
            if not (isinstance(node, dict) and isinstance(node.get("$ref"), str)):
                return node
            node = self._target(node["$ref"])
        raise ToolDocumentError(f"{self._origin}: its references go round in a circle", hint=_HINT)

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise ToolDocumentError(
                f"{self._origin}: `{reference[:80]}` leads out of the document",
                hint="put what it refers to into the document (most tools call that bundling)",
            )
        node: Any = self._source
        for key in map(_unescaped, reference[2:].split("/")):
            if isinstance(node, list) and key.isascii() and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                raise ToolDocumentError(f"{self._origin}: `{reference[:80]}` leads nowhere", hint=_HINT)
        return node

    def operation(self, path: str, method: str, item: Mapping[str, Any]) -> Operation:
        operation: Mapping[str, Any] = item[method]
        name = operation.get("operationId") or "_".join([method, *re.findall(r"[A-Za-z0-9_.-]+", path)])
        words = [operation.get(key) for key in ("summary", "description")]
        said = (text.strip() for text in words if isinstance(text, str))
        told = "\n".join(dict.fromkeys(text for text in said if text))
        hints = {"deprecated": True} if operation.get("deprecated") is True else {}
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", str(name)).strip("_")
        return Operation(name, told, self._arguments(operation, item), hints)

    def _arguments(self, operation: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        required: list[str] = []
        for name, parameter in self._parameters(operation, item).items():
            properties[name] = self._schema_of(parameter)
            if parameter.get("required") is True or parameter.get("in") == "path":
                required.append(name)
        self._add_body(operation, properties, required)
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        return self._with_definitions(schema)

    def _parameters(self, operation: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
        """By name; what an operation says goes before what its path says."""
        found: dict[tuple[str, str], Any] = {}
        for listed in (item.get("parameters"), operation.get("parameters")):
            for parameter in map(self.resolved, listed if isinstance(listed, list) else ()):
                if not isinstance(parameter, dict):
                    raise ToolDocumentError(f"{self._origin}: a parameter is no object", hint=_HINT)
                name, place = str(parameter.get("name")), str(parameter.get("in"))
                if place != "header" or name.lower() not in _IGNORED_HEADERS:
                    found[place, name] = parameter
        return {name: parameter for (_, name), parameter in found.items()}

    def _schema_of(self, parameter: Mapping[str, Any]) -> Any:
        schema = parameter.get("schema")
        if schema is None:
            schema = next((one.get("schema") for one in _contents(parameter).values()), {})
        found = as_json_schema(schema)
        told = parameter.get("description")
        if isinstance(found, dict) and isinstance(told, str) and "description" not in found:
            return {**found, "description": told}
        return found

    def _add_body(
        self, operation: Mapping[str, Any], properties: dict[str, Any], required: list[str]
    ) -> None:
        body = self.resolved(operation.get("requestBody"))
        if not isinstance(body, dict):
            return
        contents = _contents(body)
        if not contents:
            return
        kind = next((one for one in contents if one.split(";")[0].endswith("json")), next(iter(contents)))
        schema = contents[kind].get("schema", {})
        whole = as_json_schema(self.resolved(schema))
        needed = body.get("required") is True
        inner = whole.get("properties") if isinstance(whole, dict) else None
        if isinstance(inner, dict) and not (_MORE & whole.keys() or inner.keys() & properties.keys()):
            properties.update(inner)
            listed = whole.get("required")
            required += listed if needed and isinstance(listed, list) else []
        else:
            properties["body"] = as_json_schema(schema)
            required += ["body"] * needed

    def _with_definitions(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schemas that are referred to, below `$defs`, where references lead then."""
        waiting: dict[str, str] = {}
        moved: dict[str, Any] = _moved(schema, waiting)
        definitions: dict[str, Any] = {}
        while more := [name for name in waiting if name not in definitions]:
            for name in more:  # a chain of references may be long: no recursion
                definitions[name] = _moved(as_json_schema(self._target(waiting[name])), waiting)
        return {**moved, "$defs": definitions} if definitions else moved


def _moved(node: Any, found: dict[str, str]) -> Any:
    """`node` with references into `$defs`; `found` gets their names there, and where they led."""
    if isinstance(node, list):
        return [_moved(one, found) for one in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return {key: _moved(value, found) for key, value in node.items()}
    name = re.sub(r"[/~%]", ".", _unescaped(reference.removeprefix(_SCHEMAS)).strip("#/"))
    while found.setdefault(name, reference) != reference:
        name += "_"
    return {**node, "$ref": f"#/$defs/{name}"}


def _unescaped(part: str) -> str:
    """A step of a JSON pointer within an address (RFC 6901, section 6)."""
    return unquote(part).replace("~1", "/").replace("~0", "~")


def _contents(holder: Mapping[str, Any]) -> dict[str, Any]:
    content = holder.get("content")
    listed = content.items() if isinstance(content, dict) else ()
    return {kind: one for kind, one in listed if isinstance(one, dict)}
