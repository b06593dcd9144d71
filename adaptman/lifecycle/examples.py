"""Training examples: carried through a change of tools, imported from logs, checked, split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import ExampleError, ToolDocumentError
from adaptman.lifecycle.schema import RegisteredSchema, changes_between, registered_schema
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.changes import ChangeSet
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.examples import Examined, Example, examine, read_examples
from adaptman.toolspec.logs import ImportedLog, read_log
from adaptman.toolspec.migration import CallMigration, read_mappings
from adaptman.toolspec.nearness import NearPair
from adaptman.toolspec.questions import HeldOut, calls_of, duplicates, hold_out, suite_cases
from adaptman.toolspec.rewriting import Rewriting, rewrite

if TYPE_CHECKING:
    from registry.tables import ModelVersion


@dataclass(frozen=True)
class Migration:
    """Examples carried from document `old` to document `new`."""

    old: int
    new: int
    changes: ChangeSet
    rewriting: Rewriting

    @property
    def reworded(self) -> tuple[str, ...]:
        """Parameters and tools whose words have changed: their examples are valid, and worth a look."""
        return tuple(
            f"{tool.name}.{change.path}" if change.path else tool.name
            for tool in self.changes.tools
            for change in tool.changes
            if change.change_class == "meaning"
        )


class Between(NamedTuple):
    """Two registered documents, and what leads from calls of the one to calls of the other."""

    old: RegisteredSchema
    new: RegisteredSchema
    changes: ChangeSet
    migration: CallMigration


def migration_between(
    workspace: Workspace,
    *,
    schema: int,
    before: int | None = None,
    values: Sequence[str] = (),
    fills: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    not_renamed: Collection[str] = (),
) -> Between:
    """What leads from tool document `before` (the one before `schema`, by default) to `schema`.

    `values`, `fills` and `renamed` are as `read_mappings` takes them; `renamed` may also name tools, which
    are compared anew then.

    Raises:
        NotFoundError: there is no document of that number.
        ToolDocumentError: there is no document before, or something named is in none.
        ArtifactError: a stored document is missing or damaged.
    """
    if before is None and schema == 1:
        raise ToolDocumentError(
            "schema 1 is the first: nothing has changed on the way to it",
            hint="name a later one with `--schema N`",
        )
    new, old = registered_schema(workspace, schema), registered_schema(workspace, before or schema - 1)
    known = set(old.document.names)
    tools = {name: now for name, now in (renamed or {}).items() if name in known}
    parameters = {name: now for name, now in (renamed or {}).items() if name not in known}
    if tools or not_renamed:
        changes = diff(old.document, new.document, renamed=tools, not_renamed=not_renamed)
    else:
        changes = changes_between(old, new)
    mappings = read_mappings(values, fills, parameters, new.document)
    return Between(old, new, changes, CallMigration(changes, new.document, mappings))


def migrate_examples(workspace: Workspace, data: bytes, origin: str, **between: Any) -> Migration:
    """Re-write examples of one tool document for another, both as `migration_between` is told.

    Raises:
        ExampleError: the file holds no examples; and what `migration_between` raises.
    """
    found = migration_between(workspace, **between)
    done = rewrite(data, origin, found.migration, found.new.document)
    if not done.lines:
        raise ExampleError(f"`{origin}` holds no examples", hint="one JSON object a line, with `messages`")
    return Migration(found.old.row.number, found.new.row.number, found.changes, done)


def import_log(
    workspace: Workspace | None, data: bytes, origin: str, *, schema: int | None = None
) -> ImportedLog:
    """The conversations of a log as examples; with `schema` only those that are right under that document.

    Raises:
        ExampleError: the file is no log, or none of its records is an example.
        NotFoundError: there is no document of that number.
    """
    found = read_log(data, origin, _document(workspace, schema))
    if not found.examples:
        first = f": record {found.problems[0].record}: {found.problems[0].reason}" if found.problems else ""
        raise ExampleError(f"`{origin}` holds no conversation that can be learned from{first}")
    return found


@dataclass(frozen=True)
class Checked:
    """What a file of examples holds."""

    lines: tuple[Examined, ...]
    pairs: tuple[NearPair, ...]
    """Near duplicates, by index among the examples that are right."""

    @property
    def examples(self) -> list[Example]:
        """Those that are right, in order."""
        return [one.result for one in self.lines if isinstance(one.result, Example)]

    @property
    def line_of(self) -> list[int]:
        """The line of each example that is right."""
        return [one.line for one in self.lines if isinstance(one.result, Example)]

    @property
    def problems(self) -> list[tuple[int, ExampleError]]:
        """The wrong lines and what is wrong with them."""
        return [(one.line, one.result) for one in self.lines if isinstance(one.result, ExampleError)]

    @property
    def by_tool(self) -> Counter[str]:
        """Examples that call each tool; "" for those that are answered in words."""
        return Counter(
            name
            for example in self.examples
            for name in ({call.name for call in calls_of(example.messages[-1])} or {""})
        )

    def never_called(self, document: ToolDocument | None) -> tuple[str, ...]:
        """Tools that are shown, or stand in the document, and are called in no example."""
        shown = {str(tool["function"]["name"]) for example in self.examples for tool in example.tools}
        known = set(document.names) if document else shown
        return tuple(sorted(known - set(self.by_tool)))


def check_examples(
    workspace: Workspace | None, data: bytes, origin: str, *, schema: int | None = None
) -> Checked:
    """Everything that is wrong with a file of examples, and what is nearly the same in it.

    Raises:
        NotFoundError: there is no document of that number.
    """
    lines = tuple(examine(data, origin, _document(workspace, schema)))
    right = [one.result for one in lines if isinstance(one.result, Example)]
    return Checked(lines, tuple(duplicates(right)))


@dataclass(frozen=True)
class Split:
    """Two files of lines as they were, and the cases of a suite made of what is held out."""

    parts: HeldOut
    training: bytes
    held_out: bytes
    cases: tuple[dict[str, Any], ...]


def split_examples(
    workspace: Workspace | None,
    data: bytes,
    origin: str,
    *,
    share: float,
    seed: int,
    schema: int | None = None,
) -> Split:
    """Split a file of examples so that no near duplicate lies on both sides.

    Raises:
        ExampleError: an example that cannot be used, or so few that one side would be empty.
        NotFoundError: there is no document of that number.
    """
    document = _document(workspace, schema)
    examples = read_examples(data, origin, document)
    raw = [one.raw for one in examine(data, origin, document)]
    parts = hold_out(examples, share, seed=seed)
    if not parts.training or not parts.held_out:
        raise ExampleError(
            f"`{origin}`: {len(examples)} examples in {share:g} and {1 - share:g} leave one side empty",
            hint="give more examples, or another share",
        )
    held = [examples[index] for index in parts.held_out]
    training, held_out = (b"".join(raw[index] + b"\n" for index in side) for side in parts)
    return Split(parts, training, held_out, tuple(suite_cases(held, document)))


def learned_examples(workspace: Workspace, version: ModelVersion) -> Iterator[tuple[int, Example]]:
    """The examples that a version and its ancestors were trained on, each with its version's number.

    Raises:
        ArtifactError: a recorded set is missing or damaged.
    """
    with workspace.registry.read() as reader:
        sets = [
            (one.number, reader.example_set(one.example_set_id).object_digest)
            for one in reader.ancestry(version)
            if one.example_set_id is not None
        ]
    for number, digest in sets:
        data = workspace.store.get_bytes(digest)
        for example in read_examples(data, f"the examples of version {number}", None):
            yield number, example


def _document(workspace: Workspace | None, number: int | None) -> ToolDocument | None:
    if workspace is None or number is None:
        return None
    return registered_schema(workspace, number).document
