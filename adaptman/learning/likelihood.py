"""How likely a model finds tokens that are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adaptman.learning.losses import token_nll
from adaptman.learning.models import LoadedModel, head_weight
from adaptman.learning.packing import RowReader, predicting

_PASS_TOKENS = 4096


def nll_of(
    loaded: LoadedModel,
    rows: Sequence[Sequence[int]],
    positions: Sequence[Tensor],
    *,
    on_done: Callable[[int], None] = lambda rows: None,
) -> list[Tensor]:
    """−log p of each row's tokens at its `positions` [n], in nats, fp32 [n]; rows are packed."""
    if not rows:
        return []
    read = RowReader(loaded.model.base_model, longest=max(map(len, rows)))
    found: dict[int, Tensor] = {}
    with torch.inference_mode():
        for passed in predicting(read, rows, positions, budget=_PASS_TOKENS):
            indices = [index for index, _ in passed]
            targets_T = torch.cat([torch.tensor(rows[index])[positions[index]] for index in indices])
            # One product for all rows: an answer of a few tokens costs hardly more than reading the LM head.
            hidden_TD = torch.cat([states_TD for _, states_TD in passed])
            nll_T = token_nll(hidden_TD, head_weight(loaded.model), targets_T.to(hidden_TD.device))
            found |= zip(indices, nll_T.split([len(positions[index]) for index in indices]), strict=True)
            on_done(len(indices))
    return [found[index] for index in range(len(rows))]
