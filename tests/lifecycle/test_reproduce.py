"""A version trained once more from its record: identical, or what differs is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from adaptman.errors import BusyError, ModelError, ReproductionError, TrainingError
from adaptman.learning import models, trainer
from adaptman.learning.models import WeightDifference, weight_difference
from adaptman.lifecycle import environment, reproduce
from adaptman.lifecycle.reproduce import reproduce_version
from tests.lifecycle.tiny_line import CANDIDATE, Killed, Recorder, TinyLine, tiny_lines


def test_the_same_again(updated: TinyLine) -> None:
    events, progress = updated.events(), Recorder()
    objects = {one.digest for one in updated.workspace.store.objects()}
    done = reproduce_version(updated.workspace, CANDIDATE, progress=progress)
    done.check()
    assert (done.identical, done.weights.now, done.difference) == (True, tiny_lines().digest, None)
    assert done.replay is not None
    assert done.replay.same
    assert (done.environment, done.rendering, progress.phases) == ((), "", ["replay", "training"])
    # Nothing of it stays.
    assert updated.events() == events
    assert {one.digest for one in updated.workspace.store.objects()} == objects
    assert list((updated.workspace.settings.home / "runs").iterdir()) == []
    assert updated.held_by() == []


@pytest.mark.parametrize(
    ("phase", "after", "phases"),
    [
        ("replay", 1, ["replay", "training"]),
        ("training", 1, ["training"]),
        ("training", 3, ["training", "training from step 3"]),
    ],
)
def test_killed_it_goes_on_where_it_was(updated: TinyLine, phase: str, after: int, phases: list[str]) -> None:
    with pytest.raises(Killed):
        reproduce_version(updated.workspace, CANDIDATE, progress=Recorder(phase, after))
    assert updated.held_by() == []
    progress = Recorder()
    assert reproduce_version(updated.workspace, CANDIDATE, progress=progress).identical
    assert progress.phases == phases
    assert list((updated.workspace.settings.home / "runs").iterdir()) == []


def test_killed_elsewhere_it_begins_anew(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another torch has computed proves nothing of this one."""
    with monkeypatch.context() as patch:
        now = environment.training_environment()
        patch.setattr(environment, "training_environment", lambda: now | {"torch": "1.0"})
        with pytest.raises(Killed):
            reproduce_version(updated.workspace, CANDIDATE, progress=Recorder("training", 3))
    progress = Recorder()
    assert reproduce_version(updated.workspace, CANDIDATE, progress=progress).identical
    assert progress.phases == ["replay", "training"]


@pytest.mark.parametrize(
    ("raised", "told"),
    [(MemoryError(), TrainingError), (OSError(28, "no space"), OSError), (BusyError("somebody"), BusyError)],
)
def test_what_ends_in_an_error_leaves_nothing_of_its_own(
    updated: TinyLine, monkeypatch: pytest.MonkeyPatch, raised: Exception, told: type[Exception]
) -> None:
    """But for one that was taken for dead, whose folder is now that of who took its place."""

    def end(*arguments: object) -> None:
        raise raised

    monkeypatch.setattr(trainer._Run, "advance", end)
    with pytest.raises(told) as found:
        reproduce_version(updated.workspace, CANDIDATE)
    left = list((updated.workspace.settings.home / "runs").iterdir())
    assert bool(left) is (told is BusyError)
    if told is TrainingError:
        assert found.value.hint == "run it where the model fits into memory"


def test_a_second_update_from_the_first(updated: TinyLine) -> None:
    updated.second_tools()
    updated.update(2, replay__kind="exemplar", replay__share="1", interpolate="0.5")
    assert reproduce_version(updated.workspace, 3).identical


def test_without_replay(filled: TinyLine) -> None:
    filled.update(replay__kind="none")
    done = reproduce_version(filled.workspace, CANDIDATE)
    assert (done.identical, done.replay, done.to_dict()["replay"]) == (True, None, None)


def _disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arithmetic that rounds otherwise."""
    rate = trainer.learning_rate
    monkeypatch.setattr(trainer, "learning_rate", lambda recipe, step: rate(recipe, step) * (1 + 1e-4))


def test_other_weights(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    _disturbed(monkeypatch)
    done = reproduce_version(updated.workspace, CANDIDATE)
    assert not done.weights.same
    assert done.replay is not None
    assert done.replay.same
    assert done.difference is not None
    assert 0 < done.difference.largest < 1e-4
    with pytest.raises(
        ReproductionError, match=r"the weights made now are others, by at most .*lora_"
    ) as told:
        done.check()
    assert "all that is on record of the environment is as it was" in told.value.hint


def test_what_differs_in_the_environment(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    _disturbed(monkeypatch)
    monkeypatch.setattr(models, "hardware", lambda: {"threads": 1, "cpu": "VAX"})
    then = (updated.version().summary or {})["environment"]
    assert {"python", "machine", "torch", "threads", "cpu"} <= set(then)
    done = reproduce_version(updated.workspace, CANDIDATE)
    assert done.environment == (f"cpu {then['cpu']} → VAX",)
    assert f"cpu {then['cpu']} → VAX" in done.way_out


@pytest.mark.parametrize(("setting", "used"), [(None, {1}), (2, {2})])
def test_as_many_threads_as_then_or_as_the_setting_says(
    updated: TinyLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: int | None, used: set[int]
) -> None:
    line = TinyLine.copy(updated, tmp_path / "threads", threads=setting)
    asked: list[int] = []
    monkeypatch.setattr(models, "use_threads", asked.append)
    reproduce_version(line.workspace, CANDIDATE)
    line.workspace.close()
    assert set(asked) == used


def test_another_replay(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training is compared by itself: it goes on with the set on record."""
    drawn = reproduce.replay_of

    def otherwise(workspace: Any, plan: Any, *rest: Any) -> Any:
        found = drawn(workspace, plan, *rest)
        return found and type(found)(found.samples[:-1], found.report)

    monkeypatch.setattr(reproduce, "replay_of", otherwise)
    done = reproduce_version(updated.workspace, CANDIDATE)
    assert done.replay is not None
    assert (done.identical, done.replay.same, done.weights.same) == (False, False, True)
    assert done.told == "version 2 is not reproduced: the replay drawn now is another"


def test_a_report_that_tells_more_is_no_difference(
    updated: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = reproduce.replay_of

    def more(workspace: Any, plan: Any, *rest: Any) -> Any:
        found = drawn(workspace, plan, *rest)
        return found and type(found)(found.samples, {**found.report, "more": 1})

    monkeypatch.setattr(reproduce, "replay_of", more)
    done = reproduce_version(updated.workspace, CANDIDATE)
    assert (done.identical, done.told) == (True, "")


def test_what_gc_has_removed_is_made_again(updated: TinyLine) -> None:
    updated.collect(updated.adapter(), updated.replay_digest())
    assert reproduce_version(updated.workspace, CANDIDATE).identical


def test_a_record_without_an_environment(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "_environment_then", lambda version: {})
    done = reproduce_version(updated.workspace, CANDIDATE)
    assert (done.identical, done.environment) == (True, None)
    assert "is not on record" in done.way_out


def test_the_base_was_not_trained(updated: TinyLine) -> None:
    with pytest.raises(ModelError, match="version 1 was not trained"):
        reproduce_version(updated.workspace, 1)
    assert updated.held_by() == []


def test_a_version_that_came_to_nothing(filled: TinyLine) -> None:
    with pytest.raises(Exception, match="not finite"):
        filled.update(lr="1e30", max_grad_norm="1e30")
    with pytest.raises(ModelError, match="it has no weights"):
        reproduce_version(filled.workspace, CANDIDATE)


def test_weights_that_do_not_pair(tmp_path: Path) -> None:
    for name, state in {"a": {"x": torch.zeros(2), "y": torch.ones(1)}, "b": {"x": torch.ones(3)}}.items():
        (tmp_path / name).mkdir()
        save_file(state, tmp_path / name / "model.safetensors")
    found = weight_difference(tmp_path / "a", tmp_path / "b")
    assert math.isinf(found.largest)
    assert weight_difference(tmp_path / "a", tmp_path / "a") == WeightDifference("x", 0.0)
    with pytest.raises(ModelError, match="no weights"):
        weight_difference(tmp_path, tmp_path)
