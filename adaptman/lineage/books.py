"""Find-or-create in MLflow, so that whatever is told twice is there once.

Each thing carries the tag `adaptman.key`, set in the same call that creates it; whoever comes again finds it
by that. Everything else is set after, in calls that may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptman.errors import LineageError
from adaptman.lineage.client import global_uri, is_server
from adaptman.lineage.errors import ForeignLineError
from adaptman.lineage.names import (
    METRICS_A_BATCH,
    PARAMS_A_BATCH,
    TAGS_A_BATCH,
    batches,
    line_name,
    tag,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Experiment, LoggedModel, Metric, Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

KEY = tag("key")
OWNER = tag("registry")


class Books:
    """One MLflow store. `owner` identifies the registry that writes; empty when nobody else can."""

    def __init__(
        self, client: MlflowClient, tracking_uri: str, *, artifact_location: str | None, owner: str
    ) -> None:
        self.client = client
        self._uri = tracking_uri
        self._artifact_location = artifact_location
        self.owner = owner

    # the line

    def experiment(self, model: str) -> str:
        """The id of the line's experiment.

        Raises:
            LineageError: it was deleted, or a database store has no place for artifacts.
            ForeignLineError: another registry writes it.
        """
        found = self.client.get_experiment_by_name(line_name(model))
        if found is None:
            return self.client.create_experiment(
                line_name(model), artifact_location=self._line_location(model), tags=self._owner_tags()
            )
        self._check_experiment(found)
        return str(found.experiment_id)

    def _check_experiment(self, found: Experiment) -> None:
        if found.lifecycle_stage != "active":
            raise LineageError(
                f"experiment `{found.name}` was deleted in MLflow",
                hint=f"run `mlflow experiments restore --experiment-id {found.experiment_id}`",
            )
        if self._is_unowned(found):
            self.client.set_experiment_tag(found.experiment_id, OWNER, self.owner)

    def registered_model(self, model: str) -> str:
        """The name of the line's registered model.

        Raises:
            ForeignLineError: another registry writes it.
        """
        name = line_name(model)
        found = self._find_registered_model(name)
        if found is None:
            self.client.create_registered_model(name, tags={**self._owner_tags(), tag("model"): model})
        elif self._is_unowned(found):
            self.client.set_registered_model_tag(name, OWNER, self.owner)
        return name

    def _find_registered_model(self, name: str) -> RegisteredModel | None:
        found = self.client.search_registered_models(f"name = '{name}'")
        return found[0] if found else None

    def _is_unowned(self, found: Experiment | RegisteredModel) -> bool:
        owner = found.tags.get(OWNER)
        if self.owner and owner and owner != self.owner:
            raise ForeignLineError(
                f"`{found.name}` in MLflow belongs to another registry (`{owner[:12]}`, this one is "
                f"`{self.owner[:12]}`)",
                hint="use another name for the model line, or another tracking URI",
            )
        return bool(self.owner) and not owner

    def _owner_tags(self) -> dict[str, str]:
        return {OWNER: self.owner} if self.owner else {}

    def _line_location(self, model: str) -> str | None:
        location = self._artifact_location
        if location is None:
            if not is_server(self._uri):
                raise LineageError(
                    "a database as MLflow store needs a place for artifacts", hint="set `artifact_location`"
                )
            return None
        root = location if "://" in location else Path(location).resolve().as_uri()
        return f"{root.rstrip('/')}/{model}"

    # runs

    def find_run(self, experiment_id: str, key: str) -> Run | None:
        """The run with that key, unless it was deleted."""
        found = self.client.search_runs([experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
        return found[0] if found else None

    def run(self, experiment_id: str, key: str, name: str, *, start: int, parent: str | None = None) -> str:
        """The id of the run with that key. `start` is in milliseconds since 1970."""
        found = self.find_run(experiment_id, key)
        if found is not None:
            return str(found.info.run_id)
        tags = {KEY: key} | ({"mlflow.parentRunId": parent} if parent else {})
        return str(self.client.create_run(experiment_id, start, tags, name).info.run_id)

    def describe_run(
        self, run_id: str, *, params: Mapping[str, str] = {}, tags: Mapping[str, str] = {}
    ) -> None:
        """Set parameters and tags."""
        from mlflow.entities import Param, RunTag

        for some in batches((Param(name, value) for name, value in params.items()), PARAMS_A_BATCH):
            self.client.log_batch(run_id, params=some)
        for batch in batches((RunTag(name, value) for name, value in tags.items()), TAGS_A_BATCH):
            self.client.log_batch(run_id, tags=batch)

    def log_metrics(self, run_id: str, metrics: Iterable[Metric]) -> None:
        """Log metrics; one that is there with the same step and time is not doubled."""
        for batch in batches(metrics, METRICS_A_BATCH):
            self.client.log_batch(run_id, metrics=batch)

    def log_inputs(self, run_id: str, datasets: list[DatasetInput], model_ids: Iterable[str] = ()) -> None:
        """Name what went into a run: data sets and logged models."""
        from mlflow.entities import LoggedModelInput

        run = self.client.get_run(run_id)
        known = {one.model_id for one in (run.inputs.model_inputs if run.inputs else [])}
        models = [LoggedModelInput(one) for one in model_ids if one not in known]
        if datasets or models:
            self.client.log_inputs(run_id, datasets, models)

    def log_output(self, run_id: str, model_id: str) -> None:
        """Name the logged model that a run made."""
        from mlflow.entities import LoggedModelOutput

        run = self.client.get_run(run_id)
        known = {one.model_id for one in (run.outputs.model_outputs if run.outputs else [])}
        if model_id not in known:
            self.client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])

    def finish(self, run_id: str, end: int) -> None:
        """Mark a run as finished at `end`, milliseconds since 1970."""
        self.client.set_terminated(run_id, "FINISHED", end_time=end)

    # models

    def find_logged_model(self, experiment_id: str, key: str) -> LoggedModel | None:
        """The logged model with that key, unless it was deleted."""
        found = self.client.search_logged_models([experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
        return found[0] if found else None

    def logged_model(
        self, experiment_id: str, key: str, *, name: str, run_id: str, directory: Path, model_type: str
    ) -> str:
        """The id of the logged model with that key, complete with the files of `directory`.

        Files that are there with their sizes are not written again: somebody may be reading them.
        """
        found = self.find_logged_model(experiment_id, key)
        model = found or self.client.create_logged_model(
            experiment_id, name=name, source_run_id=run_id, tags={KEY: key}, model_type=model_type
        )
        ready = model.status == "READY"
        if not ready or not sizes_below(directory).items() <= self.model_files(model.model_id).items():
            self.client.log_model_artifacts(model.model_id, str(directory))
        if not ready:
            self.client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def model_files(self, model_id: str, path: str | None = None) -> dict[str, int]:
        """The files of a logged model by path, with their sizes in bytes."""
        found: dict[str, int] = {}
        for one in self.client.list_logged_model_artifacts(model_id, path):
            inside = self.model_files(model_id, one.path) if one.is_dir else {one.path: one.file_size or 0}
            found |= inside
        return found

    def download_model(self, model_id: str, folder: Path) -> Path:
        """Copy the files of a logged model to somewhere below `folder`, and say where."""
        from mlflow.artifacts import download_artifacts

        location = self.client.get_logged_model(model_id).artifact_location
        return Path(download_artifacts(location, dst_path=str(folder), tracking_uri=self._uri))

    def find_version(self, name: str, number: int) -> ModelVersion | None:
        """The registered version that stands for version `number` of the line, unless it was deleted."""
        return next(iter(self._versions_of(name, number)), None)

    def _versions_of(self, name: str, number: int) -> list[ModelVersion]:
        """More than one only while a version is replaced, or after somebody else's work; oldest first."""
        wanted = f"name = '{name}' and tags.`{tag('version')}` = '{number}'"
        return sorted(self.client.search_model_versions(wanted), key=lambda one: int(one.version))

    def model_version(
        self, name: str, number: int, *, tags: Mapping[str, str], run_id: str, model_id: str
    ) -> str:
        """MLflow's own number of the registered version that stands for version `number` of the line.

        A version's source is fixed in MLflow. One that was made from another logged model, which somebody
        deleted since, is replaced.
        """
        standing = self._versions_of(name, number)
        good = next((one for one in standing if one.source == f"models:/{model_id}"), None)
        if good is not None:
            self.tag_version(good, tags)
        kept = good.version if good else self._new_version(name, number, tags, run_id, model_id)
        for one in standing:
            if one is not good:
                self._replace(one, str(kept))
        return str(kept)

    def _replace(self, former: ModelVersion, kept: str) -> None:
        """Deleting a version deletes its aliases, anybody's: they move first."""
        for alias, number in self.aliases(former.name).items():
            if number == str(former.version):
                self.client.set_registered_model_alias(former.name, alias, kept)
        self.client.delete_model_version(former.name, str(former.version))

    def _new_version(
        self, name: str, number: int, tags: Mapping[str, str], run_id: str, model_id: str
    ) -> str:
        with global_uri(self._uri):
            made = self.client.create_model_version(
                name,
                f"models:/{model_id}",
                run_id,
                tags={**tags, tag("version"): str(number)},
                await_creation_for=0,
                model_id=model_id,
            )
        return str(made.version)

    def tag_version(self, found: ModelVersion, tags: Mapping[str, str]) -> None:
        """Set the tags that a registered version has not got yet."""
        for tag_name, value in tags.items():
            if found.tags.get(tag_name) != value:
                self.client.set_model_version_tag(found.name, str(found.version), tag_name, value)

    def tag_registered_model(self, name: str, tags: Mapping[str, str]) -> None:
        """Set tags of the registered model."""
        for tag_name, value in tags.items():
            self.client.set_registered_model_tag(name, tag_name, value)

    def aliases(self, name: str) -> dict[str, str]:
        """The registered model's aliases, each with MLflow's own version number."""
        found: dict[str, Any] = dict(self.client.get_registered_model(name).aliases)
        return {alias: str(version) for alias, version in found.items()}


def sizes_below(directory: Path) -> dict[str, int]:
    """The files of a directory by path, with their sizes in bytes."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.stat().st_size for path in files}
