"""What an update's plan has made before: a version to take up, or weights that have only to be moved."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from adaptman.lifecycle.rendering import compare_rendering
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from adaptman.lifecycle.plan import UpdatePlan
    from registry.reader import Reader
    from registry.tables import ModelVersion


def standing_version(workspace: Workspace, plan: UpdatePlan) -> ModelVersion | None:
    """The newest version that a run of this very plan began or made; None where it has to be begun."""
    digest = hashlib.sha256(plan.examples_data).hexdigest()
    with workspace.registry.read() as reader:
        made = [
            version
            for version in reversed(reader.versions(plan.model.id))
            if version.state not in ("failed", "discarded") and _is_made_by(reader, version, plan, digest)
        ]
    # One that was trained to read other bytes is not what the plan would make today.
    return next((one for one in made if compare_rendering(workspace, one).difference is None), None)


def trained_whole(workspace: Workspace, plan: UpdatePlan) -> ModelVersion | None:
    """The version whose weights `plan` ends in once they are moved back towards the parent's.

    It was trained by the same plan with `interpolate` 1. None where there is none, or nothing is moved, or
    its replay is not kept any more: a version that is made now has to name what is there.
    """
    if plan.recipe.interpolate == 1:
        return None
    whole = replace(plan, recipe=replace(plan.recipe, interpolate=1.0))
    found = standing_version(workspace, whole)
    if found is None or found.state == "training":
        return None
    with workspace.registry.read() as reader:
        replay = reader.replay_set(found.replay_set_id) if found.replay_set_id is not None else None
        return None if replay is not None and replay.object_digest in reader.gone() else found


def _is_made_by(reader: Reader, version: ModelVersion, plan: UpdatePlan, examples: str) -> bool:
    """Whether everything that decides what a version becomes is what the plan says."""
    wanted = (plan.parent.id, plan.schema.id, plan.recipe.digest)
    if (version.parent_id, version.tool_schema_id, version.recipe_digest) != wanted:
        return False
    if version.example_set_id is None or version.output_format_id is None:
        return False
    if reader.is_collected(version):  # it has to be made again
        return False
    return (
        reader.example_set(version.example_set_id).object_digest == examples
        and reader.output_format(version.output_format_id).digest == plan.output_format.digest
    )
