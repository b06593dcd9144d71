"""Suites out of a change set: what the new form asks for, what a stale answer looks like, and what must stay.

- `changes`: requests for a changed tool. Right in the new form; a wrong reply in the form of before is stale.
- `siblings`: requests for unchanged tools, beside a changed one.
- `context`: the requests of `changes` with the old document shown, where the old form is right.

Cases are made from what was asked before (`Asked`), and from the schema where there is too little of that.
The same documents, requests and seed make the same cases.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from adaptman.evaluation.requests import arguments_for, request_for
from adaptman.evaluation.suites import ExpectedCall, StaleCall, SuiteKind
from adaptman.toolspec.changes import Change, ChangeSet, ToolChange
from adaptman.toolspec.document import Tool, ToolDocument, as_openai
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.migration import CallMigration
from adaptman.toolspec.questions import accepted_arguments

_SHOWN_BESIDE = 1
_ATTEMPTS = 3
# About as many as show within a margin of 0.10 that nothing was lost.
_MOST_SIBLINGS = 96
_OMITTED = ""
# What breaks a call, and is asked about; the first of these that a tool has names the case's rule.
_RULES = (
    "tool-renamed",
    "parameter-renamed",
    "now-required",
    "parameter-added-required",
    "enum-narrowed",
    "type-changed",
    "type-narrowed",
    "parameter-removed",
    "parameter-moved",
)


class Asked(NamedTuple):
    """A request that was made of a tool of the old document, and the call that was right then.

    `shown` names the tools that the model saw, of the old document.
    """

    id: str
    messages: tuple[Mapping[str, Any], ...]
    accept: ExpectedCall
    source: str
    shown: tuple[str, ...] = ()


class LeftOut(NamedTuple):
    """A request that no case was made of."""

    id: str
    reason: str


@dataclass(frozen=True)
class GeneratedSuite:
    """The cases of one suite, as JSON objects."""

    name: str
    kind: SuiteKind
    records: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Generated:
    """What was made of a change set; suites without a case are left out."""

    suites: tuple[GeneratedSuite, ...]
    left_out: tuple[LeftOut, ...]


def generate(
    old: ToolDocument,
    new: ToolDocument,
    changes: ChangeSet,
    migration: CallMigration,
    asked: Sequence[Asked],
    *,
    suffix: str,
    per_tool: int,
    seed: int,
) -> Generated:
    """The suites `changes-SUFFIX`, `siblings-SUFFIX` and `context-SUFFIX`, `per_tool` cases of each tool."""
    made = _Maker(old, new, changes, migration, asked, per_tool, seed)
    suites = (
        GeneratedSuite(f"changes-{suffix}", SuiteKind.TARGET, tuple(made.changed)),
        GeneratedSuite(f"siblings-{suffix}", SuiteKind.TOOLS, tuple(made.siblings)),
        GeneratedSuite(f"context-{suffix}", SuiteKind.CONTEXT, tuple(made.context)),
    )
    return Generated(tuple(suite for suite in suites if suite.records), tuple(made.left_out))


class _Maker:
    def __init__(
        self,
        old: ToolDocument,
        new: ToolDocument,
        changes: ChangeSet,
        migration: CallMigration,
        asked: Sequence[Asked],
        per_tool: int,
        seed: int,
    ) -> None:
        self._old, self._new, self._migration = old, new, migration
        self._per_tool, self._salt = per_tool, f"{seed}/{old.digest}/{new.digest}"
        self._asked: dict[str, list[Asked]] = defaultdict(list)
        for one in asked:
            self._asked[one.accept.name].append(one)
        self.changed: list[dict[str, Any]] = []
        self.context: list[dict[str, Any]] = []
        self.siblings: list[dict[str, Any]] = []
        self.left_out: list[LeftOut] = []
        broken = [tool for tool in changes.tools if _rule_of(tool) is not None]
        for tool in broken:
            self._of_change(tool)
        if broken:
            names = itertools.cycle([tool.name for tool in broken])
            # Those that somebody has asked for come first.
            kept = sorted(changes.unchanged_names, key=lambda name: name not in self._asked)
            for name in kept[:_MOST_SIBLINGS]:
                self._of_sibling(name, names)

    def _of_change(self, change: ToolChange) -> None:
        before, now = self._old.get(change.old_name or change.name), self._new.get(change.name)
        if before is None or now is None:  # a change set of other documents
            return
        rule, stale = _rule_of(change) or "", _stale_calls(change, before, now)
        count = 0
        for one in self._asked[before.name]:
            if count == self._per_tool:
                break
            accept, why = self._carried(one.accept)
            if accept is None:
                self.left_out.append(LeftOut(one.id, why))
                continue
            self._add(one, rule, stale, accept, [before, now])
            count += 1
        for one, accept in self._invented(before, now, change, self._per_tool - count):
            self._add(one, rule, stale, accept, [before, now])

    def _add(
        self,
        one: Asked,
        rule: str,
        stale: Sequence[StaleCall],
        accept: ExpectedCall,
        tool: Sequence[Tool],
    ) -> None:
        """A case of `changes`, and the same with the old document shown; `tool` is it before and now."""
        before, now = tool
        told = {"id": one.id, "messages": list(one.messages)}
        self.changed.append(
            {
                **told,
                "tools": as_openai(self._shown(one, now)),
                "accept": [_call(accept)],
                "stale": [{"name": call.name, "arguments": call.arguments} for call in stale],
                "rule": rule,
                "source": one.source,
            }
        )
        if rule != "parameter-added-required":  # the request says what the old form has no place for
            old = [self._old.get(name) for name in one.shown] if one.shown else [before]
            shown = [tool for tool in old if tool is not None]
            self.context.append(
                {**told, "tools": as_openai(shown), "accept": [_call(one.accept)], "source": one.source}
            )

    def _shown(self, one: Asked, tool: Tool) -> list[Tool]:
        """The tools that were shown with a request, as they are now; beside an invented one, a neighbour."""
        if not one.shown:
            return [tool, *self._neighbours(tool)]
        names = dict.fromkeys(self._migration.new_name(name) for name in one.shown)
        return [now for name in names if name is not None and (now := self._new.get(name)) is not None]

    def _carried(self, accept: ExpectedCall) -> tuple[ExpectedCall | None, str]:
        """The accepted values in the new form, value by value."""
        given = {name: values for name, values in accept.arguments.items() if set(map(str, values)) != {""}}
        base = {name: next(value for value in values if value != _OMITTED) for name, values in given.items()}
        whole = self._migration.migrate(ToolCall(accept.name, base))
        if whole.call is None:
            return None, whole.needs
        tool = self._new.get(whole.call.name)
        assert tool is not None, "what is migrated stands in the new document"
        needed = tool.contract.schema.get("required", ())
        # A new name stands where the old one did.
        places = dict(zip(base, whole.call.arguments, strict=False))
        found: dict[str, list[Any]] = {name: [value] for name, value in whole.call.arguments.items()}
        for name, values in given.items():
            now = places[name]
            found[now] = list(self._values(accept.name, base, name, now, values))
            if _OMITTED in values and now not in needed:
                found[now].append(_OMITTED)
        return ExpectedCall(whole.call.name, found), ""

    def _values(
        self, tool: str, base: Mapping[str, Any], name: str, now: str, values: Sequence[Any]
    ) -> Iterator[Any]:
        for value in values:
            moved = (
                self._migration.migrate(ToolCall(tool, {**base, name: value})) if value != _OMITTED else None
            )
            if moved is not None and moved.call is not None:
                yield moved.call.arguments[now]

    def _invented(
        self, before: Tool, now: Tool, change: ToolChange, count: int
    ) -> Iterator[tuple[Asked, ExpectedCall]]:
        """Requests made from the schema: calls that are right under both documents, each in its own form."""
        give = _concerned(change, before)
        made = 0
        for number in range(count * _ATTEMPTS):
            chance = random.Random(f"{self._salt}/{now.name}/{number}")
            arguments = arguments_for(before, chance, give=give)
            if made == count or arguments is None:
                return
            call = ToolCall(before.name, arguments)
            found = self._migration.migrate(call)
            if found.call is None:  # a value that is gone, and nobody has said what takes its place
                continue
            made += 1
            # In the words of the new form: what is filled in must be said, or nobody could answer.
            said = {"role": "user", "content": request_for(now, found.call.arguments, chance)}
            asked = Asked(f"{now.name}-{made}", (said,), _exactly(call, before), "schema")
            yield asked, _exactly(found.call, now)

    def _of_sibling(self, name: str, beside: Iterator[str]) -> None:
        tool, other = self._new.get(name), self._new.get(next(beside))
        if tool is None or other is None:
            return
        for one in self._asked[name][:1] or list(self._about(tool)):
            self.siblings.append(
                {
                    "id": one.id,
                    "messages": list(one.messages),
                    "tools": as_openai(self._shown(one, tool) if one.shown else [tool, other]),
                    "accept": [_call(one.accept)],
                    "source": one.source,
                }
            )

    def _about(self, tool: Tool) -> Iterator[Asked]:
        chance = random.Random(f"{self._salt}/{tool.name}")
        arguments = arguments_for(tool, chance, give={})
        if arguments is not None:
            said = ({"role": "user", "content": request_for(tool, arguments, chance)},)
            yield Asked(tool.name, said, _exactly(ToolCall(tool.name, arguments), tool), "schema")

    def _neighbours(self, tool: Tool) -> list[Tool]:
        """The tools that stand next to it: an agent is shown more than the one."""
        at = self._new.names.index(tool.name)
        around = [at + step for step in (1, -1, 2, -2) if 0 <= at + step < len(self._new.tools)]
        return [self._new.tools[index] for index in around[:_SHOWN_BESIDE]]


def _rule_of(change: ToolChange) -> str | None:
    if change.status not in ("renamed", "changed"):
        return None
    kinds = {one.kind for one in change.changes}
    return next((rule for rule in _RULES if rule in kinds), None)


def _stale_calls(change: ToolChange, before: Tool, now: Tool) -> list[StaleCall]:
    """The forms in which an answer would be one of before."""
    found = [StaleCall(before.name, {})] if change.status == "renamed" else []
    for one in change.changes:
        top = one.path.partition(".")[0].partition("[")[0]
        if one.kind in ("parameter-renamed", "parameter-removed", "parameter-moved") and top == one.path:
            found.append(StaleCall(change.name, {top: []}))
        elif one.kind in ("now-required", "parameter-added-required") and top == one.path:
            found.append(StaleCall(change.name, {top: [_OMITTED]}))
        elif one.kind in ("enum-narrowed", "type-changed", "type-narrowed") and top == one.path:
            gone = _gone_values(one, top, _properties(before).get(top), _properties(now).get(top))
            found += [StaleCall(change.name, {top: gone})] if gone else []
    return found


def _gone_values(change: Change, name: str, before: Any, now: Any) -> list[Any]:
    """The values of an enum that are not there any more; else the one that the witness shows."""
    if isinstance(before, dict) and isinstance(now, dict) and "enum" in before and "enum" in now:
        return [value for value in before["enum"] if value not in now["enum"]]
    value = (change.witness or {}).get(name)
    return [] if value is None else [value]


def _concerned(change: ToolChange, before: Tool) -> list[str]:
    """Parameters of the old form that a request about the change must give."""
    kinds = ("parameter-renamed", "parameter-moved", "type-changed", "enum-narrowed", "now-required")
    return [one.path for one in change.changes if one.kind in kinds and one.path in _properties(before)]


def _properties(tool: Tool) -> Mapping[str, Any]:
    found: Mapping[str, Any] = tool.contract.schema.get("properties", {})
    return found


def _exactly(call: ToolCall, tool: Tool) -> ExpectedCall:
    return ExpectedCall(call.name, accepted_arguments(call, tool))


def _call(accept: ExpectedCall) -> dict[str, Any]:
    return {"name": accept.name, "arguments": accept.arguments}
