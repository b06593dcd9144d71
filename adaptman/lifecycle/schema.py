"""Tool documents: register one, list them, show one, compare two."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from adaptman.errors import ToolDocumentError, WorkspaceError
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.changes import ChangeSet
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.readers import read_document

if TYPE_CHECKING:
    from registry.reader import Reader
    from registry.tables import ModelVersion, ToolSchema
    from registry.writer import Writer


@dataclass(frozen=True)
class SchemaRegistration:
    """A document that stands in the registry. `created` is False when it stood there before."""

    row: ToolSchema
    document: ToolDocument
    changes: ChangeSet
    previous: int | None
    """Number of the document that `changes` starts from; `None` when this is the first."""
    created: bool
    before: ToolDocument | None = None
    """The document that `changes` starts from."""


@dataclass(frozen=True)
class RegisteredSchema:
    """A registered document: its row, and the document read back from the store."""

    row: ToolSchema
    document: ToolDocument


@dataclass(frozen=True)
class SchemaComparison:
    """What changed from one registered document to another."""

    old: int
    new: int
    changes: ChangeSet
    before: ToolDocument
    after: ToolDocument


def register_schema(
    workspace: Workspace,
    data: bytes,
    origin: str,
    *,
    note: str = "",
    renamed: Mapping[str, str] | None = None,
    not_renamed: Collection[str] = (),
) -> SchemaRegistration:
    """Store the author's bytes and record the document with its change set against the newest one.

    `renamed` maps old tool names to new ones; `not_renamed` names old ones that are gone, or wrong `old=new`.

    Raises:
        ToolDocumentError: the document cannot be read, a renamed tool is not where it should be, or renames
            are told for a document that stands with its change set already.
        WorkspaceError: there is no model line.
    """
    model = workspace.model_row()
    document = read_document(data, origin)
    digest = workspace.store.put_bytes(data)
    while True:  # again where somebody else registered a document since: comparing takes no lock
        with workspace.registry.read() as reader:
            before = reader.latest_tool_schema(model.id)
            if before is not None and before.document_digest == digest:
                _check_no_renames(before, renamed or {}, not_renamed)
                standing = _standing(reader, before, document)
                break
        old = _document_of(workspace, before) if before is not None else None
        changes = diff(old, document, renamed=renamed or {}, not_renamed=not_renamed)
        done = _record(workspace, model.id, before, document, digest, changes, note)
        if done is not None:
            return replace(done, before=old)
    if standing.previous is None:
        return standing
    return replace(standing, before=registered_schema(workspace, standing.previous).document)


def _record(
    workspace: Workspace,
    model_id: int,
    before: ToolSchema | None,
    document: ToolDocument,
    digest: str,
    changes: ChangeSet,
    note: str,
) -> SchemaRegistration | None:
    """Record the document if `before` is still the newest one."""

    def record(writer: Writer) -> SchemaRegistration | None:
        newest = writer.latest_tool_schema(model_id)
        if (newest and newest.id) != (before and before.id):
            return None
        row = writer.add_tool_schema(
            model_id,
            document_digest=digest,
            contract_digest=document.digest,
            source_format=document.source_format.value,
            tool_count=len(document.tools),
            change_set=changes.to_dict(),
            breaking=changes.breaking,
            note=note,
        ).row
        return SchemaRegistration(row, document, changes, before.number if before else None, created=True)

    return workspace.registry.write(record)


def _check_no_renames(row: ToolSchema, renamed: Mapping[str, str], not_renamed: Collection[str]) -> None:
    if renamed or not_renamed:
        raise ToolDocumentError(
            f"schema {row.number} holds this document already, and its change set stands as it was recorded",
            hint=f"`adaptman schema diff OLD {row.number} --renamed … --not-renamed …` compares it otherwise",
        )


def list_schemas(workspace: Workspace) -> list[ToolSchema]:
    """All documents of the model line, by number."""
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        return reader.tool_schemas(model.id)


def registered_schema(workspace: Workspace, number: int | None = None) -> RegisteredSchema:
    """The document with that number, or the newest one.

    Raises:
        NotFoundError: there is no document of that number.
        WorkspaceError: no document was registered yet.
        ArtifactError: the stored document is missing or damaged.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        row = _row(reader, model.id, number)
    return RegisteredSchema(row, _document_of(workspace, row))


def taught_schema(workspace: Workspace, version: ModelVersion) -> RegisteredSchema | None:
    """The tools that a version was taught; None for the base.

    Raises:
        ArtifactError: the stored document is missing or damaged.
    """
    if version.tool_schema_id is None:
        return None
    with workspace.registry.read() as reader:
        row = reader.tool_schema_by_id(version.tool_schema_id)
    return RegisteredSchema(row, _document_of(workspace, row))


def compare_schemas(
    workspace: Workspace,
    old: int,
    new: int | None = None,
    *,
    renamed: Mapping[str, str] | None = None,
    not_renamed: Collection[str] = (),
) -> SchemaComparison:
    """What changed from document `old` to document `new`, or to the newest one.

    Raises:
        NotFoundError: there is no document of that number.
        ToolDocumentError: a renamed tool is not where it should be.
        ArtifactError: a stored document is missing or damaged.
    """
    before, after = registered_schema(workspace, old), registered_schema(workspace, new)
    if renamed or not_renamed:
        changes = diff(before.document, after.document, renamed=renamed or {}, not_renamed=not_renamed)
    else:
        changes = changes_between(before, after)
    return SchemaComparison(before.row.number, after.row.number, changes, before.document, after.document)


def changes_between(before: RegisteredSchema | None, after: RegisteredSchema) -> ChangeSet:
    """The change set on record where `before` came right before `after`, with the renames that were confirmed
    or denied then; a fresh comparison otherwise."""
    if (before.row.number if before else 0) == after.row.number - 1:
        return ChangeSet.from_dict(after.row.change_set)
    return diff(before.document if before else None, after.document)


def _row(reader: Reader, model_id: int, number: int | None) -> ToolSchema:
    if number is not None:
        return reader.tool_schema(model_id, number)
    newest = reader.latest_tool_schema(model_id)
    if newest is None:
        raise WorkspaceError(
            "no tool document is registered yet", hint="register one with `adaptman schema register FILE`"
        )
    return newest


def _document_of(workspace: Workspace, row: ToolSchema) -> ToolDocument:
    return read_document(workspace.store.get_bytes(row.document_digest), f"tool schema {row.number}")


def _standing(reader: Reader, row: ToolSchema, document: ToolDocument) -> SchemaRegistration:
    """What registering the newest document once more amounts to: nothing is recorded."""
    earlier = [one.number for one in reader.tool_schemas(row.model_id) if one.number < row.number]
    changes = ChangeSet.from_dict(row.change_set)
    return SchemaRegistration(row, document, changes, max(earlier, default=None), created=False)
