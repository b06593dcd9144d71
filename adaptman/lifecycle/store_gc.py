"""Take out of the object store what nobody can need any more, under a retention policy.

First the registry records what goes, in the transaction that worked out the plan; then the files go. A run
that dies between leaves objects that are recorded and still there: the next run removes them. All model lines
are held meanwhile, so no update or evaluation is at work.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptman.errors import ArtifactError, WorkspaceError
from adaptman.lifecycle.lease import held
from adaptman.lifecycle.policies import read_text
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from adaptman.artifacts.store import ObjectStore
    from policies.retention import Plan, Retention, StoreFacts, VersionFacts
    from registry.objects import NamedObject
    from registry.reader import Reader
    from registry.tables import Model, ModelVersion
    from registry.writer import Writer

UNFINISHED = timedelta(days=1)
"""What a write that died has left, and working folders of versions that are finished, go after this time."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RUN = re.compile(r"(?P<model>.+)-v(?P<number>\d+)")


@dataclass(frozen=True)
class Collection:
    """What was removed."""

    plan: Plan
    objects: int
    size: int
    checkouts: int
    unfinished: int
    runs: int


def retention_source(which: str) -> tuple[Retention, str]:
    """The retention policy that the setting names, and its YAML, comments and all.

    Raises:
        PolicyError: the file is not a retention policy.
        WorkspaceError: the file cannot be read.
    """
    from policies.policy import RETENTION
    from policies.retention import builtin_retention_text, load_retention

    if which == RETENTION:
        text = builtin_retention_text()
        return load_retention(text, f"{which}.yaml"), text
    text = read_text(Path(which))
    return load_retention(text, which), text


def plan_gc(workspace: Workspace) -> Plan:
    """What `collect_garbage` would remove now. Nothing is changed.

    Raises:
        ArtifactError: a tree that is needed is missing or damaged.
        PolicyError: the retention policy cannot be used.
    """
    survey = _Survey.of(workspace)
    with workspace.registry.read() as reader:
        return survey.plan(reader, workspace.clock())


def collect_garbage(workspace: Workspace, *, progress: Progress | None = None) -> Collection:
    """Record what goes, then remove it.

    Raises:
        BusyError: somebody is at work on a model line.
        ArtifactError: a tree that is needed is missing or damaged, so nobody knows which files are; nothing
            is removed. Or an object cannot be removed: run it again.
        PolicyError: the retention policy cannot be used.
    """
    with contextlib.ExitStack() as stack:
        with workspace.registry.read() as reader:
            models = reader.models()
        for model in models:
            stack.enter_context(held(workspace, model, "store gc"))
        survey = _Survey.of(workspace)
        plan = workspace.registry.write(lambda writer: _record(writer, survey, workspace.clock()))
        return _remove(workspace, plan, progress or Silent())


def _record(writer: Writer, survey: _Survey, now: datetime) -> Plan:
    from registry.writer_objects import Leaving

    plan = survey.plan(writer, now)
    leaving = [Leaving(one.digest, one.size, one.reason) for one in plan.removals if not one.recorded]
    if leaving:
        writer.collect(leaving, policy_name=survey.policy.name, policy_digest=survey.policy.digest)
    return plan


def _remove(workspace: Workspace, plan: Plan, progress: Progress) -> Collection:
    store, removed, size = workspace.store, 0, 0
    progress.start("remove objects", max(1, len(plan.removals)))
    for one in plan.removals:
        if store.remove_object(one.digest, put_before=plan.put_before):
            removed, size = removed + 1, size + one.size
        progress.advance(1)
    progress.finish(f"{removed} objects")
    before = workspace.clock() - UNFINISHED
    with workspace.registry.read() as reader:
        trees = {one.digest for one in reader.named_objects() if one.is_tree}
        running = {
            f"{model.name}-v{version.number}"
            for model in reader.models()
            for version in reader.versions(model.id)
            if version.state == "training"
        }
    kept = trees - {one.digest for one in plan.removals}
    return Collection(
        plan,
        removed,
        size,
        checkouts=store.prune_checkouts(kept),
        unfinished=store.prune_unfinished(before),
        runs=_prune_runs(workspace.settings.home / "runs", running, before),
    )


def _prune_runs(folder: Path, running: Iterable[str], before: datetime) -> int:
    """Remove the working folders of versions that are not in training and have not been touched for long."""
    from adaptman.artifacts.folder import remove

    removed = 0
    try:
        for path in folder.glob("*"):
            old = path.stat().st_mtime < before.timestamp()
            if old and _RUN.fullmatch(path.name) and path.name not in set(running):
                remove(path)
                removed += 1
    except OSError as error:
        raise WorkspaceError(f"`{folder}` cannot be tidied: {error.strerror or error}") from error
    return removed


@dataclass
class _Survey:
    """What lies in the store, asked once; what the registry says is asked again inside the transaction."""

    store: ObjectStore
    policy: Retention
    stored: dict[str, Any]
    parts: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, workspace: Workspace) -> _Survey:
        from policies.retention import ObjectFacts

        policy, _ = retention_source(workspace.settings.retention)
        stored = {one.digest: ObjectFacts(*one) for one in workspace.store.objects()}
        return cls(workspace.store, policy, stored)

    def plan(self, reader: Reader, now: datetime) -> Plan:
        from policies.retention import plan

        return plan(self.policy, self._facts(reader), now)

    def _facts(self, reader: Reader) -> StoreFacts:
        from policies.retention import StoreFacts
        from registry.objects import OF_A_VERSION

        named = reader.named_objects()
        own: dict[int, set[str]] = {}
        others = set(_undelivered(reader))
        for one in named:
            if one.version_id is not None and one.role in OF_A_VERSION:
                own.setdefault(one.version_id, set()).add(one.digest)
            else:
                others.add(one.digest)
        return StoreFacts(
            objects=self.stored,
            versions=_versions(reader, own),
            named=frozenset(others),
            parts={one.digest: self._parts(reader, one) for one in named if one.is_tree},
            collected=reader.removals(),
        )

    def _parts(self, reader: Reader, tree: NamedObject) -> frozenset[str]:
        """The files of a tree. One that cannot be read may be gone by an earlier run, and by nothing else."""
        if tree.digest not in self.parts:
            try:
                entries = self.store.tree(tree.digest)
            except ArtifactError as error:
                if not _is_gone(reader, tree):
                    raise ArtifactError(
                        f"{tree.role} of {tree.subject}: {error.message}",
                        hint="gc removes nothing until `adaptman store verify` finds nothing wrong",
                    ) from error
                entries = {}
            self.parts[tree.digest] = frozenset(entry.sha256 for entry in entries.values())
        return self.parts[tree.digest]


def _is_gone(reader: Reader, tree: NamedObject) -> bool:
    version_id = tree.version_id
    return version_id is not None and reader.is_collected(reader.version_by_id(version_id))


def _versions(reader: Reader, own: dict[int, set[str]]) -> tuple[VersionFacts, ...]:
    happened = reader.last_happened()
    return tuple(one for model in reader.models() for one in _versions_of(reader, model, own, happened))


def _versions_of(
    reader: Reader, model: Model, own: dict[int, set[str]], happened: dict[str, datetime]
) -> Iterator[VersionFacts]:
    from policies.retention import VersionFacts

    rows, moves = reader.versions(model.id), reader.moves(model.id)
    replaced = {move.previous_id: move.at for move in moves}
    former = _former_champions(moves, rows)
    needed = {row.parent_id for row in rows if row.state == "training"}
    for row in rows:
        since = happened.get(f"version/{model.name}/{row.number}", row.created_at)
        yield VersionFacts(
            line=model.name,
            number=row.number,
            state=row.state.value,
            resting_since=max(since, replaced.get(row.id, since)),
            former=former.get(row.id),
            needed=row.id in needed,
            objects=frozenset(own.get(row.id, ())),
        )


def _former_champions(moves: Iterable[Any], rows: Iterable[ModelVersion]) -> dict[int, int]:
    """Place of each former champion, 0 for the one that was replaced last, which a rollback restores."""
    retired = {row.id for row in rows if row.state == "retired"}
    order = dict.fromkeys(move.previous_id for move in reversed(list(moves)) if move.previous_id in retired)
    return {version_id: place for place, version_id in enumerate(order)}


def _undelivered(reader: Reader) -> Iterator[str]:
    """Digests in what MLflow must still be told: it is told of adapters by uploading them."""
    for row in reader.outbox_pending(limit=None):
        yield from _DIGEST.findall(str(row.payload))
