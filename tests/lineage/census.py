"""Everything that an MLflow store holds of one model line, without the ids that MLflow makes up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlflow.entities import ViewType

from adaptman.lineage.books import KEY
from adaptman.lineage.names import line_name
from tests.lineage.payloads import MODEL

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

OF_MLFLOW = {"mlflow.user", "mlflow.source.name", "mlflow.source.type"}


def census(client: MlflowClient, model: str = MODEL) -> dict[str, Any]:
    """Lists, not sets: what is there twice shows twice."""
    named = f"name = '{line_name(model)}'"
    experiments = client.search_experiments(view_type=ViewType.ALL, filter_string=named)
    ids = [one.experiment_id for one in experiments]
    runs = client.search_runs(ids, run_view_type=ViewType.ALL) if ids else []
    models = client.search_logged_models(ids) if ids else []
    names = {one.info.run_id: one.data.tags[KEY] for one in runs}
    names |= {one.model_id: f"model {one.tags[KEY]}" for one in models}
    found = {
        "experiments": [one.name for one in experiments],
        "runs": sorted((_run(client, one) for one in runs), key=lambda one: one["key"]),
        "models": sorted((_model(client, one) for one in models), key=lambda one: one["key"]),
        "registered": _registered(client, named),
    }
    text = json.dumps(found).replace(model, MODEL)
    for made_up, name in names.items():
        text = text.replace(made_up, f"<{name}>")
    return json.loads(text)  # type: ignore[no-any-return]


def _run(client: MlflowClient, run: Run) -> dict[str, Any]:
    run_id = run.info.run_id
    run = client.get_run(run_id)  # a search leaves the models out
    assert run.inputs is not None
    assert run.outputs is not None
    history = [point for name in run.data.metrics for point in client.get_metric_history(run_id, name)]
    return {
        "key": run.data.tags[KEY],
        "name": run.info.run_name,
        "status": run.info.status,
        "times": [run.info.start_time, run.info.end_time],
        "params": run.data.params,
        "tags": {name: value for name, value in sorted(run.data.tags.items()) if name not in OF_MLFLOW},
        "metrics": sorted([one.key, one.step, one.timestamp, str(one.value)] for one in history),
        "datasets": sorted(
            json.dumps(one.to_dictionary(), sort_keys=True) for one in run.inputs.dataset_inputs
        ),
        "models_in": [one.model_id for one in run.inputs.model_inputs],
        "models_out": [one.model_id for one in run.outputs.model_outputs],
        "files": sorted(files(client, run_id)),
    }


def files(client: MlflowClient, run_id: str, path: str | None = None) -> list[str]:
    """Paths of a run's artifacts."""
    found = []
    for one in client.list_artifacts(run_id, path):
        found += files(client, run_id, one.path) if one.is_dir else [one.path]
    return found


def _model(client: MlflowClient, model: LoggedModel) -> dict[str, Any]:
    whole = client.get_logged_model(model.model_id)
    return {
        "key": model.tags[KEY],
        "name": model.name,
        "type": model.model_type,
        "status": str(model.status),
        "run": model.source_run_id,
        "tags": dict(sorted((k, v) for k, v in model.tags.items() if k not in OF_MLFLOW)),
        "metrics": sorted([one.key, one.dataset_name, one.value] for one in whole.metrics or []),
        "files": sorted(one.path for one in client.list_logged_model_artifacts(model.model_id)),
    }


def _registered(client: MlflowClient, named: str) -> list[dict[str, Any]]:
    versions = client.search_model_versions(named)
    return [
        {
            "name": one.name,
            "tags": dict(sorted(one.tags.items())),
            "aliases": dict(sorted((alias, str(version)) for alias, version in one.aliases.items())),
            "versions": sorted(
                (
                    [str(version.version), version.source, version.run_id, dict(sorted(version.tags.items()))]
                    for version in versions
                ),
                key=lambda version: int(version[0]),
            ),
        }
        for one in client.search_registered_models(named)
    ]
