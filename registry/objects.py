"""Which rows name which objects of the content-addressed store, and which objects were removed from it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from registry.tables import (
    Adapter,
    CapacityAudit,
    Collected,
    EventRow,
    ExampleSet,
    Model,
    ModelVersion,
    ReplaySet,
    Suite,
    SuiteAudit,
    SuiteRun,
    ToolSchema,
)

TREES = frozenset({"base checkpoint", "adapter"})
OF_A_VERSION = frozenset({"adapter", "replay set"})
"""Roles of the objects that only the version that names them needs."""


class NamedObject(NamedTuple):
    """An object, what it is to the row that names it, and that row as events name it."""

    digest: str
    role: str
    subject: str
    version_id: int | None = None

    @property
    def is_tree(self) -> bool:
        """Whether the object is the manifest of a tree."""
        return self.role in TREES


def named_objects(session: Session) -> list[NamedObject]:
    """Every object that any row names, once for each row."""
    names = dict(session.exec(select(Model.id, Model.name)).all())
    return [
        *_of_models(session),
        *_of_inputs(session, names),
        *_of_versions(session, names),
        *_of_results(session, names),
    ]


def _of_models(session: Session) -> Iterator[NamedObject]:
    for name, digest in session.exec(select(Model.name, Model.base_digest)):
        yield NamedObject(digest, "base checkpoint", f"model/{name}")


def _of_inputs(session: Session, names: dict[int, str]) -> Iterator[NamedObject]:
    schemas = select(ToolSchema.model_id, ToolSchema.number, ToolSchema.document_digest)
    for model, number, digest in session.exec(schemas):
        yield NamedObject(digest, "tool document", f"schema/{names[model]}/{number}")
    examples = select(ExampleSet.model_id, ExampleSet.id, ExampleSet.object_digest)
    for model, number, digest in session.exec(examples):
        yield NamedObject(digest, "examples", f"examples/{names[model]}/{number}")
    suites = select(Suite.model_id, Suite.name, Suite.object_digest)
    for model, name, digest in session.exec(suites):
        yield NamedObject(digest, "suite", f"suite/{names[model]}/{name}")


def _of_versions(session: Session, names: dict[int, str]) -> Iterator[NamedObject]:
    adapters = dict(session.exec(select(Adapter.id, Adapter.tree_digest)).all())
    replays = dict(session.exec(select(ReplaySet.id, ReplaySet.object_digest)).all())
    # Rows that no version names any more, or not yet, are nobody's to give away.
    loose = {("adapter", one) for one in adapters} | {("replay set", one) for one in replays}
    for version in session.exec(select(ModelVersion)):
        subject = f"version/{names[version.model_id]}/{version.number}"
        yield NamedObject(version.base_digest, "base checkpoint", subject)
        if version.curves_digest is not None:
            yield NamedObject(version.curves_digest, "curves", subject)
        if version.rendering_digest is not None:
            yield NamedObject(version.rendering_digest, "rendering", subject)
        for role, row, digests in (
            ("adapter", version.adapter_id, adapters),
            ("replay set", version.replay_set_id, replays),
        ):
            if row is not None:
                loose.discard((role, row))
                yield NamedObject(digests[row], role, subject, version.id)
    for role, row in sorted(loose):
        digests = adapters if role == "adapter" else replays
        yield NamedObject(digests[row], role, f"{role.split()[0]}/{row}")


def _of_results(session: Session, names: dict[int, str]) -> Iterator[NamedObject]:
    runs: Any = select(ModelVersion.model_id, ModelVersion.number, SuiteRun.outputs_digest).where(
        SuiteRun.version_id == ModelVersion.id, col(SuiteRun.outputs_digest).is_not(None)
    )
    for model, number, digest in session.exec(runs):
        yield NamedObject(digest, "outputs", f"version/{names[model]}/{number}")
    audits: Any = select(Suite.model_id, Suite.name, SuiteAudit.report_digest).where(
        SuiteAudit.suite_id == Suite.id, col(SuiteAudit.report_digest).is_not(None)
    )
    for model, name, digest in session.exec(audits):
        yield NamedObject(digest, "audit report", f"suite/{names[model]}/{name}")
    capacities: Any = select(ModelVersion.model_id, ModelVersion.number, CapacityAudit.report_digest).where(
        CapacityAudit.version_id == ModelVersion.id
    )
    for model, number, digest in session.exec(capacities):
        yield NamedObject(digest, "capacity report", f"version/{names[model]}/{number}")


def last_happened(session: Session) -> dict[str, datetime]:
    """When anything was last recorded about each subject."""
    query = select(EventRow.subject, func.max(EventRow.at)).group_by(EventRow.subject)
    return dict(session.exec(query).all())


def removals(session: Session) -> dict[str, datetime]:
    """When each object was last recorded as removed."""
    query = select(Collected.object_digest, func.max(Collected.at)).group_by(Collected.object_digest)
    return dict(session.exec(query).all())


def gone(session: Session) -> frozenset[str]:
    """Adapters and replay sets that were removed, and that no version has made once more since."""
    removed = removals(session)
    found: set[str] = set()
    for digest, key in (
        (Adapter.tree_digest, col(ModelVersion.adapter_id) == Adapter.id),
        (ReplaySet.object_digest, col(ModelVersion.replay_set_id) == ReplaySet.id),
    ):
        made: Any = select(digest, func.max(ModelVersion.finished_at)).where(key).group_by(digest)
        found |= {
            one for one, at in session.exec(made) if one in removed and (at is None or removed[one] >= at)
        }
    return frozenset(found)


def collected_adapter(session: Session, version: ModelVersion) -> Collected | None:
    """The record that the version's adapter was removed; None if it is there, or was made once more since."""
    if version.adapter_id is None:
        return None
    digest = select(Adapter.tree_digest).where(Adapter.id == version.adapter_id).scalar_subquery()
    query = select(Collected).where(Collected.object_digest == digest).order_by(col(Collected.id).desc())
    newest = session.exec(query.limit(1)).one_or_none()
    if newest is None:
        return None
    made = session.exec(
        select(func.max(ModelVersion.finished_at)).where(ModelVersion.adapter_id == version.adapter_id)
    ).one()
    return newest if made is None or newest.at >= made else None
