"""A process that makes updates on the CPU and on a stand-in for another device, and prints both as JSON.

python -m tests.learning.on_both BASE PARENT FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from adaptman.learning import capacity, models, trainer
from adaptman.learning.answerer import ModelAnswerer
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.drawing import generate
from adaptman.learning.packing import can_pack
from adaptman.learning.recipe import Recipe
from adaptman.learning.replay import ReplaySet
from tests.learning.callers import RECIPE, TOOLS, AnyText, tool_prompts
from tests.learning.stand_in import NAME, register, stand_in

SAID = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "x" * n}] for n in range(3, 9)]
_SHORT = {"steps": 3, "lr": 1e-3}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "live teacher": {"replay": {"teacher": "live"}},
    "terms on new tokens": {"kl_new": 1.0, "mask_surprising": 1000.0, "entropy_weight": True},
    "all weights": {"adapter": "full", "lr": 1e-4},
    "halfway": {"interpolate": 0.5},
    "widened": {"adapter": "grow", "lora": {"rank": 20}},
    "a new adapter": {"adapter": "fresh"},
    "layers computed again": {"gradient_checkpointing": True},
}


class _Asked(NamedTuple):
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()


def updates(base: Path, parent: Path, folder: Path) -> dict[str, Any]:
    """Draw, and make an update by each recipe."""
    loaded = models.load(base, parent)
    renderer = ChatRenderer(loaded.tokenizer, AnyText())
    replay = generate(loaded, renderer, RECIPE, tool_prompts(), 0, shown=TOOLS)
    return {
        "device": loaded.model.device.type,
        "packs": can_pack(loaded.model.base_model, longest=64),
        "replay": [one.ids for one in replay.samples],
        "logits": models.logits_of(base, parent, [[1, 2, 3, 4]])[0].amax(-1).tolist(),
        **{
            name: _update(base, parent, replay, Recipe.from_dict(_SHORT | settings), folder / name)
            for name, settings in RECIPES.items()
        },
    }


def _update(base: Path, parent: Path, replay: ReplaySet, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train, measure drift, ask."""
    renderer = ChatRenderer(models.load_tokenizer(base), AnyText())
    items = [renderer.answered(messages, ()) for messages in SAID]
    trained = trainer.train(base, parent, items, replay, recipe, folder)
    is_whole = recipe.adapter == "full"
    after = models.load(trained.adapter) if is_whole else models.load(base, trained.adapter)
    asked = ModelAnswerer(after, renderer)
    return {
        "new": [loss for _, loss in trained.curves["train/new_loss"]],
        "kept": [loss for _, loss in trained.curves["train/replay_loss"]],
        "drift": capacity.drift(after, replay.samples).tolist(),
        "replies": asked.answer([_Asked(messages[:1]) for messages in SAID], max_new_tokens=6),
        "nll": [one.total for one in asked.nll([_Asked(messages) for messages in SAID])],
    }


def refusal() -> str:
    """What the stand-in says to tensors of two devices."""
    there = torch.ones(2, device=NAME)
    assert (there + 1).sum().item() == 4
    try:
        there + torch.ones(2)
    except RuntimeError as error:
        return str(error)
    return ""


def main(base: Path, parent: Path, folder: Path) -> None:
    """The same, here and there."""
    found: dict[str, Any] = {"cpu": updates(base, parent, folder / "cpu")}
    with stand_in():
        models.use_device(NAME)
        found[NAME] = updates(base, parent, folder / NAME)
        found |= {"refusal": refusal(), "hardware": models.hardware()}
    print(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    kernels = register()  # they go with what holds them
    main(*map(Path, sys.argv[1:]))
