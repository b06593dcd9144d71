"""The training loop: new examples and replay in one step, checkpoints, curves."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from adaptman.errors import TrainingError
from adaptman.learning import adapters, lora, models, recompute
from adaptman.learning.chat import Encoded
from adaptman.learning.limits import MORE_MEMORY, disk_told, memory_told, peak_memory_mib
from adaptman.learning.objective import Objective
from adaptman.learning.packing import RowReader
from adaptman.learning.recipe import Recipe
from adaptman.learning.replay import ReplaySample, ReplaySet

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Series = dict[str, list[tuple[int, float]]]


class StepMetrics(NamedTuple):
    """One optimiser step, as measured before its update."""

    step: int
    steps: int
    new_loss: float
    """Nats per completion token of the new examples, and of calls that were rewritten."""
    replay_loss: float | None
    """Nats per token of the replay (the KL is the drift); None in a step without."""
    learned: float
    """Share of the new examples that are learned, as `objective.Losses` has it; not of rewritten calls."""
    lr: float
    grad_norm: float
    tokens_per_s: float
    """Tokens of examples and replay, prompts counted and padding not, per second of the step."""
    peak_memory_mib: float
    """The most memory so far, as `limits.peak_memory_mib` has it."""


@dataclass(frozen=True)
class Trained:
    """What a training leaves: weights (safetensors) and curves."""

    adapter: Path
    """The adapter's directory; with `adapter: full`, that of the whole checkpoint."""
    curves: Series
    new_tokens: int
    replay_tokens: int
    seconds: float


def train(
    base: Path,
    parent_adapter: Path | None,
    examples: Sequence[Encoded],
    replay: ReplaySet | None,
    recipe: Recipe,
    workdir: Path,
    *,
    smaller: str = MORE_MEMORY,
    on_step: Callable[[StepMetrics], None] = lambda metrics: None,
) -> Trained:
    """Fine-tune what the recipe says on `examples` beside `replay`; goes on from a checkpoint in `workdir`.

    `smaller` is the hint where a step's memory runs out: what the caller can do about that. The order of
    the data is a function of seed and step alone, so that a run that was killed and resumed ends in the
    weights of one that was not.

    Raises:
        TrainingError: no examples, one that is too long, a loss that is not finite, or memory that runs out.
    """
    check_examples(examples, recipe)
    torch.manual_seed(recipe.seed)
    material = _Material(examples, replay.samples if replay else (), recipe)
    fingerprint = _fingerprint(base, parent_adapter, examples, replay, recipe)
    with memory_told("before the first step", MORE_MEMORY):
        model = adapters.trainable(base, parent_adapter, recipe)
        if model.device.type == "cpu" and recipe.adapter != "full":
            lora.fuse(model, frozen=torch.bfloat16 if recipe.precision == "bf16" else torch.float32)
        run = _Run(model, recipe, workdir, fingerprint, longest=material.longest)
        material.replayed = run.objective.prepare(material.examples, material.replayed)
        run.restore()
    for step in range(run.step, recipe.steps):
        new, old = material.batch(step)
        with memory_told(f"at step {step + 1}", smaller):
            metrics = run.advance(new, old)
        on_step(metrics)
        if run.step % recipe.checkpoint_every == 0 and run.step < recipe.steps:
            run.save()
    figures = run.curves, run.new_tokens, run.replay_tokens, run.seconds
    del run, material  # gradients, moments and an old model's weights, before other weights are loaded
    with memory_told("while the weights are written", "run it where both models fit into memory"):
        saved = _saved(model, base, parent_adapter, recipe, workdir)
    return Trained(saved, *figures)


class _Order:
    """Which items each step sees: shuffled epochs, a pure function of the seed."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self._count, self._batch_size, self._seed = count, batch_size, seed

    def batch(self, step: int) -> list[int]:
        if not self._count:
            return []
        first = step * self._batch_size
        return [self._item(position) for position in range(first, first + self._batch_size)]

    def _item(self, position: int) -> int:
        epoch, within = divmod(position, self._count)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        return int(torch.randperm(self._count, generator=generator)[within])


class _Material:
    """What each step sees: new examples, rewritten calls among them, and replay of what the model says."""

    def __init__(
        self, examples: Sequence[Encoded], replayed: tuple[ReplaySample, ...], recipe: Recipe
    ) -> None:
        rewritten = [index for index, sample in enumerate(replayed) if sample.source == "rewritten"]
        self._learned = {index: len(examples) + at for at, index in enumerate(rewritten)}
        self._order = _Order(len(examples), recipe.new_batch_size, recipe.seed)
        self._replay_order = _Order(len(replayed), recipe.replay.batch_size, recipe.seed + 1)
        self.examples = [*examples, *(_as_example(replayed[index]) for index in rewritten)]
        self.replayed = replayed

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(map(len, [one.ids for one in self.examples] + [one.ids for one in self.replayed]))

    def batch(self, step: int) -> tuple[list[tuple[int, Encoded]], list[ReplaySample]]:
        """The step's examples, by their number, and its replay."""
        beside = self._replay_order.batch(step)
        rewritten = [self._learned[index] for index in beside if index in self._learned]
        new = [*self._order.batch(step), *rewritten]
        old = [self.replayed[index] for index in beside if index not in self._learned]
        return [(index, self.examples[index]) for index in new], old


def _as_example(sample: ReplaySample) -> Encoded:
    return Encoded(sample.ids, int(sample.positions[0]))


class _Run:
    """The state of a training: model, optimiser, position and curves."""

    def __init__(
        self,
        model: PeftModel | PreTrainedModel,
        recipe: Recipe,
        workdir: Path,
        fingerprint: str,
        *,
        longest: int,
    ) -> None:
        self.model, self.recipe, self.workdir, self.fingerprint = model, recipe, workdir, fingerprint
        self.parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=recipe.lr, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
        )
        inner = adapters.without(model)
        if recipe.gradient_checkpointing:
            recompute.enable(inner.base_model)
        self.head_VD = models.head_weight(inner)
        read = RowReader(inner.base_model, longest=longest)
        # On a CPU the adapted layers know of bf16 themselves, which costs less than casting as one goes.
        device = self.head_VD.device.type
        wanted = recipe.precision == "bf16" and (device != "cpu" or recipe.adapter == "full")
        autocast = partial(torch.autocast, device, torch.bfloat16, enabled=wanted)
        self.objective = Objective(recipe, read, self.head_VD, self.parameters, autocast)
        self.step, self.new_tokens, self.replay_tokens, self.seconds = 0, 0, 0, 0.0
        self.curves: Series = {}

    def advance(self, new: Sequence[tuple[int, Encoded]], replayed: Sequence[ReplaySample]) -> StepMetrics:
        """One step: both losses, gradients, clipping, the update."""
        began = time.monotonic()
        rate = learning_rate(self.recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.objective.backward(new, replayed)
        new_loss, replay_loss = losses.new, losses.replay if replayed else None
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.max_grad_norm))
        if not all(map(math.isfinite, (new_loss, replay_loss or 0.0, norm))):
            raise TrainingError(
                f"the loss is not finite at step {self.step + 1}",
                hint=f"lower the learning rate: `--set lr={self.recipe.lr / 3:g}`",
            )
        self.optimizer.step()
        tokens = sum(len(item.ids) for _, item in new), sum(len(sample.ids) for sample in replayed)
        self.new_tokens, self.replay_tokens = self.new_tokens + tokens[0], self.replay_tokens + tokens[1]
        elapsed = time.monotonic() - began
        self.step, self.seconds = self.step + 1, self.seconds + elapsed
        speed, memory = sum(tokens) / elapsed, peak_memory_mib(self.head_VD.device)
        # Rewritten calls come after the examples.
        learned = fmean(losses.learned[number] for number, _ in new[: self.recipe.new_batch_size])
        metrics = StepMetrics(
            self.step, self.recipe.steps, new_loss, replay_loss, learned, rate, norm, speed, memory
        )
        self._log(metrics)
        return metrics

    def _log(self, metrics: StepMetrics) -> None:
        values = {
            "train/new_loss": metrics.new_loss,
            "train/replay_loss": metrics.replay_loss,
            "train/learned": metrics.learned,
            "train/lr": metrics.lr,
            "train/grad_norm": metrics.grad_norm,
            "train/tokens_per_s": metrics.tokens_per_s,
            "train/peak_memory_mib": metrics.peak_memory_mib,
        }
        for name, value in values.items():
            if value is not None:
                self.curves.setdefault(name, []).append((metrics.step, value))

    def save(self) -> None:
        """Write a checkpoint of which either all is there or nothing."""
        state: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state[parameter]
            state |= {
                f"value.{name}": parameter.detach(),
                f"first.{name}": moments["exp_avg"],
                f"second.{name}": moments["exp_avg_sq"],
            }
        position = {
            "step": self.step,
            "curves": self.curves,
            "new_tokens": self.new_tokens,
            "replay_tokens": self.replay_tokens,
            "seconds": self.seconds,
            "fingerprint": self.fingerprint,
            "sha256": _sha256(state),
        }
        self.workdir.mkdir(parents=True, exist_ok=True)
        temporary = self.workdir / "checkpoint.tmp"
        with disk_told(temporary):
            save_file(state, temporary, metadata={"position": json.dumps(position)})
        os.replace(temporary, self.workdir / "checkpoint.safetensors")

    def restore(self) -> None:
        """Go on from the checkpoint, if there is a whole one of the same training."""
        found = _checkpoint(self.workdir / "checkpoint.safetensors")
        if found is None or found[0]["fingerprint"] != self.fingerprint:
            return
        position, state = found
        for name, parameter in self.parameters.items():
            parameter.data.copy_(state[f"value.{name}"])
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(position["step"])),
                "exp_avg": state[f"first.{name}"].to(parameter.device),
                "exp_avg_sq": state[f"second.{name}"].to(parameter.device),
            }
        self.step, self.seconds = position["step"], position["seconds"]
        self.new_tokens, self.replay_tokens = position["new_tokens"], position["replay_tokens"]
        self.curves = {
            name: [(int(s), float(v)) for s, v in points] for name, points in position["curves"].items()
        }


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate at `step` (from 0): linear warm-up to `lr`, then linear decay to `lr · lr_floor` at last."""
    warm = max(1, round(recipe.warmup * recipe.steps))
    if step < warm:
        return recipe.lr * (step + 1) / warm
    left = (recipe.steps - 1 - step) / max(1, recipe.steps - 1 - warm)
    return recipe.lr * (recipe.lr_floor + (1 - recipe.lr_floor) * max(0.0, left))


def moved_back(base: Path, parent_adapter: Path | None, tuned: Path, recipe: Recipe, workdir: Path) -> Path:
    """Where `recipe` ends, from the weights `tuned` that the same recipe with `interpolate` 1 ended in.

    Nothing is trained, and what is written is byte for byte what a training would have left.

    Raises:
        ModelError: the weights cannot be loaded.
        TrainingError: memory runs out.
        OSError: they cannot be written.
    """
    with memory_told("while the weights are moved", "run it where both models fit into memory"):
        if recipe.adapter == "full":
            return _write_whole(models.load(tuned).model, base, parent_adapter, recipe, workdir)
        return _write_between(parent_adapter, tuned, recipe, workdir)


def _saved(
    model: PeftModel | PreTrainedModel,
    base: Path,
    parent_adapter: Path | None,
    recipe: Recipe,
    workdir: Path,
) -> Path:
    """Write what was trained, moved back towards the parent where the recipe says so."""
    if recipe.adapter == "full":
        return _write_whole(adapters.without(model), base, parent_adapter, recipe, workdir)
    target = workdir / "adapter"
    adapters.save(cast("PeftModel", model), target)
    return _write_between(parent_adapter, target, recipe, workdir) if recipe.interpolate < 1 else target


def _write_whole(
    whole: PreTrainedModel, base: Path, parent_adapter: Path | None, recipe: Recipe, workdir: Path
) -> Path:
    target = workdir / "weights"
    if recipe.interpolate < 1:
        adapters.interpolate_all(models.load(base, parent_adapter).model, whole, recipe.interpolate)
    models.save(whole, models.load_tokenizer(base), target)
    return target


def _write_between(parent_adapter: Path | None, tuned: Path, recipe: Recipe, workdir: Path) -> Path:
    target = workdir / "adapter"
    before = None if recipe.adapter == "fresh" else parent_adapter
    adapters.interpolate(before, tuned, recipe.interpolate, target)
    return target


def check_examples(examples: Sequence[Encoded], recipe: Recipe) -> None:
    """That there is something to learn, and that it is not too long.

    Raises:
        TrainingError: no examples, an empty answer, or one that is longer than the recipe allows.
    """
    if not examples:
        raise TrainingError("there are no examples to train on")
    for index, example in enumerate(examples):
        if len(example.ids) > recipe.max_length:
            raise TrainingError(
                f"example {index + 1} has {len(example.ids)} tokens, `max_length` is {recipe.max_length}",
                hint="shorten it, or raise the limit with `--set max_length=…`",
            )
        if len(example.ids) <= example.prompt_length:
            raise TrainingError(f"example {index + 1} has an empty answer")


def _fingerprint(
    base: Path,
    parent_adapter: Path | None,
    examples: Sequence[Encoded],
    replay: ReplaySet | None,
    recipe: Recipe,
) -> str:
    """What a training is made of; a checkpoint of another one is not gone on from."""
    # A base that lies in a store is named by its digest; reading it whole could take as long as some steps.
    digest = hashlib.sha256(f"{recipe.digest} {base.name}".encode())
    digest.update(json.dumps(examples).encode())
    digest.update(replay.to_bytes() if replay and replay.samples else b"")
    for path in sorted(parent_adapter.iterdir()) if parent_adapter else ():
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _sha256(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Position and tensors; None if there is no checkpoint, or a damaged one, which costs its steps alone."""
    try:
        state = load_file(path)
        with safe_open(path, framework="pt") as file:
            position: dict[str, Any] = json.loads(file.metadata()["position"])
    except (SafetensorError, OSError, LookupError, TypeError, ValueError):
        return None
    return (position, state) if position.get("sha256") == _sha256(state) else None
