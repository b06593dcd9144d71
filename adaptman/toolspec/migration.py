"""Calls re-written through a change set: the old form in, the new form out, or why it needs somebody."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.canonical import types_of
from adaptman.toolspec.changes import Change, ChangeSet, ToolChange
from adaptman.toolspec.document import Tool, ToolDocument
from adaptman.toolspec.engine import is_valid
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.jsontext import canonical_json, strict_loads
from adaptman.toolspec.validate import CallProblem, shown, validate_arguments

Place = tuple[str, str]
"""A tool's name in the new document and the path of a parameter (`unit`, `address.city`, `tags[]`)."""


SURE = 0.8
"""A rename that is guessed is followed from this likelihood on, or where somebody has confirmed it."""


@dataclass(frozen=True)
class Mappings:
    """What only a person can know: new values by the old one's canonical JSON, values to fill in, and
    parameters (by their old path) whose new name is confirmed."""

    values: Mapping[Place, Mapping[str, Any]] = field(default_factory=dict)
    fills: Mapping[Place, Any] = field(default_factory=dict)
    renamed: Mapping[Place, str] = field(default_factory=dict)


def read_mappings(
    values: Sequence[str], fills: Sequence[str], renamed: Mapping[str, str], new: ToolDocument
) -> Mappings:
    """Mappings as they are typed: `TOOL.PARAMETER:OLD=NEW`, `TOOL.PARAMETER=VALUE`, and `TOOL.PARAMETER` →
    its new name, by the tools' new names; values are JSON, or else text.

    Raises:
        ToolDocumentError: `new` has no such tool or parameter, or the parameter cannot have the value.
    """
    mapped: dict[Place, dict[str, Any]] = {}
    for text in values:
        name, _, pair = text.rpartition(":")
        old, equals, value = pair.partition("=")
        if not (name and equals):
            raise ToolDocumentError(
                f"`{text}` is no mapping of a value", hint="write `TOOL.PARAMETER:OLD=NEW`"
            )
        place = _place(name, new)
        mapped.setdefault(place, {})[canonical_json(_typed(old))] = _fitting(_typed(value), place, new)
    filled = {}
    for text in fills:
        name, equals, value = text.partition("=")
        if not equals:
            raise ToolDocumentError(f"`{text}` fills in nothing", hint="write `TOOL.PARAMETER=VALUE`")
        place = _place(name, new)
        filled[place] = _fitting(_typed(value), place, new)
    confirmed = {}
    for before, now in renamed.items():
        tool, _ = _place(f"{before.rpartition('.')[0]}.{now.rpartition('.')[2]}", new)
        confirmed[tool, before.removeprefix(f"{tool}.")] = now
    return Mappings(mapped, filled, confirmed)


def _typed(text: str) -> Any:
    try:
        return strict_loads(text)
    except (ValueError, RecursionError):
        return text


def _place(text: str, new: ToolDocument) -> Place:
    """The tool, whose name may hold dots, and the path of one of its parameters."""
    tools = [tool for tool in new.tools if text.startswith(f"{tool.name}.")]
    if not tools:
        near = difflib.get_close_matches(text.rpartition(".")[0] or text, new.names, n=1)
        raise ToolDocumentError(
            f"`{text}` names no tool of the document",
            hint=f"did you mean `{near[0]}`?"
            if near
            else "write `TOOL.PARAMETER`, as the document names them",
        )
    tool = max(tools, key=lambda one: len(one.name))
    path = text.removeprefix(f"{tool.name}.")
    if _schema_at(tool, path) is None:
        known = list(tool.contract.schema.get("properties", {}))
        near = difflib.get_close_matches(path, known, n=1)
        told = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(f'`{one}`' for one in known)}"
        raise ToolDocumentError(f"`{tool.name}` has no parameter `{path}`", hint=told)
    return tool.name, path


def _schema_at(tool: Tool, path: str) -> Any:
    """The schema of a parameter; None where there is none."""
    schema: Any = tool.contract.schema
    for step in _steps(path):
        if not isinstance(schema, dict):
            return None
        found = schema.get("items") if step == "[]" else schema.get("properties", {}).get(step)
        schema = tool.contract.resolve(found)
    return schema


def _fitting(value: Any, place: Place, new: ToolDocument) -> Any:
    """The value, if the parameter can have it."""
    tool = new.get(place[0])
    assert tool is not None, "the place names one"
    schema = _schema_at(tool, place[1])
    if not is_valid(tool.contract.rooted(schema), value):
        allowed = schema.get("enum") if isinstance(schema, dict) else None
        raise ToolDocumentError(
            f"`{place[0]}.{place[1]}` cannot be {shown(value)}",
            hint=f"it is one of {shown(allowed, 200)}" if allowed else "give a value that its schema allows",
        )
    return value


class Step(NamedTuple):
    """One thing that was re-written: the kind of the change, and the parameter in the new form.

    `assumed` is set where the value is one that nobody has given: a default of the schema.
    """

    kind: str
    path: str
    assumed: bool = False


class MigratedCall(NamedTuple):
    """The call in the new form, valid under the new document; None where it needs somebody, told why."""

    call: ToolCall | None
    steps: tuple[Step, ...] = ()
    needs: str = ""
    hint: str = ""


class CallMigration:
    """Re-writes calls of the old document's tools for the new document."""

    def __init__(self, changes: ChangeSet, new: ToolDocument, mappings: Mappings | None = None) -> None:
        self._new = new
        self._mappings = mappings or Mappings()
        self._changes = {tool.old_name or tool.name: tool for tool in changes.tools if tool.status != "added"}

    def new_name(self, name: str) -> str | None:
        """What a tool of the old document is called now; None where it is gone, or nobody can be sure."""
        change = self._changes.get(name)
        return None if change is None or self._doubt(change) else change.name

    def migrate(self, call: ToolCall) -> MigratedCall:
        """The call as it must be written now; what is right under the new document is left as it is."""
        change = self._changes.get(call.name)
        if change is None:
            return MigratedCall(None, needs=f"`{call.name}` stands in neither document")
        doubt = self._doubt(change)
        if doubt is not None:
            return doubt
        tool = self._new.get(change.name)
        assert tool is not None, "a tool that is not removed stands in the new document"
        arguments = copy.deepcopy(call.arguments)
        steps = [Step("tool-renamed", "")] if change.status == "renamed" else []
        steps += self._rewrite(tool, change, arguments)
        unsure = [one for one in change.changes if self._is_unsure(tool, one, arguments)]
        if unsure:
            return _unconfirmed(tool, unsure)
        problems = validate_arguments(tool, arguments)
        if problems:
            return _left(tool, problems[0])
        return MigratedCall(ToolCall(tool.name, arguments), tuple(steps))

    def _doubt(self, change: ToolChange) -> MigratedCall | None:
        """What stands in the way of following the tool at all."""
        if change.status == "removed":
            return MigratedCall(None, needs=f"`{change.name}`: {change.changes[0].reason}")
        if change.status == "renamed" and (change.likelihood or 0.0) < SURE:
            pair = f"{change.old_name}={change.name}"
            return MigratedCall(
                None,
                needs=f"`{change.old_name}` is perhaps `{change.name}` now ({change.likelihood:.2f} likely)",
                hint=f"--renamed {pair} or --not-renamed {pair}",
            )
        return None

    def _is_unsure(self, tool: Tool, change: Change, arguments: Any = None) -> bool:
        """Whether a guess is not good enough to be followed, and, where given, concerns `arguments`."""
        if change.kind != "parameter-renamed" or (tool.name, change.path) in self._mappings.renamed:
            return False
        concerns = arguments is None or any(_holders(arguments, _steps(change.path)))
        return (change.likelihood or 0.0) < SURE and concerns

    def _rewrite(self, tool: Tool, change: ToolChange, arguments: dict[str, Any]) -> Iterator[Step]:
        """Changes `arguments` in place; parents come before what is below them, as in the change set."""
        yield from self._rename_all(tool, change, arguments)
        yield from self._map_values(tool, arguments)
        yield from self._fill(tool, arguments)
        yield from _wrap(tool, arguments)

    def _rename_all(self, tool: Tool, change: ToolChange, arguments: dict[str, Any]) -> Iterator[Step]:
        guessed = {
            one.path: one.to
            for one in change.changes
            if one.kind == "parameter-renamed" and not self._is_unsure(tool, one)
        }
        told = {path: to for (name, path), to in self._mappings.renamed.items() if name == tool.name}
        for path, to in sorted({**guessed, **told}.items(), key=lambda pair: len(_steps(pair[0]))):
            if _rename(arguments, path, to):
                yield Step("parameter-renamed", to)

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
            given = (tool.name, name) in self._mappings.fills
            found = self._mappings.fills[tool.name, name] if given else _told(known)
            if found is not _NOTHING:
                arguments[name] = copy.deepcopy(found)
                yield Step("now-required", name, assumed=not given and not _only(known))


def _unconfirmed(tool: Tool, changes: Sequence[Change]) -> MigratedCall:
    one = changes[0]
    return MigratedCall(
        None,
        needs=f"`{tool.name}`: {one.reason}",
        hint=" ".join(f"--renamed {tool.name}.{change.path}={change.to}" for change in changes),
    )


def _left(tool: Tool, problem: CallProblem) -> MigratedCall:
    """What is still wrong, and what would settle it."""
    where = f"`{problem.path}` " if problem.path else ""
    hint = ""
    if problem.message == "is required":
        hint = f"--fill {tool.name}.{problem.path}=VALUE"
    elif "is not one of" in problem.message:
        hint = f"--map {tool.name}.{_unnumbered(problem.path)}:OLD=NEW"
    return MigratedCall(None, needs=f"`{tool.name}`: {where}{problem.message}", hint=hint)


def _unnumbered(path: str) -> str:
    """`tags[2].kind` → `tags[].kind`: as change sets and mappings name it."""
    return re.sub(r"\[\d+\]", "[]", path)


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


def _only(schema: Any) -> bool:
    """Whether the schema leaves no other value."""
    return isinstance(schema, dict) and ("const" in schema or len(schema.get("enum", ())) == 1)


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


def _rename(arguments: dict[str, Any], path: str, to: str) -> bool:
    """Give the parameter at `path` its new name, in its place; whether it was there."""
    *_, last = _steps(to)
    done = False
    for holder, key in list(_holders(arguments, _steps(path))):
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
