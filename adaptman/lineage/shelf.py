"""All that MLflow holds of one model line, read in a few pages and found by our keys."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from adaptman.lineage.books import KEY
from adaptman.lineage.names import tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

PAGE = 1000
MODELS_A_PAGE = 100
VERSIONS_A_PAGE = 200

Name = TypeVar("Name", bound=Hashable)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shelf:
    """Lists, since somebody may have made a second one by hand. What was deleted is not there."""

    experiment: Experiment | None
    registered: RegisteredModel | None
    runs: dict[str, list[Run]] = field(default_factory=dict)
    models: dict[str, list[LoggedModel]] = field(default_factory=dict)
    versions: dict[int, list[ModelVersion]] = field(default_factory=dict)
    """By the registry's number; oldest first."""
    others: list[ModelVersion] = field(default_factory=list)
    """Registered versions without a number of ours."""


def read_shelf(client: MlflowClient, name: str) -> Shelf:
    """The shelf of the experiment and registered model `name`."""
    experiment = client.get_experiment_by_name(name)
    registered = next(iter(client.search_registered_models(f"name = '{name}'")), None)
    if experiment is None or experiment.lifecycle_stage != "active":
        return Shelf(experiment, registered)
    ids = [experiment.experiment_id]
    versions = sorted(_versions(client, name), key=lambda one: int(one.version))
    ours = [one for one in versions if _number(one) is not None]
    return Shelf(
        experiment,
        registered,
        runs=_grouped(
            _pages(client.search_runs, ids, "", max_results=PAGE), lambda run: run.data.tags.get(KEY)
        ),
        models=_grouped(
            _pages(client.search_logged_models, ids, max_results=MODELS_A_PAGE),
            lambda one: (one.tags or {}).get(KEY),
        ),
        versions=_grouped(ours, _number),
        others=[one for one in versions if _number(one) is None],
    )


def _versions(client: MlflowClient, name: str) -> Iterator[ModelVersion]:
    return _pages(client.search_model_versions, f"name = '{name}'", max_results=VERSIONS_A_PAGE)


def _number(version: ModelVersion) -> int | None:
    text = version.tags.get(tag("version"), "")
    return int(text) if text.isdecimal() else None


def _pages(search: Callable[..., Any], *arguments: Any, max_results: int) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, max_results=max_results, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _grouped(items: Iterable[Item], name: Callable[[Item], Name | None]) -> dict[Name, list[Item]]:
    found: dict[Name, list[Item]] = {}
    for item in items:
        if (called := name(item)) is not None:
            found.setdefault(called, []).append(item)
    return found
