"""A run of a suite on record, and what its figures show beside the metric."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from adaptman.evaluation.runner import SuiteResult
    from registry import tables
    from registry.values import HistoryRow
    from registry.writer import Writer


def stale_of(run: HistoryRow) -> Mapping[str, Sequence[int]]:
    """By rule the stale replies, and the cases; empty where no case was made from a change."""
    found: Mapping[str, Sequence[int]] = (run.figures or {}).get("stale", {})
    return found


def diagnosis_of(run: tables.SuiteRun) -> dict[str, str]:
    """By failed case, what it failed at; empty where nobody asked."""
    found: Mapping[str, str] = (run.figures or {}).get("diagnosis", {})
    return dict(found)


def record_run(
    workspace: Workspace,
    version: tables.ModelVersion,
    row: tables.Suite,
    key: str | None,
    result: SuiteResult,
    environment: Mapping[str, Any],
    *,
    stored: str | None = None,
    diagnosis: Mapping[str, str] | None = None,
) -> None:
    """Put a result on record, and into the store unless it is `stored` there under that digest already.

    `environment` is the one that it was computed in, `diagnosis` what each failed case failed at.
    """
    from registry.values import Outcome

    outputs = json.dumps(result.to_dict(), ensure_ascii=False, sort_keys=True).encode()
    digest = stored or workspace.store.put_bytes(outputs)

    found = {"stale": result.stale, "diagnosis": dict(diagnosis or {})}
    figures = {name: value for name, value in found.items() if value} or None

    def record(writer: Writer) -> None:
        writer.record_suite_run(
            version.id,
            row.id,
            metric=result.metric,
            value=result.value,
            low=result.low,
            high=result.high,
            n=result.n,
            duration_s=result.duration_s,
            environment=dict(environment),
            outcomes=[Outcome(outcome.case_id, outcome.score) for outcome in result.outcomes],
            outputs_digest=digest,
            cache_key=key,
            complete=not result.unanswered,
            figures=figures,
        )

    workspace.registry.write(record)
