"""What was measured and decided about a version, and which one is live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adaptman.lineage.books import Books
from adaptman.lineage.names import file_name, key, milliseconds, tag_values
from adaptman.lineage.payloads import DataSet, Payload, Version

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.entities.model_registry import ModelVersion


def deliver_suite_run(books: Books, outbox_key: str, payload: Payload) -> dict[str, str]:
    """A suite that was run: a child of the version's run, its figures on the logged model too."""
    version = Version.of(payload)
    experiment_id = books.experiment(version.model)
    end = milliseconds(payload["created_at"])
    start = end - int(payload["duration_s"] * 1000)
    parent = _version_run(books, experiment_id, version, start)
    name = f"suite: {payload['suite']}"
    run_id = books.run(experiment_id, suite_run_key(outbox_key), name, start=start, parent=parent)
    about = {field: payload.get(field) for field in ("suite", "suite_digest", "metric", "outputs_digest")}
    tags = tag_values({**version.tags, **about, "kind": "suite", "suite_kind": payload["kind"]})
    books.describe_run(run_id, tags=tags)
    suite = DataSet(payload["suite"], payload["suite_digest"], payload["n"], "evaluation")
    model = books.find_logged_model(experiment_id, version.key)
    model_id = str(model.model_id) if model is not None else None
    books.log_inputs(run_id, [suite.as_input()], [model_id] if model_id else [])
    books.log_metrics(run_id, _metrics(payload, suite, model_id, end))
    books.log_metrics(parent, _headline(payload, end))
    books.finish(run_id, end)
    return {"experiment_id": experiment_id, "run_id": run_id, **({"model_id": model_id} if model_id else {})}


def _version_run(books: Books, experiment_id: str, version: Version, start: int) -> str:
    """The version's run; an empty one in its place if somebody deleted it."""
    return books.run(experiment_id, version.key, f"update → {version.name}", start=start)


def _metrics(payload: Payload, suite: DataSet, model_id: str | None, at: int) -> list[Metric]:
    from mlflow.entities import Metric

    plain = [Metric(name, value, at, 0) for name, value in figures(payload).items()]
    if model_id is None:
        return plain
    return plain + [
        Metric(name, value, at, 0, model_id, suite.name, suite.short_digest)
        for name, value in model_figures(payload).items()
    ]


def suite_run_key(outbox_key: str) -> str:
    """What the run of a suite is found by."""
    return f"suite/{file_name(outbox_key)}"


def figures(payload: Payload) -> dict[str, float]:
    """The metrics of a suite's own run."""
    return {name: float(payload[name]) for name in ("value", "low", "high", "n", "duration_s")}


def model_figures(payload: Payload) -> dict[str, float]:
    """The metrics of a suite on the logged model."""
    stem = f"suite/{payload['suite']}"
    named = {stem: "value", f"{stem}/low": "low", f"{stem}/high": "high", f"{stem}/n": "n"}
    return {key(name): float(payload[field]) for name, field in named.items()}


def _headline(payload: Payload, at: int) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(key(f"suite/{payload['suite']}"), float(payload["value"]), at, 0)]


def deliver_decision(books: Books, outbox_key: str, payload: Payload) -> dict[str, str]:
    """What the gate said: tags on the version and its run, the reasons as an artifact of the run."""
    version = Version.of(payload)
    experiment_id = books.experiment(version.model)
    at = milliseconds(payload["created_at"])
    run_id = _version_run(books, experiment_id, version, at)
    tags = decision_tags(payload)
    books.describe_run(run_id, tags=tag_values(tags))
    books.client.log_dict(run_id, dict(payload), decision_file(outbox_key))
    result = {"experiment_id": experiment_id, "run_id": run_id}
    model = books.find_logged_model(experiment_id, version.key)
    if model is not None:
        books.client.set_logged_model_tags(model.model_id, tag_values(tags))
        result["model_id"] = str(model.model_id)
    name = books.registered_model(version.model)
    registered = books.find_version(name, version.number)
    if registered is not None:
        books.tag_version(registered, tag_values(tags))
        result |= {"registered_model": name, "model_version": str(registered.version)}
    return result


def decision_tags(payload: Payload) -> dict[str, object]:
    """What a decision says of its version."""
    return {
        "decision": payload["verdict"],
        "decision_at": payload["created_at"],
        "decision_champion": payload.get("champion"),
        "policy": payload["policy"],
        "policy_digest": payload["policy_digest"],
    }


def decision_file(outbox_key: str) -> str:
    """The artifact that holds a decision whole."""
    return f"decisions/{file_name(outbox_key)}.json"


def deliver_capacity(books: Books, payload: Payload) -> dict[str, str]:
    """An audit of capacity: figures on the version's run, the verdict on the registered version."""
    from mlflow.entities import Metric

    version = Version.of(payload)
    experiment_id, at = books.experiment(version.model), milliseconds(payload["at"])
    run_id = _version_run(books, experiment_id, version, at)
    values = {"room_bits": payload["room_bits"], "low": payload["low"], "high": payload["high"]}
    values |= payload["figures"]
    books.log_metrics(
        run_id, [Metric(key(f"capacity/{name}"), float(value), at, 0) for name, value in values.items()]
    )
    tags = capacity_tags(payload)
    books.describe_run(run_id, tags=tag_values(tags))
    return {"experiment_id": experiment_id, "run_id": run_id, **_mark(books, payload, tags)}


def capacity_tags(payload: Payload) -> dict[str, object]:
    """What an audit of capacity says of its version."""
    return {
        "capacity": payload["verdict"],
        "capacity_at": payload["at"],
        "capacity_room_bits": round(payload["room_bits"]),
        "capacity_report": payload["report_digest"],
    }


def deliver_champion(books: Books, payload: Payload) -> dict[str, str]:
    """The champion moved: what became champion says since when and why. `point` moves the aliases."""
    return _mark(books, payload, move_tags(payload))


def deliver_ended(books: Books, payload: Payload) -> dict[str, str]:
    """Nobody wants a version any more, or it failed: it says so."""
    return _mark(books, payload, ended_tags(payload))


def _mark(books: Books, payload: Payload, tags: Mapping[str, object]) -> dict[str, str]:
    """Tags on a registered version, unless it was deleted."""
    version = Version.of(payload)
    name = books.registered_model(version.model)
    found = books.find_version(name, version.number)
    if found is None:
        return {"registered_model": name}
    books.tag_version(found, tag_values(tags))
    return {"registered_model": name, "model_version": str(found.version)}


def point(books: Books, model: str, standing: Mapping[str, int | None]) -> dict[str, str]:
    """Set the aliases, in the order of `standing`: a champion that goes is replaced in one call.

    An alias whose version was deleted in MLflow is taken away, since it would point at the wrong one; the
    registered model's tags still name the right numbers.
    """
    name = books.registered_model(model)
    before = books.aliases(name)
    result: dict[str, str] = {}
    for alias, number in standing.items():
        found = books.find_version(name, number) if number is not None else None
        _move_alias(books, name, alias, found, before)
        result |= {alias: str(found.version)} if found else {}
    books.tag_registered_model(name, tag_values(standing_tags(standing)))
    return result


def standing_tags(standing: Mapping[str, int | None]) -> dict[str, object]:
    """The registry's own numbers of the versions that the aliases name."""
    return {alias: "none" if number is None else number for alias, number in standing.items()}


def _move_alias(
    books: Books, name: str, alias: str, found: ModelVersion | None, before: dict[str, str]
) -> None:
    if found is not None and before.get(alias) != str(found.version):
        books.client.set_registered_model_alias(name, alias, str(found.version))
    elif found is None and alias in before:
        books.client.delete_registered_model_alias(name, alias)


def move_tags(payload: Payload) -> dict[str, object]:
    """What becoming champion says of a version."""
    return {
        "champion_since": payload["at"],
        "champion_cause": payload["cause"],
        "champion_by": payload.get("actor"),
        "waiver": payload.get("waiver"),
    }


def ended_tags(payload: Payload) -> dict[str, object]:
    """What the end of a version says of it."""
    return {
        "state": payload["state"],
        "state_reason": payload["reason"],
        "state_since": payload["at"],
        "state_by": payload["actor"],
    }
