"""Regression suites: register one, import some, list them, show one."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptman.errors import ArtifactError, SuiteError
from adaptman.evaluation.breakdown import KINDS, ToolFigure, by_tool
from adaptman.evaluation.checks import scorer_versions
from adaptman.evaluation.suites import SuiteKind, read_suite
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from adaptman.evaluation.bfcl import ImportedCases, LeftOut
    from adaptman.evaluation.suites import Suite
    from registry import tables
    from registry.reader import Reader
    from registry.writer import Writer


OF_ONE_UPDATE = (SuiteKind.TARGET, SuiteKind.CONTEXT)
"""Kinds that ask about one update, and no later one."""


@dataclass(frozen=True)
class SuiteRegistration:
    """A suite that stands in the registry. `created` is False when it stood there before."""

    row: tables.Suite
    suite: Suite
    created: bool


@dataclass(frozen=True)
class RegisteredSuite:
    """A registered suite: its row, its cases read back from the store, and its figures tool by tool.

    The figures are those of the champion, whose number is `champion`; None where it was not run on the suite.
    """

    row: tables.Suite
    suite: Suite
    champion: int | None = None
    by_tool: tuple[ToolFigure, ...] = ()


@dataclass(frozen=True)
class SuiteImport:
    """An imported suite, and the cases of its source that have no place in it."""

    registration: SuiteRegistration
    left_out: tuple[LeftOut, ...]


def register_suite(
    workspace: Workspace,
    data: bytes,
    *,
    name: str,
    kind: SuiteKind,
    origin: str,
    note: str = "",
    schema_id: int | None = None,
) -> SuiteRegistration:
    """Put the file into the store and record it as the newest revision of the suite `name`.

    `schema_id` is the row of the tool schema that a suite of one update asks about; None: the newest one.

    Raises:
        SuiteError: the file is not a suite of that kind, with file, line and field; or a scorer that it asks
            for is not installed.
        WorkspaceError: there is no model line.
    """
    model = workspace.model_row()
    suite = read_suite(data, name=name, kind=kind, origin=origin)
    scorer_versions(suite)
    digest = workspace.store.put_bytes(data)

    def record(writer: Writer) -> SuiteRegistration:
        row, created = writer.add_suite(
            model.id,
            name=suite.name,
            kind=suite.kind.value,
            object_digest=digest,
            suite_digest=suite.digest,
            case_count=len(suite.cases),
            metric=suite.metric,
            higher_is_better=suite.higher_is_better,
            tool_schema_id=schema_id or _schema_asked_about(writer, model.id, kind),
            note=note,
        )
        return SuiteRegistration(row, suite, created)

    return workspace.registry.write(record)


def _schema_asked_about(reader: Reader, model_id: int, kind: SuiteKind) -> int | None:
    """A target suite asks about one update: the one to the newest tool schema."""
    newest = reader.latest_tool_schema(model_id) if kind in OF_ONE_UPDATE else None
    return newest.id if newest else None


def import_bfcl(
    workspace: Workspace,
    categories: Sequence[str] = (),
    *,
    folder: Path | None = None,
    name: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[SuiteImport]:
    """Register a suite for each category of BFCL v4 (all of a single turn if none is named).

    `folder` has BFCL's files; None: the installed wheel `bfcl-eval`. Of each category `limit` cases are drawn
    by `seed`. A suite is called `bfcl-CATEGORY`, and `name` if it is the only one.

    Raises:
        SuiteError: there is no such category, or its files cannot be read. Nothing is registered then.
    """
    from adaptman.evaluation import bfcl

    chosen = tuple(dict.fromkeys(categories)) or tuple(bfcl.CATEGORIES)
    if name is not None and len(chosen) > 1:
        raise SuiteError(
            "one name for several categories", hint="import them one by one, or leave the name out"
        )
    data = bfcl.wheel_data() if folder is None else bfcl.BfclData(folder, str(folder))
    found = {category: bfcl.read_category(data, category) for category in chosen}
    return [
        _register_import(
            workspace,
            cases,
            name=name or f"bfcl-{category}",
            origin=f"BFCL v4 `{category}`, {data.origin}, {bfcl.LICENCE}",
            draw=_Draw(limit, f"{seed}/{category}", seed),
        )
        for category, cases in found.items()
    ]


def import_task(
    workspace: Workspace,
    task: str,
    *,
    folder: Path | None = None,
    name: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> SuiteImport:
    """Register a task of lm-evaluation-harness as a suite of kind `general`, called like the task or `name`.

    `folder` has YAML files of tasks; None: the harness's own tasks. `limit` cases are drawn by `seed`.

    Raises:
        SuiteError: the harness is not installed, or the task cannot be had or has no counterpart.
    """
    from adaptman.evaluation.harness import read_task

    found = read_task(task, folder=folder)
    return _register_import(
        workspace,
        found.cases,
        name=name or task,
        origin=f"`{task}`, {found.origin}",
        draw=_Draw(limit, f"{seed}/{task}", seed),
    )


@dataclass(frozen=True)
class _Draw:
    """How many cases are taken, and by which chance; None: all."""

    limit: int | None
    salt: str
    seed: int

    def of(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The drawn ones, in their order."""
        if self.limit is None or self.limit >= len(records):
            return list(records)
        return [
            records[at] for at in sorted(random.Random(self.salt).sample(range(len(records)), self.limit))
        ]

    def told(self, drawn: int, available: int) -> str:
        return f"; {drawn} of {available} cases, seed {self.seed}" if drawn < available else ""


def _register_import(
    workspace: Workspace, cases: ImportedCases, *, name: str, origin: str, draw: _Draw
) -> SuiteImport:
    from adaptman.evaluation.bfcl import jsonl

    records = draw.of(cases.records)
    if not records:
        first = f": `{cases.left_out[0].id}`: {cases.left_out[0].reason}" if cases.left_out else ""
        raise SuiteError(f"{origin}: no case of it has a place in a suite{first}")
    note = f"{origin}{draw.told(len(records), len(cases.records))}"
    done = register_suite(workspace, jsonl(records), name=name, kind=cases.kind, origin=origin, note=note)
    return SuiteImport(done, cases.left_out)


def list_suites(workspace: Workspace, *, every_revision: bool = False) -> list[tables.Suite]:
    """The suites of the model line by name, each at its newest revision or at all of them."""
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        return reader.suites(model.id, active_only=not every_revision)


def registered_suite(workspace: Workspace, name: str) -> RegisteredSuite:
    """The newest revision of the suite `name`.

    Raises:
        NotFoundError: there is no suite of that name.
        ArtifactError: the stored suite is missing or damaged.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        row, champion = reader.suite(model.id, name), reader.champion(model.id)
        run = reader.latest_suite_run(champion.id, row.suite_digest) if champion else None
        scores = None if run is None else {one.case_id: one.score for one in reader.outcomes(run.id)}
    suite = load_suite(workspace, row)
    number = champion.number if champion is not None and run is not None else None
    return RegisteredSuite(row, suite, number, by_tool(suite, scores))


def load_suite(workspace: Workspace, row: tables.Suite) -> Suite:
    """The cases of one revision, read from the store.

    Raises:
        ArtifactError: the stored suite is missing or damaged.
    """
    data = workspace.store.get_bytes(row.object_digest)
    return read_suite(data, name=row.name, kind=SuiteKind(row.kind), origin=f"suite `{row.name}`")


def tool_figures(
    workspace: Workspace, row: tables.Suite, scores: Mapping[str, float]
) -> tuple[ToolFigure, ...]:
    """The figures of each tool that the suite's cases expect, by the scores of one run.

    Empty where the suite expects no tools, or cannot be read from the store: what stands beside them is told
    without them.
    """
    if row.kind not in KINDS:
        return ()
    try:
        return by_tool(load_suite(workspace, row), scores)
    except ArtifactError:
        return ()
