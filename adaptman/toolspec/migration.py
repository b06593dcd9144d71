"""Calls re-written through a change set: the old form in, the new form out, or why it needs somebody."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from adaptman.toolspec.canonical import types_of
from adaptman.toolspec.changes import Change, ChangeSet, ToolChange
from adaptman.toolspec.document import Tool, ToolDocument
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.validate import validate_arguments

Place = tuple[str, str]
"""A tool's name in the new document and the path of a parameter (`unit`, `address.city`, `tags[]`)."""


@dataclass(frozen=True)
class Mappings:
    """What only a person can know: new values by the old one's canonical JSON, and values to fill in."""

    values: Mapping[Place, Mapping[str, Any]] = field(default_factory=dict)
    fills: Mapping[Place, Any] = field(default_factory=dict)


class Step(NamedTuple):
    """One thing that was re-written: the kind of the change, and the parameter in the new form."""

    kind: str
    path: str


class MigratedCall(NamedTuple):
    """The call in the new form, valid under the new document; None where it needs somebody, told why."""

    call: ToolCall | None
    steps: tuple[Step, ...] = ()
    needs: str = ""


class CallMigration:
    """Re-writes calls of the old document's tools for the new document."""

    def __init__(self, changes: ChangeSet, new: ToolDocument, mappings: Mappings | None = None) -> None:
        self._new = new
        self._mappings = mappings or Mappings()
        self._changes = {tool.old_name or tool.name: tool for tool in changes.tools if tool.status != "added"}

    def migrate(self, call: ToolCall) -> MigratedCall:
        """The call as it must be written now; what is right under the new document is left as it is."""
        change = self._changes.get(call.name)
        if change is None:
            return MigratedCall(None, needs=f"`{call.name}` stands in neither document")
        if change.status == "removed":
            return MigratedCall(None, needs=f"`{call.name}`: {change.changes[0].reason}")
        tool = self._new.get(change.name)
        assert tool is not None, "a tool that is not removed stands in the new document"
        arguments = copy.deepcopy(call.arguments)
        steps = [Step("tool-renamed", "")] if change.status == "renamed" else []
        steps += self._rewrite(tool, change, arguments)
        problems = validate_arguments(tool, arguments)
        if problems:
            first = problems[0]
            where = f"`{first.path}` " if first.path else ""
            return MigratedCall(None, tuple(steps), f"`{tool.name}`: {where}{first.message}")
        return MigratedCall(ToolCall(tool.name, arguments), tuple(steps))

    def _rewrite(self, tool: Tool, change: ToolChange, arguments: dict[str, Any]) -> Iterator[Step]:
        """Changes `arguments` in place; parents come before what is below them, as in the change set."""
        renames = [one for one in change.changes if one.kind == "parameter-renamed"]
        for one in sorted(renames, key=lambda one: len(_steps(one.path))):
            if _rename(arguments, one):
                yield Step(one.kind, one.to)
        yield from self._map_values(tool, arguments)
        yield from self._fill(tool, arguments)
        yield from _wrap(tool, arguments)

    def _map_values(self, tool: Tool, arguments: dict[str, Any]) -> Iterator[Step]:
        for (name, path), values in self._mappings.values.items():
            if name != tool.name:
                continue
            for holder, key in _holders(arguments, _steps(path)):
                old = canonical_json(holder[key])
                if old in values:
                    holder[key] = copy.deepcopy(values[old])
                    yield Step("enum-narrowed", path)

    def _fill(self, tool: Tool, arguments: dict[str, Any]) -> Iterator[Step]:
        """What is required and missing, where the schema or somebody says what it is."""
        schema = tool.contract.schema
        for name in schema.get("required", ()):
            if name in arguments:
                continue
            known = schema.get("properties", {}).get(name)
            found = self._mappings.fills.get((tool.name, name), _told(known))
            if found is not _NOTHING:
                arguments[name] = copy.deepcopy(found)
                yield Step("now-required", name)


_NOTHING: Any = object()


def _told(schema: Any) -> Any:
    """The value that a schema names by itself: its const, or its default."""
    if isinstance(schema, dict):
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if len(schema.get("enum", ())) == 1:
            return schema["enum"][0]
    return _NOTHING


def _wrap(tool: Tool, arguments: dict[str, Any]) -> Iterator[Step]:
    """One value becomes a list of it, where only lists are taken now."""
    for name, schema in tool.contract.schema.get("properties", {}).items():
        wants_list = isinstance(schema, dict) and types_of(schema) == ("array",)
        if wants_list and name in arguments and not isinstance(arguments[name], list):
            arguments[name] = [arguments[name]]
            yield Step("type-changed", name)


def _steps(path: str) -> list[str]:
    """`address.lines[].text` → address, lines, [], text."""
    return re.findall(r"\[\]|[^.\[\]]+", path)


def _rename(arguments: dict[str, Any], change: Change) -> bool:
    *_, last = _steps(change.to)
    done = False
    for holder, key in list(_holders(arguments, _steps(change.path))):
        if isinstance(holder, dict) and last not in holder:
            renamed = {last if name == key else name: value for name, value in holder.items()}
            holder.clear()
            holder.update(renamed)
            done = True
    return done


def _holders(value: Any, steps: list[str]) -> Iterator[tuple[Any, Any]]:
    """Each container and key at which the path ends."""
    first, rest = steps[0], steps[1:]
    if first == "[]":
        keys: Any = range(len(value)) if isinstance(value, list) else ()
    else:
        keys = [first] if isinstance(value, dict) and first in value else []
    for key in keys:
        if rest:
            yield from _holders(value[key], rest)
        else:
            yield value, key
