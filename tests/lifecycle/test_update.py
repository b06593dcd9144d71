"""The whole update on a tiny model: candidate, suites, decision; once and again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adaptman.errors import AdaptmanError, ArtifactError, BusyError, ModelError, TrainingError
from adaptman.learning import adapters, trainer
from adaptman.lifecycle import engine
from adaptman.lifecycle.promote import rollback
from adaptman.lifecycle.update import run_update
from adaptman.lifecycle.workspace import Workspace
from tests.lifecycle.tiny_line import CANDIDATE, Recorder, TinyLine, tiny_lines


def test_a_whole_update(filled: TinyLine) -> None:
    progress = Recorder()
    done = filled.update(progress=progress)
    assert (done.version.number, done.version.state) == (CANDIDATE, "refused")
    assert done.evaluation is not None
    assert done.evaluation.decision is not None
    assert [result.suite_name for result in done.evaluation.results] == ["general", "new-tools"]
    suites = [f"v{version} on {suite}" for version in (1, 2) for suite in ("general", "new-tools")]
    assert progress.phases == ["replay", "training", *suites]
    assert progress.advances["training"] == 4


def test_what_is_on_record_afterwards(updated: TinyLine) -> None:
    version, model = updated.version(), updated.workspace.model_row()
    with updated.workspace.registry.read() as reader:
        champion = reader.champion(model.id)
        assert champion is not None
        runs = [len(reader.suite_runs(one.id)) for one in (version, champion)]
        decision = reader.latest_decision(version.id)
        replay = reader.replay_set(version.replay_set_id or 0)
        examples = reader.example_set(version.example_set_id or 0)
    assert (champion.number, runs) == (1, [2, 2])
    assert decision is not None
    assert (decision.champion_id, decision.verdict) == (champion.id, "refuse")
    assert (replay.count, replay.teacher_version_id, examples.count) == (4, champion.id, 3)
    assert version.recipe is not None
    assert version.recipe["steps"] == 4
    assert version.summary is not None
    assert version.summary["new_tokens"] > 0
    assert updated.held_by() == []
    assert not any((updated.workspace.settings.home / "runs").iterdir())


def test_the_artifacts_are_in_the_store(updated: TinyLine) -> None:
    version = updated.version()
    curves = json.loads(updated.workspace.store.get_bytes(version.curves_digest or ""))["series"]
    assert [step for step, _ in curves["train/new_loss"]] == [1, 2, 3, 4]
    assert "train/replay_loss" in curves
    adapter = engine.adapter_path(updated.workspace, version)
    assert adapter is not None
    assert any(
        float(value.abs().sum()) > 0 for value in load_file(adapter / "adapter_model.safetensors").values()
    )


def test_the_same_update_again_does_nothing(updated: TinyLine) -> None:
    before, progress = updated.events(), Recorder()
    done = updated.update(progress=progress)
    assert (done.version.number, len(updated.versions())) == (CANDIDATE, 2)
    assert (progress.phases, updated.events()) == ([], before)


def test_another_recipe_is_another_version(updated: TinyLine) -> None:
    assert updated.update(steps="2").version.number == 3


def test_other_examples_are_another_version(updated: TinyLine) -> None:
    path = updated.folder / "examples.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    assert updated.update().version.number == 3


def test_without_replay(filled: TinyLine) -> None:
    progress = Recorder()
    done = filled.update(replay__kind="none", progress=progress)
    assert progress.phases[0] == "training"
    assert done.version.replay_set_id is None
    assert done.version.summary is not None
    assert done.version.summary["replay_loss"] is None
    assert filled.adapter() != tiny_lines().digest


def test_without_suites_the_candidate_is_not_judged(tmp_path_factory: pytest.TempPathFactory) -> None:
    line = TinyLine.copy(tiny_lines().begun, tmp_path_factory.mktemp("line"))
    line.fill_without_suites()
    done = line.update()
    line.workspace.close()
    assert (done.version.state, done.evaluation) == ("trained", None)


def test_a_second_update_goes_on_from_the_first(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    updated.second_tools()
    parents = []
    train = trainer.train

    def seen(*arguments: object, **options: object) -> object:
        parents.append(arguments[1])
        return train(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "train", seen)
    done = updated.update(2)
    assert parents == [engine.adapter_path(updated.workspace, updated.version())]
    assert done.version.parent_id == updated.version().id
    with updated.workspace.registry.read() as reader:
        assert reader.replay_set(done.version.replay_set_id or 0).teacher_version_id == updated.version().id


def test_an_update_that_was_rolled_back_is_not_repeated(updated: TinyLine) -> None:
    updated.second_tools()
    rollback(updated.workspace)
    progress = Recorder()
    done = updated.update(progress=progress)
    assert (done.version.number, done.version.state, progress.phases) == (CANDIDATE, "retired", [])
    assert done.evaluation is not None
    assert done.evaluation.decision is None


def test_two_at_once(filled: TinyLine) -> None:
    told: list[BusyError] = []

    def second(phase: str, count: int) -> None:
        if phase == "training" and count == 1:
            with (
                Workspace.open(filled.workspace.settings, clock=filled.clock) as other,
                pytest.raises(BusyError) as raised,
            ):
                run_update(other, plan)
            told.append(raised.value)

    plan = filled.plan()
    assert (
        run_update(filled.workspace, plan, progress=Recorder(on_advance=second)).version.number == CANDIDATE
    )
    assert "is held by `pid " in told[0].message
    assert "update to schema 1" in told[0].message
    assert told[0].hint


def test_a_loss_that_is_not_finite(filled: TinyLine) -> None:
    with pytest.raises(TrainingError, match="not finite") as raised:
        filled.update(lr="1e30", max_grad_norm="1e30")
    version = filled.version()
    assert (version.state, version.reason) == ("failed", raised.value.message)
    assert not any((filled.workspace.settings.home / "runs").iterdir())
    assert filled.held_by() == []
    assert filled.update().version.number == 3


@pytest.mark.parametrize("target", ["nowhere", "proj", "lm_head", "embed_tokens"])
@pytest.mark.parametrize("kind", ["continue", "fresh"])
def test_an_adapter_that_does_not_fit(filled: TinyLine, target: str, kind: str) -> None:
    """Nor one of which a part does, which PEFT takes for a whole one."""
    with pytest.raises(TrainingError, match=f"`{target}` is no linear layer") as told:
        filled.plan(lora__targets=json.dumps(["q_proj", target]), adapter=kind)
    assert "`v_proj`" in told.value.hint
    assert "head" not in told.value.hint


def test_an_example_that_is_too_long(filled: TinyLine) -> None:
    with pytest.raises(TrainingError, match="`max_length` is 16"):
        filled.plan(max_length="16")


def starved(*arguments: object, **more: object) -> None:
    raise MemoryError


def starved_by_torch(*arguments: object, **more: object) -> None:
    torch.empty(2**60, dtype=torch.uint8)


AGAIN = "compute layers again on the way back, `--set gradient_checkpointing=true`, or "
HALVE = "halve the batch: `--set batch_size=1 --set replay.batch_size=1`"


@pytest.mark.parametrize("why", [starved, starved_by_torch])
@pytest.mark.parametrize(
    ("owner", "name", "hint"),
    [
        (trainer._Run, "advance", AGAIN + HALVE),
        (engine, "load_version", "run it where the model fits into memory"),
        (adapters, "trainable", "run it where the model fits into memory"),
        (trainer, "_saved", "run it where both models fit into memory"),
    ],
)
def test_out_of_memory(
    filled: TinyLine, monkeypatch: pytest.MonkeyPatch, why: Any, owner: Any, name: str, hint: str
) -> None:
    monkeypatch.setattr(owner, name, why)
    with pytest.raises(TrainingError, match="out of memory") as raised:
        filled.update()
    assert raised.value.hint.startswith(hint)
    assert filled.version().state == "failed"


def test_out_of_memory_where_layers_are_computed_again(
    filled: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer._Run, "advance", starved)
    with pytest.raises(TrainingError, match="out of memory") as raised:
        filled.update(gradient_checkpointing="true")
    assert raised.value.hint == HALVE


def test_a_bug_is_no_failed_version(filled: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            trainer._Run, "advance", lambda *arguments: (_ for _ in ()).throw(RuntimeError("a bug"))
        )
        with pytest.raises(RuntimeError, match="a bug"):
            filled.update()
    assert filled.version().state == "training"
    assert filled.update().version.number == CANDIDATE
    assert filled.adapter() == tiny_lines().digest


def assert_refused_without_a_trace(line: TinyLine, schema: int) -> None:
    before = line.events()
    with pytest.raises(ArtifactError, match="is damaged"):
        line.update(schema)
    assert line.events() == before
    assert line.held_by() == []


def test_a_damaged_base(filled: TinyLine) -> None:
    filled.damage(filled.version(1).base_digest, "model.safetensors")
    assert_refused_without_a_trace(filled, 1)


def test_a_damaged_adapter(updated: TinyLine) -> None:
    updated.second_tools()
    updated.damage(updated.adapter(), "adapter_model.safetensors")
    assert_refused_without_a_trace(updated, 2)


def test_a_version_without_weights_cannot_be_loaded(filled: TinyLine) -> None:
    with pytest.raises(TrainingError):
        filled.update(lr="1e30")
    with pytest.raises(ModelError, match="version 2 is `failed`: it has no weights") as raised:
        engine.load_version(filled.workspace, filled.version())
    assert isinstance(raised.value, AdaptmanError)
