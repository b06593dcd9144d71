"""Training on two cores beside TRL and a plain loop: tokens a second, memory, loss curve; the cost of replay.

    python -m venv rivals
    rivals/bin/pip install torch==2.13.0 transformers==5.23.0 peft==0.21.2 trl==1.16.0
    python benchmarks/training_speed.py --folder DIR --python rivals/bin/python [--steps N] [--batch N]

DIR keeps the converted model. The embedded model, LoRA r = 16 on all linear layers, AdamW; the demo's
examples, which are BFCL `simple_python`. Two sides at a time, each in a process of its own, take turns step
by step on the same batches: the first step is not counted, and the ratio is the median of the others'.
Tokens are those of prompts and completions; padding is not counted. Memory is the most that a process held.

adaptman's side is `adaptman.learning.trainer.train`, which computes layers again on the way back where the
line says "both". The plain loop pads its batches and has logits
everywhere. TRL's `SFTTrainer` learns completions only, once with gradient checkpointing (its default) and
once without, in fp32 as the others, and in bf16 (its default) against `precision: bf16`. Left out are
`group_by_length`, which would change the batches, and `padding_free`, which is made for flash attention.

The loss curve compares each step's loss with the plain loop's; both begin with the same adapter. The cost of
replay compares steps with replay, its teacher cached, with steps without, of as many tokens or a few more.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from speed_setting import Setting, print_table, said, spread
from turns import Side

from adaptman.learning import adapters, drawing, models
from adaptman.learning.chat import Encoded
from adaptman.learning.recipe import Recipe, ReplayRecipe
from adaptman.learning.trainer import _Order, learning_rate

OWN, TOGETHER = "a tool for each request", "four tools for each request, a document for four requests"
FP32 = {"bf16": False, "train_sampling_strategy": "sequential"}
BF16 = {"bf16": True, "train_sampling_strategy": "sequential"}
NO_CHECKPOINTING = {"gradient_checkpointing": False}
GIB = 2**30


@dataclass(frozen=True)
class Duel:
    """Two trainings that take turns; `theirs` is the name of a side with the settings that it gets."""

    name: str
    theirs: str
    settings: Mapping[str, Any]
    data: str = OWN
    precision: str = "fp32"
    again: bool = False
    """Whether adaptman trains with gradient checkpointing, too."""


DUELS = (
    Duel("plain loop", "plain", {}),
    Duel("TRL", "trl", {**FP32, **NO_CHECKPOINTING}),
    Duel("TRL, checkpointing", "trl", FP32),
    Duel("TRL, checkpointing both", "trl", FP32, again=True),
    Duel("TRL, bf16", "trl", {**BF16, **NO_CHECKPOINTING}, precision="bf16"),
    Duel("TRL, bf16, checkpointing (its defaults)", "trl", BF16, precision="bf16"),
    Duel("TRL, bf16, checkpointing both", "trl", BF16, precision="bf16", again=True),
    Duel("TRL, shared tools", "trl", {**FP32, **NO_CHECKPOINTING}, data=TOGETHER),
    Duel("TRL, shared tools, checkpointing both", "trl", FP32, data=TOGETHER, again=True),
)


@dataclass(frozen=True)
class Bench:
    """What all duels share."""

    setting: Setting
    adapter: Path
    python: Path
    rivals: Path
    logs: Path

    def side(self, name: str, recipe: Recipe, rows: Sequence[Encoded], **more: Any) -> Side:
        """A side that is about to train."""
        order = _Order(len(rows), recipe.batch_size, recipe.seed)
        request = {
            "base": str(self.setting.base),
            "adapter": str(self.adapter),
            "rows": rows,
            "batches": [order.batch(step) for step in range(recipe.steps)],
            "rates": [learning_rate(recipe, step) for step in range(recipe.steps)],
            "recipe": recipe.to_dict(),
            "exact": False,
            **more,
        }
        python = self.python if name == "adaptman" else self.rivals
        return Side(python, "training_sides.py", name, request, self.logs / f"{name}.log")


def without_replay(steps: int, batch: int, **settings: Any) -> Recipe:
    """The recipe of a duel."""
    return Recipe.from_dict({"steps": steps, "batch_size": batch, "replay": {"kind": "none"}, **settings})


def take_turns(ours: Side, theirs: Side, steps: int) -> None:
    """Step by step, each side first in its turn."""
    for step in range(steps):
        for side in (ours, theirs) if step % 2 else (theirs, ours):
            side.turn()
    ours.end()
    theirs.end()


def tokens(rows: Sequence[Encoded], recipe: Recipe) -> list[int]:
    """Prompt and completion tokens of each step."""
    order = _Order(len(rows), recipe.batch_size, recipe.seed)
    return [sum(len(rows[at].ids) for at in order.batch(step)) for step in range(recipe.steps)]


def seconds(side: Side, which: str = "seconds") -> list[float]:
    """Of each step but the first."""
    return [float(turn[which]) for turn in side.turns[1:]]


def ratios(ours: Side, theirs: Side, which: str) -> list[float]:
    """Theirs to ours, step by step."""
    return [other / one for one, other in zip(seconds(ours, which), seconds(theirs, which), strict=True)]


def fought(bench: Bench, duel: Duel, steps: int, batch: int) -> list[object]:
    """A line of the table."""
    setting = bench.setting
    rows = setting.encoded() if duel.data == OWN else setting.encoded_together(4)
    recipe = without_replay(steps, batch, precision=duel.precision, gradient_checkpointing=duel.again)
    ours = bench.side("adaptman", recipe, rows)
    theirs = bench.side(duel.theirs, recipe, rows, trl=dict(duel.settings))
    take_turns(ours, theirs, steps)
    counted = sum(tokens(rows, recipe)[1:])
    peaks = [side.turns[-1]["peak_bytes"] for side in (ours, theirs)]
    return [
        duel.name,
        f"{counted / sum(seconds(ours)):.0f}",
        f"{counted / sum(seconds(theirs)):.0f}",
        spread(ratios(ours, theirs, "seconds")),
        spread(ratios(ours, theirs, "cpu_seconds")),
        f"{peaks[0] / GIB:.2f}",
        f"{peaks[1] / GIB:.2f}",
        f"{peaks[0] / peaks[1]:.2f}",
    ]


def loss_curve(bench: Bench, steps: int) -> str:
    """How far apart the losses of the same small batches are."""
    rows, recipe = bench.setting.encoded(), without_replay(steps, 2)
    ours = bench.side("adaptman", recipe, rows)
    theirs = bench.side("plain", recipe, rows, exact=True)
    take_turns(ours, theirs, steps)
    pairs = [(one["loss"], other["loss"]) for one, other in zip(ours.turns, theirs.turns, strict=True)]
    apart = max(abs(one - other) for one, other in pairs)
    return (
        f"Loss curve over {steps} steps of 2 examples, from {pairs[0][1]:.3f} to {pairs[-1][1]:.3f} nats a "
        f"token: at most {apart:.1e} apart."
    )


def replay_cost(bench: Bench, steps: int) -> str:
    """Seconds a token with replay, as a multiple of those without."""
    rows, recipe = bench.setting.encoded(), without_replay(steps, 6)
    mixed = dataclasses.replace(recipe, batch_size=4, replay=ReplayRecipe(samples=4 * steps))
    loaded = models.load(bench.setting.base)
    drawn = drawing.generate(loaded, bench.setting.renderer, mixed.drawn(), (), 0)
    del loaded
    path = bench.logs / "replay.safetensors"
    path.write_bytes(drawn.to_bytes())
    plain = bench.side("adaptman", recipe, rows)
    beside = bench.side("adaptman", mixed, rows, replay=str(path))
    take_turns(plain, beside, steps)
    order = _Order(len(drawn.samples), 4, mixed.seed + 1)
    replayed = [sum(len(drawn.samples[at].ids) for at in order.batch(step)) for step in range(steps)]
    both = [new + old for new, old in zip(tokens(rows, mixed), replayed, strict=True)][1:]
    alone = tokens(rows, recipe)[1:]
    costs = {
        which: [
            (with_replay / count) / (without / other)
            for with_replay, count, without, other in zip(
                seconds(beside, which), both, seconds(plain, which), alone, strict=True
            )
        ]
        for which in ("seconds", "cpu_seconds")
    }
    return (
        f"Replay with a cached teacher, {statistics.mean(both):.0f} tokens a step against "
        f"{statistics.mean(alone):.0f} without: {spread(costs['seconds'])} times the seconds a token, "
        f"{spread(costs['cpu_seconds'])} times the processor's."
    )


def main() -> None:
    """Print the table and the two lines below it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--only", default="", help="the lines whose name holds this")
    asked = parser.parse_args()
    setting = Setting.made(asked.folder)
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder, "adapter")
        torch.manual_seed(0)
        adapters.save(adapters.trainable(setting.base, None, Recipe()), adapter)
        bench = Bench(setting, adapter, Path(sys.executable), asked.python, Path(folder))
        print(said(torch.get_num_threads(), "peft"), "\n")
        duels = (duel for duel in DUELS if asked.only in duel.name)
        columns = ["beside", "adaptman, tokens/s", "theirs, tokens/s", "ratio", "ratio, processor time"]
        print_table(
            [*columns, "adaptman, GiB", "theirs, GiB", "share of memory"],
            (fought(bench, duel, asked.steps, asked.batch) for duel in duels),
        )
        if not asked.only:
            print(loss_curve(bench, 3 * asked.steps))
            print(replay_cost(bench, 2 * asked.steps))


if __name__ == "__main__":
    main()
