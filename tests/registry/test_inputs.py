"""What versions are made from, and how they come to be, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from registry.errors import (
    AlreadyExistsError,
    IllegalTransitionError,
    InvalidRecordError,
    NotFoundError,
)
from registry.registry import Registry
from registry.tables import ToolSchema
from registry.values import Registered
from registry.writer import Writer
from tests.registry.line import Line, add_schema, add_suite, digest, everything, fill, finish, start


def add(writer: Writer, model_id: int, text: str) -> Registered[ToolSchema]:
    return writer.add_tool_schema(
        model_id,
        document_digest=digest(text),
        contract_digest=digest(text),
        source_format="mcp",
        tool_count=1,
        change_set={},
        breaking=True,
        note="from the tools team",
    )


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "..", "x" * 101, "naïve", "a\n", "a\x00"])
def test_a_model_name_must_be_usable(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidRecordError):
        registry.write(lambda writer: writer.add_model(name, digest("base"), "here", {}))


def test_a_model_name_is_taken_once(registry: Registry, line: Line) -> None:
    with pytest.raises(AlreadyExistsError, match="`default`"):
        registry.write(lambda writer: writer.add_model("default", digest("base"), "here", {}))


def test_an_unknown_model_is_told_with_the_known_ones(registry: Registry, line: Line) -> None:
    with registry.read() as reader, pytest.raises(NotFoundError) as caught:
        reader.model("defualt")
    assert caught.value.message == "no model `defualt`"
    assert caught.value.hint == "known: `default`"


def test_what_was_written_is_read(registry: Registry, line: Line) -> None:
    with registry.read() as reader:
        model = reader.model("default")
    assert model.base_info == {"parameters": 135_000_000}
    assert (model.base_source, model.base_digest) == ("SmolLM2", digest("base"))


def test_tool_schemas_are_numbered(registry: Registry, line: Line) -> None:
    def register(text: str) -> Registered[ToolSchema]:
        return registry.write(lambda writer: add(writer, line.id, text))

    rows = [register(text) for text in ("a", "b", "b", "a")]
    assert [(one.row.number, one.created) for one in rows] == [(1, True), (2, True), (2, False), (3, True)]
    assert rows[1].id == rows[2].id
    with registry.read() as reader:
        latest = reader.latest_tool_schema(line.id)
        assert latest is not None
        assert (latest.number, latest.author, latest.note) == (3, "ada", "from the tools team")
        assert [one.number for one in reader.tool_schemas(line.id)] == [1, 2, 3]
        assert reader.tool_schema(line.id, 2).contract_digest == digest("b")
        with pytest.raises(NotFoundError, match="no tool schema `4`"):
            reader.tool_schema(line.id, 4)


def test_registering_what_stands_leaves_no_trace(registry: Registry, line: Line) -> None:
    registry.write(lambda writer: fill(writer, line.id))
    with registry.read() as reader:
        before = everything(reader)

    def again(writer: Writer) -> None:
        schema = add_schema(writer, line.id)
        add_suite(writer, line.id)
        champion = writer.champion(line.id)
        assert champion is not None
        assert not writer.add_example_set(
            line.id, object_digest=digest("examples"), count=20, tool_schema_id=schema.id
        ).created
        assert not writer.add_replay_set(
            line.id,
            object_digest=digest("replay"),
            count=40,
            tokens=9_000,
            report={},
            teacher_version_id=champion.id,
        ).created
        writer.add_output_format("hermes", 1, {"call": "<tool_call>"}, digest("hermes"))

    registry.write(again)
    with registry.read() as reader:
        assert everything(reader) == before


def test_an_example_set_without_tools_stands_too(registry: Registry, line: Line) -> None:
    def twice(writer: Writer) -> list[bool]:
        named: dict[str, Any] = {"object_digest": digest("examples"), "count": 3, "tool_schema_id": None}
        return [writer.add_example_set(line.id, **named).created for _ in range(2)]

    assert registry.write(twice) == [True, False]


def test_an_output_format_cannot_change(registry: Registry) -> None:
    registry.write(lambda writer: writer.add_output_format("hermes", 1, {}, digest("one")))
    with pytest.raises(AlreadyExistsError) as caught:
        registry.write(lambda writer: writer.add_output_format("hermes", 1, {}, digest("two")))
    assert caught.value.hint == "a changed format needs a new version number"


def test_the_newest_revision_of_a_suite_is_active(registry: Registry, line: Line) -> None:
    registry.write(lambda writer: add_suite(writer, line.id, "other"))
    first = registry.write(lambda writer: add_suite(writer, line.id))
    second = registry.write(lambda writer: add_suite(writer, line.id, suite_digest=digest("changed")))
    back = registry.write(lambda writer: add_suite(writer, line.id))
    assert [one.revision for one in (first, second, back)] == [1, 2, 3]
    with registry.read() as reader:
        assert reader.suite(line.id, "general").id == back.id
        assert [(one.name, one.revision) for one in reader.suites(line.id)] == [("general", 3), ("other", 1)]
        assert len(reader.suites(line.id, active_only=False)) == 4
        with pytest.raises(NotFoundError) as caught:
            reader.suite(line.id, "genral")
    assert caught.value.hint == "known: `general`, `other`"


def test_version_numbers_are_per_line(registry: Registry, line: Line) -> None:
    other = Line(registry, line.clock, "other")

    def begin(which: Line) -> int:
        return registry.write(lambda writer: start(writer, which.id)).number

    assert [begin(line), begin(line), begin(other)] == [2, 3, 2]


def test_a_base_version_comes_first(registry: Registry, line: Line) -> None:
    with pytest.raises(InvalidRecordError, match="`default` has versions already"):
        registry.write(lambda writer: writer.add_base_version(line.id, base_digest=digest("base")))


def test_a_trained_version_tells_all_it_was_made_from(registry: Registry, line: Line) -> None:
    version = registry.write(lambda writer: fill(writer, line.id))
    with registry.read() as reader:
        (told,) = reader.outbox_rows("version.trained")
        stored = reader.version(line.id, version.number)
    assert told.payload == {
        "model": "default",
        "version": 2,
        "version_id": version.id,
        "parent": 1,
        "base_digest": digest("base"),
        "adapter_digest": digest(f"adapter {version.id}"),
        "tool_schema": {
            "number": 1,
            "digest": digest("contract tools"),
            "document_digest": digest("document tools"),
        },
        "output_format": {"name": "hermes", "version": 1, "digest": digest("hermes")},
        "recipe": {"rank": 8, "learning_rate": 1e-4},
        "recipe_digest": digest("recipe"),
        "example_set": {"digest": digest("examples"), "count": 20},
        "replay_set": {
            "digest": digest("replay"),
            "count": 40,
            "tokens": 9_000,
            "report": {"kept": 40, "thrown_away": 3},
        },
        "curves_digest": digest("curves"),
        "summary": {"loss": 0.25},
        "started_at": told.payload["started_at"],
        "finished_at": told.payload["finished_at"],
        "actor": "ada",
    }
    assert told.payload["started_at"] < told.payload["finished_at"]
    assert stored.summary == {"loss": 0.25}
    assert stored.recipe == {"rank": 8, "learning_rate": 1e-4}


@pytest.mark.parametrize("what", ["parent", "schema", "examples"])
def test_what_belongs_to_another_line_is_refused(registry: Registry, line: Line, what: str) -> None:
    other = Line(registry, line.clock, "other")
    made = registry.write(lambda writer: fill(writer, other.id))
    choices: dict[str, dict[str, Any]] = {
        "parent": {"parent_id": made.id},
        "schema": {"tool_schema_id": made.tool_schema_id},
        "examples": {"example_set_id": made.example_set_id},
    }
    with pytest.raises(InvalidRecordError, match="belongs to another model than `default`"):
        registry.write(lambda writer: start(writer, line.id, **choices[what]))


@pytest.mark.parametrize("name", ["parent_id", "tool_schema_id", "output_format_id", "example_set_id"])
def test_what_is_not_there_is_refused(registry: Registry, line: Line, name: str) -> None:
    with pytest.raises(NotFoundError, match="`999`"):
        registry.write(lambda writer: start(writer, line.id, **{name: 999}))


def test_a_parent_needs_weights(registry: Registry, line: Line) -> None:
    parent = registry.write(lambda writer: start(writer, line.id))
    with pytest.raises(InvalidRecordError, match="version `2` is `training`: it has no weights"):
        registry.write(lambda writer: start(writer, line.id, parent_id=parent.id))


def test_training_ends_once(registry: Registry, line: Line) -> None:
    version = registry.write(lambda writer: finish(writer, start(writer, line.id)))
    with pytest.raises(IllegalTransitionError):
        registry.write(lambda writer: finish(writer, version))


def test_failing_and_discarding_keep_the_reason(registry: Registry, line: Line) -> None:
    version = registry.write(lambda writer: start(writer, line.id))
    registry.write(lambda writer: writer.fail_version(version.id, "out of memory"))
    with registry.read() as reader:
        failed = reader.version(line.id, 2)
        event = reader.events()[-1]
    assert (failed.state, failed.reason) == ("failed", "out of memory")
    assert (event.kind, event.payload) == ("version.failed", {"from": "training", "reason": "out of memory"})
    registry.write(lambda writer: writer.discard_version(version.id, "tidying up"))
    assert line.state(2) == "discarded"


def test_failing_needs_a_reason(registry: Registry, line: Line) -> None:
    version = registry.write(lambda writer: start(writer, line.id))
    with pytest.raises(InvalidRecordError, match="`reason` must not be empty"):
        registry.write(lambda writer: writer.fail_version(version.id, "  "))


@pytest.mark.parametrize("text", ["a\x00b", "half \ud800 of a pair"])
def test_text_that_a_database_would_refuse_is_refused_by_both(
    registry: Registry, line: Line, text: str
) -> None:
    with pytest.raises(InvalidRecordError, match="cannot be stored"):
        registry.write(lambda writer: start(writer, line.id, note=text))


@pytest.mark.parametrize("count", [-1, 2**31])
def test_counts_that_do_not_fit_are_refused_by_both(registry: Registry, line: Line, count: int) -> None:
    with pytest.raises(InvalidRecordError, match="`count`"):
        registry.write(
            lambda writer: writer.add_example_set(
                line.id, object_digest=digest("x"), count=count, tool_schema_id=None
            )
        )


def test_an_adapter_may_be_larger_than_two_gigabytes(registry: Registry) -> None:
    row = registry.write(lambda writer: writer.add_adapter(tree_digest=digest("a"), size_bytes=2**40)).row
    with registry.read() as reader:
        assert reader.adapter(row.id).size_bytes == 2**40
