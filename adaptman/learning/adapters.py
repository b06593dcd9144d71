"""Which weights an update trains (the parent's adapter, a wider one, a new one, all), and how far they go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file, save_file

from adaptman.errors import TrainingError
from adaptman.learning import models
from adaptman.learning.limits import disk_told
from adaptman.learning.recipe import LoraRecipe, Recipe

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


def trainable(base: Path, parent: Path | None, recipe: Recipe) -> PeftModel | PreTrainedModel:
    """The model with its adapter, which alone is trained, or without one, then all of it is.

    At first it computes what the parent does, unless the adapter is `fresh`.

    Raises:
        TrainingError: the adapter does not fit the model, or cannot be grown as asked.
        ModelError: the checkpoint or the parent's adapter cannot be loaded.
    """
    if recipe.adapter == "full":
        return models.load(base, parent).model.requires_grad_(True)
    if parent is None or recipe.adapter == "fresh":
        return _new(base, recipe.lora)
    if recipe.adapter == "grow":
        return _grown(base, parent, recipe.lora)
    return models.load_trainable(base, parent)


def _new(base: Path, recipe: LoraRecipe) -> PeftModel:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.targets),
        task_type="CAUSAL_LM",
        lora_dropout=0.0,
    )
    try:
        return get_peft_model(models.load(base).model, config)
    except ValueError as error:
        raise TrainingError(
            f"the adapter does not fit the model: {str(error).splitlines()[0]}",
            hint="name the model's linear layers with `--set lora.targets='[\"q_proj\", …]'`",
        ) from error


def _grown(base: Path, parent: Path, recipe: LoraRecipe) -> PeftModel:
    """The parent's adapter with more rows of A, random, and as many columns of B, zero: the same product."""
    config = _config(parent)
    rank = int(config["r"])
    if recipe.rank <= rank:
        raise TrainingError(
            f"the parent's adapter has rank {rank}: it cannot be grown to {recipe.rank}",
            hint=f"ask for a larger one with `--set lora.rank={2 * rank}`, or go on with "
            "`--set adapter=continue`",
        )
    # The scale alpha / rank of what is there must stay.
    alpha, uneven = divmod(config["lora_alpha"] * recipe.rank, rank)
    if uneven:
        raise TrainingError(
            f"an adapter of rank {rank} and alpha {config['lora_alpha']} cannot be grown to {recipe.rank}",
            hint=f"choose a multiple of {rank}",
        )
    model = _new(base, LoraRecipe(recipe.rank, alpha, tuple(config["target_modules"])))
    old = load_file(parent / _WEIGHTS)
    state = model.state_dict()
    with torch.no_grad():
        for name, value in old.items():
            target = state[_named(name)]
            rows, columns = value.shape
            target[:rows, :columns] = value
    return model


def without(model: PeftModel | PreTrainedModel) -> PreTrainedModel:
    """The model under the adapter, or the model itself where it has none."""
    from peft import PeftModel

    return cast("PreTrainedModel", model.get_base_model()) if isinstance(model, PeftModel) else model


def _named(stored: str) -> str:
    """The parameter's name in the model, where PEFT puts the adapter's own name in."""
    return stored.removesuffix(".weight") + ".default.weight"


def save(model: PeftModel, target: Path) -> None:
    """Write the adapter to `target`, equal adapters as equal bytes."""
    with disk_told(target):
        model.save_pretrained(str(target), safe_serialization=True)
    _tidy(target)


def _tidy(target: Path) -> None:
    values = _config(target)
    # The base is named by digest in the registry; a path of this machine would make equal adapters differ.
    values["base_model_name_or_path"] = None
    values["target_modules"] = sorted(values["target_modules"])
    _write_config(target, values)
    (target / "README.md").unlink(missing_ok=True)


def interpolate(parent: Path | None, tuned: Path, share: float, target: Path) -> None:
    """Write the adapter (1 − share) · parent + share · tuned to `target`, exactly (Wortsman et al.,
    *WiSE-FT*, arXiv 2109.01903); `target` may be `tuned`.

    Beside a parent the ranks add up: the two products stand side by side, their scales in B.
    """
    config = _config(tuned)
    new = load_file(tuned / _WEIGHTS)
    parts = [(new, share * config["lora_alpha"] / config["r"])]
    if parent is not None:
        before = _config(parent)
        parts.insert(0, (load_file(parent / _WEIGHTS), (1 - share) * before["lora_alpha"] / before["r"]))
    state = {}
    for name in new:
        down = "lora_A" in name
        state[name] = torch.cat(
            [part[name] if down else part[name] * scale for part, scale in parts], dim=0 if down else 1
        ).contiguous()
    rank = next(value.shape[0] for name, value in state.items() if "lora_A" in name)
    config |= {"r": rank, "lora_alpha": rank}
    with disk_told(target):
        target.mkdir(parents=True, exist_ok=True)
        save_file(state, target / _WEIGHTS, metadata={"format": "pt"})
        _write_config(target, config)


def interpolate_all(before: PreTrainedModel, tuned: PreTrainedModel, share: float) -> None:
    """Move all weights of `tuned` to (1 − share) · before + share · tuned."""
    old = dict(before.named_parameters())
    with torch.no_grad():
        for name, value in tuned.named_parameters():
            value.copy_(old[name].lerp(value, share))


def _config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return found


def _write_config(folder: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=2, sort_keys=True) + "\n"
    (folder / _CONFIG).write_text(text, encoding="utf-8")
