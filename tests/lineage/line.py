"""A workspace whose registry has something to tell: a base and one update that was promoted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adaptman.config import Settings
from adaptman.lifecycle.workspace import Workspace
from registry.registry import Registry
from registry.tables import OutboxRow
from registry.values import Outcome
from registry.writer import Writer

KINDS_TOLD = [
    "version.base",
    "champion.moved",
    "version.trained",
    "suite_run.recorded",
    "decision.recorded",
    "champion.moved",
]


class Clock:
    """One second later each time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def workspace_with(home: Path, database: Path, **settings: Any) -> Workspace:
    """A new workspace with a copy of an empty MLflow database and `KINDS_TOLD` in its outbox."""
    chosen: dict[str, Any] = {"home": home, "actor": "ada@host", "model": "shop"} | settings
    workspace = Workspace.create(Settings(**chosen), clock=Clock())
    shutil.copyfile(database, home / "mlflow.db")
    record(workspace)
    return workspace


def record(workspace: Workspace, name: str = "shop") -> None:
    """Another model line with the same story."""
    folder = workspace.settings.home / "adapter"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"line": name}))
    adapter = workspace.store.put_tree(folder)
    curves = workspace.store.put_bytes(json.dumps({"series": {"train/new_loss": [[0, 1.5]]}}).encode())
    workspace.registry.write(lambda writer: _story(writer, name, adapter, curves))


def _story(writer: Writer, name: str, adapter: str, curves: str) -> None:
    model = writer.add_model(name, "b" * 64, "smollm2", {})
    base = writer.add_base_version(model.id, base_digest="b" * 64)
    number = _candidate(writer, model.id, base.id, adapter, curves)
    writer.promote(model.id, number)


def add_challenger(workspace: Workspace, name: str = "shop") -> int:
    """The number of another update of that line that passed and waits to be promoted."""
    with workspace.registry.read() as reader:
        model = reader.model(name)
        champion = reader.champion(model.id)
        assert champion is not None
        assert champion.adapter_id is not None
        adapter = reader.adapter(champion.adapter_id).tree_digest
    curves = champion.curves_digest or ""
    return workspace.registry.write(lambda writer: _candidate(writer, model.id, champion.id, adapter, curves))


def audit_capacity(workspace: Workspace, name: str = "shop") -> None:
    """The champion of that line was found to have room."""

    def record(writer: Writer) -> None:
        champion = writer.champion(writer.model(name).id)
        assert champion is not None
        room = {"room_bits": 5_000.0, "low": 4_000.0, "high": 6_500.0}
        writer.record_capacity_audit(
            champion.id, verdict="room", **room, figures={"bits_16": 600.0}, report_digest="f" * 64
        )

    workspace.registry.write(record)


def _candidate(writer: Writer, model_id: int, champion_id: int, adapter: str, curves: str) -> int:
    examples = writer.add_example_set(model_id, object_digest="e" * 64, count=48, tool_schema_id=None)
    version = writer.start_version(
        model_id,
        parent_id=champion_id,
        base_digest="b" * 64,
        recipe={"lora": {"rank": 8}},
        recipe_digest="8" * 64,
        tool_schema_id=None,
        output_format_id=None,
        example_set_id=examples.id,
    )
    row = writer.add_adapter(tree_digest=adapter, size_bytes=10)
    writer.finish_training(
        version.id, adapter_id=row.id, replay_set_id=None, curves_digest=curves, summary={"steps": 12}
    )
    _judge(writer, model_id, version.id, champion_id)
    return version.number


def _judge(writer: Writer, model_id: int, version_id: int, champion_id: int) -> None:
    suite = writer.add_suite(
        model_id,
        name="target",
        kind="target",
        object_digest="d" * 64,
        suite_digest="9" * 64,
        case_count=1,
        metric="accuracy",
        higher_is_better=True,
    )
    writer.record_suite_run(
        version_id,
        suite.id,
        metric="accuracy",
        value=1.0,
        low=0.2,
        high=1.0,
        n=1,
        duration_s=2.0,
        environment={},
        outcomes=[Outcome("one", 1.0)],
        outputs_digest=None,
    )
    writer.mark_evaluated(version_id)
    writer.record_decision(
        version_id,
        champion_id=champion_id,
        policy_name="default",
        policy_digest="a" * 64,
        verdict="pass",
        reasons=[{"suite": "target", "rule": "gain", "passed": True, "text": "target: 0.00 → 1.00"}],
        evidence=[],
        warnings=[],
    )


def pending(registry: Registry) -> Sequence[OutboxRow]:
    """What was not delivered yet."""
    with registry.read() as reader:
        return reader.outbox_pending(1_000)
