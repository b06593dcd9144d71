"""Versions by suites, and how one case fared: each in a fixed number of queries."""

from __future__ import annotations

from sqlalchemy import case, func
from sqlmodel import Session, col, select

from registry.states import VersionState
from registry.tables import CaseOutcome, ChampionMove, ModelVersion, Suite, SuiteRun
from registry.values import CaseScore, History, HistoryMark, HistoryRow

MARKS = {"promote": "promoted", "rollback": "rolled back", "init": "init"}


def read_history(session: Session, model_id: int) -> History:
    """Three queries, however many versions there are."""
    of_model = select(ModelVersion).where(ModelVersion.model_id == model_id)
    versions = session.exec(of_model.order_by(col(ModelVersion.number))).all()
    by_id = {one.id: one for one in versions}
    moves = session.exec(
        select(ChampionMove).where(ChampionMove.model_id == model_id).order_by(col(ChampionMove.id))
    )
    marks = tuple(_mark(move, by_id) for move in moves)
    rows = tuple(_row(by_id[run.version_id], run, suite) for run, suite in _newest_runs(session, model_id))
    return History(tuple(versions), rows, marks)


def _newest_runs(session: Session, model_id: int) -> list[tuple[SuiteRun, Suite]]:
    newest_complete = func.max(case((col(SuiteRun.complete), col(SuiteRun.id))))
    newest = (
        select(func.coalesce(newest_complete, func.max(SuiteRun.id)))
        .join(ModelVersion, col(ModelVersion.id) == col(SuiteRun.version_id))
        .where(ModelVersion.model_id == model_id)
        .group_by(col(SuiteRun.version_id), col(SuiteRun.suite_id))
    )
    query = (
        select(SuiteRun, Suite)
        .join(Suite, col(Suite.id) == col(SuiteRun.suite_id))
        .where(col(SuiteRun.id).in_(newest))
        .order_by(col(Suite.name), col(Suite.revision), col(SuiteRun.version_id))
    )
    return list(session.exec(query))


def _row(version: ModelVersion, run: SuiteRun, suite: Suite) -> HistoryRow:
    return HistoryRow(
        number=version.number,
        state=VersionState(version.state),
        suite=suite.name,
        kind=suite.kind,
        suite_digest=suite.suite_digest,
        metric=run.metric,
        higher_is_better=suite.higher_is_better,
        value=run.value,
        low=run.low,
        high=run.high,
        n=run.n,
        complete=run.complete,
        created_at=run.created_at,
    )


def _mark(move: ChampionMove, by_id: dict[int, ModelVersion]) -> HistoryMark:
    return HistoryMark(
        number=by_id[move.version_id].number,
        mark="waived" if move.waiver is not None else MARKS[move.cause],
        previous=by_id[move.previous_id].number if move.previous_id is not None else None,
        actor=move.actor,
        reason=move.waiver or "",
        at=move.at,
    )


def case_scores(session: Session, model_id: int, suite_digest: str, case_id: str) -> list[CaseScore]:
    """The newest score of one case by each version, by version number."""
    query = (
        select(ModelVersion.number, CaseOutcome.score, SuiteRun.id)
        .join(SuiteRun, col(SuiteRun.id) == col(CaseOutcome.suite_run_id))
        .join(ModelVersion, col(ModelVersion.id) == col(SuiteRun.version_id))
        .where(
            ModelVersion.model_id == model_id,
            SuiteRun.suite_digest == suite_digest,
            CaseOutcome.case_id == case_id,
        )
        .order_by(col(SuiteRun.id))
    )
    newest = {number: CaseScore(number, score, run_id) for number, score, run_id in session.exec(query)}
    return [newest[number] for number in sorted(newest)]
