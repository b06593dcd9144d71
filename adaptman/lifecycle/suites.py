"""Regression suites: register one, list them, show one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptman.evaluation.suites import SuiteKind, read_suite
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from adaptman.evaluation.suites import Suite
    from registry import tables
    from registry.reader import Reader
    from registry.writer import Writer


@dataclass(frozen=True)
class SuiteRegistration:
    """A suite that stands in the registry. `created` is False when it stood there before."""

    row: tables.Suite
    suite: Suite
    created: bool


@dataclass(frozen=True)
class RegisteredSuite:
    """A registered suite: its row, and its cases read back from the store."""

    row: tables.Suite
    suite: Suite


def register_suite(
    workspace: Workspace, data: bytes, *, name: str, kind: SuiteKind, origin: str, note: str = ""
) -> SuiteRegistration:
    """Put the file into the store and record it as the newest revision of the suite `name`.

    Raises:
        SuiteError: the file is not a suite of that kind; names file, line and field.
        WorkspaceError: there is no model line.
    """
    model = workspace.model_row()
    suite = read_suite(data, name=name, kind=kind, origin=origin)
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
            tool_schema_id=_schema_asked_about(writer, model.id, kind),
            note=note,
        )
        return SuiteRegistration(row, suite, created)

    return workspace.registry.write(record)


def _schema_asked_about(reader: Reader, model_id: int, kind: SuiteKind) -> int | None:
    """A target suite asks about one update: the one to the newest tool schema."""
    newest = reader.latest_tool_schema(model_id) if kind is SuiteKind.TARGET else None
    return newest.id if newest else None


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
        row = reader.suite(model.id, name)
    return RegisteredSuite(row, load_suite(workspace, row))


def load_suite(workspace: Workspace, row: tables.Suite) -> Suite:
    """The cases of one revision, read from the store.

    Raises:
        ArtifactError: the stored suite is missing or damaged.
    """
    data = workspace.store.get_bytes(row.object_digest)
    return read_suite(data, name=row.name, kind=SuiteKind(row.kind), origin=f"suite `{row.name}`")
