"""Versions: list them, show one with everything it was made from, trace one back to the base."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adaptman.lifecycle.lease import held
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from adaptman.evaluation.breakdown import ToolFigure
    from registry.reader import Reader
    from registry.tables import (
        Adapter,
        Approval,
        ChampionMove,
        DecisionRow,
        ExampleSet,
        ModelVersion,
        OutputFormatRow,
        ReplaySet,
        Signature,
        SuiteRun,
        ToolSchema,
    )
    from registry.writer import Writer


@dataclass(frozen=True)
class VersionLine:
    """One version in a list, with the numbers of what it came from."""

    row: ModelVersion
    parent: int | None
    schema: int | None
    adapter_bytes: int | None


@dataclass(frozen=True)
class NamedRun:
    """A suite run with the name and kind of its suite."""

    suite: str
    kind: str
    run: SuiteRun
    by_tool: tuple[ToolFigure, ...] = ()
    """The figures of each tool that the suite's cases expect, where they were asked for."""


@dataclass(frozen=True)
class Judgement:
    """A decision, the number of the champion that the version was compared with, and who agreed."""

    row: DecisionRow
    champion: int | None
    approvals: tuple[Approval, ...]


@dataclass(frozen=True)
class VersionDetails:
    """A version and every row that it names. A base version has none but itself."""

    row: ModelVersion
    parent: int | None
    schema: ToolSchema | None
    output_format: OutputFormatRow | None
    examples: ExampleSet | None
    replay: ReplaySet | None
    replay_teacher: int | None
    adapter: Adapter | None
    runs: tuple[NamedRun, ...]
    decisions: tuple[Judgement, ...]
    moves: tuple[ChampionMove, ...]
    """The times at which it became champion, oldest first."""
    signatures: tuple[Signature, ...]
    """Who signed it; whether a signature holds is for `verify_version` to say."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            **_identity(self),
            "recipe": self.row.recipe,
            "summary": self.row.summary,
            "curves_digest": self.row.curves_digest,
            "rendering_digest": self.row.rendering_digest,
            "suites": [_run_dict(run) for run in self.runs],
            "decisions": [_judgement_dict(one) for one in self.decisions],
            "signatures": [_signature_dict(one) for one in self.signatures],
        }


@dataclass(frozen=True)
class Lineage:
    """A version and its ancestors, the base first."""

    model: str
    base_source: str
    chain: tuple[VersionDetails, ...]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            "model": self.model,
            "base_source": self.base_source,
            "chain": [
                {**_identity(one), "decision": _judgement_dict(one.decisions[-1]) if one.decisions else None}
                for one in self.chain
            ],
        }


def list_versions(workspace: Workspace) -> list[VersionLine]:
    """All versions of the model line, by number."""
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        rows = reader.versions(model.id)
        schemas = {schema.id: schema.number for schema in reader.tool_schemas(model.id)}
        sizes = {row.adapter_id: reader.adapter(row.adapter_id).size_bytes for row in rows if row.adapter_id}
    numbers = {row.id: row.number for row in rows}
    return [
        VersionLine(
            row,
            parent=numbers.get(row.parent_id) if row.parent_id else None,
            schema=schemas.get(row.tool_schema_id) if row.tool_schema_id else None,
            adapter_bytes=sizes.get(row.adapter_id) if row.adapter_id else None,
        )
        for row in rows
    ]


def version_details(workspace: Workspace, number: int, *, by_tool: bool = False) -> VersionDetails:
    """Version `number` and everything it names; with `by_tool`, its suites' figures of each tool.

    Raises:
        NotFoundError: there is no such version.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        details = _details(reader, reader.version(model.id, number))
        if not by_tool:
            return details
        runs = tuple(_with_figures(workspace, reader, named) for named in details.runs)
    return replace(details, runs=runs)


def _with_figures(workspace: Workspace, reader: Reader, named: NamedRun) -> NamedRun:
    from adaptman.lifecycle.suites import tool_figures

    row = reader.suite_by_id(named.run.suite_id)
    scores = {one.case_id: one.score for one in reader.outcomes(named.run.id)}
    return replace(named, by_tool=tool_figures(workspace, row, scores))


def version_lineage(workspace: Workspace, number: int) -> Lineage:
    """Version `number` traced back, parent by parent, to the base.

    Raises:
        NotFoundError: there is no such version.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        row: ModelVersion | None = reader.version(model.id, number)
        chain: list[VersionDetails] = []
        while row is not None:
            chain.append(_details(reader, row))
            row = reader.version_by_id(row.parent_id) if row.parent_id is not None else None
    return Lineage(model.name, model.base_source, tuple(reversed(chain)))


def discard_version(workspace: Workspace, number: int, reason: str) -> ModelVersion:
    """Nobody wants version `number`: it can never become champion. What it was made of stays on record.

    Raises:
        IllegalTransitionError: it is, or was, champion, or was discarded already.
        BusyError: somebody is at work on the model line.
        NotFoundError: there is no such version.
    """
    model = workspace.model_row()
    with held(workspace, model, f"discard {number}"):

        def drop(writer: Writer) -> ModelVersion:
            return writer.discard_version(writer.version(model.id, number).id, reason)

        return workspace.registry.write(drop)


def _details(reader: Reader, row: ModelVersion) -> VersionDetails:
    replay = reader.replay_set(row.replay_set_id) if row.replay_set_id else None
    return VersionDetails(
        row=row,
        parent=reader.number_of(row.parent_id),
        schema=reader.tool_schema_by_id(row.tool_schema_id) if row.tool_schema_id else None,
        output_format=reader.output_format(row.output_format_id) if row.output_format_id else None,
        examples=reader.example_set(row.example_set_id) if row.example_set_id else None,
        replay=replay,
        replay_teacher=reader.number_of(replay.teacher_version_id) if replay else None,
        adapter=reader.adapter(row.adapter_id) if row.adapter_id else None,
        runs=_newest_runs(reader, row.id),
        decisions=tuple(_judgement(reader, one) for one in reader.decisions(row.id)),
        moves=tuple(move for move in reader.moves(row.model_id) if move.version_id == row.id),
        signatures=tuple(reader.signatures(row.id)),
    )


def _judgement(reader: Reader, row: DecisionRow) -> Judgement:
    return Judgement(row, reader.number_of(row.champion_id), tuple(reader.approvals(row)))


def _newest_runs(reader: Reader, version_id: int) -> tuple[NamedRun, ...]:
    newest = reader.newest_runs(version_id).items()
    found = [(reader.suite_by_id(suite_id), run) for suite_id, run in newest]
    return tuple(NamedRun(suite.name, suite.kind, run) for suite, run in found)


def _identity(one: VersionDetails) -> dict[str, Any]:
    return {
        "version": one.row.number,
        "version_id": one.row.id,
        "state": one.row.state.value,
        "parent": one.parent,
        "base_digest": one.row.base_digest,
        "adapter": _adapter_dict(one.adapter),
        "tool_schema": _schema_dict(one.schema),
        "output_format": _format_dict(one.output_format),
        "recipe_digest": one.row.recipe_digest,
        "examples": _examples_dict(one.examples),
        "replay": _replay_dict(one),
        "promotions": [_move_dict(move) for move in one.moves],
        "note": one.row.note,
        "author": one.row.author,
        "reason": one.row.reason,
        "created_at": one.row.created_at,
        "finished_at": one.row.finished_at,
    }


def _adapter_dict(row: Adapter | None) -> dict[str, Any] | None:
    return {"digest": row.tree_digest, "size_bytes": row.size_bytes} if row else None


def _schema_dict(row: ToolSchema | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "number": row.number,
        "digest": row.contract_digest,
        "document_digest": row.document_digest,
        "tools": row.tool_count,
    }


def _format_dict(row: OutputFormatRow | None) -> dict[str, Any] | None:
    return {"name": row.name, "version": row.version, "digest": row.digest} if row else None


def _examples_dict(row: ExampleSet | None) -> dict[str, Any] | None:
    return {"digest": row.object_digest, "count": row.count} if row else None


def _replay_dict(one: VersionDetails) -> dict[str, Any] | None:
    row = one.replay
    if row is None:
        return None
    return {
        "digest": row.object_digest,
        "count": row.count,
        "tokens": row.tokens,
        "teacher": one.replay_teacher,
        "report": row.report,
    }


def _move_dict(move: ChampionMove) -> dict[str, Any]:
    return {"cause": move.cause, "actor": move.actor, "waiver": move.waiver, "at": move.at}


def _run_dict(named: NamedRun) -> dict[str, Any]:
    run = named.run
    return {
        "suite": named.suite,
        "kind": named.kind,
        "suite_digest": run.suite_digest,
        "metric": run.metric,
        "value": run.value,
        "low": run.low,
        "high": run.high,
        "n": run.n,
        "by_tool": [figure.to_dict() for figure in named.by_tool],
        "duration_s": run.duration_s,
        "outputs_digest": run.outputs_digest,
        "created_at": run.created_at,
    }


def _judgement_dict(one: Judgement) -> dict[str, Any]:
    return {
        "verdict": one.row.verdict,
        "champion": one.champion,
        "policy": one.row.policy_name,
        "policy_digest": one.row.policy_digest,
        "reasons": one.row.reasons,
        "warnings": one.row.warnings,
        "approvals": [_approval_dict(approval) for approval in one.approvals],
        "actor": one.row.actor,
        "created_at": one.row.created_at,
    }


def _approval_dict(row: Approval) -> dict[str, Any]:
    return {"actor": row.actor, "note": row.note, "at": row.at}


def _signature_dict(row: Signature) -> dict[str, Any]:
    return {"key": row.key_id, "actor": row.actor, "at": row.at}
