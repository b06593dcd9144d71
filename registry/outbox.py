"""What MLflow is told, as plain values: the rows of the outbox hold all that the mirror needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from registry.reader import Reader
from registry.rows import stamp
from registry.tables import (
    CapacityAudit,
    ChampionMove,
    DecisionRow,
    EventRow,
    Model,
    ModelVersion,
    Suite,
    SuiteRun,
)


def _number(version: ModelVersion | None) -> int | None:
    return version.number if version else None


def _when(at: datetime | None) -> str | None:
    return stamp(at) if at else None


def _named(model: Model, version: ModelVersion) -> dict[str, Any]:
    return {"model": model.name, "version": version.number, "version_id": version.id}


def base_payload(model: Model, version: ModelVersion, actor: str) -> dict[str, Any]:
    """`version.base`: the base checkpoint became version 1."""
    return {
        **_named(model, version),
        "base_digest": version.base_digest,
        "base_source": model.base_source,
        "created_at": stamp(version.created_at),
        "actor": actor,
    }


def trained_payload(reader: Reader, model: Model, version: ModelVersion, actor: str) -> dict[str, Any]:
    """`version.trained`: a version has weights, with all that it was made from."""
    parent = reader.version_by_id(version.parent_id) if version.parent_id is not None else None
    adapter = reader.adapter(version.adapter_id) if version.adapter_id is not None else None
    return {
        **_named(model, version),
        "parent": _number(parent),
        "base_digest": version.base_digest,
        "adapter_digest": adapter.tree_digest if adapter else None,
        "tool_schema": _tool_schema(reader, version.tool_schema_id),
        "output_format": _output_format(reader, version.output_format_id),
        "recipe": version.recipe,
        "recipe_digest": version.recipe_digest,
        "example_set": _example_set(reader, version.example_set_id),
        "replay_set": _replay_set(reader, version.replay_set_id),
        "curves_digest": version.curves_digest,
        "summary": version.summary,
        "started_at": stamp(version.created_at),
        "finished_at": _when(version.finished_at),
        "actor": actor,
    }


def _tool_schema(reader: Reader, row_id: int | None) -> dict[str, Any] | None:
    if row_id is None:
        return None
    row = reader.tool_schema_by_id(row_id)
    return {"number": row.number, "digest": row.contract_digest, "document_digest": row.document_digest}


def _output_format(reader: Reader, row_id: int | None) -> dict[str, Any] | None:
    if row_id is None:
        return None
    row = reader.output_format(row_id)
    return {"name": row.name, "version": row.version, "digest": row.digest}


def _example_set(reader: Reader, row_id: int | None) -> dict[str, Any] | None:
    if row_id is None:
        return None
    row = reader.example_set(row_id)
    return {"digest": row.object_digest, "count": row.count}


def _replay_set(reader: Reader, row_id: int | None) -> dict[str, Any] | None:
    if row_id is None:
        return None
    row = reader.replay_set(row_id)
    return {"digest": row.object_digest, "count": row.count, "tokens": row.tokens, "report": row.report}


def suite_run_payload(model: Model, version: ModelVersion, suite: Suite, run: SuiteRun) -> dict[str, Any]:
    """`suite_run.recorded`: a version was scored on a suite."""
    return {
        **_named(model, version),
        "suite": suite.name,
        "kind": suite.kind,
        **run.model_dump(include={"suite_digest", "metric", "value", "low", "high", "n"}),
        "duration_s": run.duration_s,
        "outputs_digest": run.outputs_digest,
        "created_at": stamp(run.created_at),
    }


def decision_payload(
    model: Model, version: ModelVersion, champion: ModelVersion | None, row: DecisionRow
) -> dict[str, Any]:
    """`decision.recorded`: the gate judged a version against a champion."""
    return {
        **_named(model, version),
        "champion": _number(champion),
        "policy": row.policy_name,
        "policy_digest": row.policy_digest,
        "verdict": row.verdict,
        "reasons": row.reasons,
        "created_at": stamp(row.created_at),
    }


def moved_payload(
    model: Model, version: ModelVersion, previous: ModelVersion | None, move: ChampionMove
) -> dict[str, Any]:
    """`champion.moved`: another version is live now."""
    return {
        **_named(model, version),
        "previous": _number(previous),
        "cause": move.cause,
        "waiver": move.waiver,
        "actor": move.actor,
        "at": stamp(move.at),
    }


def ended_payload(model: Model, version: ModelVersion, event: EventRow) -> dict[str, Any]:
    """`version.ended`: a version that had weights failed or was discarded."""
    return {
        **_named(model, version),
        "state": str(version.state),
        "reason": version.reason,
        "actor": event.actor,
        "at": stamp(event.at),
    }


def capacity_payload(
    model: Model, version: ModelVersion, audit: CapacityAudit, figures: Mapping[str, float]
) -> dict[str, Any]:
    """`capacity.audited`: what a version can still take in."""
    return {
        **_named(model, version),
        "verdict": audit.verdict,
        "room_bits": audit.room_bits,
        "low": audit.low,
        "high": audit.high,
        "figures": dict(figures),
        "report_digest": audit.report_digest,
        "at": stamp(audit.at),
        "actor": audit.actor,
    }
