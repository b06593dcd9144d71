"""What changed between two tool documents, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

Status = Literal["added", "removed", "renamed", "changed", "unchanged"]
STATUSES: tuple[Status, ...] = ("added", "removed", "renamed", "changed", "unchanged")


class ChangeClass(StrEnum):
    """What a change means for somebody who calls the tool."""

    BREAKING = "breaking"
    """A call that was right before is wrong now; a witness shows one."""
    MEANING = "meaning"
    """The same calls are valid; what they mean may differ."""
    HABIT = "habit"
    """Safe, and worth teaching."""
    BYTES = "bytes"
    """The same contract in other words or another order."""
    UNKNOWN = "unknown"
    """Could not be decided; never to be taken as safe."""


@dataclass(frozen=True)
class Change:
    """One change of one tool.

    `path` is the parameter (`address.city`, `tags[]`), empty for the tool itself. `witness` is there
    for each breaking change: arguments that were valid and are not any more. `to` is the new
    parameter or tool, where something was renamed, moved or merged; `likelihood` (0 to 1) is there
    where a parameter seems to be renamed.
    """

    kind: str
    path: str
    change_class: ChangeClass
    reason: str
    witness: dict[str, Any] | None = None
    to: str = ""
    likelihood: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "change_class": str(self.change_class)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Change:
        """What `to_dict` wrote."""
        return cls(**{**value, "change_class": ChangeClass(value["change_class"])})


@dataclass(frozen=True)
class ToolChange:
    """One tool of the new document, or one that is gone.

    `likelihood` (0 to 1) is there for a rename: 1.0 where the author confirmed it.
    """

    status: Status
    name: str
    old_name: str | None = None
    likelihood: float | None = None
    changes: tuple[Change, ...] = ()

    @property
    def breaking(self) -> bool:
        """Whether calls that were right are wrong now."""
        gone = self.status in ("removed", "renamed")
        return gone or any(change.change_class is ChangeClass.BREAKING for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "changes": [change.to_dict() for change in self.changes]}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ToolChange:
        """What `to_dict` wrote."""
        return cls(**{**value, "changes": tuple(Change.from_dict(item) for item in value["changes"])})


@dataclass(frozen=True)
class ChangeSet:
    """All tools of the new document in its order, then those that are gone, in the old one's."""

    tools: tuple[ToolChange, ...]

    @property
    def breaking(self) -> bool:
        """Whether any tool's change breaks calls."""
        return any(tool.breaking for tool in self.tools)

    @property
    def counts(self) -> dict[str, int]:
        """How many tools have each status; every status is there."""
        found = Counter(tool.status for tool in self.tools)
        return {status: found[status] for status in STATUSES}

    def names(self, status: Status) -> tuple[str, ...]:
        """The (new) names of the tools of that status."""
        return tuple(tool.name for tool in self.tools if tool.status == status)

    @property
    def unchanged_names(self) -> tuple[str, ...]:
        """The names of the tools that did not change."""
        return self.names("unchanged")

    def to_dict(self) -> dict[str, Any]:
        """As JSON; `from_dict` reads it back."""
        return {
            "breaking": self.breaking,
            "counts": self.counts,
            "tools": [tool.to_dict() for tool in self.tools],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ChangeSet:
        """What `to_dict` wrote."""
        return cls(tuple(ToolChange.from_dict(item) for item in value["tools"]))
