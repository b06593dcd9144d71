"""The canonical form of a tool's schema: what decides which calls are right, and nothing else.

Draft 4, draft 7 and OpenAPI spellings become their 2020-12 equals, finite references are inlined,
and what changes no call is dropped, so that two authors of the same contract give the same text.
References that recurse stay references, into `$defs` with names by order of appearance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.keywords import (
    ASSERTIONS,
    CONSUMING_LISTS,
    CONSUMING_MAPS,
    CONSUMING_ONE,
    LISTS,
    MAPS,
    NOISE,
    ONE,
    check_keywords,
)

MAX_SCHEMA_DEPTH = 64
MAX_SCHEMA_NODES = 50_000

_TRIVIAL: dict[str, Any] = {
    "minLength": 0,
    "minItems": 0,
    "minProperties": 0,
    "uniqueItems": False,
    "required": [],
    "properties": {},
    "patternProperties": {},
    "dependentRequired": {},
    "dependentSchemas": {},
    "additionalProperties": {},
    "unevaluatedProperties": {},
    "unevaluatedItems": {},
    "items": {},
    "propertyNames": {},
    "description": "",
}


@dataclass(frozen=True)
class Contract:
    """A canonical schema; `definitions` holds only what recursion needs."""

    schema: dict[str, Any]
    definitions: dict[str, Any]

    def rooted(self, node: Any) -> Any:
        """`node`, a part of this contract, as a schema document of its own."""
        if not self.definitions or not isinstance(node, dict):
            return node
        return {**node, "$defs": self.definitions}

    def resolve(self, node: Any) -> Any:
        """`node` with a reference at its top followed; what stands beside the reference wins."""
        while isinstance(node, dict) and "$ref" in node:
            target = self.definitions[node["$ref"].removeprefix("#/$defs/")]
            beside = {key: value for key, value in node.items() if key != "$ref"}
            if not isinstance(target, dict):
                return target
            node = {**target, **beside}
        return node


def canonical_schema(parameters: Mapping[str, Any]) -> Contract:
    """The canonical form of the schema of an arguments object.

    Raises:
        ToolDocumentError: a malformed keyword, a reference that leads nowhere, out of the document or
            round in a circle, a schema too deep or too large, or one that is not of an object.
    """
    expander = _Expander(parameters)
    schema = expander.expand_root()
    _check_object(schema)
    schema["type"] = "object"
    return _renamed(schema, expander.definitions)


def _check_object(schema: Any) -> None:
    kind = schema.get("type", "object") if isinstance(schema, dict) else None
    if kind is None or "object" not in ([kind] if isinstance(kind, str) else kind):
        shown = "false" if schema is False else f"of type `{kind}`"
        raise ToolDocumentError(
            f"the parameters' schema is {shown}, not of an object",
            hint="a tool's arguments are an object: `type` must be `object`, with `properties`",
        )


class Contracted(Protocol):
    """Something with a contract, as a tool is."""

    @property
    def contract(self) -> Contract: ...


def same_contract(one: Contracted, other: Contracted) -> bool:
    """Whether the same calls are right for both, as far as the texts say: descriptions may differ."""
    return canonical_json(_told_off(one.contract)) == canonical_json(_told_off(other.contract))


def _told_off(contract: Contract) -> list[Any]:
    definitions = contract.definitions.items()
    return [_assertions(contract.schema), {name: _assertions(node) for name, node in definitions}]


def _assertions(node: Any) -> Any:
    """A schema without the keywords that make no value invalid."""
    if not isinstance(node, dict):
        return node
    return {key: _assertions_of(key, value) for key, value in node.items() if key in ASSERTIONS}


def _assertions_of(keyword: str, value: Any) -> Any:
    if keyword in MAPS:
        return {name: _assertions(item) for name, item in value.items()}
    if keyword in LISTS:
        branches = [_assertions(item) for item in value]
        return branches if keyword in CONSUMING_LISTS else sorted(branches, key=canonical_json)
    return _assertions(value) if keyword in ONE else value


class _Place(NamedTuple):
    """Where the expander stands: a path for messages, references since the last step into a value."""

    path: str
    chain: frozenset[str] = frozenset()
    depth: int = 0

    def into(self, step: str, *, consuming: bool) -> _Place:
        return _Place(f"{self.path}/{step}", frozenset() if consuming else self.chain, self.depth + 1)

    def through(self, pointer: str) -> _Place:
        return _Place(self.path, self.chain | {pointer}, self.depth + 1)


class _Expansion(NamedTuple):
    schema: Any
    nodes: int


@dataclass
class _Expander:
    """Inlines the references of one schema document, keeping those that recurse."""

    root: Mapping[str, Any]
    definitions: dict[str, Any] = field(default_factory=dict)
    _active: set[str] = field(default_factory=set)
    _recursive: set[str] = field(default_factory=set)
    _done: dict[str, _Expansion] = field(default_factory=dict)
    _nodes: int = 0

    def expand_root(self) -> Any:
        self._active.add("")
        schema = self.expand(self.root, _Place("#", frozenset({""})))
        if "" in self._recursive:
            self.definitions[""] = schema
        return dict(schema) if isinstance(schema, dict) else schema

    def expand(self, schema: Any, place: _Place) -> Any:
        self._spend(1, place)
        if isinstance(schema, bool):
            return {} if schema else False
        schema = {k: v for k, v in _modern(schema).items() if v is not None or k in ("default", "const")}
        check_keywords(schema, place.path)
        body = {
            key: self._keyword(key, value, place)
            for key, value in sorted(schema.items())
            if key not in NOISE and key != "$ref"
        }
        body = _tidy(body)
        if "$ref" in schema:
            body = _beside_reference(self._reference(schema["$ref"], place), body)
        return _nullable(body) if schema.get("nullable") is True else body

    def _keyword(self, keyword: str, value: Any, place: _Place) -> Any:
        consuming = keyword in CONSUMING_MAPS | CONSUMING_LISTS | CONSUMING_ONE
        below = place.into(keyword, consuming=consuming)
        if keyword in MAPS:
            return {
                name: self.expand(value[name], below.into(name, consuming=consuming))
                for name in sorted(value)
            }
        if keyword in LISTS:
            return [
                self.expand(item, below.into(str(index), consuming=consuming))
                for index, item in enumerate(value)
            ]
        return self.expand(value, below) if keyword in ONE else plain_numbers(value)

    def _reference(self, reference: Any, place: _Place) -> Any:
        pointer = self._pointer(reference, place)
        if pointer in place.chain:
            raise ToolDocumentError(
                f"`$ref` at `{place.path}` leads back to itself through `{reference}` without an end",
                hint="recursion must go through a property or an array item",
            )
        if pointer in self._active:
            self._recursive.add(pointer)
        elif pointer not in self._done:
            self._follow(pointer, reference, place)
        elif pointer not in self._recursive:
            self._spend(self._done[pointer].nodes, place)
        if pointer in self._recursive:
            return {"$ref": f"#/$defs/{pointer}"}
        return self._done[pointer].schema

    def _follow(self, pointer: str, reference: str, place: _Place) -> None:
        before = self._nodes
        self._active.add(pointer)
        schema = self.expand(self._target(pointer, reference, place), place.through(pointer))
        self._active.remove(pointer)
        if pointer in self._recursive:
            self.definitions[pointer] = schema
        self._done[pointer] = _Expansion(schema, self._nodes - before)

    def _pointer(self, reference: Any, place: _Place) -> str:
        if not isinstance(reference, str):
            raise ToolDocumentError(f"`$ref` at `{place.path}` is not a string", hint="write `#/$defs/NAME`")
        own = self.root.get("$id")
        address, _, fragment = reference.partition("#")
        if address and address != (own.rstrip("#") if isinstance(own, str) else None):
            raise ToolDocumentError(
                f"`$ref` at `{place.path}` points out of the document: `{reference[:200]}`",
                hint="nothing is ever fetched: copy the schema into `$defs` and point to `#/$defs/NAME`",
            )
        fragment = unquote(fragment)
        return fragment if not fragment or fragment.startswith("/") else f"anchor:{fragment}"

    def _target(self, pointer: str, reference: str, place: _Place) -> Any:
        node: Any = self.root
        if pointer.startswith("anchor:"):
            node = next(_anchored(self.root, pointer.removeprefix("anchor:")), None)
        else:
            for token in pointer.split("/")[1:]:
                node = _child(node, token.replace("~1", "/").replace("~0", "~"))
        if not isinstance(node, (dict, bool)):
            raise ToolDocumentError(
                f"`$ref` at `{place.path}` points to `{reference[:200]}`, which is not there",
                hint="references are counted from the tool's own schema",
            )
        return node

    def _spend(self, nodes: int, place: _Place) -> None:
        self._nodes += nodes
        if place.depth > 2 * MAX_SCHEMA_DEPTH:
            raise ToolDocumentError(
                f"the schema goes deeper than {MAX_SCHEMA_DEPTH} levels once its references are followed",
                hint="use a recursive `$ref`, or a flatter schema",
            )
        if self._nodes > MAX_SCHEMA_NODES:
            raise ToolDocumentError(
                f"the schema holds more than {MAX_SCHEMA_NODES} parts once its references are followed",
                hint="definitions that use one another twice each grow like powers of two; use fewer of them",
            )


def _child(node: Any, token: str) -> Any:
    if isinstance(node, dict):
        return node.get(token)
    if isinstance(node, list) and token.isascii() and token.isdigit() and int(token[:6]) < len(node):
        return node[int(token[:6])]
    return None


def _anchored(root: Any, name: str) -> Iterator[Any]:
    todo = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if node.get("$anchor") == name or node.get("$id") == f"#{name}":
                yield node
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)


def plain_numbers(value: Any) -> Any:
    """`value` with whole floats as integers: JSON Schema counts 1.0 and 1 as equal."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [plain_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: plain_numbers(item) for key, item in value.items()}
    return value


def type_of(value: Any) -> str:
    """JSON Schema's name for the type of a JSON value; whole numbers are `integer`."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if float(value).is_integer() else "number"
    names: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def types_of(schema: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The types that `schema` names; None where it names none."""
    kind = schema.get("type")
    return kind if kind is None else (kind,) if isinstance(kind, str) else tuple(kind)


def _modern(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Older spellings as 2020-12 has them."""
    new = dict(schema)
    if isinstance(new.get("items"), list):
        new["prefixItems"] = new.pop("items")
        if "additionalItems" in new:
            new["items"] = new["additionalItems"]
        if not new["prefixItems"]:
            del new["prefixItems"]
    new.pop("additionalItems", None)
    for keyword, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(new.get(keyword), bool):
            exclusive = new.pop(keyword)
            if exclusive and bound in new:
                new[keyword] = new.pop(bound)
    if isinstance(new.get("dependencies"), dict):
        _split_dependencies(new)
    return new


def _split_dependencies(schema: dict[str, Any]) -> None:
    for name, value in schema.pop("dependencies").items():
        keyword = "dependentRequired" if isinstance(value, list) else "dependentSchemas"
        schema[keyword] = {**schema.get(keyword, {}), name: value}


def _tidy(body: dict[str, Any]) -> dict[str, Any]:
    if "required" in body:
        body["required"] = sorted(set(body["required"]))
    if "const" in body:
        body["enum"] = [v for v in [body.pop("const")] if "enum" not in body or _among(v, body["enum"])]
    if "enum" in body:
        _tidy_enum(body)
    elif "type" in body:
        body["type"] = _tidy_types(body["type"])
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in body:
            body[keyword] = sorted(body[keyword], key=canonical_json)
    body = {key: value for key, value in body.items() if key not in _TRIVIAL or _TRIVIAL[key] != value}
    return _unwrapped(body)


def _among(value: Any, values: list[Any]) -> bool:
    return canonical_json(value) in {canonical_json(item) for item in values}


def _tidy_enum(body: dict[str, Any]) -> None:
    """An enum says the types too: values that the type forbids go, and the type is that of the rest."""
    types = types_of(body)
    allowed = [v for v in body["enum"] if types is None or _has_type(v, types)]
    by_text = {canonical_json(value): value for value in allowed}
    body["enum"] = [by_text[text] for text in sorted(by_text)]
    body.pop("type", None)
    if canonical_json(body["enum"]) in ("[false,true]", "[null]"):
        body["type"] = type_of(body.pop("enum")[0])
    elif body["enum"]:
        body["type"] = _tidy_types([type_of(value) for value in body["enum"]])


def _has_type(value: Any, types: tuple[str, ...]) -> bool:
    kind = type_of(value)
    return kind in types or (kind == "integer" and "number" in types)


def _tidy_types(kind: str | list[str]) -> str | list[str]:
    names = {kind} if isinstance(kind, str) else set(kind)
    if "number" in names:
        names.discard("integer")
    return next(iter(names)) if len(names) == 1 else sorted(names)


def _unwrapped(body: dict[str, Any]) -> dict[str, Any]:
    """`allOf`, `anyOf` or `oneOf` of a single schema is that schema, if nothing else is asserted beside."""
    for keyword in ("allOf", "anyOf", "oneOf"):
        others = {key: value for key, value in body.items() if key != keyword}
        branches = body.get(keyword, ())
        if len(branches) == 1 and isinstance(branches[0], dict) and not ASSERTIONS & others.keys():
            return {**branches[0], **others}
    return body


def _beside_reference(target: Any, body: dict[str, Any]) -> Any:
    told = {key: value for key, value in body.items() if key not in ASSERTIONS}
    asserted = {key: value for key, value in body.items() if key in ASSERTIONS}
    if not asserted:
        return {**target, **told} if isinstance(target, dict) else target
    return {"allOf": sorted([target, asserted], key=canonical_json), **told}


def _nullable(body: Any) -> Any:
    """OpenAPI's `nullable: true`, which `transformers.utils.get_json_schema` writes, too."""
    if not isinstance(body, dict) or (types_of(body) is None and not ASSERTIONS & body.keys()):
        return body
    if types_of(body) is not None and not {"anyOf", "oneOf", "allOf", "not", "if"} & body.keys():
        new = {**body, "type": _tidy_types([*(types_of(body) or ()), "null"])}
        if "enum" in body and not _among(None, body["enum"]):
            new["enum"] = sorted([*body["enum"], None], key=canonical_json)
        return new
    told = {key: value for key, value in body.items() if key not in ASSERTIONS}
    asserted = {key: value for key, value in body.items() if key in ASSERTIONS}
    return {"anyOf": sorted([asserted, {"type": "null"}], key=canonical_json), **told}


_REFERENCE = re.compile(r"^#/\$defs/(.*)$", re.DOTALL)


def _renamed(schema: dict[str, Any], definitions: dict[str, Any]) -> Contract:
    """Definitions named by the order in which they are met, not as their author called them."""
    names: dict[str, str] = {}
    queue: list[str] = []

    def visit(node: Any) -> Any:
        if isinstance(node, list):
            return [visit(item) for item in node]
        if not isinstance(node, dict):
            return node
        return {key: refer(item) if key == "$ref" else visit(item) for key, item in node.items()}

    def refer(reference: Any) -> Any:
        match = _REFERENCE.match(reference) if isinstance(reference, str) else None
        if match is None or match[1] not in definitions:
            return visit(reference)
        if match[1] not in names:
            names[match[1]] = f"r{len(names) + 1}"
            queue.append(match[1])
        return f"#/$defs/{names[match[1]]}"

    root = visit(schema)
    renamed: dict[str, Any] = {}
    while queue:
        pointer = queue.pop(0)
        renamed[names[pointer]] = visit(definitions[pointer])
    return Contract(root, renamed)
