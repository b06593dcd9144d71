"""Small values that are valid under a schema, found by construction and confirmed by validation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from adaptman.toolspec.canonical import Contract, types_of
from adaptman.toolspec.engine import FORMAT_EXAMPLES, CannotCheckError, is_valid
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.merge import CannotMergeError, conjoin
from adaptman.toolspec.patterns import UnsupportedPatternError, compile_pattern, example_texts

MAX_CHECKS = 20_000
MAX_LENGTH = 4_000
_ORDER = ("string", "integer", "number", "boolean", "object", "array", "null")


class Sampler:
    """Values for the parts of one contract; deterministic, simplest first."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._known: dict[str, list[Any]] = {}
        self._busy: set[str] = set()
        self._checks = 0

    def valid(self, node: Any, value: Any, *, counted: bool = True) -> bool | None:
        """Whether `value` is valid under `node`; None where that cannot be found out within bounds.

        Only so many checks are made in all; those that are not `counted` are made beyond them.
        """
        self._checks += counted
        if self._checks > MAX_CHECKS:
            return None
        try:
            return is_valid(self.contract.rooted(node), value)
        except CannotCheckError:
            return None

    def samples(self, node: Any, limit: int = 12) -> list[Any]:
        """Different values that are valid under `node`, at most `limit`."""
        key = canonical_json(node)
        if key in self._busy:
            return []
        if key not in self._known:
            self._busy.add(key)
            self._known[key] = list(self._confirmed(node))
            self._busy.discard(key)
        return self._known[key][:limit]

    def _confirmed(self, node: Any) -> Iterator[Any]:
        seen: set[str] = set()
        found = 0
        for value in islice(self._candidates(node), 60):
            text = canonical_json(value)
            if text in seen:
                continue
            seen.add(text)
            if self.valid(node, value):
                yield value
                found += 1
            if found >= 12:
                return

    def _candidates(self, node: Any) -> Iterator[Any]:
        node = self.contract.resolve(node)
        if node is False:
            return
        yield from node.get("enum", ())
        if "default" in node:
            yield node["default"]
        examples = node.get("examples")
        yield from examples if isinstance(examples, list) else ()
        combined = [key for key in ("allOf", "anyOf", "oneOf") if key in node]
        if combined:
            yield from self._combined(node, combined[0])
        elif "enum" not in node:
            yield from self._plain(node)

    def _combined(self, node: dict[str, Any], keyword: str) -> Iterator[Any]:
        rest = {key: value for key, value in node.items() if key not in (keyword, "default", "examples")}
        if keyword == "allOf":
            branches = [self._merged(node[keyword], rest)]
        else:
            branches = [self._merged([branch], rest) for branch in node[keyword]]
        pools = [self.samples(branch) for branch in branches]
        yield from in_turns(pools)

    def _merged(self, branches: Iterable[Any], rest: Any) -> Any:
        for branch in branches:
            try:
                rest = conjoin(branch, rest, self.contract)
            except CannotMergeError:
                continue
        return rest

    def _plain(self, node: dict[str, Any]) -> Iterator[Any]:
        types = types_of(node) or _likely_types(node)
        yield from in_turns([list(islice(self._of_type(node, kind), 24)) for kind in types])

    def _of_type(self, node: dict[str, Any], kind: str) -> Iterator[Any]:
        if kind == "string":
            yield from texts(node)
        elif kind in ("integer", "number"):
            yield from numbers(node, whole=kind == "integer")
        elif kind == "boolean":
            yield from (True, False)
        elif kind == "object":
            yield from self._objects(node)
        elif kind == "array":
            yield from self._arrays(node)
        else:
            yield None

    def _objects(self, node: dict[str, Any]) -> Iterator[Any]:
        required = node.get("required", [])
        named = node.get("properties", {})
        least = self.filled(node, required)
        if least is not None:
            least = self._padded(node, least)
            yield least
        everything = self.filled(node, [*required, *(name for name in named if self.samples(named[name]))])
        if everything is not None:
            yield everything
        base = everything if least is None else least
        for name in named if base is not None else ():
            yield from ({**(base or {}), name: value} for value in self.samples(named[name], 3))
        if least is not None and node.get("additionalProperties", {}) is not False:
            extra = self.samples(node.get("additionalProperties", {"type": "string"}), 1)
            yield from ({**least, fresh_name(named): value} for value in extra)

    def filled(self, node: dict[str, Any], names: Iterable[str]) -> dict[str, Any] | None:
        """An object with these properties; None where one of them has no value."""
        result: dict[str, Any] = {}
        todo = list(names)
        while todo:
            name = todo.pop(0)
            if name in result:
                continue
            pool = self.samples(property_schema(node, name), 1)
            if not pool:
                return None
            result[name] = pool[0]
            todo.extend(node.get("dependentRequired", {}).get(name, ()))
        return result

    def _padded(self, node: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        wanted = min(node.get("minProperties", 0), 200)
        names = [name for name in node.get("properties", {}) if name not in value]
        while len(value) < wanted:
            name = names.pop(0) if names else fresh_name({**node.get("properties", {}), **value})
            pool = self.samples(property_schema(node, name), 1)
            if not pool and not names:
                break
            value = {**value, name: pool[0]} if pool else value
        return value

    def _arrays(self, node: dict[str, Any]) -> Iterator[Any]:
        first = [self.samples(item, 2) for item in node.get("prefixItems", [])]
        rest = node.get("items", {"type": "string"})
        pool = self.samples(rest)
        pool = [*self.samples(node["contains"], 2), *pool] if "contains" in node else pool
        least = min(max(node.get("minItems", 0), node.get("minContains", 0)), 200)
        if least == 0 and not first:
            yield []
        head = [items[0] for items in first if items]
        if len(head) == len(first):
            yield from ([*head, *tail] for tail in _tails(pool, max(least - len(head), 0), node))
        yield from ([value] for value in pool)
        yield []


def _tails(pool: list[Any], size: int, node: Mapping[str, Any]) -> Iterator[list[Any]]:
    distinct = [*pool, *range(size), *(f"a{number}" for number in range(size))]
    if node.get("uniqueItems"):
        yield distinct[:size]
        yield distinct[len(pool) : len(pool) + size]
        yield distinct[len(pool) + size :]
    if pool or size == 0:
        yield [pool[0]] * size if size else []
        yield [pool[0]] * (size + 1) if pool else []


def property_schema(node: Mapping[str, Any], name: str) -> Any:
    """The schema that `node` has for the property `name`."""
    named = node.get("properties", {})
    if name in named:
        return named[name]
    return node.get("additionalProperties", {"type": "string"})


def fresh_name(taken: Mapping[str, Any]) -> str:
    """A property name that is not among `taken`."""
    return next(name for name in ("extra", *(f"extra{n}" for n in range(2, 10_000))) if name not in taken)


def in_turns(pools: list[list[Any]]) -> Iterator[Any]:
    """The first of each pool, then the second of each, and so on."""
    for index in range(max(map(len, pools), default=0)):
        yield from (pool[index] for pool in pools if index < len(pool))


def _likely_types(node: Mapping[str, Any]) -> tuple[str, ...]:
    hints = {"properties": "object", "required": "object", "items": "array", "prefixItems": "array"}
    hints |= {"minimum": "integer", "maximum": "integer", "multipleOf": "integer"}
    first = [kind for keyword, kind in hints.items() if keyword in node]
    return tuple(dict.fromkeys([*first, *_ORDER]))


def texts(node: Mapping[str, Any]) -> Iterator[str]:
    """Candidate strings for a string schema."""
    least = min(node.get("minLength", 0), MAX_LENGTH)
    most = node.get("maxLength", MAX_LENGTH)
    if node.get("format") in FORMAT_EXAMPLES:
        yield FORMAT_EXAMPLES[node["format"]]
    if "pattern" in node:
        yield from islice(_matching(node["pattern"], least), 4)
    for word in ("text", "a", "another text", ""):
        padded = word + "a" * (least - len(word))
        yield padded[:most]
    yield "a" * min(most, MAX_LENGTH) if "maxLength" in node else "b"


def _matching(pattern: str, least: int) -> Iterator[str]:
    try:
        yield from example_texts(compile_pattern(pattern), None, at_least=least)
    except UnsupportedPatternError:
        return


def numbers(node: Mapping[str, Any], *, whole: bool) -> Iterator[int | float]:
    """Candidate numbers for a number schema: plain ones, then those at its bounds."""
    step = node.get("multipleOf")
    low = max((node[key] for key in ("minimum", "exclusiveMinimum") if key in node), default=None)
    high = min((node[key] for key in ("maximum", "exclusiveMaximum") if key in node), default=None)
    marks = [1, 0, 2, *(mark for mark in (low, high) if mark is not None)]
    if low is not None and high is not None:
        marks.append((low + high) / 2)
    if step:
        around = [mark / step for mark in marks if math.isfinite(mark / step)]
        marks = [n * step for at in around for n in (math.floor(at), math.ceil(at), math.ceil(at) + 1)]
    beside = [near for mark in marks for near in (mark + 1, mark - 1, mark + 0.5, mark - 0.5)]
    for value in (*marks, *beside):
        if not math.isfinite(value):
            continue
        yield from dict.fromkeys((math.floor(value), math.ceil(value))) if whole else (value,)
