"""Weights that were trained before are moved back towards the parent's, and nothing is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptman.errors import ArtifactError
from adaptman.lifecycle import engine
from adaptman.lifecycle.reproduce import reproduce_version
from adaptman.lifecycle.update import run_update
from adaptman.lifecycle.versions import discard_version
from tests.lifecycle.tiny_line import CANDIDATE, Killed, Recorder, TinyLine

MOVED = CANDIDATE + 1
WHOLE_MODEL = {"adapter": "full", "lr": "1e-3"}


def weights(line: TinyLine, number: int) -> str:
    """The digest of a version's adapter, or of its checkpoint."""
    version = line.version(number)
    return engine.adapter_digest(line.workspace, version) or version.base_digest


def trained_at_once(line: TinyLine, factory: pytest.TempPathFactory, schema: int = 1, **recipe: str) -> str:
    """The weights of a training that moved them itself."""
    other = TinyLine.copy(line, factory.mktemp("at-once") / "line")
    number = other.update(schema, **recipe).version.number
    other.workspace.close()
    return weights(other, number)


@pytest.mark.parametrize("kind", [{}, {"adapter": "fresh"}, WHOLE_MODEL], ids=["continue", "fresh", "full"])
def test_the_same_bytes_as_a_training(
    filled: TinyLine, tmp_path_factory: pytest.TempPathFactory, kind: dict[str, str]
) -> None:
    wanted = trained_at_once(filled, tmp_path_factory, interpolate="0.5", **kind)
    filled.update(**kind)
    progress = Recorder()
    filled.update(interpolate="0.5", progress=progress, **kind)
    assert not {"replay", "training"} & set(progress.phases)
    assert weights(filled, MOVED) == wanted != weights(filled, CANDIDATE)
    assert list((filled.workspace.settings.home / "runs").iterdir()) == []
    assert reproduce_version(filled.workspace, MOVED).identical


def test_beside_a_parent(updated: TinyLine, tmp_path_factory: pytest.TempPathFactory) -> None:
    updated.second_tools()
    wanted = trained_at_once(updated, tmp_path_factory, 2, interpolate="0.25")
    updated.update(2)
    updated.update(2, interpolate="0.25")
    assert weights(updated, 4) == wanted


def test_what_is_on_record(updated: TinyLine) -> None:
    plan = updated.plan(interpolate="0.5")
    assert plan.trained_as is not None
    assert (plan.trained_as.number, plan.to_dict()["trained_as"]) == (CANDIDATE, CANDIDATE)
    run_update(updated.workspace, plan)
    whole, moved = updated.version(), updated.version(MOVED)
    assert moved.state == whole.state == "refused"
    assert moved.summary == {**(whole.summary or {}), "trained_as": CANDIDATE}
    for shared in ("parent_id", "replay_set_id", "example_set_id", "curves_digest", "rendering_digest"):
        assert getattr(moved, shared) == getattr(whole, shared) is not None
    with updated.workspace.registry.read() as reader:
        assert len(reader.suite_runs(moved.id)) == 2
        assert reader.verify_tables().ok


def test_moved_once_the_same_command_does_nothing(updated: TinyLine) -> None:
    updated.update(interpolate="0.5")
    events = updated.events()
    assert updated.update(interpolate="0.5").version.number == MOVED
    assert updated.events() == events


def test_one_share_is_not_moved_from_another(filled: TinyLine) -> None:
    filled.update(interpolate="0.5")
    assert filled.plan(interpolate="0.25").trained_as is None


def test_another_recipe_is_trained(updated: TinyLine) -> None:
    assert updated.plan().trained_as is None
    assert updated.plan(interpolate="0.5", steps="3").trained_as is None
    assert updated.plan(interpolate="0.5", replay__kind="none").trained_as is None


def test_what_is_not_trained_yet(filled: TinyLine) -> None:
    with pytest.raises(Killed):
        filled.update(progress=Recorder("training", 2))
    assert filled.plan(interpolate="0.5").trained_as is None


def test_what_was_discarded_is_trained_again(updated: TinyLine) -> None:
    discard_version(updated.workspace, CANDIDATE, "a wrong example")
    assert updated.plan(interpolate="0.5").trained_as is None


def test_weights_that_are_gone_are_trained_again(updated: TinyLine) -> None:
    updated.collect(updated.adapter())
    progress = Recorder()
    updated.update(interpolate="0.5", progress=progress)
    assert progress.phases[:2] == ["replay", "training"]


def test_without_its_replay_it_is_trained_again(updated: TinyLine) -> None:
    """What is made now names a replay set that is there."""
    updated.collect(updated.replay_digest())
    assert updated.plan(interpolate="0.5").trained_as is None


def test_parts_of_a_killed_training_are_not_taken_along(updated: TinyLine) -> None:
    other = updated.plan(interpolate="0.5")
    with pytest.raises(Killed):
        run_update(updated.workspace, replace(other, trained_as=None), progress=Recorder("training", 2))
    left = updated.workspace.settings.home / "runs" / f"{other.model.name}-v{MOVED}" / "adapter"
    left.mkdir()
    (left / "README.md").write_text("half written")
    run_update(updated.workspace, other)
    assert set(updated.workspace.store.tree(updated.adapter(MOVED))) == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert reproduce_version(updated.workspace, MOVED).identical


def test_damaged_weights_leave_no_trace(updated: TinyLine) -> None:
    events = updated.events()
    updated.damage(updated.adapter(), "adapter_model.safetensors")
    with pytest.raises(ArtifactError, match="is damaged"):
        updated.update(interpolate="0.5")
    assert updated.events() == events
