"""Which weights an update trains, that each begins where its parent stands, and where interpolation ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from adaptman.errors import TrainingError
from adaptman.learning import adapters, models
from adaptman.learning.chat import ChatRenderer, Encoded
from adaptman.learning.recipe import LoraRecipe, Recipe, ReplayRecipe
from adaptman.learning.trainer import train
from tests.learning.test_trainer import encode

IDS = torch.arange(30)[None]
RECIPE = Recipe(
    steps=4,
    batch_size=2,
    lr=1e-2,
    checkpoint_every=2,
    lora=LoraRecipe(rank=4, alpha=8),
    replay=ReplayRecipe(kind="none"),
)


@pytest.fixture(scope="module")
def examples(renderer: ChatRenderer) -> list[Encoded]:
    return encode(renderer, ("a", "yes"), ("is it so", "no"))


@pytest.fixture(scope="module")
def parent(base: Path, examples: list[Encoded], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(base, None, examples, None, RECIPE, tmp_path_factory.mktemp("parent")).adapter


def logits(model: torch.nn.Module) -> Tensor:
    """In float64: how a processor rounds its sums is not what is asked."""
    with torch.inference_mode():
        found: Tensor = model.double()(IDS).logits
    return found


def of(base: Path, adapter: Path | None) -> Tensor:
    return logits(models.load(base, adapter).model)


def rank(adapter: Path) -> int:
    return int(json.loads((adapter / "adapter_config.json").read_text())["r"])


@pytest.mark.parametrize("kind", ["continue", "grow"])
def test_training_begins_where_the_parent_stands(base: Path, parent: Path, kind: str) -> None:
    recipe = replace(RECIPE, adapter=kind, lora=LoraRecipe(rank=8, alpha=1))
    found = logits(adapters.trainable(base, parent, recipe))
    torch.testing.assert_close(found, of(base, parent), rtol=1e-5, atol=1e-5)


def test_a_fresh_adapter_begins_at_the_base(base: Path, parent: Path) -> None:
    model = adapters.trainable(base, parent, replace(RECIPE, adapter="fresh"))
    torch.testing.assert_close(logits(model), of(base, None), rtol=1e-5, atol=1e-5)


def test_a_grown_adapter_is_wider_and_learns_in_what_is_new(
    base: Path, parent: Path, examples: list[Encoded], tmp_path: Path
) -> None:
    recipe = replace(RECIPE, adapter="grow", lora=LoraRecipe(rank=8))
    grown = train(base, parent, examples, None, recipe, tmp_path).adapter
    assert (rank(parent), rank(grown)) == (4, 8)
    weights = load_file(grown / "adapter_model.safetensors")
    new = [value[:, 4:] for name, value in weights.items() if "lora_B" in name]
    assert all(float(part.abs().max()) > 0 for part in new)


@pytest.mark.parametrize(("wanted", "told"), [(4, "cannot be grown to 4"), (2, "cannot be grown to 2")])
def test_what_is_not_wider_is_refused(base: Path, parent: Path, wanted: int, told: str) -> None:
    with pytest.raises(TrainingError, match=told) as found:
        adapters.trainable(base, parent, replace(RECIPE, adapter="grow", lora=LoraRecipe(rank=wanted)))
    assert "lora.rank=8" in found.value.hint


def test_a_scale_that_is_no_whole_alpha_is_refused(
    base: Path, examples: list[Encoded], tmp_path: Path
) -> None:
    odd = replace(RECIPE, lora=LoraRecipe(rank=4, alpha=1))
    parent = train(base, None, examples, None, odd, tmp_path).adapter
    with pytest.raises(TrainingError, match="alpha 1 cannot be grown to 6") as found:
        adapters.trainable(base, parent, replace(RECIPE, adapter="grow", lora=LoraRecipe(rank=6)))
    assert "multiple of 4" in found.value.hint


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["continue", "grow", "fresh"])
def test_interpolation_is_that_of_the_parameters(
    base: Path, parent: Path, examples: list[Encoded], tmp_path: Path, kind: str, share: float
) -> None:
    """A weight lies that far from where it was to where training took it, less the bend of the product."""
    recipe = replace(RECIPE, adapter=kind, lora=LoraRecipe(rank=8, alpha=16))
    tuned = train(base, parent, examples, None, recipe, tmp_path / "tuned")
    mixed = train(base, parent, examples, None, replace(recipe, interpolate=share), tmp_path / "mixed")
    assert rank(mixed.adapter) == rank(tuned.adapter)

    def weights(adapter: Path | None) -> dict[str, Tensor]:
        return models.load(base, adapter).model.state_dict()

    before = None if kind == "fresh" else parent
    start, end, found = weights(before), weights(tuned.adapter), weights(mixed.adapter)
    bends = bends_between(before, tuned.adapter)
    # Large enough to be told from what the comparison lets pass.
    assert any(float(bend.abs().max()) > 1e-3 for bend in bends.values()) == (kind != "fresh")
    for name, value in found.items():
        wanted = (1 - share) * start[name] + share * end[name]
        if name in bends:
            wanted -= share * (1 - share) * bends[name]
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)


def bends_between(before: Path | None, after: Path) -> dict[str, Tensor]:
    """ΔB · ΔA at its scale, in the rows that the parent has, by the weight that it is added to."""
    if before is None:
        return {}
    old, new = (load_file(folder / "adapter_model.safetensors") for folder in (before, after))
    found = {}
    for name in [name for name in old if "lora_A" in name]:
        up, rows = name.replace("lora_A", "lora_B"), len(old[name])
        weight = name.removeprefix("base_model.model.").replace(".lora_A", "")
        # alpha / rank is 2.
        found[weight] = 2 * (new[up][:, :rows] - old[up]) @ (new[name][:rows] - old[name])
    return found


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens"])
@pytest.mark.parametrize("is_tied", [False, True])
def test_head_and_embeddings_have_no_adapter(base: Path, tmp_path: Path, name: str, is_tied: bool) -> None:
    """The losses read the head's weight and know of no adapter on it; where it is shared, merging an adapter
    on one would change the other. And PEFT stores embeddings whole beside an adapter on them."""
    tied = tmp_path / "tied"
    models.save(tied_or_not(base, is_tied), models.load_tokenizer(base), tied)
    recipe = replace(RECIPE, lora=LoraRecipe(rank=4, alpha=8, targets=("q_proj", name)))
    with pytest.raises(TrainingError, match=f"`(model.)?{name}` cannot have an adapter") as told:
        adapters.trainable(tied, None, recipe)
    assert "`lora.targets`" in told.value.hint


def tied_or_not(base: Path, is_tied: bool) -> PreTrainedModel:
    model = models.load(base).model
    model.config.tie_word_embeddings = is_tied
    model.tie_weights()
    return model
