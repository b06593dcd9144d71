"""Where MLflow differs from what it was told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from adaptman.lineage.books import OWNER, Books
from adaptman.lineage.judgements import (
    capacity_tags,
    decision_file,
    decision_tags,
    ended_tags,
    figures,
    model_figures,
    move_tags,
    standing_tags,
    suite_run_key,
)
from adaptman.lineage.names import line_name, tag, tag_values
from adaptman.lineage.payloads import Payload, Version
from adaptman.lineage.shelf import Shelf, read_shelf
from adaptman.lineage.versions import base_tags, trained_tags

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from adaptman.artifacts.store import FileEntry, ObjectStore

TELL_AGAIN = "`adaptman lineage sync --full` mends it"
NONE = "none"
MADE = {"version.base": base_tags, "version.trained": trained_tags}
# Who told, not what: a newer adaptman that tells it again writes its own name.
UNSTEADY = {tag("made_by"), tag("parent_model_id"), tag("model_id")}


Item = TypeVar("Item")


class Told(NamedTuple):
    """Something that MLflow was told; the fields are those of an outbox row."""

    kind: str
    key: str
    payload: Payload


@dataclass(frozen=True)
class Line:
    """All that MLflow was told of one model line, in order.

    `standing` is where the aliases should be; None while there is more to tell, since they move last.
    """

    model: str
    told: list[Told]
    standing: Mapping[str, int | None] | None


class Difference(NamedTuple):
    """One thing that is not as it was told. A `warning` is something that nobody told, and does no harm."""

    model: str
    version: int | None
    what: str
    expected: str
    found: str
    hint: str = TELL_AGAIN
    warning: bool = False


def audit(books: Books, store: ObjectStore, line: Line, *, deep: bool) -> Iterator[Difference]:
    """Compare one model line; `deep` downloads each adapter and computes its digests again.

    Raises:
        ArtifactError: an adapter's list of files cannot be read from the object store.
    """
    shelf = read_shelf(books.client, line_name(line.model))
    if (unusable := _unusable(shelf, line, books.owner)) is not None:
        yield unusable
        return
    check = _Check(books, store, line, shelf, deep)
    yield from check.versions()
    yield from check.suite_runs()
    yield from check.decisions()
    yield from check.marks()
    yield from check.aliases()
    yield from check.extras()


def _unusable(shelf: Shelf, line: Line, owner: str) -> Difference | None:
    """Why there is nothing to be compared with."""
    name = line_name(line.model)
    experiment = shelf.experiment
    if experiment is None:
        return Difference(line.model, None, "experiment", f"`{name}`", NONE)
    if experiment.lifecycle_stage != "active":
        hint = f"run `mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        return Difference(line.model, None, "experiment", f"`{name}`", "deleted", hint)
    holder = experiment.tags.get(OWNER, "")
    if owner and holder != owner:
        hint = "use another name for the model line, or another tracking URI" if holder else TELL_AGAIN
        return Difference(line.model, None, "owner of the experiment", owner[:12], holder[:12] or NONE, hint)
    return None


@dataclass(frozen=True)
class _Check:
    """One comparison: what was told, and the shelf with what is there."""

    books: Books
    store: ObjectStore
    line: Line
    shelf: Shelf
    deep: bool

    def versions(self) -> Iterator[Difference]:
        """The run, the logged model and the registered version of each version."""
        for told in self._of(*MADE):
            version = Version.of(told.payload)
            expected = _steady(tag_values(MADE[told.kind](told.payload)))
            runs = self.shelf.runs.get(version.key, [])
            yield from self._one(version, "run", _run_states(runs), "FINISHED")
            for run in _single(runs):
                yield from self._tags(version, "run", run.data.tags, expected)
            yield from self._model(version, told, expected)
            yield from self._registered(version, expected)

    def _model(self, version: Version, told: Told, expected: Mapping[str, str]) -> Iterator[Difference]:
        models = self.shelf.models.get(version.key, [])
        yield from self._one(version, "logged model", [str(one.status) for one in models], "READY")
        for model in _single(models):
            yield from self._tags(version, "logged model", model.tags, expected)
            yield from self._files(version, told, model)

    def _registered(self, version: Version, expected: Mapping[str, str]) -> Iterator[Difference]:
        found = self.shelf.versions.get(version.number, [])
        what = "registered version"
        yield from self._one(version, what, [str(one.status) for one in found], "READY")
        models = self.shelf.models.get(version.key, [])
        for one in _single(found):
            yield from self._tags(version, what, one.tags, expected)
            for model in _single(models):
                model_id = str(model.model_id)
                yield from self._same(version, f"source of the {what}", f"models:/{model_id}", one.source)
                yield from self._same(
                    version, f"tag `{tag('model_id')}` of the {what}", model_id, one.tags.get(tag("model_id"))
                )

    def _files(self, version: Version, told: Told, model: LoggedModel) -> Iterator[Difference]:
        model_id = str(model.model_id)
        found = self.books.model_files(model_id)
        if told.kind == "version.base":
            yield from self._same(version, "file `base.json`", "there", _presence(found, "base.json"))
            return
        if "collected" in told.payload:  # MLflow may have the files of before, or the note that they are gone
            return
        files = self.store.tree(told.payload["adapter_digest"])
        for name, entry in files.items():
            size = f"{found[name]} bytes" if name in found else None
            yield from self._same(version, f"file `{name}`", f"{entry.size} bytes", size)
        for name in sorted(set(found) - set(files)):
            yield self._differs(version, f"file `{name}`", NONE, "there")._replace(hint="", warning=True)
        if self.deep and set(files) <= set(found):
            yield from self._digests(version, model_id, files)

    def _digests(
        self, version: Version, model_id: str, files: Mapping[str, FileEntry]
    ) -> Iterator[Difference]:
        hint = f"delete the logged model `{model_id}` in MLflow, then run `adaptman lineage sync --full`"
        with TemporaryDirectory(prefix="adaptman-") as folder:
            copy = self.books.download_model(model_id, Path(folder))
            for name, entry in files.items():
                with (copy / name).open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                for one in self._same(version, f"sha256 of file `{name}`", entry.sha256, found):
                    yield one._replace(hint=hint)

    def suite_runs(self) -> Iterator[Difference]:
        """The child run of each suite, and its figures on the logged model."""
        for told in self._of("suite_run.recorded"):
            version = Version.of(told.payload)
            what = f"run of suite `{told.payload['suite']}`"
            runs = self.shelf.runs.get(suite_run_key(told.key), [])
            yield from self._one(version, what, _run_states(runs), "FINISHED")
            for run in _single(runs):
                for name, value in figures(told.payload).items():
                    yield from self._same(
                        version, f"metric `{name}` of the {what}", value, run.data.metrics.get(name)
                    )
            for model in _single(self.shelf.models.get(version.key, [])):
                there = {(one.key, one.value) for one in model.metrics or []}
                for name, value in model_figures(told.payload).items():
                    if (name, value) not in there:
                        yield self._differs(version, f"metric `{name}` of the logged model", str(value), NONE)

    def decisions(self) -> Iterator[Difference]:
        """The newest decision as tags; every decision as a file."""
        for number, every in self._by_version("decision.recorded").items():
            version, newest = Version.of(every[-1].payload), tag_values(decision_tags(every[-1].payload))
            runs, models = self.shelf.runs.get(version.key, []), self.shelf.models.get(version.key, [])
            for run in _single(runs):
                yield from self._tags(version, "run", run.data.tags, newest)
                there = {one.path for one in self.books.client.list_artifacts(run.info.run_id, "decisions")}
                for path in (decision_file(told.key) for told in every):
                    yield from self._same(version, f"file `{path}`", "there", _presence(there, path))
            for model in _single(models):
                yield from self._tags(version, "logged model", model.tags, newest)
            for one in _single(self.shelf.versions.get(number, [])):
                yield from self._tags(version, "registered version", one.tags, newest)

    def marks(self) -> Iterator[Difference]:
        """When and why a version became champion, or ended, and what it can still take in."""
        for kind, tags_of in (
            ("champion.moved", move_tags),
            ("version.ended", ended_tags),
            ("capacity.audited", capacity_tags),
        ):
            for number, every in self._by_version(kind).items():
                version, newest = Version.of(every[-1].payload), tag_values(tags_of(every[-1].payload))
                for one in _single(self.shelf.versions.get(number, [])):
                    yield from self._tags(version, "registered version", one.tags, newest)

    def aliases(self) -> Iterator[Difference]:
        """Each alias, and the registered model's tags that say the same in the registry's numbers."""
        registered, standing = self.shelf.registered, self.line.standing
        if registered is None:
            yield self._differs(None, "registered model", f"`{line_name(self.line.model)}`", NONE)
            return
        if standing is None:
            return
        for alias, number in standing.items():
            yield from self._same(None, f"alias `{alias}`", _v(number), self._pointed_at(registered, alias))
        yield from self._tags(None, "registered model", registered.tags, tag_values(standing_tags(standing)))

    def _pointed_at(self, registered: RegisteredModel, alias: str) -> str:
        """The registry's name of the version behind an alias, or MLflow's where the registry has none."""
        target = registered.aliases.get(alias)
        if target is None:
            return NONE
        number = self._numbers.get(str(target))
        return f"MLflow's version {target}" if number is None else _v(number)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The registry's numbers by MLflow's."""
        return {str(one.version): number for number, ours in self.shelf.versions.items() for one in ours}

    def extras(self) -> Iterator[Difference]:
        """Registered versions that nobody told MLflow of."""
        known = {Version.of(told.payload).number for told in self._of(*MADE)}
        made_up = [one for number, ours in self.shelf.versions.items() if number not in known for one in ours]
        for one in [*self.shelf.others, *made_up]:
            yield self._extra(one)

    def _extra(self, one: ModelVersion) -> Difference:
        what = f"MLflow's version {one.version}"
        hint = "somebody registered it beside adaptman; nothing here depends on it"
        return Difference(self.line.model, None, what, NONE, f"source `{one.source}`", hint, warning=True)

    # the comparisons themselves

    def _of(self, *kinds: str) -> Iterator[Told]:
        return (told for told in self.line.told if told.kind in kinds)

    def _by_version(self, kind: str) -> dict[int, list[Told]]:
        found: dict[int, list[Told]] = {}
        for told in self._of(kind):
            found.setdefault(Version.of(told.payload).number, []).append(told)
        return found

    def _one(self, version: Version, what: str, states: Sequence[str], expected: str) -> Iterator[Difference]:
        """One of them is there, and in the right state."""
        if len(states) > 1:
            hint = "somebody copied it; delete in MLflow those that are too many"
            yield self._differs(version, what, "1", f"{len(states)} of them")._replace(hint=hint)
        else:
            yield from self._same(version, what, expected, states[0] if states else None)

    def _same(
        self, version: Version | None, what: str, expected: object, found: object
    ) -> Iterator[Difference]:
        if expected != found:
            yield self._differs(version, what, str(expected), NONE if found is None else str(found))

    def _tags(
        self,
        version: Version | None,
        of: str,
        found: Mapping[str, str] | None,
        expected: Mapping[str, str],
    ) -> Iterator[Difference]:
        for name, value in expected.items():
            yield from self._same(version, f"tag `{name}` of the {of}", value, (found or {}).get(name))

    def _differs(self, version: Version | None, what: str, expected: str, found: str) -> Difference:
        return Difference(self.line.model, version.number if version else None, what, expected, found)


def _single(found: list[Item]) -> list[Item]:
    """Of two with one key nobody knows which was told; that they are two is said elsewhere."""
    return found if len(found) == 1 else []


def _steady(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name not in UNSTEADY}


def _presence(found: Iterable[str], name: str) -> str:
    return "there" if name in found else NONE


def _v(number: int | None) -> str:
    return NONE if number is None else f"v{number}"


def _run_states(runs: Iterable[Run]) -> list[str]:
    return [str(run.info.status) for run in runs]
