"""What an update will do, before it does it: what is learned, replayed and withheld, which suites judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import ExampleError, ModelError, TrainingError, WorkspaceError
from adaptman.learning.recipe import STORED, Recipe, ReplayRecipe
from adaptman.lifecycle import engine
from adaptman.lifecycle.capacity import check_capacity
from adaptman.lifecycle.evaluate import suites_for
from adaptman.lifecycle.examples import learned_examples
from adaptman.lifecycle.formats import find_format
from adaptman.lifecycle.leaks import check_leaks
from adaptman.lifecycle.made import trained_whole
from adaptman.lifecycle.rendering import RenderingCheck, check_rendering, compare_rendering
from adaptman.lifecycle.schema import RegisteredSchema, changes_between, registered_schema, taught_schema
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.changes import ChangeSet
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.examples import Example, read_examples
from adaptman.toolspec.formats import OutputFormat, ToolCall
from adaptman.toolspec.questions import share_declined

if TYPE_CHECKING:
    from adaptman.learning.chat import ChatRenderer
    from registry import tables


@dataclass(frozen=True)
class UpdateRequest:
    """What a user asks for: a tool schema, examples (JSONL), an output format, and settings of the recipe."""

    schema: int
    examples: Path
    output_format: str | None = None
    """A name or a file; the champion's where None."""
    settings: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    accept_rendering: bool = False
    """Go on where the champion was trained to read other bytes than are rendered today."""


@dataclass(frozen=True)
class UpdatePlan:
    """Everything an update needs, read and checked."""

    model: tables.Model
    parent: tables.ModelVersion
    schema: tables.ToolSchema
    document: ToolDocument
    changes: ChangeSet
    """From the tools that the parent was taught to the new document."""
    examples: tuple[Example, ...]
    examples_data: bytes = field(repr=False)
    output_format: OutputFormat
    format_before: OutputFormat | None
    """What the parent was taught; None for the base."""
    recipe: Recipe
    replayed_tools: tuple[str, ...]
    """Earlier tools that the update leaves unchanged: replay may be drawn under them."""
    withheld_tools: tuple[str, ...]
    """Earlier tools that the update changes or removes: replay under them would teach what is wrong now."""
    suites: tuple[tables.Suite, ...]
    note: str
    rendering: RenderingCheck
    """Whether the parent reads what it was trained to read; a difference was accepted."""
    trained_as: tables.ModelVersion | None = None
    """A version whose weights have only to be moved back towards the parent's: nothing is trained."""

    @property
    def changes_format(self) -> bool:
        """Whether calls are to be written otherwise than the parent was taught."""
        return self.written_now.digest != self.output_format.digest

    @property
    def written_now(self) -> OutputFormat:
        """How the parent writes calls; of the base, which writes none, how it is to."""
        return self.format_before or self.output_format

    @property
    def examples_seen(self) -> int:
        """New examples that training sees, repeats counted."""
        return self.recipe.steps * self.recipe.new_batch_size

    @property
    def declined(self) -> float:
        """Share of the examples that show tools and call none."""
        return share_declined([(one.messages, one.tools) for one in self.examples])

    @property
    def replay(self) -> ReplayRecipe:
        """What is drawn to be replayed."""
        return self.recipe.drawn(self.declined)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        replay = self.replay
        return {
            "model": self.model.name,
            "parent": self.parent.number,
            "schema": self.schema.number,
            "changes": self.changes.counts,
            "breaking": self.changes.breaking,
            "examples": len(self.examples),
            "declined": round(self.declined, 4),
            "examples_seen": self.examples_seen,
            "output_format": self.output_format.name,
            "format_change": self._format_change(),
            "replay": {
                "kind": replay.kind,
                "samples": replay.samples if replay.kind in ("self", "ssr") else 0,
                "share": replay.share if replay.kind in ("opr", "ssr", "exemplar") else None,
                "under_tools": len(self.replayed_tools),
                "withheld_tools": list(self.withheld_tools),
            },
            "rendering": self.rendering.to_dict(),
            "suites": [{"name": row.name, "kind": row.kind, "cases": row.case_count} for row in self.suites],
            "recipe": self.recipe.to_dict(),
            "recipe_digest": self.recipe.digest,
            "trained_as": self.trained_as.number if self.trained_as else None,
        }

    def _format_change(self) -> dict[str, str] | None:
        before, after = self.format_before, self.output_format
        if before is None or not self.changes_format:
            return None
        return {"from": f"{before.name}/{before.version}", "to": f"{after.name}/{after.version}"}


def make_plan(workspace: Workspace, request: UpdateRequest) -> UpdatePlan:
    """Read and check everything that the update names. Nothing is recorded.

    Raises:
        ExampleError: an example that cannot be used, or that a suite also asks.
        ToolDocumentError: an unknown output format, or one that cannot hold the name of a tool.
        TrainingError: an unknown setting of the recipe, or a value that does not fit it, the examples or the
            champion's adapter.
        PolicyError: the policy that is to judge the candidate cannot be read.
        WorkspaceError: there is no champion to start from.
        NotFoundError: there is no such tool schema.
        GateRefusedError: the champion is saturated, and the policy refuses to update such a version.
        RenderingError: the champion was trained to read other bytes than are rendered today, and the request
            does not accept that.
    """
    from adaptman.learning.adapters import going_on

    # The policy is read before any training is spent on what could not be judged.
    recipe = Recipe().with_settings(request.settings)
    asked = find_format(request.output_format, workspace) if request.output_format is not None else None
    policy = workspace.policy()
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        parent, rows = reader.champion(model.id), reader.suites(model.id)
    if parent is None:
        raise WorkspaceError(
            f"model line `{model.name}` has no champion to start from", hint="run `adaptman init`"
        )
    check_capacity(workspace, policy, parent, recipe)
    recipe = going_on(engine.adapter_path(workspace, parent), recipe, request.settings)
    schema = registered_schema(workspace, request.schema)
    fmt = asked or engine.version_format(workspace, parent)
    for name in schema.document.names:
        fmt.render([ToolCall(name, {})])
    renderer = engine.bare_renderer(workspace, parent)
    rendering = check_rendering(workspace, parent, renderer, accept=request.accept_rendering)
    data = _read(request.examples)
    examples = read_examples(data, str(request.examples), schema.document)
    target = parent.model_copy(update={"tool_schema_id": schema.row.id})
    suites = tuple(suites_for(rows, target))
    check_leaks(workspace, suites, examples, str(request.examples))
    tools = _tools(workspace, parent, schema)
    made = UpdatePlan(
        model=model,
        parent=parent,
        schema=schema.row,
        document=schema.document,
        changes=tools.changes,
        examples=examples,
        examples_data=data,
        output_format=fmt,
        format_before=tools.format_before,
        recipe=recipe,
        replayed_tools=tools.replayed,
        withheld_tools=tools.withheld,
        suites=suites,
        note=request.note,
        rendering=rendering,
    )
    _check_training(workspace, made, replace(renderer, output_format=fmt))
    return replace(made, trained_as=trained_whole(workspace, made))


def _check_training(workspace: Workspace, plan: UpdatePlan, renderer: ChatRenderer) -> None:
    """What a training would find out only after replay was drawn for it."""
    from adaptman.learning import adapters, trainer

    recipe = plan.recipe
    if recipe.adapter != "full" and (recipe.adapter == "fresh" or plan.parent.adapter_id is None):
        adapters.check_targets(engine.layer_names(workspace, plan.parent), recipe.lora)
    examples = [renderer.answered(example.messages, example.tools) for example in plan.examples]
    trainer.check_examples(examples, recipe)
    if recipe.replay.kind in STORED and next(learned_examples(workspace, plan.parent), None) is None:
        raise TrainingError(
            f"no earlier example is left to replay: version {plan.parent.number} was trained on none",
            hint="replay samples of the model itself with `--set replay.kind=self`",
        )


def recorded_plan(workspace: Workspace, version: tables.ModelVersion) -> UpdatePlan:
    """The plan that `version` was made by, from the record; no suites, since nothing is to be judged.

    Raises:
        ModelError: it was not trained.
        TrainingError: a setting of its recipe is not known any more.
        ExampleError: its examples cannot be used any more.
        ToolDocumentError: this adaptman writes the output format otherwise than it was taught.
        ArtifactError: an artifact is missing or damaged.
    """
    if version.recipe is None or version.example_set_id is None or version.parent_id is None:
        raise ModelError(
            f"version {version.number} was not trained",
            hint="name one with a recipe: `adaptman version show N`",
        )
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        parent = reader.version_by_id(version.parent_id)
        stored = reader.example_set(version.example_set_id).object_digest
    schema = taught_schema(workspace, version)
    assert schema is not None, "an update always has a schema"
    fmt = engine.version_format(workspace, version)
    data = workspace.store.get_bytes(stored)
    tools = _tools(workspace, parent, schema)
    return UpdatePlan(
        model=model,
        parent=parent,
        schema=schema.row,
        document=schema.document,
        changes=tools.changes,
        examples=read_examples(data, f"the examples of version {version.number}", schema.document),
        examples_data=data,
        output_format=fmt,
        format_before=tools.format_before,
        recipe=Recipe.recorded(version.recipe),
        replayed_tools=tools.replayed,
        withheld_tools=tools.withheld,
        suites=(),
        note=version.note,
        rendering=compare_rendering(workspace, parent),
    )


class _Tools(NamedTuple):
    """What an update does to the tools that its parent was taught."""

    changes: ChangeSet
    format_before: OutputFormat | None
    replayed: tuple[str, ...]
    withheld: tuple[str, ...]


def _tools(workspace: Workspace, parent: tables.ModelVersion, schema: RegisteredSchema) -> _Tools:
    before = taught_schema(workspace, parent)
    taught = engine.version_format(workspace, parent) if parent.output_format_id is not None else None
    changes = changes_between(before, schema)
    unchanged = changes.unchanged_names if before else ()
    known = before.document.names if before else ()
    return _Tools(changes, taught, unchanged, tuple(name for name in known if name not in unchanged))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExampleError(f"`{path}` cannot be read: {error.strerror or error}") from error
