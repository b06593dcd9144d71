"""Losses over the vocabulary, computed a chunk of tokens at a time.

The logits of a batch are the largest tensor of a fine-tune (tokens × vocabulary). Since the LM head is
frozen, the gradient with respect to the hidden states can be taken while a chunk's logits are there, so
that no more than `CHUNK` rows of logits ever exist and nothing is computed twice.

Shape suffixes: T tokens, D hidden size, V vocabulary, K teacher entries a token.
"""

from __future__ import annotations

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


def cross_entropy(hidden_TD: Tensor, head_VD: Tensor, targets_T: Tensor) -> Tensor:
    """Sum over tokens of −log p(target), in nats."""
    return _apply(hidden_TD, head_VD, targets_T, None)


def top_k_kl(hidden_TD: Tensor, head_VD: Tensor, teacher: TopK) -> Tensor:
    """Sum over tokens of KL(teacher ‖ student) over K + 1 classes (the top K and the tail), in nats.

    It is a lower bound of the divergence over the whole vocabulary (the log-sum inequality), equal to it
    where K is the vocabulary's size, and zero where teacher and student agree.
    """
    return _apply(hidden_TD, head_VD, None, teacher)


def _apply(hidden_TD: Tensor, head_VD: Tensor, targets_T: Tensor | None, teacher: TopK | None) -> Tensor:
    ids = targets_T if teacher is None else teacher.ids_TK
    log_probs = None if teacher is None else teacher.log_probs_TK
    return _HeadLoss.apply(hidden_TD, head_VD, ids, log_probs)  # type: ignore[no-any-return, no-untyped-call]


class _HeadLoss(torch.autograd.Function):
    """LM head and loss in one, with the gradient for the hidden states alone."""

    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, head_VD: Tensor, ids: Tensor, log_probs_TK: Tensor | None
    ) -> Tensor:
        total = hidden_TD.new_zeros((), dtype=torch.float32)
        grad_TD = torch.empty_like(hidden_TD) if ctx.needs_input_grad[0] else None
        for start in range(0, hidden_TD.shape[0], CHUNK):
            rows = slice(start, start + CHUNK)
            logits_TV = (hidden_TD[rows] @ head_VD.T).float()
            if log_probs_TK is None:
                loss, slope_TV = _cross_entropy_slope(logits_TV, ids[rows])
            else:
                loss, slope_TV = _kl_slope(logits_TV, ids[rows], log_probs_TK[rows])
            total += loss
            if grad_TD is not None:
                grad_TD[rows] = slope_TV.to(head_VD.dtype) @ head_VD
        ctx.save_for_backward(grad_TD)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (grad_TD,) = ctx.saved_tensors
        return grad_TD * upstream[0].to(grad_TD.dtype), None, None, None


def _cross_entropy_slope(logits_TV: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and its derivative with respect to the logits: softmax − one-hot."""
    rows = torch.arange(logits_TV.shape[0], device=logits_TV.device)
    log_z_T = logits_TV.logsumexp(-1)
    loss = (log_z_T - logits_TV[rows, targets_T]).sum()
    slope_TV = logits_TV.sub_(log_z_T[:, None]).exp_()
    slope_TV[rows, targets_T] -= 1
    return loss, slope_TV


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
