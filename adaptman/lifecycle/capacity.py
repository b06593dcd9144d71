"""What a version can still take in: an audit by experiment, put on record, and asked for before an update."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptman.errors import GateRefusedError, WorkspaceError
from adaptman.lifecycle import engine
from adaptman.lifecycle.environment import kept_when_killed
from adaptman.lifecycle.lease import Watched, held
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from adaptman.learning.capacity import Frontier, Ladder, OnStep
    from adaptman.learning.recipe import Recipe
    from adaptman.learning.sensitivity import Evidence
    from policies.policy import Policy
    from registry import tables
    from registry.reader import Reader
    from registry.tables import ModelVersion
    from registry.writer import Writer


@dataclass(frozen=True)
class CapacityReport:
    """What an audit found, and its row; `parameters` are the base's."""

    row: tables.CapacityAudit
    version: int
    frontier: Frontier
    evidence: Evidence
    parameters: int
    seconds: float
    ways_out: str


def ways_out(version: ModelVersion) -> str:
    """Where to go on from a saturated version."""
    larger = "begin a model line from a larger base"
    if version.adapter_id is None:
        return larger
    return (
        "widen the adapter with `--set adapter=grow --set lora.rank=…`, fold it with `adaptman fold` and "
        f"audit that, or {larger}"
    )


def audit_capacity(
    workspace: Workspace, number: int | None = None, *, quick: bool = False, progress: Progress | None = None
) -> CapacityReport:
    """Probe a version, the champion where no number is given, and put on record what it can still take in.

    One that was killed goes on with the rungs that it lacks; the seconds are those of the run that ended it.

    Raises:
        NotFoundError: there is no such version.
        WorkspaceError: there is no champion.
        BusyError: somebody else is at work on the model line.
        ModelError: the version has no weights, or they cannot be loaded.
        TrainingError: a probe cannot be trained.
        ArtifactError: an artifact is missing or damaged.
    """
    from adaptman.learning import capacity, models

    model, ladder = workspace.model_row(), capacity.QUICK if quick else capacity.FULL
    with held(workspace, model, "audit of capacity") as hold:
        progress = Watched(progress or Silent(), hold)
        version = _version(workspace, model.id, number)
        engine.use_hardware(workspace)
        began = time.monotonic()
        parameters = int(models.describe(engine.base_path(workspace, version))["parameters"])
        made_of = version.base_digest, engine.adapter_digest(workspace, version), dataclasses.asdict(ladder)
        what = f"capacity-{model.name}"
        with kept_when_killed(workspace, what, version.number, *made_of) as workdir:
            frontier, evidence = _probed(workspace, version, ladder, workdir, progress)
            seconds = time.monotonic() - began
            row = _record(workspace, version, ladder, frontier, evidence, seconds)
        told = ways_out(version)
        return CapacityReport(row, version.number, frontier, evidence, parameters, seconds, told)


def _version(workspace: Workspace, model_id: int, number: int | None) -> ModelVersion:
    with workspace.registry.read() as reader:
        version = reader.champion(model_id) if number is None else reader.version(model_id, number)
    if version is None:
        raise WorkspaceError("there is no champion to audit", hint="run `adaptman init`")
    return version


def _probed(
    workspace: Workspace, version: ModelVersion, ladder: Ladder, workdir: Path, progress: Progress
) -> tuple[Frontier, Evidence]:
    from adaptman.learning.capacity import probe
    from adaptman.learning.sensitivity import evidence

    base, adapter = engine.base_path(workspace, version), engine.adapter_path(workspace, version)
    renderer = engine.bare_renderer(workspace, version)
    frontier, held_out = probe(base, adapter, renderer, ladder, workdir, on_step=_told(progress))
    progress.start("noise and rounding", 1)
    found = evidence(engine.load_version(workspace, version), held_out)
    progress.advance(1)
    progress.finish(f"loss rises {found.noise_rise:.3f} under noise")
    return frontier, found


def _told(progress: Progress) -> OnStep:
    """Phases from steps: a new name begins one, its last step ends it."""
    current, before = "", 0

    def told(name: str, done: int, total: int) -> None:
        nonlocal current, before
        if name != current:
            progress.start(name, total)
            current, before = name, 0
        progress.advance(done - before)
        before = done
        if done == total:
            progress.finish()

    return told


def _record(
    workspace: Workspace,
    version: ModelVersion,
    ladder: Ladder,
    frontier: Frontier,
    evidence: Evidence,
    seconds: float,
) -> tables.CapacityAudit:
    report = {
        "version": version.number,
        "ladder": dataclasses.asdict(ladder),
        "frontier": dataclasses.asdict(frontier),
        "evidence": evidence._asdict(),
        "seconds": round(seconds, 1),
    }
    digest = workspace.store.put_bytes(json.dumps(report, sort_keys=True).encode())
    room = frontier.room_bits

    def record(writer: Writer) -> tables.CapacityAudit:
        return writer.record_capacity_audit(
            version.id,
            verdict=frontier.verdict,
            room_bits=room.value,
            low=room.low,
            high=room.high,
            figures=_figures(frontier, evidence),
            report_digest=digest,
        )

    return workspace.registry.write(record)


def _figures(frontier: Frontier, evidence: Evidence) -> dict[str, float]:
    """The figures beside the room, by name."""
    found: dict[str, float] = {name: float(value) for name, value in evidence._asdict().items()}
    for rung in frontier.rungs:
        found[f"bits_{rung.bindings}"] = rung.bits.value
        found[f"drift_{rung.bindings}"] = rung.drift.value
    return found


def report_dict(report: CapacityReport) -> dict[str, Any]:
    """The report as plain JSON values."""
    frontier = report.frontier
    return {
        "version": report.version,
        "verdict": frontier.verdict,
        "room_bits": frontier.room_bits._asdict(),
        "beyond_measured": frontier.beyond,
        "bend_at_bindings": frontier.bend,
        "rungs": [_rung_dict(rung) for rung in frontier.rungs],
        "trainable_parameters": frontier.trainable,
        "base_parameters": report.parameters,
        "evidence": report.evidence._asdict(),
        "seconds": round(report.seconds, 1),
        "report_digest": report.row.report_digest,
    }


def _rung_dict(rung: Any) -> Mapping[str, Any]:
    return {
        "bindings": rung.bindings,
        "offered_bits": rung.offered_bits,
        "bits": rung.bits._asdict(),
        "drift": rung.drift._asdict(),
    }


def check_capacity(workspace: Workspace, policy: Policy, parent: ModelVersion, recipe: Recipe) -> None:
    """Hold an update to what the policy says of capacity; one that grows the adapter is a way out.

    What counts is the newest audit of the version it starts from, or of the nearest one before it, back to
    the last fold or the last update that widened the adapter: nothing else makes room. With a fresh adapter
    it starts from the checkpoint, and so does whatever was made with one.

    Raises:
        GateRefusedError: the version is saturated, or was never audited and the policy asks for it.
    """
    rule = policy.capacity
    with workspace.registry.read() as reader:
        start = _start(reader, parent, recipe.adapter)
        audited, row = _nearest(reader, start)
    if row is None:
        if rule.missing == "refuse":
            raise GateRefusedError(
                f"policy `{policy.name}` asks for an audit of version {start.number}'s capacity",
                hint=f"run `adaptman audit {start.number}`",
            )
        return
    widens = recipe.adapter == "grow" and parent.adapter_id is not None
    if row.verdict == "saturated" and rule.saturated == "refuse" and not widens:
        raise GateRefusedError(
            f"version {audited.number} is saturated (room for {row.room_bits:,.0f} bits, "
            f"{row.low:,.0f} to {row.high:,.0f}): an update would overwrite what it knows, and policy "
            f"`{policy.name}` refuses it",
            hint=ways_out(start),
        )


def _start(reader: Reader, parent: ModelVersion, adapter: str | None) -> ModelVersion:
    """The version whose weights a training from `parent` begins with."""
    return reader.checkpoint_of(parent) if adapter == "fresh" else parent


def _nearest(reader: Reader, start: ModelVersion) -> tuple[ModelVersion, tables.CapacityAudit | None]:
    version = start
    while (row := reader.latest_capacity_audit(version.id)) is None:
        adapter = (version.recipe or {}).get("adapter")
        if version.parent_id is None or version.is_folded or adapter == "grow":
            return start, None
        version = _start(reader, reader.version_by_id(version.parent_id), adapter)
    return version, row
