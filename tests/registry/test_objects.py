"""Which objects are named, and the record of those that were removed, on both databases."""

from __future__ import annotations

import pytest

from registry.errors import CollectedError, InvalidRecordError
from registry.objects import TREES
from registry.registry import Registry
from registry.tables import Record
from registry.writer_objects import Leaving
from tests.registry.line import Line, collect, digest, fill, finish, judge, start

# Digests of what stands in the row itself, or of a meaning and not of bytes.
NOT_STORED = {"contract_digest", "suite_digest", "recipe_digest", "policy_digest", "digest"}
GONE = {("collected", "object_digest")}


def test_every_column_that_holds_a_digest_is_asked(registry: Registry, line: Line) -> None:
    """A new column with the digest of an object must be added to `named_objects`, or gc takes the object."""
    registry.write(lambda writer: fill(writer, line.id))
    columns = {
        (table.name, column.name)
        for table in Record.metadata.tables.values()
        for column in table.columns
        if column.name.endswith("digest") and column.name not in NOT_STORED
    }
    asked = {
        ("model", "base_digest"),
        ("tool_schema", "document_digest"),
        ("example_set", "object_digest"),
        ("replay_set", "object_digest"),
        ("adapter", "tree_digest"),
        ("suite", "object_digest"),
        ("model_version", "base_digest"),
        ("model_version", "curves_digest"),
        ("model_version", "rendering_digest"),
        ("suite_run", "outputs_digest"),
        ("suite_audit", "report_digest"),
        ("capacity_audit", "report_digest"),
    }
    assert columns - GONE == asked
    with registry.read() as reader:
        named = {(one.role, one.digest) for one in reader.named_objects()}
    assert named == {
        ("base checkpoint", digest("base")),
        ("tool document", digest("document tools")),
        ("examples", digest("examples")),
        ("replay set", digest("replay")),
        ("adapter", digest("adapter 2")),
        ("suite", digest("object general")),
        ("curves", digest("curves")),
        ("rendering", digest("rendering")),
        ("outputs", digest("outputs")),
        ("audit report", digest("report")),
        ("capacity report", digest("capacity")),
    }
    assert {role for role, _ in named if role in TREES} == TREES


def test_a_set_that_no_version_names_is_named_by_itself(registry: Registry, line: Line) -> None:
    registry.write(lambda writer: writer.add_adapter(tree_digest=digest("loose"), size_bytes=1))
    with registry.read() as reader:
        (one,) = [one for one in reader.named_objects() if one.digest == digest("loose")]
    assert (one.role, one.subject, one.version_id) == ("adapter", "adapter/1", None)


def test_a_removal_is_one_event(registry: Registry, line: Line) -> None:
    registry.write(lambda writer: collect(writer, digest("one"), digest("two")))
    with registry.read() as reader:
        event = reader.events()[-1]
        assert set(reader.removals()) == {digest("one"), digest("two")}
        assert reader.verify_chain().ok
    assert (event.kind, event.subject) == ("objects.collected", "store")
    assert event.payload["count"] == 2
    assert event.payload["bytes"] == 2_000
    assert event.payload["reasons"] == {"named by nothing": 2}


def test_a_removal_says_why(registry: Registry, line: Line) -> None:
    with pytest.raises(InvalidRecordError):
        registry.write(
            lambda writer: writer.collect(
                [Leaving(digest("one"), 1, " ")], policy_name="retention", policy_digest=digest("retention")
            )
        )
    with registry.read() as reader:
        assert reader.removals() == {}


def test_a_version_without_its_adapter(registry: Registry, line: Line) -> None:
    version = line.judged("refuse")
    line.promoted()
    registry.write(lambda writer: collect(writer, digest(f"adapter {version.id}")))
    for step in (
        lambda writer: writer.mark_evaluated(version.id),
        lambda writer: start(writer, line.id, parent_id=version.id),
    ):
        with pytest.raises(CollectedError, match=f"adapter of version `{version.number}` was removed by gc"):
            registry.write(step)
    with registry.read() as reader:
        assert reader.gone() == {digest(f"adapter {version.id}")}


def test_a_champion_does_not_come_back_without_its_adapter(registry: Registry, line: Line) -> None:
    former, champion = line.promoted().version, line.promoted().version
    registry.write(lambda writer: collect(writer, digest(f"adapter {former.id}")))
    with pytest.raises(CollectedError):
        line.rollback()
    assert line.champion() == champion.number


def test_a_passed_version_is_not_promoted_without_its_adapter(registry: Registry, line: Line) -> None:
    version = line.judged()
    registry.write(lambda writer: collect(writer, digest(f"adapter {version.id}")))
    with pytest.raises(CollectedError):
        line.promote(version.number)
    assert line.champion() == 1


def test_an_adapter_that_was_made_anew_is_kept(registry: Registry, line: Line) -> None:
    version = line.judged("refuse")
    registry.write(lambda writer: collect(writer, digest(f"adapter {version.id}")))

    def again(writer: object) -> int:
        adapter = writer.add_adapter(tree_digest=digest(f"adapter {version.id}"), size_bytes=1).row  # type: ignore[attr-defined]
        made = finish(writer, start(writer, line.id), adapter_id=adapter.id)  # type: ignore[arg-type]
        judge(writer, made)  # type: ignore[arg-type]
        return made.number

    assert line.promote(registry.write(again)).version.state == "champion"
    with registry.read() as reader:
        assert reader.gone() == frozenset()
        assert not reader.is_collected(version)
