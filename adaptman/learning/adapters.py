"""Which weights an update trains (the parent's adapter, a wider one, a new one, all), and how far they go."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
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
    from torch import Tensor
    from transformers import PreTrainedModel

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


def trainable(base: Path, parent: Path | None, recipe: Recipe) -> PeftModel | PreTrainedModel:
    """The model with its adapter, which alone is trained, or without one, then all of it is.

    At first it computes what the parent does, unless the adapter is `fresh`.

    Raises:
        TrainingError: the adapter does not fit the model, or cannot be grown as asked.
        ModelError: the checkpoint or the parent's adapter cannot be loaded.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    if recipe.adapter == "full":
        return models.load(base, parent).model.requires_grad_(True)
    model = _adapted(base, parent, recipe)
    head_VD = models.head_weight(without(model))
    for name, module in model.get_base_model().named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        layer = module.get_base_layer()
        # The losses read the head's weight as it is; an adapter on embeddings has other names and shapes.
        if layer.weight is head_VD or isinstance(layer, torch.nn.Embedding):
            raise TrainingError(
                f"`{name}` cannot have an adapter: only layers between the embeddings and the LM head can",
                hint="leave it out of `lora.targets`, with `--set adapter=fresh` where the parent's adapter "
                "has it, or train all weights with `--set adapter=full`",
            )
    return model


def _adapted(base: Path, parent: Path | None, recipe: Recipe) -> PeftModel:
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


def check_targets(layers: Sequence[str], recipe: LoraRecipe) -> None:
    """That each target is a layer of the model, whose `layers` are named as `models.layer_names` does.

    Raises:
        TrainingError: one of them is none.
    """
    for target in recipe.targets:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            known = dict.fromkeys(name.rpartition(".")[2] for name in layers)
            raise TrainingError(
                f"the adapter does not fit the model: `{target}` is no linear layer that can have one",
                hint=f"those of the model are {', '.join(f'`{name}`' for name in known)}",
            )


def going_on(parent: Path | None, recipe: Recipe, named: Collection[str]) -> Recipe:
    """The recipe with the form of the adapter that is trained, where the parent's goes on or is widened.

    `named` are the settings that somebody chose, such as `lora.rank`.

    Raises:
        TrainingError: one of them is not the parent's, or the adapter cannot be grown so.
    """
    if parent is None or recipe.adapter not in ("continue", "grow"):
        return recipe
    found, asked = _form(parent, recipe.lora), recipe.lora
    if recipe.adapter == "grow":
        found = _wider(found, asked.rank)
    for name in ("rank", "alpha", "targets"):
        wanted, own = getattr(asked, name), getattr(found, name)
        if f"lora.{name}" in named and wanted != own:
            raise TrainingError(
                f"recipe: `lora.{name}` is {_told(wanted)}, and the adapter that goes on has {_told(own)}",
                hint="leave it out; or begin a new adapter from the checkpoint, `--set adapter=fresh`, or "
                "merge this one first with `adaptman fold`",
            )
    return replace(recipe, lora=found)


def _told(value: int | tuple[str, ...]) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _form(parent: Path, asked: LoraRecipe) -> LoraRecipe:
    """Rank, alpha and targets of the parent's adapter; those in the order asked for, if they agree."""
    config = _config(parent)
    targets = tuple(config["target_modules"])
    same = sorted(targets) == sorted(asked.targets)
    return LoraRecipe(int(config["r"]), int(config["lora_alpha"]), asked.targets if same else targets)


def _wider(form: LoraRecipe, rank: int) -> LoraRecipe:
    """The adapter with so much rank, and the scale alpha / rank that what is there has."""
    if rank <= form.rank:
        raise TrainingError(
            f"the parent's adapter has rank {form.rank}: it cannot be grown to {rank}",
            hint=f"ask for a larger one with `--set lora.rank={2 * form.rank}`, or go on with "
            "`--set adapter=continue`",
        )
    alpha, uneven = divmod(form.alpha * rank, form.rank)
    if uneven:
        raise TrainingError(
            f"an adapter of rank {form.rank} and alpha {form.alpha} cannot be grown to {rank}",
            hint=f"choose a multiple of {form.rank}",
        )
    return replace(form, rank=rank, alpha=alpha)


def _grown(base: Path, parent: Path, recipe: LoraRecipe) -> PeftModel:
    """The parent's adapter with more rows of A, random, and as many columns of B, zero: the same product."""
    model = _new(base, _wider(_form(parent, recipe), recipe.rank))
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
    """Write to `target`, which may be `tuned`, the adapter whose parameters lie `share` of the way from the
    parent's to the tuned ones (Wortsman et al., *WiSE-FT*, arXiv 2109.01903).

    The rank stays: A and B are moved in a straight line, as they were trained, and not their product, which
    is off its own line by share · (1 − share) · ΔB · ΔA. Columns of B that the parent lacks, all of them
    without one, come from zero, and their rows of A are the tuned ones.
    """
    new = load_file(tuned / _WEIGHTS)
    old = load_file(parent / _WEIGHTS) if parent is not None else {}
    state = {
        name: torch.lerp(_padded(old.get(name), value, is_down="lora_A" in name), value, share)
        for name, value in new.items()
    }
    with disk_told(target):
        target.mkdir(parents=True, exist_ok=True)
        save_file(state, target / _WEIGHTS, metadata={"format": "pt"})
        _write_config(target, _config(tuned))


def _padded(old: Tensor | None, new: Tensor, *, is_down: bool) -> Tensor:
    """The parent's A (`is_down`) or B in the shape of the tuned one; the product stays the parent's."""
    found = new.clone() if is_down else torch.zeros_like(new)
    if old is not None:
        rows, columns = old.shape
        found[:rows, :columns] = old
    return found


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
