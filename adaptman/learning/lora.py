"""LoRA layers as one operation: the result of PEFT's layers without their intermediate results.

PEFT computes base(x) + B(A(x)) · scale in five operations over tokens × width, each with a result of its own
that is written to memory and read again. Here the low-rank product is added in place, and the frozen weight
can be multiplied in bf16 where the hardware does so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def fuse(model: nn.Module, *, frozen: torch.dtype) -> int:
    """Let the plain LoRA layers of `model` compute as one operation; how many were changed.

    `frozen` is the type in which the weights under the adapter are kept and multiplied, in place of fp32;
    what they are multiplied with is rounded to it, and everything else is computed as it was. Layers with
    dropout, a bias of the adapter, or more than one adapter keep PEFT's own way.
    """
    from peft.tuners.lora import Linear

    layers = [layer for layer in model.modules() if isinstance(layer, Linear) and _is_plain(layer)]
    weights: list[Any] = [layer.base_layer.weight for layer in layers]
    if frozen != torch.float32:
        _convert(model, weights, frozen)
    for layer in layers:
        layer.forward = _Fused(layer)  # type: ignore[method-assign]
    return len(layers)


def _convert(model: nn.Module, weights: Sequence[Tensor], frozen: torch.dtype) -> None:
    """Keep `weights` as `frozen`, and copy the rest, where it is less.

    A checkpoint's file stays in memory, with the fp32 weights, as long as one tensor lies in it.
    """
    for weight in weights:
        weight.data = weight.data.to(frozen)
    converted = set(map(id, weights))
    held = [one for one in (*model.parameters(), *model.buffers()) if not one.requires_grad]
    rest = [one for one in held if id(one) not in converted]
    if sum(one.numel() for one in rest) < sum(one.numel() for one in weights):
        for one in rest:
            one.data = one.data.clone()


def _is_plain(layer: Any) -> bool:
    names = list(layer.active_adapters)
    return (
        len(names) == 1
        and type(layer.base_layer) is nn.Linear
        and isinstance(layer.lora_dropout[names[0]], nn.Identity)
        and layer.lora_A[names[0]].bias is None
        and layer.lora_B[names[0]].bias is None
        and not layer.lora_variant
        and not layer.merged
    )


class _Fused:
    """Stands in for the `forward` of one layer."""

    def __init__(self, layer: Any) -> None:
        (name,) = layer.active_adapters
        self._weight = layer.base_layer.weight.detach()
        self._bias = None if layer.base_layer.bias is None else layer.base_layer.bias.detach()
        self._down, self._up = layer.lora_A[name], layer.lora_B[name]
        self._scale = float(layer.scaling[name])

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
            x, self._weight, self._bias, self._down.weight, self._up.weight, self._scale
        )
        return found


class _LoraLinear(torch.autograd.Function):
    """y = x W' + bias + s · (x A') B', with gradients for x, A, B; W is [out, in], A [r, in], B [out, r]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        x_TI = x.reshape(-1, x.shape[-1])
        y_TO = _times(x_TI, weight.T)
        if bias is not None:
            y_TO += bias
        low_TR = x_TI @ down.T
        y_TO.addmm_(low_TR, up.T, alpha=scale)
        ctx.save_for_backward(x_TI, weight, down, up, low_TR)
        ctx.scale, ctx.shape = scale, x.shape
        return y_TO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x_TI, weight, down, up, low_TR = ctx.saved_tensors
        slope_TO = upstream[0].reshape(-1, upstream[0].shape[-1])
        low_slope_TR = slope_TO @ up
        down_slope = (low_slope_TR.T @ x_TI).mul_(ctx.scale)
        up_slope = (slope_TO.T @ low_TR).mul_(ctx.scale)
        x_slope = None
        if ctx.needs_input_grad[0]:
            x_slope = _times(slope_TO, weight).addmm_(low_slope_TR, down, alpha=ctx.scale).view(ctx.shape)
        return x_slope, None, None, down_slope, up_slope, None


def _times(x: Tensor, weight: Tensor) -> Tensor:
    """The product in the weight's type, the result in that of `x`."""
    return (x.to(weight.dtype) @ weight).to(x.dtype)
