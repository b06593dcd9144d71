"""Versions by suites, and how one case fared: each in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Executable, Row, case, func
from sqlalchemy import select as columns
from sqlmodel import Session, col

from registry.tables import CaseOutcome, ChampionMove, ModelVersion, Suite, SuiteRun
from registry.values import CaseScore, History, HistoryMark, HistoryRow, HistoryVersion

MARKS = {"promote": "promoted", "rollback": "rolled back", "init": "init"}


def read_history(session: Session, model_id: int) -> History:
    """Three queries, however many versions there are, for the columns that are shown and no others."""
    versions = {row.id: row for row in _rows(session, _versions(model_id))}
    numbers = {row.id: row.number for row in versions.values()}
    marks = tuple(_mark(move, numbers) for move in _rows(session, _moves(model_id)))
    rows = tuple(
        HistoryRow._make((numbers[row[0]], versions[row[0]].state, *row[1:]))
        for row in _rows(session, _newest_runs(model_id))
    )
    return History(tuple(_version(row, numbers) for row in versions.values()), rows, marks)


def _rows(session: Session, query: Executable) -> Iterable[Row[Any]]:
    """Past the ORM, which would take its time over each row."""
    session.flush()
    return session.connection().execute(query)


def _versions(model_id: int) -> Executable:
    return (
        columns(
            col(ModelVersion.id), col(ModelVersion.number), col(ModelVersion.state),
            col(ModelVersion.parent_id), col(ModelVersion.note), col(ModelVersion.created_at),
        )
        .where(col(ModelVersion.model_id) == model_id)
        .order_by(col(ModelVersion.number))
    )  # fmt: skip


def _version(row: Row[Any], numbers: dict[int, int]) -> HistoryVersion:
    parent = None if row.parent_id is None else numbers[row.parent_id]
    return HistoryVersion(row.number, row.state, parent, row.note, row.created_at)


def _moves(model_id: int) -> Executable:
    return (
        columns(
            col(ChampionMove.version_id), col(ChampionMove.previous_id), col(ChampionMove.cause),
            col(ChampionMove.waiver), col(ChampionMove.actor), col(ChampionMove.at),
        )
        .where(col(ChampionMove.model_id) == model_id)
        .order_by(col(ChampionMove.id))
    )  # fmt: skip


def _mark(move: Row[Any], numbers: dict[int, int]) -> HistoryMark:
    return HistoryMark(
        number=numbers[move.version_id],
        mark="waived" if move.waiver is not None else MARKS[move.cause],
        previous=numbers[move.previous_id] if move.previous_id is not None else None,
        actor=move.actor,
        reason=move.waiver or "",
        at=move.at,
    )


def _newest_runs(model_id: int) -> Executable:
    """The version's id, and then what a `HistoryRow` has after number and state, in its order."""
    newest_complete = func.max(case((col(SuiteRun.complete), col(SuiteRun.id))))
    newest = (
        columns(func.coalesce(newest_complete, func.max(SuiteRun.id)))
        .join(ModelVersion, col(ModelVersion.id) == col(SuiteRun.version_id))
        .where(col(ModelVersion.model_id) == model_id)
        .group_by(col(SuiteRun.version_id), col(SuiteRun.suite_id))
    )
    return (
        columns(
            col(SuiteRun.version_id), col(Suite.name), col(Suite.kind), col(Suite.suite_digest),
            col(SuiteRun.metric), col(Suite.higher_is_better), col(SuiteRun.value), col(SuiteRun.low),
            col(SuiteRun.high), col(SuiteRun.n), col(SuiteRun.complete), col(SuiteRun.created_at),
            col(SuiteRun.figures),
        )
        .join(Suite, col(Suite.id) == col(SuiteRun.suite_id))
        .where(col(SuiteRun.id).in_(newest))
        .order_by(col(Suite.name), col(Suite.revision), col(SuiteRun.version_id))
    )  # fmt: skip


def case_scores(session: Session, model_id: int, suite_digest: str, case_id: str) -> list[CaseScore]:
    """The newest score of one case by each version, by version number.

    It goes by the ids of the suite's revisions, of which there is an index, and not by the runs' digest.
    """
    revisions = columns(col(Suite.id)).where(
        col(Suite.model_id) == model_id, col(Suite.suite_digest) == suite_digest
    )
    query = (
        columns(col(ModelVersion.number), col(CaseOutcome.score), col(SuiteRun.id))
        .join(SuiteRun, col(SuiteRun.version_id) == col(ModelVersion.id))
        .join(CaseOutcome, col(CaseOutcome.suite_run_id) == col(SuiteRun.id))
        .where(
            col(ModelVersion.model_id) == model_id,
            col(SuiteRun.suite_id).in_(revisions),
            col(CaseOutcome.case_id) == case_id,
        )
        .order_by(col(SuiteRun.id))
    )
    newest = {row.number: CaseScore._make(row) for row in _rows(session, query)}
    return [newest[number] for number in sorted(newest)]
