"""Gradient checkpointing: the same weights, byte for byte, from passes that keep less."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from adaptman.errors import TrainingError
from adaptman.learning import recompute
from adaptman.learning.chat import ChatRenderer, Encoded
from adaptman.learning.drawing import generate
from adaptman.learning.models import LoadedModel
from adaptman.learning.packing import RowReader, can_pack
from adaptman.learning.recipe import LoraRecipe, Recipe, ReplayRecipe
from adaptman.learning.replay import ReplaySet
from adaptman.learning.trainer import train
from tests.learning.test_packing import ROWS, build

RECIPE = Recipe(
    steps=3,
    batch_size=3,
    lr=1e-2,
    lora=LoraRecipe(rank=4, alpha=8),
    replay=ReplayRecipe(samples=6, batch_size=2, max_tokens=8, top_k=20),
)
LAYERS = 6


@pytest.fixture(scope="module")
def examples(renderer: ChatRenderer) -> list[Encoded]:
    """Rows that share a beginning, so that attention is ours in more than name."""
    return [
        renderer.answered(
            [
                {"role": "system", "content": "the tools are in the other hand"},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ],
            (),
        )
        for asked, answer in (("a", "yes"), ("is it so", "no"), ("b", "perhaps not"))
    ]


@pytest.fixture(scope="module")
def replay(loaded: LoadedModel, renderer: ChatRenderer) -> ReplaySet:
    return generate(loaded, renderer, RECIPE.replay, (), 0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"precision": "bf16"},
        {"adapter": "full", "lr": 1e-3},
        {"adapter": "full", "lr": 1e-3, "precision": "bf16"},
        {"kl_new": 1.0, "mask_surprising": 100.0},
        {"teacher": "live"},
    ],
    ids=str,
)
def test_the_weights_are_the_same_bytes(
    base: Path, examples: list[Encoded], replay: ReplaySet, tmp_path: Path, settings: dict[str, Any]
) -> None:
    held = {"replay": replace(RECIPE.replay, teacher=settings.get("teacher", "cached"))}
    recipe = replace(RECIPE, **{key: value for key, value in settings.items() if key != "teacher"}, **held)
    plain = train(base, None, examples, replay, recipe, tmp_path / "plain")
    again = train(
        base, None, examples, replay, replace(recipe, gradient_checkpointing=True), tmp_path / "again"
    )
    names = sorted(path.name for path in plain.adapter.iterdir())
    assert [(again.adapter / name).read_bytes() for name in names] == [
        (plain.adapter / name).read_bytes() for name in names
    ]
    assert again.curves["train/grad_norm"] == plain.curves["train/grad_norm"]


def built(name: str) -> PreTrainedModel:
    return build(name, layers=LAYERS)


def gradients(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> tuple[list[Tensor], int]:
    """Of a sum over the last states, and the bytes kept for it, what each layer is given among them."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    read = RowReader(model.base_model, longest=40)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        states = read(rows)
        total = (states.hidden_TD * torch.linspace(-1, 1, states.hidden_TD.shape[1])).sum()
    kept += LAYERS * states.hidden_TD.nbytes
    total.backward()
    found = [value.grad.clone() for value in model.base_model.parameters() if value.grad is not None]
    model.zero_grad()
    return found, kept


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2, capped scores!"])
def test_a_pass_keeps_less_and_its_gradients_are_the_same(name: str) -> None:
    model = built(name)
    assert can_pack(model.base_model, longest=40) is not name.endswith("!")
    plain, plain_kept = gradients(model, ROWS)
    recompute.enable(model.base_model)
    again, again_kept = gradients(model, ROWS)
    assert len(again) == len(plain) > 0
    for one, other in zip(again, plain, strict=True):
        assert torch.equal(one, other)
    assert again_kept < plain_kept / 4


def test_attention_is_as_it_was_afterwards() -> None:
    model = built("llama")
    before = model.config._attn_implementation
    recompute.enable(model.base_model)
    gradients(model, ROWS)
    assert model.config._attn_implementation == before


def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One for each time that a layer was asked to be computed again."""
    asked: list[object] = []

    def count(*given: Any, **named: Any) -> Any:
        asked.append(given)
        return checkpoint(*given, **named)

    monkeypatch.setattr(recompute, "checkpoint", count)
    return asked


def test_without_gradients_nothing_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = built("llama"), counted(monkeypatch)
    recompute.enable(model.base_model)
    with torch.no_grad():
        RowReader(model.base_model, longest=40)(ROWS)
    assert not asked
    RowReader(model.base_model, longest=40)(ROWS)
    assert len(asked) == LAYERS


@pytest.mark.parametrize("again", [True, False])
def test_training_does_as_the_recipe_says(
    base: Path, examples: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    asked = counted(monkeypatch)
    train(base, None, examples, None, replace(RECIPE, gradient_checkpointing=again), tmp_path)
    assert bool(asked) is again


def test_the_model_goes_with_its_training() -> None:
    """Without waiting for cycles to be found: the next model is loaded beside it otherwise."""
    model = built("llama")
    recompute.enable(model.base_model)
    gradients(model, ROWS)
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_an_architecture_without_such_layers_is_refused() -> None:
    with pytest.raises(TrainingError, match="`Linear` has no layers") as raised:
        recompute.enable(nn.Linear(2, 2))
    assert raised.value.hint == "train without: `--set gradient_checkpointing=false`"
