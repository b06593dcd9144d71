"""The tools as they are now, against those that the champion was taught. Nothing is recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adaptman.errors import WorkspaceError
from adaptman.lifecycle.schema import taught_schema
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.changes import ChangeClass, ChangeSet
from adaptman.toolspec.describe import gravest, rank
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.readers import read_document

Threshold = Literal["breaking", "meaning", "habit"]


@dataclass(frozen=True)
class SchemaCheck:
    """What differs between the tools that version `champion` was taught, schema `schema`, and `origin`."""

    champion: int
    schema: int
    origin: str
    changes: ChangeSet
    fail_on: Threshold
    before: ToolDocument
    after: ToolDocument

    @property
    def worst(self) -> ChangeClass | None:
        """The class of the gravest change; None where there is none."""
        found = (one for one in map(gravest, self.changes.tools) if one is not None)
        return min(found, key=rank, default=None)

    @property
    def drift(self) -> bool:
        """Whether any change is as grave as `fail_on`, or graver."""
        worst = self.worst
        return worst is not None and rank(worst) <= rank(ChangeClass(self.fail_on))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "champion": self.champion,
            "schema": self.schema,
            "source": self.origin,
            "fail_on": self.fail_on,
            "worst": str(self.worst) if self.worst else None,
            "drift": self.drift,
            "changes": self.changes.to_dict(),
        }


def check_schema(
    workspace: Workspace,
    data: bytes,
    origin: str,
    *,
    fail_on: Threshold,
    renamed: Mapping[str, str] | None = None,
    not_renamed: Collection[str] = (),
) -> SchemaCheck:
    """Compare a document with the one that the champion was taught.

    Raises:
        ToolDocumentError: the document cannot be read, or a renamed tool is not where it should be.
        WorkspaceError: there is no champion, or it was taught no tools.
        ArtifactError: the stored document is missing or damaged.
    """
    document = read_document(data, origin)
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        champion = reader.champion(model.id)
    taught = taught_schema(workspace, champion) if champion else None
    if champion is None or taught is None:
        who = f"version {champion.number}, the champion, was" if champion else "there is no champion that was"
        raise WorkspaceError(
            f"{who} taught no tools: there is nothing to compare with",
            hint="run an update first: `adaptman schema register`, then `adaptman update run`",
        )
    before = taught.document
    changes = diff(before, document, renamed=renamed or {}, not_renamed=not_renamed)
    return SchemaCheck(champion.number, taught.row.number, origin, changes, fail_on, before, document)
