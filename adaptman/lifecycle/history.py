"""Version × suite: every version's newest result on every suite, and what became of the version."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.lifecycle.runs import stale_of
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from registry import values

KIND_ORDER = ("target", "tools", "irrelevance", "format", "general", "drift", "custom", "context")
"""What was to be learned first, what must not be lost after it."""

CSV_FIELDS = (
    "version",
    "state",
    "waived",
    "rolled_back",
    "suite",
    "kind",
    "suite_digest",
    "metric",
    "higher_is_better",
    "value",
    "low",
    "high",
    "n",
    "complete",
    "created_at",
)


@dataclass(frozen=True)
class HistoryVersion:
    """One version, and what became of it."""

    number: int
    state: str
    parent: int | None
    note: str
    created_at: datetime
    was_champion: bool
    waiver: str | None
    """The reason with which it was promoted in spite of a refusal."""
    rolled_back: bool
    """True when it was champion and a rollback took it away."""


class Cell(NamedTuple):
    """A version's newest result on a suite: the metric and its 95 % interval over `n` cases.

    Where the run ended early, `complete` is False: the figures are of its first `n` cases, and compare with
    nothing.
    """

    value: float
    low: float
    high: float
    n: int
    created_at: datetime
    complete: bool = True
    stale: Mapping[str, Sequence[int]] = MappingProxyType({})
    """Of a suite made from changes: by rule the stale replies, and the cases."""


@dataclass(frozen=True)
class SuiteLine:
    """Results on one suite at one digest: only these compare with each other."""

    suite: str
    label: str
    """The suite's name, with the ordinal of its revision when there are results on several."""
    kind: str
    suite_digest: str
    metric: str
    higher_is_better: bool
    cells: Mapping[int, Cell]
    """By version number."""


@dataclass(frozen=True)
class HistoryView:
    """The history of a model line: versions by number, suites by kind (`KIND_ORDER`), then by first use."""

    model: str
    versions: tuple[HistoryVersion, ...]
    lines: tuple[SuiteLine, ...]

    @property
    def champion(self) -> HistoryVersion | None:
        """The version that is live."""
        return next((version for version in self.versions if version.state == "champion"), None)

    def newest(self, count: int) -> HistoryView:
        """The newest `count` versions and the champion; results of the others are left out."""
        kept = [one for one in self.versions[:-count] if one.state == "champion"] + [*self.versions[-count:]]
        numbers = {one.number for one in kept}
        lines = [
            replace(line, cells={at: cell for at, cell in line.cells.items() if at in numbers})
            for line in self.lines
        ]
        return HistoryView(self.model, tuple(kept), tuple(line for line in lines if line.cells))

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        champion = self.champion
        return {
            "model": self.model,
            "champion": champion.number if champion else None,
            "versions": [_version_dict(version) for version in self.versions],
            "suites": [_line_dict(line) for line in self.lines],
        }

    def to_csv(self) -> str:
        """One row for each version and suite digest, with a header."""
        by_number = {version.number: version for version in self.versions}
        text = io.StringIO()
        writer = csv.DictWriter(text, CSV_FIELDS, lineterminator="\n")
        writer.writeheader()
        for line in self.lines:
            for number, cell in sorted(line.cells.items()):
                writer.writerow(_csv_row(by_number[number], line, cell))
        return text.getvalue()


def history(workspace: Workspace) -> HistoryView:
    """The history of the model line.

    Raises:
        WorkspaceError: there is no model line.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        record = reader.history(model.id)
    return HistoryView(model.name, _versions(record), _lines(record))


def _versions(record: values.History) -> tuple[HistoryVersion, ...]:
    champions = {mark.number for mark in record.marks}
    waivers = {mark.number: mark.reason for mark in record.marks if mark.mark == "waived"}
    displaced = _rolled_back(record)
    return tuple(_version(row, champions, waivers, displaced) for row in record.versions)


def _rolled_back(record: values.History) -> set[int]:
    """Versions whose last time as champion was ended by a rollback."""
    ended: dict[int, bool] = {}
    for mark in record.marks:
        ended[mark.number] = False
        if mark.previous is not None:
            ended[mark.previous] = mark.mark == "rolled back"
    return {number for number, by_rollback in ended.items() if by_rollback}


def _version(
    row: values.HistoryVersion,
    champions: set[int],
    waivers: Mapping[int, str],
    displaced: set[int],
) -> HistoryVersion:
    return HistoryVersion(
        number=row.number,
        state=row.state.value,
        parent=row.parent,
        note=row.note,
        created_at=row.created_at,
        was_champion=row.number in champions,
        waiver=waivers.get(row.number),
        rolled_back=row.number in displaced,
    )


def _lines(record: values.History) -> tuple[SuiteLine, ...]:
    grouped: dict[tuple[str, str], list[values.HistoryRow]] = {}
    digests: dict[str, list[str]] = {}
    for row in record.rows:
        grouped.setdefault((row.suite, row.suite_digest), []).append(row)
        known = digests.setdefault(row.suite, [])
        if row.suite_digest not in known:
            known.append(row.suite_digest)
    lines = [_line(rows, _label(name, digest, digests[name])) for (name, digest), rows in grouped.items()]
    return tuple(sorted(lines, key=_place))


def _place(line: SuiteLine) -> tuple[int, int, str]:
    """By kind, and within a kind as the suites came into use."""
    return _kind_rank(line.kind), min(line.cells), line.suite


def _label(name: str, digest: str, digests: list[str]) -> str:
    return name if len(digests) == 1 else f"{name} #{digests.index(digest) + 1}"


def _kind_rank(kind: str) -> int:
    return KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER)


def _line(rows: list[values.HistoryRow], label: str) -> SuiteLine:
    newest = {row.number: row for row in sorted(rows, key=lambda row: row.created_at)}
    first = rows[0]
    return SuiteLine(
        suite=first.suite,
        label=label,
        kind=first.kind,
        suite_digest=first.suite_digest,
        metric=first.metric,
        higher_is_better=first.higher_is_better,
        cells={
            number: Cell(row.value, row.low, row.high, row.n, row.created_at, row.complete, stale_of(row))
            for number, row in newest.items()
        },
    )


def _version_dict(version: HistoryVersion) -> dict[str, Any]:
    return {
        "version": version.number,
        "state": version.state,
        "parent": version.parent,
        "was_champion": version.was_champion,
        "waived": version.waiver is not None,
        "waiver": version.waiver,
        "rolled_back": version.rolled_back,
        "note": version.note,
        "created_at": version.created_at,
    }


def _line_dict(line: SuiteLine) -> dict[str, Any]:
    return {
        "suite": line.suite,
        "kind": line.kind,
        "suite_digest": line.suite_digest,
        "metric": line.metric,
        "higher_is_better": line.higher_is_better,
        "results": [
            {
                "version": number,
                "value": cell.value,
                "low": cell.low,
                "high": cell.high,
                "n": cell.n,
                "complete": cell.complete,
                "created_at": cell.created_at,
                **({"stale": dict(cell.stale)} if cell.stale else {}),
            }
            for number, cell in sorted(line.cells.items())
        ],
    }


def _csv_row(version: HistoryVersion, line: SuiteLine, cell: Cell) -> dict[str, Any]:
    return {
        "version": version.number,
        "state": version.state,
        "waived": str(version.waiver is not None).lower(),
        "rolled_back": str(version.rolled_back).lower(),
        "suite": line.suite,
        "kind": line.kind,
        "suite_digest": line.suite_digest,
        "metric": line.metric,
        "higher_is_better": str(line.higher_is_better).lower(),
        "value": repr(cell.value),
        "low": repr(cell.low),
        "high": repr(cell.high),
        "n": cell.n,
        "complete": str(cell.complete).lower(),
        "created_at": cell.created_at.isoformat(),
    }
