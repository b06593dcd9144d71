"""Two versions case by case: what broke, what was mended, and what both wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import ArtifactError, SuiteError, WorkspaceError
from adaptman.evaluation.runner import CaseOutcome, SuiteResult
from adaptman.lifecycle.runs import diagnosis_of
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from registry.reader import Reader
    from registry.tables import Suite, SuiteRun


@dataclass(frozen=True)
class Answer:
    """How a version did on a case. `output` and `detail` are None where the stored outputs cannot be read."""

    score: float
    output: str | None
    detail: str | None
    """What was wrong, in words; "" where nothing was."""
    cause: str = ""
    """`form`, `knowledge` or `unknown` where `evaluate --diagnose` asked; else ""."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        told = {"score": self.score, "output": self.output, "detail": self.detail}
        return {**told, "cause": self.cause} if self.cause else told


@dataclass(frozen=True)
class ChangedCase:
    """A case on which the two versions differ."""

    case_id: str
    before: Answer
    after: Answer

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"case": self.case_id, "a": self.before.to_dict(), "b": self.after.to_dict()}


@dataclass(frozen=True)
class SuiteDiff:
    """One suite that both answered. Cases that changed most come first, then in the suite's order."""

    suite: str
    kind: str
    suite_digest: str
    metric: str
    before: float
    after: float
    broke: tuple[ChangedCase, ...]
    mended: tuple[ChangedCase, ...]
    same: int
    unanswered: int
    """Cases that only one of the two answered, where an evaluation ended early."""
    unreadable: str
    """Why outputs are missing; "" where they are not."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            "suite": self.suite,
            "kind": self.kind,
            "suite_digest": self.suite_digest,
            "metric": self.metric,
            "a": self.before,
            "b": self.after,
            "broke": [case.to_dict() for case in self.broke],
            "mended": [case.to_dict() for case in self.mended],
            "same": self.same,
            "unanswered": self.unanswered,
        }


class NotCompared(NamedTuple):
    """A suite on which the two cannot be compared, and why."""

    suite: str
    reason: str


@dataclass(frozen=True)
class VersionDiff:
    """Version `before` against version `after`: suites by name."""

    before: int
    after: int
    suites: tuple[SuiteDiff, ...]
    not_compared: tuple[NotCompared, ...]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            "a": self.before,
            "b": self.after,
            "suites": [suite.to_dict() for suite in self.suites],
            "not_compared": [one._asdict() for one in self.not_compared],
        }


class _Pair(NamedTuple):
    """The newest runs of the two on one suite at one digest."""

    suite: Suite
    before: SuiteRun
    after: SuiteRun


def compare_versions(
    workspace: Workspace, before: int, after: int, *, suite: str | None = None
) -> VersionDiff:
    """The stored results of two versions, case by case, on every suite or on one; nothing is evaluated.

    Raises:
        NotFoundError: there is no such version.
        WorkspaceError: neither version has a result on the suite that is asked for.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        runs = [reader.newest_runs(reader.version(model.id, number).id) for number in (before, after)]
        suites = reader.suites(model.id, active_only=False)
        pairs, missing = _paired(suites, runs[0], runs[1], before, after)
        wanted = [pair for pair in pairs if suite in (None, pair.suite.name)]
        diffs = tuple(_diff(workspace, reader, pair) for pair in wanted)
    left_out = tuple(one for one in missing if suite in (None, one.suite))
    if suite is not None and not diffs and not left_out:
        raise WorkspaceError(
            f"neither version has a result on suite `{suite}`", hint="`adaptman suite list` lists the suites"
        )
    return VersionDiff(before, after, diffs, left_out)


def _paired(
    suites: Sequence[Suite], a: Mapping[int, SuiteRun], b: Mapping[int, SuiteRun], before: int, after: int
) -> tuple[list[_Pair], list[NotCompared]]:
    pairs, missing = [], []
    for name in sorted({row.name for row in suites}):
        rows = [row for row in suites if row.name == name]
        ran_a = {row.suite_digest: (row, a[row.id]) for row in rows if row.id in a}
        ran_b = {row.suite_digest: (row, b[row.id]) for row in rows if row.id in b}
        common = [row for row in rows if row.suite_digest in ran_a and row.suite_digest in ran_b]
        if common:
            digest = common[-1].suite_digest
            pairs.append(_Pair(common[-1], ran_a[digest][1], ran_b[digest][1]))
        elif ran_a or ran_b:
            reason = _reason(bool(ran_a), bool(ran_b), before, after)
            missing.append(NotCompared(name, reason))
    return pairs, missing


def _reason(ran_a: bool, ran_b: bool, before: int, after: int) -> str:
    if ran_a and ran_b:
        return "the suite was changed between the two: they answered different cases"
    return f"version {before if ran_b else after} was not run on it"


def _diff(workspace: Workspace, reader: Reader, pair: _Pair) -> SuiteDiff:
    a, trouble_a = _answers(workspace, reader, pair.before)
    b, trouble_b = _answers(workspace, reader, pair.after)
    both = [case_id for case_id in a if case_id in b]
    sign = 1 if pair.suite.higher_is_better else -1
    changed = [ChangedCase(case_id, a[case_id], b[case_id]) for case_id in both]
    changed.sort(key=lambda case: -abs(case.after.score - case.before.score))
    gain = {case.case_id: sign * (case.after.score - case.before.score) for case in changed}
    return SuiteDiff(
        suite=pair.suite.name,
        kind=pair.suite.kind,
        suite_digest=pair.suite.suite_digest,
        metric=pair.suite.metric,
        before=pair.before.value,
        after=pair.after.value,
        broke=tuple(case for case in changed if gain[case.case_id] < 0),
        mended=tuple(case for case in changed if gain[case.case_id] > 0),
        same=sum(gain[case_id] == 0 for case_id in both),
        unanswered=len({*a, *b}) - len(both),
        unreadable=trouble_a or trouble_b,
    )


def _answers(workspace: Workspace, reader: Reader, run: SuiteRun) -> tuple[dict[str, Answer], str]:
    """By case, and why the outputs are missing. The scores are in the record, the outputs in the store."""
    try:
        told = {outcome.case_id: outcome for outcome in _outcomes(workspace, run)}
        trouble = ""
    except (ArtifactError, SuiteError, ValueError) as error:
        told, trouble = {}, str(error)
    causes = diagnosis_of(run)
    answers = {
        case_id: _answer(score, told.get(case_id), causes.get(case_id, ""))
        for case_id, score in reader.outcomes(run.id)
    }
    return answers, trouble


def _answer(score: float, told: CaseOutcome | None, cause: str) -> Answer:
    return Answer(score, told.output if told else None, told.detail if told else None, cause)


def _outcomes(workspace: Workspace, run: SuiteRun) -> Iterator[CaseOutcome]:
    if run.outputs_digest is None:
        raise ArtifactError("a run was recorded without what the model wrote")
    yield from SuiteResult.from_dict(json.loads(workspace.store.get_bytes(run.outputs_digest))).outcomes
