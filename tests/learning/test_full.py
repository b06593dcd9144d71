"""Full fine-tuning: all weights by the same loop, against plain transformers; the LM head tied or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from adaptman.learning import models
from adaptman.learning.chat import ChatRenderer, Encoded
from adaptman.learning.drawing import generate
from adaptman.learning.models import largest_difference, logits_of
from adaptman.learning.recipe import LoraRecipe, Recipe, ReplayRecipe
from adaptman.learning.replay import ReplaySet
from adaptman.learning.trainer import StepMetrics, Trained, train
from tests.learning.test_trainer import (
    KilledError,
    digest,
    encode,
    kill_at,
    plain_new_loss,
    plain_replay_loss,
)

ROWS = [[5, 9, 2, 7], [1, 1]]
RECIPE = Recipe(
    steps=4,
    batch_size=3,
    lr=1e-3,
    adapter="full",
    checkpoint_every=2,
    replay=ReplayRecipe(samples=6, batch_size=6, max_tokens=8, top_k=267),
)


@pytest.fixture(scope="module", params=["tied", "untied"])
def checkpoint(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base, its LM head being the embedding or not."""
    if request.param == "untied":
        return base
    folder = tmp_path_factory.mktemp("tied")
    loaded = models.load(base)
    loaded.model.config.tie_word_embeddings = True
    loaded.model.tie_weights()
    models.save(loaded.model, loaded.tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def examples(renderer: ChatRenderer) -> list[Encoded]:
    return encode(renderer, ("a", "yes"), ("is it so", "no"), ("b", "perhaps not"))


@pytest.fixture(scope="module")
def replay(checkpoint: Path, renderer: ChatRenderer) -> ReplaySet:
    return generate(models.load(checkpoint), renderer, RECIPE.replay, (), 0)


def whole(folder: Path) -> PreTrainedModel:
    found: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return found


@pytest.mark.parametrize("teacher", ["cached", "live"])
def test_steps_are_those_of_a_plain_loop(
    checkpoint: Path, examples: list[Encoded], replay: ReplaySet, tmp_path: Path, teacher: str
) -> None:
    recipe = replace(RECIPE, replay=replace(RECIPE.replay, coeff=0.7, teacher=teacher))
    steps: list[StepMetrics] = []
    trained = train(checkpoint, None, examples, replay, recipe, tmp_path, on_step=steps.append)
    model, old = whole(checkpoint), whole(checkpoint)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95), weight_decay=0.0)
    for found in steps:
        optimizer.param_groups[0]["lr"] = found.lr
        optimizer.zero_grad()
        new = plain_new_loss(model, examples)  # type: ignore[arg-type]
        drift = plain_replay_loss(model, old, replay, "kl")  # type: ignore[arg-type]
        (new + 0.7 * drift).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        # At first the drift's gradient is nothing but rounding, and Adam makes whole steps of it: after that
        # the two part a little.
        near = 1e-4 if found.step == 1 else 1e-2
        assert found.new_loss == pytest.approx(float(new.detach()), rel=near)
        assert found.replay_loss == pytest.approx(float(drift.detach()), rel=5 * near, abs=1e-4)
        assert found.grad_norm == pytest.approx(float(norm), rel=near)
    with torch.inference_mode():
        wanted = [model(torch.tensor([row])).logits[0] for row in ROWS]
    assert largest_difference(wanted, logits_of(trained.adapter, None, ROWS)) < 0.05
    assert largest_difference(wanted, logits_of(checkpoint, None, ROWS)) > 0.2


def test_every_weight_is_trained(checkpoint: Path, examples: list[Encoded], tmp_path: Path) -> None:
    recipe = replace(RECIPE, replay=ReplayRecipe(kind="none"))
    trained = train(checkpoint, None, examples, None, recipe, tmp_path)
    before, after = (
        dict(whole(checkpoint).named_parameters()),
        dict(whole(trained.adapter).named_parameters()),
    )
    assert before.keys() == after.keys()
    assert [name for name in before if torch.equal(before[name], after[name])] == []


@pytest.fixture(scope="module")
def undisturbed(
    checkpoint: Path, examples: list[Encoded], replay: ReplaySet, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    return train(checkpoint, None, examples, replay, RECIPE, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("step", [1, 3])
def test_a_killed_run_ends_as_one_that_was_not(
    checkpoint: Path,
    examples: list[Encoded],
    replay: ReplaySet,
    undisturbed: Trained,
    tmp_path: Path,
    step: int,
) -> None:
    with pytest.raises(KilledError):
        train(checkpoint, None, examples, replay, RECIPE, tmp_path, on_step=kill_at(step))
    steps: list[StepMetrics] = []
    trained = train(checkpoint, None, examples, replay, RECIPE, tmp_path, on_step=steps.append)
    assert steps[0].step == {1: 1, 3: 3}[step]
    assert digest(trained) == digest(undisturbed)


def adapted(base: Path, examples: list[Encoded], folder: Path) -> Path:
    recipe = replace(
        RECIPE, adapter="continue", lr=1e-2, lora=LoraRecipe(4, 8), replay=ReplayRecipe(kind="none")
    )
    return train(base, None, examples, None, recipe, folder).adapter


def test_it_begins_where_the_parent_stands(checkpoint: Path, examples: list[Encoded], tmp_path: Path) -> None:
    parent = adapted(checkpoint, examples, tmp_path / "parent")
    still = replace(RECIPE, lr=1e-12, replay=ReplayRecipe(kind="none"))
    trained = train(checkpoint, parent, examples, None, still, tmp_path / "still")
    before, after = logits_of(checkpoint, parent, ROWS), logits_of(trained.adapter, None, ROWS)
    assert largest_difference(before, after) < 1e-4


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_interpolation(checkpoint: Path, examples: list[Encoded], tmp_path: Path, share: float) -> None:
    parent = adapted(checkpoint, examples, tmp_path / "parent")
    recipe = replace(RECIPE, replay=ReplayRecipe(kind="none"))

    def weights(folder: Path, adapter: Path | None = None) -> dict[str, Tensor]:
        return dict(models.load(folder, adapter).model.named_parameters())

    tuned = weights(train(checkpoint, parent, examples, None, recipe, tmp_path / "whole").adapter)
    moved = replace(recipe, interpolate=share)
    found = weights(train(checkpoint, parent, examples, None, moved, tmp_path / "share").adapter)
    for name, before in weights(checkpoint, parent).items():
        torch.testing.assert_close(found[name], (1 - share) * before + share * tuned[name])


def test_bf16_learns_as_well(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=20, precision="bf16", replay=ReplayRecipe(kind="none"))
    curves = train(base, None, examples, None, recipe, tmp_path).curves["train/new_loss"]
    exact = train(base, None, examples, None, replace(recipe, precision="fp32"), tmp_path / "fp32").curves
    assert curves[-1][1] < 0.5 * curves[0][1]
    assert curves != exact["train/new_loss"]
    assert curves[0][1] == pytest.approx(exact["train/new_loss"][0][1], rel=0.05)
