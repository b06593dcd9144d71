"""A version in MLflow: the update's run with its children, a logged model, and a registered version."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from adaptman.lineage.books import KEY, Books
from adaptman.lineage.names import milliseconds, numbers, parameters, tag_values, words
from adaptman.lineage.payloads import DataSet, Payload, Version

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric

    from adaptman.artifacts.store import ObjectStore

MODEL_VERSIONS_TAG = "mlflow.modelVersions"
"""How MLflow's pages lead from a logged model to the registered versions made of it."""
BASE_NOTE, CHECKPOINT_NOTE = "base.json", "checkpoint.json"
"""What stands for weights that are described and not copied."""


def deliver_trained(books: Books, store: ObjectStore, payload: Payload) -> dict[str, str]:
    """An update that was trained, or a version that was folded. Returns MLflow's ids."""
    version = Version.of(payload)
    experiment_id = books.experiment(version.model)
    start = milliseconds(payload["started_at"])
    run_id = books.run(experiment_id, version.key, f"{_kind(payload)} → {version.name}", start=start)
    parent_model_id = _parent_model_id(books, experiment_id, payload["parent"])
    params = parameters(payload["recipe"] or payload["summary"])
    books.describe_run(run_id, params=params, tags=tag_values(trained_tags(payload)))
    books.log_inputs(run_id, _datasets(payload), [parent_model_id] if parent_model_id else [])
    if payload["recipe"] and _trained_as(payload) is None:  # moved back: those runs are the other version's
        _replay(books, experiment_id, run_id, payload)
        _training(books, store, experiment_id, run_id, payload)
    with _weights(store, payload) as directory:
        model_id = books.logged_model(
            experiment_id,
            version.key,
            name=version.name,
            run_id=run_id,
            directory=directory,
            model_type="adapter" if payload["adapter_digest"] else "checkpoint",
        )
    tags = {**trained_tags(payload), "parent_model_id": parent_model_id, "model_id": model_id}
    registered = _register(books, version, run_id, model_id, tags)
    books.finish(run_id, milliseconds(payload["finished_at"]))
    return {"experiment_id": experiment_id, "run_id": run_id, "model_id": model_id, **registered}


def deliver_base(books: Books, payload: Payload) -> dict[str, str]:
    """The base as version 1: described, not copied. Returns MLflow's ids."""
    version = Version.of(payload)
    experiment_id = books.experiment(version.model)
    at = milliseconds(payload["created_at"])
    run_id = books.run(experiment_id, version.key, "base", start=at)
    about = {name: payload[name] for name in ("base_digest", "base_source")}
    tags = base_tags(payload)
    books.describe_run(run_id, params=parameters(about), tags=tag_values(tags))
    with _note(BASE_NOTE, payload) as directory:
        model_id = books.logged_model(
            experiment_id,
            version.key,
            name=version.name,
            run_id=run_id,
            directory=directory,
            model_type="base",
        )
    registered = _register(books, version, run_id, model_id, {**tags, "model_id": model_id})
    books.finish(run_id, at)
    return {"experiment_id": experiment_id, "run_id": run_id, "model_id": model_id, **registered}


def base_tags(payload: Payload) -> dict[str, object]:
    """What is said of a base wherever it is found."""
    about = {name: payload[name] for name in ("base_digest", "base_source")}
    return {**Version.of(payload).tags, **about, "actor": payload.get("actor"), "kind": "base"}


def trained_tags(payload: Payload) -> dict[str, object]:
    """What is said of an update, or of a fold, wherever it is found."""
    from adaptman import __version__

    schema = payload.get("tool_schema") or {}
    return {
        **Version.of(payload).tags,
        "kind": _kind(payload),
        "parent": payload.get("parent"),
        "trained_as": _trained_as(payload),
        "base_digest": payload["base_digest"],
        "adapter_digest": payload["adapter_digest"],
        "tool_schema": schema.get("number"),
        "tool_schema_digest": schema.get("digest"),
        "recipe_digest": payload["recipe_digest"],
        "output_format": _format_name(payload.get("output_format")),
        "actor": payload.get("actor"),
        "made_by": f"adaptman {__version__}",
    }


def _trained_as(payload: Payload) -> int | None:
    """The version whose weights were moved back to make this one; None where it was trained itself."""
    found: int | None = (payload.get("summary") or {}).get("trained_as")
    return found


def _kind(payload: Payload) -> str:
    return "update" if payload["recipe"] else "fold"


def _format_name(found: Mapping[str, Any] | None) -> str | None:
    return f"{found['name']}/{found['version']}" if found else None


def _parent_model_id(books: Books, experiment_id: str, number: int | None) -> str | None:
    found = books.find_logged_model(experiment_id, f"version/{number}") if number is not None else None
    return str(found.model_id) if found is not None else None


def _datasets(payload: Payload) -> list[DatasetInput]:
    sets = []
    if examples := payload.get("example_set"):
        sets.append(DataSet("examples", examples["digest"], examples["count"], "training"))
    if replay := payload.get("replay_set"):
        sets.append(DataSet("replay", replay["digest"], replay["count"], "replay"))
    return [one.as_input() for one in sets]


def _replay(books: Books, experiment_id: str, parent: str, payload: Payload) -> None:
    """The child run of the replay; there is none when the update was made without."""
    replay = payload.get("replay_set")
    if not replay:
        return
    version, end = Version.of(payload), milliseconds(payload["finished_at"])
    start = milliseconds(payload["started_at"])
    run_id = books.run(experiment_id, f"{version.key}/replay", "replay", start=start, parent=parent)
    report = _in_figures(
        {"count": replay["count"], "tokens": replay["tokens"], **(replay.get("report") or {})}
    )
    tags = tag_values({**version.tags, "kind": "replay", "replay_digest": replay["digest"]})
    books.describe_run(run_id, params=words(report), tags=tags)
    books.log_metrics(run_id, _metrics(numbers(report), end))
    books.log_inputs(run_id, [DataSet("replay", replay["digest"], replay["count"], "replay").as_input()])
    books.client.log_dict(run_id, dict(replay), "replay_report.json")
    books.finish(run_id, end)


def _in_figures(report: dict[str, Any]) -> dict[str, Any]:
    """Of hundreds of tools, how many there are and of how many calls are replayed; the file names them."""
    tools = report.get("tools")
    if tools is None:
        return report
    return {**report, "tools": len(tools), "tools_held": sum(map(bool, tools.values()))}


def _training(books: Books, store: ObjectStore, experiment_id: str, parent: str, payload: Payload) -> None:
    """The child run of the training: recipe, curves, summary."""
    version, end = Version.of(payload), milliseconds(payload["finished_at"])
    start = milliseconds(payload["started_at"])
    run_id = books.run(experiment_id, f"{version.key}/training", "training", start=start, parent=parent)
    summary = payload.get("summary") or {}
    params = {**words(summary, "summary"), **parameters(payload["recipe"])}
    books.describe_run(run_id, params=params, tags=tag_values({**version.tags, "kind": "training"}))
    books.log_inputs(run_id, _datasets(payload))
    if digest := payload.get("curves_digest"):
        books.log_metrics(run_id, _curves(json.loads(store.get_bytes(digest)), end))
    books.log_metrics(run_id, _metrics(numbers(summary, "summary"), end))
    books.finish(run_id, end)


def _metrics(values: Mapping[str, float], at: int) -> Iterator[Metric]:
    from mlflow.entities import Metric

    return (Metric(name, value, at, 0) for name, value in values.items())


def _curves(curves: Mapping[str, Any], at: int) -> Iterator[Metric]:
    """Every point of every series. All carry one time, so that a second delivery adds nothing."""
    from mlflow.entities import Metric

    from adaptman.lineage.names import key

    for name, points in curves["series"].items():
        for step, value in points:
            if value is not None:
                yield Metric(key(name), float(value), at, int(step))


def _weights(store: ObjectStore, payload: Payload) -> AbstractContextManager[Path]:
    """The adapter; in place of one that was removed from the store since, a note that says so.

    A checkpoint is described, like the base, and not copied.
    """
    if payload["adapter_digest"] is None:
        return _note(CHECKPOINT_NOTE, payload)
    if "collected" in payload:
        told = {"adapter_digest": payload["adapter_digest"], "removed": payload["collected"]}
        return _note("removed.json", told)
    return _writable_copy(store.checkout(payload["adapter_digest"]))


@contextmanager
def _note(name: str, told: Mapping[str, Any]) -> Iterator[Path]:
    """A folder that holds nothing but what is told, as JSON."""
    with TemporaryDirectory(prefix="adaptman-") as folder:
        (Path(folder) / name).write_text(json.dumps(dict(told), indent=2), encoding="utf-8")
        yield Path(folder)


@contextmanager
def _writable_copy(directory: Path) -> Iterator[Path]:
    """The files with ordinary permissions: MLflow copies permissions too, and could not write them twice."""
    with TemporaryDirectory(prefix="adaptman-") as folder:
        for file in sorted(directory.rglob("*")):
            if file.is_file():
                target = Path(folder) / file.relative_to(directory)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        yield Path(folder)


def _register(
    books: Books, version: Version, run_id: str, model_id: str, tags: Mapping[str, object]
) -> dict[str, str]:
    name = books.registered_model(version.model)
    texts = {KEY: version.key, **tag_values(tags)}
    number = books.model_version(name, version.number, tags=texts, run_id=run_id, model_id=model_id)
    link = json.dumps([{"name": name, "version": number}])
    books.client.set_logged_model_tags(model_id, {**texts, MODEL_VERSIONS_TAG: link})
    books.log_output(run_id, model_id)
    return {"registered_model": name, "model_version": number}
