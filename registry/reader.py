"""Questions to the record. All answers of one reader come from the same snapshot."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import bindparam, func
from sqlmodel import Session, col, select

from registry import events, objects, replay
from registry.errors import CollectedError, NotFoundError
from registry.history import case_scores, read_history
from registry.manifest import build_of, decision_digest
from registry.states import VersionState
from registry.tables import (
    Adapter,
    Approval,
    CapacityAudit,
    CaseOutcome,
    ChampionMove,
    Collected,
    DecisionRow,
    EventRow,
    ExampleSet,
    Lease,
    Model,
    ModelVersion,
    OutboxRow,
    OutputFormatRow,
    Record,
    ReplaySet,
    Signature,
    Suite,
    SuiteAudit,
    SuiteRun,
    ToolSchema,
)
from registry.values import CaseScore, ChainReport, History, Outcome, Standing, TableReport

Row = TypeVar("Row", bound=Record)

# Written out in the statement: a plan that PostgreSQL keeps for any parameter has no use for their index.
IS_CHAMPION = col(ModelVersion.state) == bindparam(None, VersionState.CHAMPION, literal_execute=True)


class Reader:
    """Queries only. Methods that return `X | None` may find nothing; the others raise `NotFoundError`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _get(self, table: type[Row], row_id: int, what: str) -> Row:
        row = self._session.get(table, row_id)
        if row is None:
            raise NotFoundError(what, row_id)
        return row

    # model lines

    def models(self) -> list[Model]:
        """All model lines, by name."""
        return list(self._session.exec(select(Model).order_by(col(Model.name))))

    def model(self, name: str) -> Model:
        """The model line of that name."""
        found = self._session.exec(select(Model).where(Model.name == name)).one_or_none()
        if found is None:
            raise NotFoundError("model", name, known=[one.name for one in self.models()])
        return found

    def model_by_id(self, model_id: int) -> Model:
        """The model line with that id."""
        return self._get(Model, model_id, "model with id")

    # versions

    def champion(self, model_id: int) -> ModelVersion | None:
        """The version that is live, if there is one."""
        return self._session.exec(
            select(ModelVersion).where(ModelVersion.model_id == model_id, IS_CHAMPION)
        ).one_or_none()

    def version(self, model_id: int, number: int) -> ModelVersion:
        """The version with that number."""
        found = self._session.exec(
            select(ModelVersion).where(ModelVersion.model_id == model_id, ModelVersion.number == number)
        ).one_or_none()
        if found is None:
            raise NotFoundError("version", number, hint="`adaptman history` lists the versions")
        return found

    def versions(self, model_id: int) -> list[ModelVersion]:
        """All versions of a model line, by number."""
        query = select(ModelVersion).where(ModelVersion.model_id == model_id)
        return list(self._session.exec(query.order_by(col(ModelVersion.number))))

    def version_by_id(self, version_id: int) -> ModelVersion:
        """The version with that id."""
        return self._get(ModelVersion, version_id, "version with id")

    def moves(self, model_id: int) -> list[ChampionMove]:
        """Each time that the champion moved, oldest first."""
        query = select(ChampionMove).where(ChampionMove.model_id == model_id)
        return list(self._session.exec(query.order_by(col(ChampionMove.id))))

    def standing(self, model_id: int) -> Standing:
        """Which versions are champion, previous and challenger now."""
        champion, move = self.champion(model_id), self.latest_move(model_id)
        previous = self.version_by_id(move.previous_id) if move and move.previous_id is not None else None
        return Standing(
            champion=champion.number if champion else None,
            previous=previous.number if previous else None,
            challenger=self._challenger(model_id, champion),
        )

    def _challenger(self, model_id: int, champion: ModelVersion | None) -> int | None:
        """The newest version that may be promoted as it stands: passed, and against today's champion."""
        latest = (
            select(func.max(DecisionRow.id)).where(col(DecisionRow.version_id) == col(ModelVersion.id))
        ).correlate(ModelVersion)
        query = (
            select(ModelVersion.number)
            .join(DecisionRow, col(DecisionRow.id) == latest.scalar_subquery())
            .where(ModelVersion.model_id == model_id, ModelVersion.state == VersionState.PASSED)
            .where(col(DecisionRow.champion_id).is_not_distinct_from(champion.id if champion else None))
        )
        return self._session.exec(query.order_by(col(ModelVersion.number).desc()).limit(1)).one_or_none()

    def ancestry(self, version: ModelVersion) -> list[ModelVersion]:
        """What a version was made from, the oldest first, and itself at the end."""
        found = [version]
        while found[-1].parent_id is not None:
            found.append(self.version_by_id(found[-1].parent_id))
        return found[::-1]

    def latest_move(self, model_id: int) -> ChampionMove | None:
        """The last time that the champion moved."""
        query = select(ChampionMove).where(ChampionMove.model_id == model_id)
        return self._session.exec(query.order_by(col(ChampionMove.id).desc()).limit(1)).one_or_none()

    # what versions are made from

    def tool_schema(self, model_id: int, number: int) -> ToolSchema:
        """The tool schema with that number."""
        found = self._session.exec(
            select(ToolSchema).where(ToolSchema.model_id == model_id, ToolSchema.number == number)
        ).one_or_none()
        if found is None:
            raise NotFoundError("tool schema", number, hint="`adaptman schema list` lists them")
        return found

    def tool_schema_by_id(self, schema_id: int) -> ToolSchema:
        """The tool schema with that id."""
        return self._get(ToolSchema, schema_id, "tool schema with id")

    def tool_schemas(self, model_id: int) -> list[ToolSchema]:
        """All tool schemas of a model line, by number."""
        query = select(ToolSchema).where(ToolSchema.model_id == model_id)
        return list(self._session.exec(query.order_by(col(ToolSchema.number))))

    def latest_tool_schema(self, model_id: int) -> ToolSchema | None:
        """The tool schema with the highest number."""
        query = select(ToolSchema).where(ToolSchema.model_id == model_id)
        return self._session.exec(query.order_by(col(ToolSchema.number).desc()).limit(1)).one_or_none()

    def output_format(self, format_id: int) -> OutputFormatRow:
        """The output format with that id."""
        return self._get(OutputFormatRow, format_id, "output format with id")

    def output_formats(self) -> list[OutputFormatRow]:
        """All output formats on record, by name and version."""
        query = select(OutputFormatRow).order_by(col(OutputFormatRow.name), col(OutputFormatRow.version))
        return list(self._session.exec(query))

    def example_set(self, set_id: int) -> ExampleSet:
        """The example set with that id."""
        return self._get(ExampleSet, set_id, "example set with id")

    def replay_set(self, set_id: int) -> ReplaySet:
        """The replay set with that id."""
        return self._get(ReplaySet, set_id, "replay set with id")

    def adapter(self, adapter_id: int) -> Adapter:
        """The adapter with that id."""
        return self._get(Adapter, adapter_id, "adapter with id")

    # suites and scores

    def suite(self, model_id: int, name: str) -> Suite:
        """The newest revision of the suite of that name."""
        found = self._newest_suite(model_id, name)
        if found is None:
            known = [one.name for one in self.suites(model_id)]
            raise NotFoundError("suite", name, known=known)
        return found

    def suite_by_id(self, suite_id: int) -> Suite:
        """The suite revision with that id."""
        return self._get(Suite, suite_id, "suite with id")

    def suites(self, model_id: int, active_only: bool = True) -> list[Suite]:
        """Suites by name; each at its newest revision, or all revisions."""
        query = select(Suite).where(Suite.model_id == model_id)
        if active_only:
            newest = select(func.max(Suite.id)).where(Suite.model_id == model_id).group_by(col(Suite.name))
            query = query.where(col(Suite.id).in_(newest))
        return list(self._session.exec(query.order_by(col(Suite.name), col(Suite.revision))))

    def _newest_suite(self, model_id: int, name: str) -> Suite | None:
        query = select(Suite).where(Suite.model_id == model_id, Suite.name == name)
        return self._session.exec(query.order_by(col(Suite.revision).desc()).limit(1)).one_or_none()

    def number_of(self, version_id: int | None) -> int | None:
        """The number of the version with that id; None for no version."""
        return None if version_id is None else self.version_by_id(version_id).number

    def newest_runs(self, version_id: int) -> dict[int, SuiteRun]:
        """The newest run of a version on each suite revision, by the suite's id."""
        return {run.suite_id: run for run in self.suite_runs(version_id)}

    def suite_runs(self, version_id: int) -> list[SuiteRun]:
        """All runs of a version, oldest first."""
        query = select(SuiteRun).where(SuiteRun.version_id == version_id)
        return list(self._session.exec(query.order_by(col(SuiteRun.id))))

    def latest_suite_run(self, version_id: int, suite_digest: str) -> SuiteRun | None:
        """The newest run of a version on the suite with that digest."""
        query = select(SuiteRun).where(
            SuiteRun.version_id == version_id, SuiteRun.suite_digest == suite_digest
        )
        return self._session.exec(query.order_by(col(SuiteRun.id).desc()).limit(1)).one_or_none()

    def runs_of_key(self, cache_key: str) -> list[SuiteRun]:
        """The runs of all versions that asked the same of the same weights, newest first."""
        query = select(SuiteRun).where(SuiteRun.cache_key == cache_key)
        return list(self._session.exec(query.order_by(col(SuiteRun.id).desc())))

    def latest_suite_audit(self, model_id: int, suite_digest: str) -> SuiteAudit | None:
        """The newest audit of the suite with that digest, by whatever name."""
        same = select(Suite.id).where(Suite.model_id == model_id, Suite.suite_digest == suite_digest)
        query = select(SuiteAudit).where(col(SuiteAudit.suite_id).in_(same))
        return self._session.exec(query.order_by(col(SuiteAudit.id).desc()).limit(1)).one_or_none()

    def latest_capacity_audit(self, version_id: int) -> CapacityAudit | None:
        """The newest audit of a version's capacity."""
        query = select(CapacityAudit).where(CapacityAudit.version_id == version_id)
        return self._session.exec(query.order_by(col(CapacityAudit.id).desc()).limit(1)).one_or_none()

    def outcomes(self, suite_run_id: int) -> list[Outcome]:
        """The scores of a run, in the order of the suite."""
        query = select(CaseOutcome.case_id, CaseOutcome.score).where(CaseOutcome.suite_run_id == suite_run_id)
        found = self._session.exec(query.order_by(col(CaseOutcome.position)))
        return [Outcome(case_id, score) for case_id, score in found]

    def case_scores(self, model_id: int, suite_digest: str, case_id: str) -> list[CaseScore]:
        """The score of one case by each version that answered it, by version number."""
        return case_scores(self._session, model_id, suite_digest, case_id)

    def decisions(self, version_id: int) -> list[DecisionRow]:
        """All decisions about a version, oldest first."""
        query = select(DecisionRow).where(DecisionRow.version_id == version_id)
        return list(self._session.exec(query.order_by(col(DecisionRow.id))))

    def latest_decision(self, version_id: int) -> DecisionRow | None:
        """The newest decision about a version."""
        query = select(DecisionRow).where(DecisionRow.version_id == version_id)
        return self._session.exec(query.order_by(col(DecisionRow.id).desc()).limit(1)).one_or_none()

    def decision_by_id(self, decision_id: int) -> DecisionRow:
        """The decision with that id."""
        return self._get(DecisionRow, decision_id, "decision with id")

    # who stands for them

    def approvals(self, decision: DecisionRow) -> list[Approval]:
        """Who approved that decision, oldest first; nobody twice."""
        query = select(Approval).where(
            Approval.version_id == decision.version_id, Approval.decision_id == decision.id
        )
        return list(self._session.exec(query.order_by(col(Approval.id))))

    def signatures(self, version_id: int) -> list[Signature]:
        """All signatures over a version, oldest first; some may be over an earlier decision."""
        query = select(Signature).where(Signature.version_id == version_id)
        return list(self._session.exec(query.order_by(col(Signature.id))))

    def manifest(self, version: ModelVersion) -> dict[str, Any]:
        """What there is to sign: what the version was made from, and the digest of its newest decision."""
        model, decision = self.model_by_id(version.model_id), self.latest_decision(version.id)
        champion = self.version_by_id(decision.champion_id) if decision and decision.champion_id else None
        judged = (
            decision_digest(decision, version.number, champion.number if champion else None)
            if decision
            else None
        )
        return {"build": build_of(self._session, model.name, version.id), "decision": judged}

    # what happened

    def events(
        self,
        since_seq: int = 0,
        limit: int | None = None,
        model_id: int | None = None,
        *,
        since: datetime | None = None,
    ) -> list[EventRow]:
        """Events after `since_seq`, and from `since` on, in order; of one model line, or of all."""
        query = select(EventRow).where(EventRow.seq > since_seq)
        if since is not None:
            query = query.where(EventRow.at >= since)
        if model_id is not None:
            query = query.where(EventRow.model_id == model_id)
        return list(self._session.exec(query.order_by(col(EventRow.seq)).limit(limit)))

    def verify_chain(self) -> ChainReport:
        """Compute the hash chain of all events again."""
        return events.verify(self._session)

    def verify_tables(self) -> TableReport:
        """Fold all events into tables and compare every row; what `verify_chain` found comes first."""
        return replay.verify(self._session)

    def history(self, model_id: int) -> History:
        """Versions by suites, and the moves of the champion, in three queries."""
        return read_history(self._session, model_id)

    # the store

    def named_objects(self) -> list[objects.NamedObject]:
        """Every object of the store that any row names, once for each row."""
        return objects.named_objects(self._session)

    def removals(self) -> dict[str, datetime]:
        """When each object was last recorded as removed from the store."""
        return objects.removals(self._session)

    def gone(self) -> frozenset[str]:
        """Adapters and replay sets that were removed from the store and not made once more since."""
        return objects.gone(self._session)

    def last_happened(self) -> dict[str, datetime]:
        """When anything was last recorded about each subject of an event."""
        return objects.last_happened(self._session)

    def is_collected(self, version: ModelVersion) -> bool:
        """Whether the version's adapter was removed from the store, and not made once more since."""
        return self.collected_adapter(version) is not None

    def collected_adapter(self, version: ModelVersion) -> Collected | None:
        """The record of the removal of the version's adapter; None where it is kept, or there is none."""
        return objects.collected_adapter(self._session, version)

    def check_kept(self, version: ModelVersion) -> None:
        """Nothing, while the version's adapter is kept; the base version has none to lose.

        Raises:
            CollectedError: it was removed from the store; says when and why.
        """
        gone = self.collected_adapter(version)
        if gone is not None:
            raise CollectedError(version.number, gone.at, gone.reason)

    # upkeep

    def outbox_pending(self, limit: int | None = 100) -> list[OutboxRow]:
        """What was not delivered yet, in the order in which it was written."""
        query = select(OutboxRow).where(col(OutboxRow.delivered_at).is_(None))
        return list(self._session.exec(query.order_by(col(OutboxRow.id)).limit(limit)))

    def outbox_rows(self, kind: str | None = None) -> list[OutboxRow]:
        """Delivered and pending rows, oldest first; of one kind, or of all."""
        query = select(OutboxRow)
        if kind is not None:
            query = query.where(OutboxRow.kind == kind)
        return list(self._session.exec(query.order_by(col(OutboxRow.id))))

    def outbox_count(self) -> int:
        """How many rows were not delivered yet."""
        query = select(func.count()).select_from(OutboxRow).where(col(OutboxRow.delivered_at).is_(None))
        return int(self._session.exec(query).one())

    def outbox_of(self, model_id: int) -> list[OutboxRow]:
        """Delivered and pending rows about one model line, oldest first."""
        query = select(OutboxRow).join(EventRow, col(EventRow.seq) == col(OutboxRow.event_seq))
        return list(
            self._session.exec(query.where(EventRow.model_id == model_id).order_by(col(OutboxRow.id)))
        )

    def outbox_standing(self, row: OutboxRow) -> Standing | None:
        """How the row's model line stands, if no other row of that line waits; else None."""
        event = self._get(EventRow, row.event_seq, "event")
        if event.model_id is None:
            return None
        query = (
            select(OutboxRow.id)
            .join(EventRow, col(EventRow.seq) == col(OutboxRow.event_seq))
            .where(EventRow.model_id == event.model_id)
            .where(col(OutboxRow.delivered_at).is_(None), OutboxRow.id != row.id)
        )
        if self._session.exec(query.limit(1)).first() is not None:
            return None
        return self.standing(event.model_id)

    def leases(self) -> list[Lease]:
        """Leases that were not released, expired ones too."""
        return list(self._session.exec(select(Lease).order_by(col(Lease.id))))
