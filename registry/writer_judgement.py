"""Writing down scores and verdicts, and moving the champion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert

from registry import outbox
from registry.canonical import plain
from registry.errors import (
    InvalidRecordError,
    NothingToRollBackError,
    NotPassedError,
    PromotionError,
    StaleDecisionError,
)
from registry.states import RUNNABLE, VersionState
from registry.tables import CaseOutcome, DecisionRow, Model, ModelVersion, Suite, SuiteRun
from registry.values import Outcome, Promotion
from registry.writer_base import WriterBase, at_least, finite, said, subject_of

VERDICTS = {"pass": VersionState.PASSED, "refuse": VersionState.REFUSED}


class JudgementWriter(WriterBase):
    """From `trained` to `champion`, and back."""

    def record_suite_run(
        self,
        version_id: int,
        suite_id: int,
        *,
        metric: str,
        value: float,
        low: float,
        high: float,
        n: int,
        duration_s: float,
        environment: dict[str, Any],
        outcomes: Sequence[Outcome],
        outputs_digest: str | None,
        cache_key: str | None = None,
        complete: bool = True,
        figures: dict[str, Any] | None = None,
    ) -> SuiteRun:
        """One scoring of a version on a suite, with the score of each case in the suite's order.

        Of a run that is not `complete` MLflow is told nothing: its figures are those of the first cases only.

        Raises:
            InvalidRecordError: a number is not finite, a case occurs twice, `n` is not the number of
                outcomes, the version has no weights, or the suite belongs to another model line.
        """
        version, suite = self.version_by_id(version_id), self.suite_by_id(suite_id)
        model = self.model_by_id(version.model_id)
        _check_run(model, version, suite)
        _check_outcomes(n, outcomes)
        run = self._add(
            SuiteRun(
                version_id=version_id,
                suite_id=suite_id,
                suite_digest=suite.suite_digest,
                metric=metric,
                value=finite("value", value),
                low=finite("low", low),
                high=finite("high", high),
                n=n,
                duration_s=finite("duration_s", duration_s),
                complete=complete,
                cache_key=cache_key,
                environment=plain(environment),
                outputs_digest=outputs_digest,
                figures=plain(figures) if figures else None,
                created_at=self._clock(),
            )
        )
        self._add_outcomes(run.id, outcomes)
        payload = outbox.suite_run_payload(model, version, suite, run)
        told = {"suite_run_id": run.id, "complete": complete, "cache_key": cache_key, **payload}
        event = self._record("suite_run.recorded", subject_of(model, version), told, model_id=model.id)
        if complete:
            self._tell(event, "suite_run.recorded", payload)
        return run

    def _add_outcomes(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        rows = [
            {"suite_run_id": run_id, "position": position, "case_id": one.case_id, "score": float(one.score)}
            for position, one in enumerate(outcomes)
        ]
        if rows:
            self._session.execute(insert(CaseOutcome), rows)

    def mark_evaluated(self, version_id: int) -> ModelVersion:
        """All suites were run: `→ evaluated`. A version that was judged before may be judged again.

        Raises:
            IllegalTransitionError: it cannot be a candidate now.
            CollectedError: its adapter was removed from the store.
        """
        version = self.version_by_id(version_id)
        model = self.model_by_id(version.model_id)
        former = version.state
        self.check_kept(version)
        self._move(version, VersionState.EVALUATED)
        self._record("version.evaluated", subject_of(model, version), {"from": former}, model_id=model.id)
        return version

    def record_decision(
        self,
        version_id: int,
        *,
        champion_id: int | None,
        policy_name: str,
        policy_digest: str,
        verdict: str,
        reasons: Sequence[Any],
        evidence: Any,
        warnings: Sequence[Any],
        policy: dict[str, Any] | None = None,
    ) -> DecisionRow:
        """The gate's word on a version: `evaluated → passed` or `refused`. `policy` is the whole policy.

        Raises:
            InvalidRecordError: the verdict is not `pass` or `refuse`, or the champion is of another line.
            IllegalTransitionError: the version is not `evaluated`.
        """
        version = self.version_by_id(version_id)
        model = self.model_by_id(version.model_id)
        champion = self._judged_against(model, champion_id)
        self._move(version, _state_for(verdict))
        decision = self._add(
            DecisionRow(
                version_id=version_id,
                champion_id=champion_id,
                policy_name=policy_name,
                policy_digest=said("policy_digest", policy_digest),
                policy=plain(policy),
                verdict=str(verdict),
                reasons=plain(list(reasons)),
                evidence=plain(evidence),
                warnings=plain(list(warnings)),
                actor=self._actor,
                created_at=self._clock(),
            )
        )
        payload = outbox.decision_payload(model, version, champion, decision)
        told = {"decision_id": decision.id, **payload}
        event = self._record("decision.recorded", subject_of(model, version), told, model_id=model.id)
        self._tell(event, "decision.recorded", payload)
        return decision

    def _judged_against(self, model: Model, champion_id: int | None) -> ModelVersion | None:
        if champion_id is None:
            return None
        champion = self.version_by_id(champion_id)
        if champion.model_id != model.id:
            raise InvalidRecordError(f"champion with id `{champion_id}` is not of model `{model.name}`")
        return champion

    def promote(self, model_id: int, number: int, *, waiver: str | None = None) -> Promotion:
        """Make a version champion: states, alias, event and outbox in this one transaction.

        Raises:
            NotPassedError: the gate has not passed it; a refused one needs a `waiver`, the reason in words.
            StaleDecisionError: another version has become champion since it was judged.
            PromotionError: it is champion already, or the waiver is empty.
            CollectedError: its adapter was removed from the store.
        """
        model = self.model_by_id(model_id)
        version = self.version(model_id, number)
        reason = _waiver(version, waiver)
        decision = self.latest_decision(version.id)
        champion = self.champion(model_id)
        self._check_fresh(version, decision, champion)
        self._crown(version, champion)
        self._champion_moved(model, version, champion, cause="promote", decision=decision, waiver=reason)
        return Promotion(version, champion, decision, waived=reason is not None)

    def _check_fresh(
        self, version: ModelVersion, decision: DecisionRow | None, champion: ModelVersion | None
    ) -> None:
        if decision is None:
            hint = f"run `adaptman evaluate {version.number}`"
            raise NotPassedError(f"version `{version.number}` has no decision", hint=hint)
        if decision.champion_id != (champion.id if champion else None):
            judged = self.version_by_id(decision.champion_id).number if decision.champion_id else None
            raise StaleDecisionError(version.number, judged, champion.number if champion else None)

    def _crown(self, version: ModelVersion, champion: ModelVersion | None) -> None:
        self.check_kept(version)
        # The old champion goes first: the database refuses two, even for a moment.
        if champion is not None:
            self._move(champion, VersionState.RETIRED)
        self._move(version, VersionState.CHAMPION)

    def rollback(self, model_id: int) -> Promotion:
        """Back to the champion before this one. A second rollback right after goes forward again.

        Raises:
            NothingToRollBackError: there was no champion before.
            CollectedError: its adapter was removed from the store.
        """
        model = self.model_by_id(model_id)
        last = self.latest_move(model_id)
        if last is None or last.previous_id is None:
            raise NothingToRollBackError(
                f"model `{model.name}` has no former champion",
                hint="`adaptman history` shows what was champion when",
            )
        former, champion = self.version_by_id(last.previous_id), self.champion(model_id)
        self._crown(former, champion)
        self._champion_moved(model, former, champion, cause="rollback")
        return Promotion(former, champion, None, waived=False)


def _check_run(model: Model, version: ModelVersion, suite: Suite) -> None:
    if version.state not in RUNNABLE:
        raise InvalidRecordError(f"version `{version.number}` is `{version.state}`, so it cannot be scored")
    if suite.model_id != model.id:
        raise InvalidRecordError(f"suite `{suite.name}` belongs to another model line than `{model.name}`")


def _check_outcomes(n: int, outcomes: Sequence[Outcome]) -> None:
    at_least("n", n)
    if n != len(outcomes):
        raise InvalidRecordError(f"`n` is `{n}`, but there are `{len(outcomes)}` outcomes")
    seen: set[str] = set()
    for one in outcomes:
        finite(f"score of case {one.case_id}", one.score)
        if one.case_id in seen:
            raise InvalidRecordError(f"case `{one.case_id}` occurs twice in one run")
        seen.add(one.case_id)


def _state_for(verdict: str) -> VersionState:
    if verdict not in VERDICTS:
        raise InvalidRecordError(f"verdict `{verdict}` is neither `pass` nor `refuse`")
    return VERDICTS[verdict]


def _waiver(version: ModelVersion, waiver: str | None) -> str | None:
    """The reason to promote a refused version in spite of it; None where none is needed."""
    if waiver is not None and not waiver.strip():
        raise PromotionError("a waiver needs a reason", hint="say why: everybody reads it in the history")
    if version.state is VersionState.PASSED:
        return None
    if version.state is VersionState.REFUSED and waiver is not None:
        return waiver.strip()
    raise _refusal(version)


def _refusal(version: ModelVersion) -> PromotionError:
    number = version.number
    if version.state is VersionState.CHAMPION:
        return PromotionError(f"version `{number}` is champion already")
    if version.state is VersionState.REFUSED:
        hint = "promote it in spite of that with a waiver and a reason"
        return NotPassedError(f"version `{number}` was refused by the gate", hint=hint)
    hint = f"run `adaptman evaluate {number}`" if version.state in CANDIDATES else "train a new version"
    return NotPassedError(f"version `{number}` is `{version.state}`, not `passed`", hint=hint)


CANDIDATES = frozenset({VersionState.TRAINED, VersionState.EVALUATED})
