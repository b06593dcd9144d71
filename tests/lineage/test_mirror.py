"""What an MLflow user finds after each kind of delivery."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from adaptman.errors import ArtifactError, LineageError
from adaptman.lineage.errors import ForeignLineError, StoreDownError
from adaptman.lineage.mirror import Mirror
from tests.lineage import payloads
from tests.lineage.census import census
from tests.lineage.conftest import Objects
from tests.lineage.payloads import (
    BASE_DIGEST,
    EXAMPLES_DIGEST,
    MODEL,
    REPLAY_DIGEST,
    SCHEMA_DIGEST,
    Row,
    standing,
)


def tell(mirror: Mirror, *rows: Row) -> dict[str, Any]:
    for row in rows:
        mirror.deliver(row.kind, row.key, row.payload)
    return census(mirror.client)


def run_named(found: dict[str, Any], name: str) -> dict[str, Any]:
    (run,) = [run for run in found["runs"] if run["name"] == name]
    return dict(run)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, objects: Objects) -> dict[str, Any]:
    """What is there after a base, an update with long curves, and a suite."""
    folder = tmp_path_factory.mktemp("told")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    mirror = Mirror(f"sqlite:///{folder / 'mlflow.db'}", objects.store, str(folder / "artifacts"))
    update = objects.trained(2, curves=objects.long_curves)
    return tell(mirror, payloads.base(), update, payloads.suite_run(2))


def test_an_update_is_a_run_with_a_child_for_each_part(told: dict[str, Any]) -> None:
    parents = {run["name"]: run["tags"].get("mlflow.parentRunId") for run in told["runs"]}
    assert parents == {
        "base": None,
        "suite: target": "<version/2>",
        "update → v2": None,
        "replay": "<version/2>",
        "training": "<version/2>",
    }
    assert {run["status"] for run in told["runs"]} == {"FINISHED"}
    assert told["experiments"] == ["adaptman.shop"]


def test_without_replay_there_is_no_child_for_it(mirror: Mirror, objects: Objects) -> None:
    found = tell(mirror, objects.trained(2, replay=False))
    assert sorted(run["name"] for run in found["runs"]) == ["training", "update → v2"]


def test_weights_that_were_moved_back_name_the_version_that_was_trained(
    mirror: Mirror, objects: Objects
) -> None:
    moved = objects.trained(3)
    moved.payload["summary"]["trained_as"] = 2
    found = tell(mirror, objects.trained(2), moved)
    assert run_named(found, "update → v3")["tags"]["adaptman.trained_as"] == "2"
    assert "adaptman.trained_as" not in run_named(found, "update → v2")["tags"]
    # Nothing was trained or drawn for it.
    assert [run["name"] for run in found["runs"]].count("training") == 1
    assert [run["name"] for run in found["runs"]].count("replay") == 1


def test_parameters_are_the_recipe(told: dict[str, Any]) -> None:
    params = run_named(told, "update → v2")["params"]
    assert params["lora.rank"] == "8"
    assert params["lora.targets"] == '["q_proj", "v_proj"]'
    assert params["dropout"] == "null"
    assert params["note"] == "x" * 5_999 + "…"


def test_data_sets_are_inputs_with_their_whole_digest(told: dict[str, Any]) -> None:
    run = run_named(told, "update → v2")
    examples, replay = (json.loads(one) for one in run["datasets"])
    assert examples["dataset"]["digest"] == EXAMPLES_DIGEST[:36]
    assert examples["tags"] == {"mlflow.data.context": "training", "adaptman.sha256": EXAMPLES_DIGEST}
    assert json.loads(replay["dataset"]["source"]) == {"sha256": REPLAY_DIGEST}
    assert json.loads(replay["dataset"]["profile"]) == {"num_rows": 90, "sha256": REPLAY_DIGEST}


def test_curves_are_metrics_with_steps(told: dict[str, Any]) -> None:
    metrics = run_named(told, "training")["metrics"]
    losses = {step: value for name, step, _, value in metrics if name == "train/new_loss"}
    assert len(losses) == 1_500
    assert losses[1_499] == str(2.0 / 1_500)
    assert [step for name, step, _, _ in metrics if name == "train/replay_kl"] == [0, 1]
    assert ["train/grad norm _max_", 0, "nan"] in [[name, step, value] for name, step, _, value in metrics]
    assert ["summary.loss.last", "0.25"] in [[name, value] for name, _, _, value in metrics]


def test_the_replay_report_is_there_as_figures_and_as_a_file(told: dict[str, Any]) -> None:
    run = run_named(told, "replay")
    figures = {name: value for name, _, _, value in run["metrics"]}
    assert figures["rejected.too_short"] == "10.0"
    assert figures["tokens"] == "4000.0"
    assert {name: value for name, value in figures.items() if name.startswith("tools")} == {
        "tools": "2.0",
        "tools_held": "1.0",
    }
    assert run["params"] == {"teacher": "v1"}
    assert run["files"] == ["replay_report.json"]


def test_the_adapter_is_a_logged_model_registered_as_a_version(
    told: dict[str, Any], objects: Objects
) -> None:
    _, model = told["models"]
    assert model["files"] == ["adapter_config.json", "adapter_model.safetensors"]
    assert (model["status"], model["run"]) == ("READY", "<version/2>")
    (registered,) = told["registered"]
    number, source, run, tags = registered["versions"][1]
    assert (registered["name"], number, source, run) == (
        "adaptman.shop",
        "2",
        "models:/<model version/2>",
        "<version/2>",
    )
    assert {name.removeprefix("adaptman."): value for name, value in tags.items()} == {
        "key": "version/2",
        "kind": "update",
        "model": "shop",
        "version": "2",
        "version_id": "12",
        "parent": "1",
        "parent_model_id": "<model version/1>",
        "model_id": "<model version/2>",
        "base_digest": BASE_DIGEST,
        "adapter_digest": objects.adapter,
        "tool_schema": "2",
        "tool_schema_digest": SCHEMA_DIGEST,
        "recipe_digest": "8" * 64,
        "output_format": "hermes/1",
        "actor": "ada@host",
        "made_by": "adaptman 0.1.0",
    }
    update = run_named(told, "update → v2")
    assert (update["models_in"], update["models_out"]) == (["<model version/1>"], ["<model version/2>"])


def test_files_in_mlflow_can_be_deleted_again(mirror: Mirror, objects: Objects, tmp_path: Path) -> None:
    tell(mirror, objects.trained(2))
    places = [path for path in (tmp_path / "mlartifacts").rglob("*") if "models" in path.parts]
    assert places
    assert all(path.stat().st_mode & 0o200 for path in places)


def test_the_base_is_described_and_not_copied(told: dict[str, Any]) -> None:
    assert told["models"][0]["files"] == ["base.json"]
    assert run_named(told, "base")["params"] == {"base_digest": BASE_DIGEST, "base_source": "smollm2"}


def test_a_suite_is_a_child_run_and_its_figures_stand_on_the_model_too(told: dict[str, Any]) -> None:
    run = run_named(told, "suite: target")
    assert run["tags"]["mlflow.parentRunId"] == "<version/2>"
    assert run["tags"]["adaptman.suite_digest"] == "9" * 64
    assert run["times"][1] - run["times"][0] == 12_500
    figures = {name: float(value) for name, _, _, value in run["metrics"]}
    assert (figures["value"], figures["n"]) == (0.75, 48)
    assert (figures["low"], figures["high"]) == (0.65, 0.85)
    model = told["models"][1]
    assert ["suite/target", "target", 0.75] in model["metrics"]
    assert run["models_in"] == ["<model version/2>"]
    update = run_named(told, "update → v2")
    assert ["suite/target", "0.75"] in [[name, value] for name, _, _, value in update["metrics"]]


def test_a_suite_that_is_run_again_adds_a_run(mirror: Mirror, objects: Objects) -> None:
    rows = [payloads.suite_run(2, value=value, at=at) for value, at in ((0.5, "10:06"), (0.75, "11:00"))]
    found = tell(mirror, objects.trained(2), *rows)
    assert [run["name"] for run in found["runs"]].count("suite: target") == 2


def test_a_decision_is_tags_and_its_reasons_a_file(mirror: Mirror, objects: Objects) -> None:
    again = payloads.decision(2, "refuse", at="11:00")
    found = tell(mirror, objects.trained(2), payloads.decision(2), again)
    _, _, _, tags = found["registered"][0]["versions"][0]
    assert (tags["adaptman.decision"], tags["adaptman.policy"]) == ("refuse", "default")
    update = run_named(found, "update → v2")
    assert update["tags"]["adaptman.decision"] == "refuse"
    assert len(update["files"]) == 2
    assert found["models"][0]["tags"]["adaptman.decision"] == "refuse"


def test_aliases_stand_where_the_registry_stands(mirror: Mirror, objects: Objects) -> None:
    moves = [
        (standing(1), {"champion": "1"}),
        (standing(1, None, 2), {"champion": "1", "challenger": "2"}),
        (standing(2, 1), {"champion": "2", "previous": "1"}),
        (standing(1, 2, 2), {"champion": "1", "previous": "2", "challenger": "2"}),
        (standing(2), {"champion": "2"}),
    ]
    tell(mirror, payloads.base(), objects.trained(2))
    for wanted, expected in moves:
        assert mirror.point(MODEL, wanted) == expected
        (registered,) = census(mirror.client)["registered"]
        assert registered["aliases"] == expected
        assert {name: registered["tags"][f"adaptman.{name}"] for name in wanted} == {
            name: str(number or "none") for name, number in wanted.items()
        }


def test_a_reader_never_sees_no_champion(mirror: Mirror, objects: Objects) -> None:
    """After each call to MLflow there is one, and it is the former or the new one."""
    tell(mirror, payloads.base(), objects.trained(2))
    mirror.point(MODEL, standing(1, None, 2))
    seen: list[str] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            made = getattr(client, name)

            def call(*arguments: Any, **options: Any) -> Any:
                answer = made(*arguments, **options)
                seen.append(str(client.get_model_version_by_alias("adaptman.shop", "champion").version))
                return answer

            return call

    client = mirror.client
    mirror._books.client = Watched()  # type: ignore[assignment]
    mirror.point(MODEL, standing(2, 1))
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ("1", "2")


def test_what_became_champion_says_since_when(mirror: Mirror, objects: Objects) -> None:
    found = tell(mirror, payloads.base(), objects.trained(2), payloads.moved(2, 1))
    _, _, _, tags = found["registered"][0]["versions"][1]
    assert (tags["adaptman.champion_cause"], tags["adaptman.champion_by"]) == ("promote", "ada@host")
    assert "aliases" not in tags


def test_an_audit_of_capacity_is_figures_on_the_run_and_a_verdict_on_the_version(
    mirror: Mirror, objects: Objects
) -> None:
    later = payloads.capacity(2, "tight", "10:11")
    found = tell(mirror, payloads.base(), objects.trained(2), payloads.capacity(2), later)
    metrics = {name: float(value) for name, _, _, value in run_named(found, "update → v2")["metrics"]}
    assert metrics["capacity/room_bits"] == 5_000.4
    assert metrics["capacity/bits_16"] == 600.0
    _, _, _, tags = found["registered"][0]["versions"][1]
    assert (tags["adaptman.capacity"], tags["adaptman.capacity_room_bits"]) == ("tight", "5000")


def test_a_version_that_was_discarded_says_so(mirror: Mirror, objects: Objects) -> None:
    found = tell(mirror, payloads.base(), objects.trained(2), payloads.ended(2))
    _, _, _, tags = found["registered"][0]["versions"][1]
    assert (tags["adaptman.state"], tags["adaptman.state_reason"]) == ("discarded", "nobody wants it")


def test_an_alias_never_points_at_another_version_than_the_registry_says(
    mirror: Mirror, objects: Objects
) -> None:
    tell(mirror, payloads.base(), objects.trained(2))
    mirror.point(MODEL, standing(1))
    mirror.client.delete_model_version("adaptman.shop", "2")
    mirror.point(MODEL, standing(2, 1))
    (registered,) = census(mirror.client)["registered"]
    assert registered["aliases"] == {"previous": "1"}
    assert registered["tags"]["adaptman.champion"] == "2"


def test_numbers_of_mlflow_are_not_assumed_to_be_ours(mirror: Mirror, objects: Objects) -> None:
    mirror.client.create_registered_model("adaptman.shop")
    mirror.client.create_model_version("adaptman.shop", "s3://somewhere/else")
    result = mirror.deliver(*objects.trained(2))
    assert result["model_version"] == "2"
    tell(mirror, payloads.base())
    mirror.point(MODEL, standing(2, 1))
    assert mirror.client.get_registered_model("adaptman.shop").aliases == {"champion": 2, "previous": 3}


def test_a_run_deleted_in_mlflow_holds_nothing_up(mirror: Mirror, objects: Objects) -> None:
    result = mirror.deliver(*objects.trained(2))
    mirror.client.delete_run(result["run_id"])
    fresh = mirror.deliver(*payloads.suite_run(2))
    parent = mirror.client.get_run(fresh["run_id"]).data.tags["mlflow.parentRunId"]
    assert parent != result["run_id"]


def test_a_deleted_experiment_is_told_with_the_way_out(mirror: Mirror, objects: Objects) -> None:
    result = mirror.deliver(*objects.trained(2))
    mirror.client.delete_experiment(result["experiment_id"])
    with pytest.raises(LineageError, match=r"`adaptman\.shop` was deleted in MLflow") as caught:
        mirror.deliver(*payloads.suite_run(2))
    assert f"mlflow experiments restore --experiment-id {result['experiment_id']}" in caught.value.hint


def test_two_registries_cannot_write_one_line(tracking_uri: str, objects: Objects, tmp_path: Path) -> None:
    ours, theirs = (
        Mirror(tracking_uri, objects.store, str(tmp_path / "artifacts"), owner=owner * 64) for owner in "ab"
    )
    ours.deliver(*payloads.base())
    ours.deliver(*objects.trained(2))
    before = census(ours.client)
    with pytest.raises(ForeignLineError, match="belongs to another registry"):
        theirs.deliver(*payloads.moved(1, None))
    with pytest.raises(ForeignLineError):
        theirs.deliver(*objects.trained(2))
    assert census(ours.client) == before


def test_an_experiment_made_by_hand_is_taken_over(
    tracking_uri: str, objects: Objects, tmp_path: Path
) -> None:
    mirror = Mirror(tracking_uri, objects.store, None, owner="a" * 64)
    mirror.client.create_experiment("adaptman.shop", artifact_location=(tmp_path / "mine").as_uri())
    mirror.deliver(*objects.trained(2))
    assert (tmp_path / "mine").is_dir()
    experiment = mirror.client.get_experiment_by_name("adaptman.shop")
    assert experiment is not None
    assert experiment.tags["adaptman.registry"] == "a" * 64


def test_a_database_needs_a_place_for_artifacts(tracking_uri: str, objects: Objects) -> None:
    with pytest.raises(LineageError, match="needs a place for artifacts"):
        Mirror(tracking_uri, objects.store, None).deliver(*payloads.base())


def test_a_missing_object_is_said_so(mirror: Mirror, objects: Objects) -> None:
    with pytest.raises(ArtifactError, match="c" * 64):
        mirror.deliver(*objects.trained(2, adapter="c" * 64))


def test_what_mlflow_refuses_is_not_a_store_that_is_down(mirror: Mirror) -> None:
    row = payloads.base()
    with pytest.raises(LineageError, match="MLflow could not be told") as caught:
        mirror.deliver(row.kind, row.key, {**row.payload, "model": "a/b"})
    assert not isinstance(caught.value, StoreDownError)


def test_a_kind_that_is_not_known_is_said_to_be_so_and_changes_nothing(mirror: Mirror) -> None:
    tell(mirror, payloads.base())
    before = census(mirror.client)
    assert mirror.deliver("model.eaten", "key", {"model": MODEL}) == {"not_mirrored": "model.eaten"}
    assert census(mirror.client) == before


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:///tmp/mlruns", "`file:///tmp/mlruns`"),
        ("mlruns", "`mlruns`"),
        ("databricks", "`databricks` was never tried"),
        ("databricks://profile", "`databricks` was never tried"),
        ("mysql://me:secret@host/mlflow", r"`mysql://me:\*\*\*@host/mlflow`"),
        ("postgres://host/mlflow", "does not know `postgres:`"),
    ],
)
def test_a_store_that_is_not_supported_is_refused_beforehand(uri: str, said: str, objects: Objects) -> None:
    with pytest.raises(LineageError, match=said) as caught:
        Mirror(uri, objects.store, "/nowhere").deliver(*payloads.base())
    assert "http://…" in caught.value.hint
    assert "sqlite:///…" in caught.value.hint
    assert not isinstance(caught.value, StoreDownError)


@pytest.mark.parametrize("broken", ["folder", "garbage"])
def test_a_database_that_cannot_be_opened(broken: str, objects: Objects, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db" if broken == "garbage" else tmp_path / "no" / "mlflow.db"
    if broken == "garbage":
        path.write_bytes(b"this is not a database, and it is long enough to be looked at" * 20)
    with pytest.raises(StoreDownError, match="MLflow does not answer") as caught:
        Mirror(f"sqlite:///{path}", objects.store, str(tmp_path)).deliver(*payloads.base())
    assert "adaptman lineage sync" in caught.value.hint
