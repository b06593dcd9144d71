"""What an update will do, before it does it: what is learned, replayed and withheld, which suites judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptman.errors import ExampleError, WorkspaceError
from adaptman.learning.recipe import Recipe
from adaptman.lifecycle.evaluate import suites_for
from adaptman.lifecycle.schema import RegisteredSchema, changes_between, registered_schema
from adaptman.lifecycle.suites import load_suite
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.changes import ChangeSet
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.examples import Example, read_examples
from adaptman.toolspec.formats import OutputFormat, output_format

if TYPE_CHECKING:
    from registry import tables


@dataclass(frozen=True)
class UpdateRequest:
    """What a user asks for: a tool schema, examples (JSONL), and settings of the recipe."""

    schema: int
    examples: Path
    output_format: str = "hermes"
    settings: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


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
    recipe: Recipe
    replayed_tools: tuple[str, ...]
    """Earlier tools that the update leaves unchanged: replay may be drawn under them."""
    withheld_tools: tuple[str, ...]
    """Earlier tools that the update changes or removes: replay under them would teach what is wrong now."""
    suites: tuple[tables.Suite, ...]
    note: str

    @property
    def examples_seen(self) -> int:
        """New examples that training sees, repeats counted."""
        return self.recipe.steps * self.recipe.batch_size

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        replay = self.recipe.drawn
        return {
            "model": self.model.name,
            "parent": self.parent.number,
            "schema": self.schema.number,
            "changes": self.changes.counts,
            "breaking": self.changes.breaking,
            "examples": len(self.examples),
            "examples_seen": self.examples_seen,
            "output_format": self.output_format.name,
            "replay": {
                "kind": replay.kind,
                "samples": replay.samples if replay.kind == "self" else 0,
                "under_tools": len(self.replayed_tools),
                "withheld_tools": list(self.withheld_tools),
            },
            "suites": [{"name": row.name, "kind": row.kind, "cases": row.case_count} for row in self.suites],
            "recipe": self.recipe.to_dict(),
            "recipe_digest": self.recipe.digest,
        }


def make_plan(workspace: Workspace, request: UpdateRequest) -> UpdatePlan:
    """Read and check everything that the update names. Nothing is recorded.

    Raises:
        ExampleError: an example that cannot be used, or that a suite also asks.
        ToolDocumentError: an unknown output format.
        TrainingError: an unknown setting of the recipe, or a value that does not fit.
        PolicyError: the policy that is to judge the candidate cannot be read.
        WorkspaceError: there is no champion to start from.
        NotFoundError: there is no such tool schema.
    """
    # The policy is read before any training is spent on what could not be judged.
    recipe, fmt = Recipe().with_settings(request.settings), output_format(request.output_format)
    workspace.policy()
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        parent, rows = reader.champion(model.id), reader.suites(model.id)
    if parent is None:
        raise WorkspaceError(
            f"model line `{model.name}` has no champion to start from", hint="run `adaptman init`"
        )
    schema = registered_schema(workspace, request.schema)
    data = _read(request.examples)
    examples = read_examples(data, str(request.examples), schema.document)
    before = _schema_of(workspace, parent)
    changes = changes_between(before, schema)
    target = parent.model_copy(update={"tool_schema_id": schema.row.id})
    suites = tuple(suites_for(rows, target))
    _check_leaks(workspace, suites, examples, str(request.examples))
    unchanged = changes.unchanged_names if before else ()
    return UpdatePlan(
        model=model,
        parent=parent,
        schema=schema.row,
        document=schema.document,
        changes=changes,
        examples=examples,
        examples_data=data,
        output_format=fmt,
        recipe=recipe,
        replayed_tools=unchanged,
        withheld_tools=tuple(
            name for name in (before.document.names if before else ()) if name not in unchanged
        ),
        suites=suites,
        note=request.note,
    )


def _schema_of(workspace: Workspace, version: tables.ModelVersion) -> RegisteredSchema | None:
    """The tools that a version was taught."""
    if version.tool_schema_id is None:
        return None
    with workspace.registry.read() as reader:
        number = reader.tool_schema_by_id(version.tool_schema_id).number
    return registered_schema(workspace, number)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExampleError(f"`{path}` cannot be read: {error.strerror or error}") from error


def _check_leaks(
    workspace: Workspace, suites: tuple[tables.Suite, ...], examples: tuple[Example, ...], origin: str
) -> None:
    """A suite that asks what is trained on measures memory, not skill.

    Questions are compared word by word; upper and lower case, and white space, make no difference.
    """
    trained = {_question(example.messages[:-1], example.tools): example.id for example in examples}
    for row in suites:
        for case in load_suite(workspace, row).cases:
            leaked = trained.get(_question(case.messages, case.tools))
            if leaked is not None:
                raise ExampleError(
                    f"`{origin}`: example `{leaked}` is also case `{case.id}` of the suite `{row.name}`",
                    hint="take it out of the examples: a suite must ask what was not trained on",
                )


def _question(messages: Any, tools: Any) -> str:
    said = [
        (message.get("role"), _words(message.get("content")), message.get("tool_calls"))
        for message in messages
    ]
    return repr((said, sorted(str(tool.get("function", tool).get("name")) for tool in tools)))


def _words(content: Any) -> str:
    return " ".join(str(content or "").lower().split())
