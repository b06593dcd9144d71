"""What the reader and the writer hand out beside rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from registry.states import VersionState
from registry.tables import (
    Adapter,
    Approval,
    DecisionRow,
    ExampleSet,
    ModelVersion,
    ReplaySet,
    Signature,
    Suite,
    ToolSchema,
)

Entry = TypeVar("Entry", Adapter, Approval, ExampleSet, ReplaySet, Signature, Suite, ToolSchema)


class Registered(NamedTuple, Generic[Entry]):
    """The row that now stands; `created` is False when an equal one stood before."""

    row: Entry
    created: bool

    @property
    def id(self) -> int:
        """The row's id."""
        return self.row.id


class Outcome(NamedTuple):
    """The score of one case."""

    case_id: str
    score: float


class Promotion(NamedTuple):
    """A champion moved: `version` took the place of `previous`."""

    version: ModelVersion
    previous: ModelVersion | None
    decision: DecisionRow | None
    waived: bool


class HistoryVersion(NamedTuple):
    """One version, as the history shows it; `parent` is a number."""

    number: int
    state: VersionState
    parent: int | None
    note: str
    created_at: datetime


class HistoryRow(NamedTuple):
    """The newest run of one version on one suite, a complete one where there is any.

    Rows compare only where `suite_digest` is the same and both are complete.
    """

    number: int
    state: VersionState
    suite: str
    kind: str
    suite_digest: str
    metric: str
    higher_is_better: bool
    value: float
    low: float
    high: float
    n: int
    complete: bool
    created_at: datetime
    figures: dict[str, Any] | None


class HistoryMark(NamedTuple):
    """Something that happened to a version: `promoted`, `rolled back` (to it), `waived` or `init`."""

    number: int
    mark: str
    previous: int | None
    actor: str
    reason: str
    at: datetime


class History(NamedTuple):
    """Versions by number, their newest suite runs, and the moves of the champion in order."""

    versions: tuple[HistoryVersion, ...]
    rows: tuple[HistoryRow, ...]
    marks: tuple[HistoryMark, ...]


class Standing(NamedTuple):
    """Numbers of the versions that the aliases of a model line name; the order is the one to move them in.

    `challenger` is the newest version that could be promoted as it stands.
    """

    champion: int | None
    previous: int | None
    challenger: int | None


class CaseScore(NamedTuple):
    """The score of one case by one version."""

    number: int
    score: float
    suite_run_id: int


class ChainProblem(NamedTuple):
    """What is wrong at one place of the event chain: `edited`, `dropped`, `moved` or `inserted`."""

    seq: int
    kind: str
    message: str


@dataclass(frozen=True)
class ChainReport:
    """The chain of `count` events computed again; `head_hash` is the hash of the last one."""

    count: int
    head_hash: str
    problems: tuple[ChainProblem, ...]

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


class RowProblem(NamedTuple):
    """A row that is not as the events tell: `edited`, `deleted` or `added`; or an event that is `untold`.

    `key` is the row's primary key; `event` is the one that wrote what was expected.
    """

    table: str
    key: str
    column: str | None
    event: int | None
    kind: str
    message: str


@dataclass(frozen=True)
class TableReport:
    """`count` rows compared with what the events tell of them; a run's case outcomes count as one."""

    count: int
    problems: tuple[RowProblem, ...]

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems
