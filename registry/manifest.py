"""What a version is, as plain values that can be signed: digests all the way down to the base.

The `build` says what the version was made from; it names the parent's build by digest, so that one digest
stands for the whole ancestry. The `decision` stands beside it and not within: a parent that is judged anew
is still the same parent, and must not undo the signatures of its children.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select, literal, select
from sqlmodel import Session, col

from registry.canonical import canonical_json, sha256
from registry.rows import stamp
from registry.tables import (
    Adapter,
    DecisionRow,
    ExampleSet,
    ModelVersion,
    OutputFormatRow,
    ReplaySet,
    ToolSchema,
)


def build_of(session: Session, model: str, version_id: int) -> dict[str, Any]:
    """What a version was made from; its ancestors' builds are made on the way, in one query."""
    build: dict[str, Any] | None = None
    for row in session.execute(_ancestry(version_id)):
        build = _build(model, row, sha256(canonical_json(build)) if build else None)
    assert build is not None, "the caller has read the version"
    return build


def decision_digest(decision: DecisionRow, version: int, champion: int | None) -> str:
    """sha256 (hex) of all that a decision says, about which version, against which champion, when."""
    named = {"version": version, "champion": champion, "created_at": stamp(decision.created_at)}
    said = decision.model_dump(exclude={"id", "version_id", "champion_id", "created_at"})
    return sha256(canonical_json({**named, **said}))


def _ancestry(version_id: int) -> Select[Any]:
    """A version's digests and those of all before it, the base first."""
    one = ModelVersion
    start = select(col(one.id), col(one.parent_id), col(one.number), literal(0).label("depth"))
    chain = start.where(col(one.id) == version_id).cte("ancestry", recursive=True)
    # A parent has the lower number; where somebody edited the rows into a circle, this ends it.
    above = (col(one.id) == chain.c.parent_id) & (col(one.number) < chain.c.number)
    parents = select(col(one.id), col(one.parent_id), col(one.number), chain.c.depth + 1).join(chain, above)
    chain = chain.union_all(parents)
    columns: list[Any] = [
        col(one.number),
        col(one.author),
        col(one.base_digest),
        col(one.recipe_digest),
        col(Adapter.tree_digest).label("adapter"),
        col(ExampleSet.object_digest).label("examples"),
        col(ReplaySet.object_digest).label("replay"),
        col(ToolSchema.number).label("schema"),
        col(ToolSchema.contract_digest),
        col(ToolSchema.document_digest),
        col(OutputFormatRow.name).label("format"),
        col(OutputFormatRow.version).label("format_version"),
        col(OutputFormatRow.digest).label("format_digest"),
    ]
    query = select(*columns).join(chain, col(one.id) == chain.c.id)
    return _with_inputs(query).order_by(chain.c.depth.desc())


def _with_inputs(query: Select[Any]) -> Select[Any]:
    return (
        query.outerjoin(Adapter, col(ModelVersion.adapter_id) == Adapter.id)
        .outerjoin(ExampleSet, col(ModelVersion.example_set_id) == ExampleSet.id)
        .outerjoin(ReplaySet, col(ModelVersion.replay_set_id) == ReplaySet.id)
        .outerjoin(ToolSchema, col(ModelVersion.tool_schema_id) == ToolSchema.id)
        .outerjoin(OutputFormatRow, col(ModelVersion.output_format_id) == OutputFormatRow.id)
    )


def _build(model: str, row: Row[Any], parent: str | None) -> dict[str, Any]:
    schema = {"number": row.schema, "contract": row.contract_digest, "document": row.document_digest}
    form = {"name": row.format, "version": row.format_version, "digest": row.format_digest}
    return {
        "model": model,
        "version": row.number,
        "parent": parent,
        "author": row.author,
        "base": row.base_digest,
        "adapter": row.adapter,
        "recipe": row.recipe_digest,
        "tool_schema": schema if row.schema is not None else None,
        "output_format": form if row.format is not None else None,
        "examples": row.examples,
        "replay": row.replay,
    }
