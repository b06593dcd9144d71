"""What weights look like when little room is left: evidence beside an audit of capacity, never instead of it.

Each is one figure of a loaded model on samples of its own. Models that were trained on more tokens lose more
under the same noise (Springer et al., arXiv 2503.19206); the others are folklore, and told to be compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adaptman.learning import models
from adaptman.learning.likelihood import nll_of
from adaptman.learning.models import LoadedModel
from adaptman.learning.replay import ReplaySample

NOISE = 0.05
"""Share of each matrix's standard deviation that the noise has."""
_SEEDS = (0, 1, 2)
_GROUP, _LEVELS = 32, 7
_IDLE = 0.01
_POWER_STEPS = 30


class Evidence(NamedTuple):
    """Figures of one model; rises are in nats per token of its own samples."""

    noise_rise: float
    """Of the loss under Gaussian noise of `NOISE` on every matrix but the embeddings, mean of three draws."""
    rounding_rise: float
    """Of the loss when those matrices are rounded to 4 bits, in groups of 32 weights."""
    stable_rank: float
    """Mean of ‖W‖²_F / ‖W‖²_2 as a share of the smaller side."""
    idle_units: float
    """Share of the MLPs' units whose mean activation is below a hundredth of their layer's mean."""


def evidence(loaded: LoadedModel, samples: Sequence[ReplaySample]) -> Evidence:
    """The figures of `loaded`, whose weights are as before afterwards."""
    with _watched(loaded.model) as activity:
        before = own_loss(loaded, samples)
    noisy = [
        own_loss(_changed(loaded, partial(models.disturb, seed=seed, share=NOISE)), samples)
        for seed in _SEEDS
    ]
    rounded = own_loss(_changed(loaded, round_weights), samples)
    ranks = [stable_rank(value) for value in models.matrices(loaded)]
    return Evidence(
        noise_rise=sum(noisy) / len(noisy) - before,
        rounding_rise=rounded - before,
        stable_rank=sum(ranks) / len(ranks),
        idle_units=idle_share(activity),
    )


def own_loss(loaded: LoadedModel, samples: Sequence[ReplaySample]) -> float:
    """−log p of the samples' generated tokens, in nats per token."""
    found = nll_of(loaded, [one.ids for one in samples], [one.positions for one in samples])
    return float(torch.cat(found).double().mean())


def round_weights(loaded: LoadedModel) -> None:
    """Round each matrix to 15 levels a group of weights, by the group's largest (round to nearest)."""
    with torch.no_grad():
        for value in models.matrices(loaded):
            padded = torch.nn.functional.pad(value.flatten(), (0, -value.numel() % _GROUP)).view(-1, _GROUP)
            scale = padded.abs().amax(-1, keepdim=True).clamp_min(1e-12) / _LEVELS
            value.copy_(((padded / scale).round() * scale).flatten()[: value.numel()].view_as(value))


def stable_rank(matrix: Tensor) -> float:
    """‖W‖²_F / ‖W‖²_2 as a share of the smaller side, from 0 to 1."""
    values = matrix.detach().float()
    direction = torch.randn(values.shape[1], generator=torch.Generator().manual_seed(0)).to(values)
    for _ in range(_POWER_STEPS):  # a whole SVD of every matrix would take as long as a probe
        direction = torch.nn.functional.normalize(values.T @ (values @ direction), dim=0)
    largest = float((values @ direction).norm())
    return float(values.square().sum()) / max(largest**2, 1e-30) / min(values.shape)


def idle_share(activity: Sequence[Tensor]) -> float:
    """Share of units with less than a hundredth of their layer's mean activation; [units] a layer."""
    if not activity:
        return 0.0
    idle = sum(int((one < _IDLE * one.mean()).sum()) for one in activity)
    return idle / sum(one.numel() for one in activity)


def _changed(loaded: LoadedModel, change: Callable[[LoadedModel], None]) -> LoadedModel:
    other = LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, loaded.stop_ids)
    change(other)
    return other


@contextmanager
def _watched(model: Any) -> Iterator[list[Tensor]]:
    """Mean absolute activation of each MLP's units, filled in when the context ends."""
    sums: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(_adding(sums, name))
        for name, module in model.named_modules()
        if name.endswith("down_proj")
    ]
    found: list[Tensor] = []
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
    found += [sums[name] for name in sorted(sums)]


def _adding(sums: dict[str, Tensor], name: str) -> Callable[[Any, tuple[Any, ...]], None]:
    def add(_module: Any, inputs: tuple[Any, ...]) -> None:
        seen = inputs[0].detach().abs().flatten(0, -2).sum(0).float()
        sums[name] = sums[name] + seen if name in sums else seen

    return add
