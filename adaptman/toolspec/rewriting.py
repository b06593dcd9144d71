"""Examples re-written through a change set, line by line; what nobody can know, somebody must say."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adaptman.errors import ExampleError
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.examples import call_of, examine, problem_of
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.migration import CallMigration, Step


@dataclass(frozen=True)
class RewrittenLine:
    """A line of examples: its bytes in the new form, or why it needs somebody.

    `data` is None where `needs` says why, and the bytes of before where nothing had to change. `hint` is what
    settles it on the command line, where anything does.
    """

    line: int
    raw: bytes
    data: bytes | None
    steps: tuple[Step, ...] = ()
    needs: str = ""
    hint: str = ""

    @property
    def changed(self) -> bool:
        """Whether it stands in a new form."""
        return self.data is not None and self.data != self.raw


@dataclass(frozen=True)
class Rewriting:
    """A whole file."""

    lines: tuple[RewrittenLine, ...]

    @property
    def data(self) -> bytes:
        """The lines that are right under the new document."""
        return b"".join(one.data + b"\n" for one in self.lines if one.data is not None)

    @property
    def rest(self) -> bytes:
        """The lines that need somebody, as they were."""
        return b"".join(one.raw + b"\n" for one in self.lines if one.data is None)

    @property
    def needs(self) -> tuple[RewrittenLine, ...]:
        """The lines that need somebody."""
        return tuple(one for one in self.lines if one.data is None)

    @property
    def steps(self) -> Counter[str]:
        """How many lines each kind of change has re-written."""
        return Counter(kind for one in self.lines for kind in {step.kind for step in one.steps})

    @property
    def assumed(self) -> Counter[str]:
        """How many lines took a parameter's default, by `TOOL.PARAMETER`: nobody said so."""
        return Counter(step.path for one in self.lines for step in set(one.steps) if step.assumed)


def rewrite(data: bytes, origin: str, migration: CallMigration, new: ToolDocument) -> Rewriting:
    """Each example of `data` as it must be under the document `new`, to which `migration` leads.

    Calls, the names of tools in results, and the tools that are shown are re-written; everything else, the
    order of keys and the form of the arguments stay. Each result is right under `new`.
    """
    return Rewriting(tuple(_lines(data, origin, migration, new)))


def _lines(data: bytes, origin: str, migration: CallMigration, new: ToolDocument) -> Iterator[RewrittenLine]:
    for found in examine(data, origin, None):
        if isinstance(found.result, ExampleError):
            yield _needs(found.line, found.raw, problem_of(found.result))
            continue
        line = _Line(migration, new)
        try:
            value = line.rewritten(json.loads(found.raw))
        except _NeedsError as error:
            yield _needs(found.line, found.raw, str(error), error.hint)
            continue
        data_now = found.raw if value is None else _dumped(value, found.raw)
        (checked,) = examine(data_now, origin, new)
        if isinstance(checked.result, ExampleError):
            yield _needs(found.line, found.raw, problem_of(checked.result), checked.result.hint)
        else:
            yield RewrittenLine(found.line, found.raw, data_now, tuple(line.steps))


def _needs(line: int, raw: bytes, why: str, hint: str = "") -> RewrittenLine:
    return RewrittenLine(line, raw, None, needs=why, hint=hint)


def _dumped(value: Any, raw: bytes) -> bytes:
    return json.dumps(value, ensure_ascii=raw.isascii()).encode()


class _NeedsError(Exception):
    """Somebody must say something; `hint` is how."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class _Line:
    """One example on its way into the new form."""

    def __init__(self, migration: CallMigration, new: ToolDocument) -> None:
        self._migration, self._new = migration, new
        self.steps: list[Step] = []

    def rewritten(self, value: dict[str, Any]) -> dict[str, Any] | None:
        """The example in the new form; None where it is in it already."""
        before = json.dumps(value)
        for message in value["messages"]:
            for entry in message.get("tool_calls") or ():
                self._call(entry)
            if message.get("role") == "tool" and isinstance(message.get("name"), str):
                message["name"] = self._migration.new_name(message["name"]) or message["name"]
        if value.get("tools"):
            value["tools"] = list(self._tools(value))
        return value if json.dumps(value) != before else None

    def _call(self, entry: dict[str, Any]) -> None:
        call = call_of(entry)
        found = self._migration.migrate(call)
        if found.call is None:
            raise _NeedsError(found.needs, found.hint)
        self.steps += (
            step._replace(path=f"{found.call.name}.{step.path}" if step.path else found.call.name)
            for step in found.steps
        )
        function = entry["function"]
        function["name"] = found.call.name
        if canonical_json(found.call.arguments) != canonical_json(call.arguments):
            function["arguments"] = _in_form(found.call, function.get("arguments"))

    def _tools(self, value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The tools that are shown, each once, as the new document has them; those that are gone are not
        shown any more."""
        shown: set[str] = set()
        for tool in value["tools"]:
            name = self._migration.new_name(tool["function"]["name"])
            now = self._new.get(name) if name is not None else None
            if now is None or now.name in shown:
                continue
            shown.add(now.name)
            same = json.dumps(now.as_function()) == json.dumps(tool["function"])  # in the author's order
            yield tool if same else {**copy.deepcopy(tool), "function": now.as_function()}


def _in_form(call: ToolCall, before: Any) -> Any:
    """The arguments as JSON text or as an object, whichever they were."""
    if not isinstance(before, str):
        return call.arguments
    return json.dumps(call.arguments, ensure_ascii=before.isascii())
