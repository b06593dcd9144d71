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
    examples = writer.add_example_set(model.id, object_digest="e" * 64, count=48, tool_schema_id=None)
    version = writer.start_version(
        model.id,
        parent_id=base.id,
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
    _judge(writer, model.id, version.id, base.id)
    writer.promote(model.id, version.number)


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
