"""Suites made from the change set of a registered document."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptman.errors import SuiteError
from adaptman.evaluation.bfcl import jsonl
from adaptman.evaluation.generate import Asked, Generated, LeftOut, generate
from adaptman.evaluation.suites import ExpectedCall, Suite, SuiteKind, read_suite
from adaptman.lifecycle.examples import migration_between
from adaptman.lifecycle.suites import SuiteRegistration, load_suite, register_suite
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.examples import read_examples
from adaptman.toolspec.questions import calls_of

PER_TOOL = 4


@dataclass(frozen=True)
class GeneratedSuites:
    """Suites from document `old` to document `new`, not registered yet."""

    old: int
    new: int
    schema_id: int
    generated: Generated

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Requests that no case was made of."""
        return self.generated.left_out


def generate_suites(
    workspace: Workspace,
    *,
    schema: int,
    before: int | None = None,
    requests: bytes | None = None,
    origin: str = "",
    values: Sequence[str] = (),
    fills: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    not_renamed: Collection[str] = (),
    per_tool: int = PER_TOOL,
    seed: int = 0,
) -> GeneratedSuites:
    """The suites of the changes from document `before` (the one before, by default) to `schema`.

    They are taken from `requests` (JSONL of examples, or of a suite's cases, in the old form) and from the
    registered suites of kind target and tools, and made from the schema where these are too few.

    Raises:
        NotFoundError: there is no document of that number.
        ToolDocumentError: there is no document before, or something named is in none.
        ExampleError, SuiteError: a request that cannot be used.
        SuiteError: nothing changed that a case could ask about.
    """
    found = migration_between(
        workspace,
        schema=schema,
        before=before,
        values=values,
        fills=fills,
        renamed=renamed,
        not_renamed=not_renamed,
    )
    asked = list(_of_file(requests, origin)) if requests is not None else []
    asked += _of_suites(workspace)
    made = generate(
        found.old.document,
        found.new.document,
        found.changes,
        found.migration,
        _once(asked),
        suffix=str(schema),
        per_tool=per_tool,
        seed=seed,
    )
    old, new = found.old.row, found.new.row
    if not made.suites:
        raise SuiteError(
            f"from schema {old.number} to {new.number} no tool changed so that its calls do",
            hint=f"`adaptman schema diff {old.number} {new.number}` shows what did change",
        )
    return GeneratedSuites(old.number, new.number, new.id, made)


def register_generated(workspace: Workspace, made: GeneratedSuites) -> list[SuiteRegistration]:
    """Register all of them, each as the newest revision of its name."""
    origin = f"changes of schema {made.old} → {made.new}"
    return [
        register_suite(
            workspace,
            jsonl(suite.records),
            name=suite.name,
            kind=suite.kind,
            origin=origin,
            note=f"made from the {origin}",
            schema_id=made.schema_id if suite.kind is not SuiteKind.TOOLS else None,
        )
        for suite in made.generated.suites
    ]


def _of_file(data: bytes, origin: str) -> Iterator[Asked]:
    if b'"accept"' in data.lstrip().partition(b"\n")[0]:
        suite = read_suite(data, name=origin, kind=SuiteKind.TARGET, origin=origin)
        yield from _of_suite(suite, origin)
        return
    for example in read_examples(data, origin, None):
        calls = calls_of(example.messages[-1])
        if len(calls) == 1:
            accept = ExpectedCall(calls[0].name, {name: [one] for name, one in calls[0].arguments.items()})
            yield Asked(example.id, example.messages[:-1], accept, origin, _names(example.tools))


def _of_suite(suite: Suite, source: str) -> Iterator[Asked]:
    """Cases that ask for one call; those made from changes ask about another change."""
    for case in suite.cases:
        if len(case.accept) == 1 and not case.rule:
            yield Asked(case.id, case.messages, case.accept[0], source, _names(case.tools))


def _names(tools: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(tool["function"]["name"]) for tool in tools)


def _of_suites(workspace: Workspace) -> Iterator[Asked]:
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        rows = [row for row in reader.suites(model.id) if row.kind in (SuiteKind.TARGET, SuiteKind.TOOLS)]
    for row in rows:
        yield from _of_suite(load_suite(workspace, row), f"suite {row.name}")


def _once(asked: Sequence[Asked]) -> list[Asked]:
    """Ids are names: of two requests of one id the first counts."""
    return list({one.id: one for one in reversed(asked)}.values())[::-1]
