"""A version that is its parent folded into a checkpoint of its own, on both databases."""

from __future__ import annotations

import pytest

from registry.errors import CollectedError, InvalidRecordError
from registry.registry import Registry
from registry.states import VersionState
from tests.registry.line import Line, collect, digest, fill, finish, fold, judge, start


def test_it_was_taught_what_its_parent_was(registry: Registry, line: Line) -> None:
    parent = registry.write(lambda writer: fill(writer, line.id))
    folded = registry.write(lambda writer: fold(writer, parent))
    with registry.read() as reader:
        version = reader.version(line.id, folded.number)
        event, told = reader.events()[-1], reader.outbox_rows("version.trained")[-1]
        build = reader.manifest(version)["build"]
        assert reader.checkpoint_of(version).number == version.number
        assert reader.verify_chain().ok
        assert reader.verify_tables().ok
    assert (version.state, version.parent_id, version.number) == (VersionState.TRAINED, parent.id, 3)
    assert (version.recipe, version.adapter_id, version.example_set_id) == (None, None, None)
    for name in ("tool_schema_id", "output_format_id", "rendering_digest"):
        assert getattr(version, name) == getattr(parent, name) is not None
    assert (version.base_digest, build["base"]) == (digest("folded 2"), digest("folded 2"))
    assert (version.author, version.has_own_checkpoint, parent.has_own_checkpoint) == ("ada", True, False)
    assert (event.kind, event.payload["parent"]) == ("version.folded", 2)
    assert (told.payload["version"], told.payload["adapter_digest"], told.payload["recipe"]) == (
        3,
        None,
        None,
    )


def test_versions_go_on_from_it(registry: Registry, line: Line) -> None:
    parent = registry.write(lambda writer: finish(writer, start(writer, line.id)))
    folded = registry.write(lambda writer: fold(writer, parent))
    values = {"parent_id": folded.id, "base_digest": folded.base_digest}
    begun = registry.write(lambda writer: start(writer, line.id, **values))
    assert not begun.has_own_checkpoint
    child = registry.write(lambda writer: finish(writer, begun))
    with registry.read() as reader:
        assert reader.checkpoint_of(reader.version_by_id(child.id)).id == folded.id
        assert reader.checkpoint_of(parent).number == 1
        roles = {one.subject: one for one in reader.named_objects() if one.digest == folded.base_digest}
    assert {subject: one.role for subject, one in roles.items()} == {
        "version/default/3": "checkpoint",
        "version/default/4": "base checkpoint",
    }
    assert [one.version_id for one in roles.values()] == [folded.id, None]


def test_it_is_judged_and_promoted_like_any_other(registry: Registry, line: Line) -> None:
    parent = registry.write(lambda writer: finish(writer, start(writer, line.id)))
    folded = registry.write(lambda writer: fold(writer, parent))
    registry.write(lambda writer: judge(writer, folded))
    assert line.promote(folded.number).version.number == folded.number


def test_there_must_be_an_adapter(registry: Registry, line: Line) -> None:
    with registry.read() as reader:
        base = reader.version(line.id, 1)
    with pytest.raises(InvalidRecordError, match="version `1` has no adapter"):
        registry.write(lambda writer: fold(writer, base))
    begun = registry.write(lambda writer: start(writer, line.id))
    with pytest.raises(InvalidRecordError, match="it has no weights"):
        registry.write(lambda writer: fold(writer, begun))


def test_its_checkpoint_may_be_removed_and_made_once_more(registry: Registry, line: Line) -> None:
    parent = registry.write(lambda writer: finish(writer, start(writer, line.id)))
    folded = registry.write(lambda writer: fold(writer, parent))
    line.clock.forward(1)
    registry.write(lambda writer: collect(writer, folded.base_digest))
    with registry.read() as reader:
        assert reader.gone() == {folded.base_digest}
        assert reader.is_collected(folded)
        with pytest.raises(CollectedError, match="the weights of version `3`"):
            reader.check_kept(folded)
        reader.check_kept(parent)
    line.clock.forward(1)
    registry.write(lambda writer: fold(writer, parent))
    with registry.read() as reader:
        assert reader.gone() == frozenset()
        reader.check_kept(folded)


def test_a_trained_version_may_be_a_checkpoint_of_its_own(registry: Registry, line: Line) -> None:
    begun = registry.write(lambda writer: start(writer, line.id))
    assert begun.base_digest == digest("base")
    own = {"adapter_id": None, "checkpoint_digest": digest("whole")}
    made = registry.write(lambda writer: finish(writer, begun, **own))
    with registry.read() as reader:
        event, told = reader.events()[-1], reader.outbox_rows("version.trained")[-1]
        assert reader.verify_tables().ok
    assert (made.base_digest, made.adapter_id, made.has_own_checkpoint) == (digest("whole"), None, True)
    for payload in (event.payload, told.payload):
        assert (payload["base_digest"], payload["adapter_digest"]) == (digest("whole"), None)


@pytest.mark.parametrize("own", [{"adapter_id": None}, {"checkpoint_digest": digest("whole")}])
def test_it_has_one_kind_of_weights(registry: Registry, line: Line, own: dict[str, str | None]) -> None:
    begun = registry.write(lambda writer: start(writer, line.id))
    with pytest.raises(InvalidRecordError, match="an adapter or a checkpoint"):
        registry.write(lambda writer: finish(writer, begun, **own))
