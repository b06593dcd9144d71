"""Gradient checkpointing: a pass keeps what each layer is given, and computes the layer again going back.

What a layer keeps for its gradients is many times its input, so that a pass needs memory for one layer's
results in place of all (Chen et al., *Training Deep Nets with Sublinear Memory Cost*, arXiv 1604.06174), at
the price of a second forward pass. The second one repeats the first, so that the gradients are the same.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from adaptman.errors import TrainingError
from adaptman.learning.packing import attending_as


def enable(decoder: Any) -> None:
    """Let the layers of `decoder` be computed again on the way back, wherever gradients are wanted.

    Raises:
        TrainingError: the architecture has no layers that are known to allow it.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [layer for layer in decoder.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not layers:
        raise TrainingError(
            f"`{type(decoder).__name__}` has no layers that could be computed again",
            hint="train without: `--set gradient_checkpointing=false`",
        )
    for layer in layers:
        layer.forward = _Recomputed(layer, decoder.config)


class _Recomputed:
    """Stands in for the `forward` of one layer."""

    def __init__(self, layer: torch.nn.Module, config: Any) -> None:
        # Held weakly, since the layer holds this: a cycle would keep the model after its training.
        self._layer, self._forward, self._config = weakref.ref(layer), type(layer).forward, config

    def __call__(self, *given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(self._layer(), *given, **named)
        # On the way back the pass is over, and with it the attention that it was read with.
        attention = self._config._attn_implementation

        def again(*given: Any, **named: Any) -> Any:
            with attending_as(self._config, attention):
                return self._forward(self._layer(), *given, **named)

        return checkpoint(again, *given, use_reentrant=False, preserve_rng_state=False, **named)
