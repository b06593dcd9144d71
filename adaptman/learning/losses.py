"""Losses over the vocabulary, computed a chunk of tokens at a time.

The logits of a batch are the largest tensor of a fine-tune (tokens × vocabulary). The gradient with respect
to the hidden states, and to the LM head where it is trained, is taken while a chunk's logits are there, so
that no more than `CHUNK` rows of logits ever exist and nothing is computed twice.

Shape suffixes: T tokens, D hidden size, V vocabulary, K teacher entries a token.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

CHUNK = 512
_SMALLEST_TAIL = 1e-30
_ROUNDING = 1e-6


class TopK(NamedTuple):
    """A teacher's distribution: its K most likely tokens; the mass they leave is one class, the tail."""

    ids_TK: Tensor
    log_probs_TK: Tensor


def top_k_of(logits_TV: Tensor, k: int) -> TopK:
    """The `k` most likely tokens of each row with their log-probabilities at temperature 1."""
    log_probs_TV = logits_TV.float().log_softmax(-1)
    values, ids = log_probs_TV.topk(min(k, log_probs_TV.shape[-1]), dim=-1)
    return TopK(ids, values)


def cross_entropy(
    hidden_TD: Tensor,
    head_VD: Tensor,
    targets_T: Tensor,
    *,
    weights_T: Tensor | None = None,
    entropy_top: int = 0,
    nll_T: Tensor | None = None,
) -> Tensor:
    """Sum over tokens of −w · log p(target), in nats.

    Each token's −log p(target), without a weight, is written to `nll_T` where that is given.

    w is 1, or the token's entry of `weights_T`. With `entropy_top` it is multiplied with the entropy of the
    so many most likely tokens, as a share of the largest possible (Diao et al., arXiv 2601.02151), through
    which no gradient flows.
    """

    def slope(logits_TV: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        weights = None if weights_T is None else weights_T[rows]
        if entropy_top:
            entropy = top_entropy(logits_TV, entropy_top)
            weights = entropy if weights is None else weights * entropy
        loss_T, slope_TV = _cross_entropy_slope(logits_TV, targets_T[rows])
        if nll_T is not None:
            nll_T[rows] = loss_T
        if weights is None:
            return loss_T.sum(), slope_TV
        return (loss_T * weights).sum(), slope_TV.mul_(weights[:, None])

    return _apply(hidden_TD, head_VD, slope)


@torch.no_grad()
def token_nll(hidden_TD: Tensor, head_VD: Tensor, targets_T: Tensor) -> Tensor:
    """−log p(target) of each token in nats, [T]; without a gradient."""
    found = []
    for hidden, targets in zip(hidden_TD.split(CHUNK), targets_T.split(CHUNK), strict=True):
        logits_TV = (hidden @ head_VD.T).float()
        found.append(logits_TV.logsumexp(-1) - logits_TV.gather(1, targets[:, None])[:, 0])
    return torch.cat(found)


def top_entropy(logits_TV: Tensor, k: int) -> Tensor:
    """Entropy of the `k` most likely tokens, taken as the whole, divided by log k: from 0 to 1."""
    top_TK = logits_TV.topk(min(k, logits_TV.shape[-1]), dim=-1).values.log_softmax(-1)
    return -(top_TK.exp() * top_TK).sum(-1) / math.log(top_TK.shape[-1])


def top_k_kl(hidden_TD: Tensor, head_VD: Tensor, teacher: TopK) -> Tensor:
    """Sum over tokens of KL(teacher ‖ student) over K + 1 classes (the top K and the tail), in nats.

    It is a lower bound of the divergence over the whole vocabulary (the log-sum inequality), equal to it
    where K is the vocabulary's size, and zero where teacher and student agree.
    """

    def slope(logits_TV: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return _kl_slope(logits_TV, teacher.ids_TK[rows], teacher.log_probs_TK[rows])

    return _apply(hidden_TD, head_VD, slope)


def live_kl(
    hidden_TD: Tensor, head_VD: Tensor, teacher_TD: Tensor, teacher_head_VD: Tensor | None = None
) -> Tensor:
    """Sum over tokens of KL(teacher ‖ student) over the whole vocabulary, in nats.

    `teacher_TD` are the teacher's hidden states, which its head reads; without one, the student's.
    """
    read_VD = head_VD if teacher_head_VD is None else teacher_head_VD

    def slope(logits_TV: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        log_p_TV = (teacher_TD[rows] @ read_VD.T).float().log_softmax(-1)
        log_q_TV = logits_TV.log_softmax(-1)
        p_TV = log_p_TV.exp()
        return (p_TV * (log_p_TV - log_q_TV)).sum(), log_q_TV.exp_().sub_(p_TV)

    return _apply(hidden_TD, head_VD, slope)


Slope = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""From some rows of logits, which it may overwrite, and their place: the loss and its derivative."""


def _apply(hidden_TD: Tensor, head_VD: Tensor, slope: Slope) -> Tensor:
    return _HeadLoss.apply(hidden_TD, head_VD, slope)  # type: ignore[no-any-return, no-untyped-call]


class _HeadLoss(torch.autograd.Function):
    """LM head and loss in one, with the gradient for the hidden states, and for a head that is trained."""

    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, head_VD: Tensor, slope: Slope) -> Tensor:
        total = hidden_TD.new_zeros((), dtype=torch.float32)
        grad_TD = torch.empty_like(hidden_TD) if ctx.needs_input_grad[0] else None
        grad_VD = torch.zeros_like(head_VD) if ctx.needs_input_grad[1] else None
        for start in range(0, hidden_TD.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            loss, slope_TV = slope((hidden_TD[rows] @ head_VD.T).float(), rows)
            total += loss
            if grad_TD is not None:
                grad_TD[rows] = slope_TV.to(head_VD.dtype) @ head_VD
            if grad_VD is not None:
                grad_VD.addmm_(slope_TV.to(head_VD.dtype).T, hidden_TD[rows])
        ctx.save_for_backward(grad_TD, grad_VD)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden, head = (None if one is None else one * upstream[0].to(one.dtype) for one in ctx.saved_tensors)
        return hidden, head, None


def _cross_entropy_slope(logits_TV: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    """Each token's loss and its derivative with respect to the logits: softmax − one-hot."""
    rows = torch.arange(logits_TV.shape[0], device=logits_TV.device)
    log_z_T = logits_TV.logsumexp(-1)
    loss_T = log_z_T - logits_TV[rows, targets_T]
    slope_TV = logits_TV.sub_(log_z_T[:, None]).exp_()
    slope_TV[rows, targets_T] -= 1
    return loss_T, slope_TV


def _kl_slope(logits_TV: Tensor, ids_TK: Tensor, log_p_TK: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and its derivative: q − p on the top K, q · (1 − p_tail / q_tail) on the tail."""
    log_q_TV = logits_TV.sub_(logits_TV.logsumexp(-1, keepdim=True))
    log_q_TK = log_q_TV.gather(1, ids_TK)
    p_TK, q_TK = log_p_TK.exp(), log_q_TK.exp()
    # The student's tail is summed, not taken as 1 − head: of a confident student nothing would be left of it.
    slope_TV = log_q_TV.exp_().scatter_(1, ids_TK, 0.0)
    tail_q_T = slope_TV.sum(-1).clamp_min(_SMALLEST_TAIL)
    tail_p_T = _teacher_tail(p_TK, whole=ids_TK.shape[1] == slope_TV.shape[1])
    head_T = (p_TK * (log_p_TK - log_q_TK)).sum(-1)
    tail_T = torch.special.xlogy(tail_p_T, tail_p_T / tail_q_T)
    slope_TV *= (1 - tail_p_T / tail_q_T)[:, None]
    slope_TV.scatter_(1, ids_TK, q_TK - p_TK)
    return (head_T + tail_T).sum(), slope_TV


def _teacher_tail(p_TK: Tensor, *, whole: bool) -> Tensor:
    """The mass that the top K leave: none over a whole vocabulary, and none that rounding may have made."""
    tail_T = 1 - p_TK.sum(-1)
    return torch.zeros_like(tail_T) if whole else tail_T.where(tail_T > _ROUNDING, 0.0)
