"""What MLflow is told of a version that is a checkpoint of its own: everything but the weights."""

from __future__ import annotations

import json
from pathlib import Path

from adaptman.lifecycle.mirror import verify_mirror
from adaptman.lifecycle.outbox import deliver_pending
from adaptman.lineage.mirror import Mirror
from registry.writer_objects import Leaving
from tests.lineage import payloads
from tests.lineage.census import census
from tests.lineage.conftest import Objects
from tests.lineage.line import workspace_with
from tests.registry.line import fold

NOTHING = {"adapter_digest": None, "recipe": None, "recipe_digest": None, "example_set": None}
FOLDED = {"folded": {"largest_difference": 1.5e-6, "probes": 16}}


def test_a_fold_is_a_run_without_children(mirror: Mirror, objects: Objects) -> None:
    update, row = objects.trained(2), objects.trained(3, replay=False)
    payload = {**row.payload, **NOTHING, "parent": 2, "curves_digest": None, "summary": FOLDED}
    for one in (payloads.base(), update, row._replace(payload=payload)):
        mirror.deliver(one.kind, one.key, one.payload)
    found = census(mirror.client)
    (run,) = [one for one in found["runs"] if one["name"] == "fold → v3"]
    assert run["params"]["folded.largest_difference"] == "1.5e-06"
    parents = [one["tags"].get("mlflow.parentRunId") for one in found["runs"]]
    assert "<version/3>" not in parents
    assert (run["tags"]["adaptman.kind"], run["tags"]["adaptman.parent"]) == ("fold", "2")
    assert "adaptman.adapter_digest" not in run["tags"]


def test_an_update_of_all_weights_is_told_without_them(mirror: Mirror, objects: Objects) -> None:
    row = objects.trained(2, replay=False)
    row = row._replace(payload={**row.payload, "adapter_digest": None})
    for one in (payloads.base(), row):
        mirror.deliver(one.kind, one.key, one.payload)
    names = {run["name"] for run in census(mirror.client)["runs"]}
    assert names == {"base", "update → v2", "training"}


def test_verified(tmp_path: Path, empty_database: Path) -> None:
    with workspace_with(tmp_path / "home", empty_database) as workspace:
        with workspace.registry.read() as reader:
            parent = reader.version(reader.model("shop").id, 2)
        folded = workspace.registry.write(lambda writer: fold(writer, parent))
        assert deliver_pending(workspace).pending == 0
        assert verify_mirror(workspace, deep=True).same
        notes = list((workspace.settings.home / "mlartifacts").rglob("checkpoint.json"))
        assert json.loads(notes[0].read_text())["base_digest"] == folded.base_digest
        leaving = [Leaving(folded.base_digest, 1, "discarded for 7 days")]
        workspace.registry.write(
            lambda writer: writer.collect(leaving, policy_name="p", policy_digest="d" * 64)
        )
        assert verify_mirror(workspace, deep=True).same
        notes[0].unlink()
        assert [one.what for one in verify_mirror(workspace).differences] == ["file `checkpoint.json`"]
