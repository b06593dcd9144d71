"""Recorded decisions asked again: one in words, and all of them under another policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adaptman.errors import WorkspaceError
from adaptman.evaluation.runner import CaseOutcome, SuiteResult
from adaptman.evaluation.suites import SuiteKind
from adaptman.lifecycle.gate import judge, policy_for
from adaptman.lifecycle.workspace import Workspace
from policies.decide import Decision
from policies.explain import Paragraph, explain

if TYPE_CHECKING:
    from policies.policy import Policy
    from registry.reader import Reader
    from registry.tables import DecisionRow, SuiteRun


@dataclass(frozen=True)
class Explained:
    """The newest decision about a version, and its words."""

    number: int
    champion: int | None
    actor: str
    created_at: datetime
    decision: Decision
    paragraphs: tuple[Paragraph, ...]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            "version": self.number,
            "champion": self.champion,
            "actor": self.actor,
            "created_at": self.created_at,
            **self.decision.to_dict(),
            "words": [paragraph._asdict() for paragraph in self.paragraphs],
        }


@dataclass(frozen=True)
class Retried:
    """A recorded decision, and what another policy says on the same results."""

    number: int
    champion: int | None
    created_at: datetime
    policy_name: str
    recorded: Decision
    retried: Decision

    @property
    def changed(self) -> bool:
        return self.recorded.verdict is not self.retried.verdict

    @property
    def because(self) -> tuple[str, ...]:
        """The conditions that tell the two apart, as the new policy words them."""
        before = {(reason.suite, reason.rule): reason.passed for reason in self.recorded.reasons}
        return tuple(
            reason.text
            for reason in self.retried.reasons
            if before.get((reason.suite, reason.rule), True) is not reason.passed
        )

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            "version": self.number,
            "champion": self.champion,
            "created_at": self.created_at,
            "policy": self.policy_name,
            "recorded": self.recorded.verdict.value,
            "retried": self.retried.verdict.value,
            "changed": self.changed,
            "because": list(self.because),
        }


def explain_decision(workspace: Workspace, number: int) -> Explained:
    """The newest decision about version `number`, in words.

    Raises:
        NotFoundError: there is no such version.
        WorkspaceError: the gate has not judged it.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        version = reader.version(model.id, number)
        row = reader.latest_decision(version.id)
        if row is None:
            raise WorkspaceError(
                f"version {number} has no decision to explain", hint=f"run `adaptman evaluate {number}`"
            )
        champion = reader.number_of(row.champion_id)
    decision = _recorded(row)
    return Explained(number, champion, row.actor, row.created_at, decision, explain(decision))


def retry_decisions(workspace: Workspace, policy: Policy) -> list[Retried]:
    """Every recorded decision of the model line, oldest first, judged again under `policy`.

    The results are those that the decision was made on: the newest ones of candidate and champion at its
    time. Nothing is recorded.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        rows = [row for version in reader.versions(model.id) for row in reader.decisions(version.id)]
        return [_retried(reader, row, policy) for row in sorted(rows, key=lambda row: row.id)]


def _retried(reader: Reader, row: DecisionRow, policy: Policy) -> Retried:
    recorded = _recorded(row)
    digests = [item.suite_digest for item in recorded.evidence]
    candidate = _results(reader, row.version_id, digests, row.created_at)
    champion = _results(reader, row.champion_id, digests, row.created_at) if row.champion_id else []
    version = reader.version_by_id(row.version_id)
    former = reader.version_by_id(row.champion_id) if row.champion_id else None
    return Retried(
        number=version.number,
        champion=former.number if former else None,
        created_at=row.created_at,
        policy_name=row.policy_name,
        recorded=recorded,
        retried=judge(policy_for(policy, version, former), candidate, champion),
    )


def _results(reader: Reader, version_id: int, digests: list[str], before: datetime) -> list[SuiteResult]:
    """The newest result of a version on each suite at a time."""
    newest = {run.suite_digest: run for run in reader.suite_runs(version_id) if run.created_at <= before}
    return [_result(reader, newest[digest]) for digest in digests if digest in newest]


def _result(reader: Reader, run: SuiteRun) -> SuiteResult:
    suite = reader.suite_by_id(run.suite_id)
    return SuiteResult(
        suite_digest=run.suite_digest,
        suite_name=suite.name,
        kind=SuiteKind(suite.kind),
        metric=run.metric,
        higher_is_better=suite.higher_is_better,
        outcomes=tuple(CaseOutcome(one.case_id, one.score, "", "") for one in reader.outcomes(run.id)),
        value=run.value,
        low=run.low,
        high=run.high,
        n=run.n,
        duration_s=run.duration_s,
        unanswered=suite.case_count - run.n,
    )


def _recorded(row: DecisionRow) -> Decision:
    told = ("verdict", "policy_name", "policy_digest", "reasons", "evidence", "warnings")
    return Decision.from_dict({name: getattr(row, name) for name in told})
