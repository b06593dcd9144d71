"""The tools as they are now, against those that the champion was taught. Nothing is recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adaptman.errors import WorkspaceError
from adaptman.lifecycle.schema import registered_schema
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.changes import ChangeClass, ChangeSet
from adaptman.toolspec.describe import gravest
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.readers import read_document

Threshold = Literal["breaking", "meaning", "habit"]
THRESHOLDS: tuple[Threshold, ...] = ("breaking", "meaning", "habit")
# The worst first. What could not be decided is never taken as safe.
_ORDER = (
    ChangeClass.BREAKING,
    ChangeClass.UNKNOWN,
    ChangeClass.MEANING,
    ChangeClass.HABIT,
    ChangeClass.BYTES,
)


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
        found = {gravest(tool) for tool in self.changes.tools}
        return next((one for one in _ORDER if one in found), None)

    @property
    def drift(self) -> bool:
        """Whether any change is as grave as `fail_on`, or graver."""
        worst = self.worst
        return worst is not None and _rank(worst) <= _rank(ChangeClass(self.fail_on))

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
        taught = champion.tool_schema_id if champion else None
        number = reader.tool_schema_by_id(taught).number if taught is not None else None
    if champion is None or number is None:
        who = f"version {champion.number}, the champion, was" if champion else "there is no champion that was"
        raise WorkspaceError(
            f"{who} taught no tools: there is nothing to compare with",
            hint="run an update first: `adaptman schema register`, then `adaptman update run`",
        )
    before = registered_schema(workspace, number)
    changes = diff(before.document, document, renamed=renamed or {}, not_renamed=not_renamed)
    return SchemaCheck(champion.number, number, origin, changes, fail_on, before.document, document)


def _rank(one: ChangeClass) -> int:
    return _ORDER.index(one)
