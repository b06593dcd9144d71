"""A key-value cache in slots: rows come and go one by one, and nothing is copied while a row goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adaptman.learning.packing import attending, budgeted, check_plain, pack, read_packed

# Prompt tokens that are read together, and the size that a cache may have unless a single row needs more.
_PASS_TOKENS = 4096
_CACHE_BYTES = 3 * 2**29


class Slots:
    """Keys and values of up to `count` rows of up to `length` tokens; the rows in use are the first ones."""

    def __init__(self, decoder: Any, count: int, length: int) -> None:
        self._decoder = decoder
        self._length = length
        self.count = min(count, max(1, _CACHE_BYTES // (length * _bytes_per_token(decoder))))
        """Rows that there is room for: so many as were asked for, or fewer where they are long."""
        self._device = next(decoder.parameters()).device
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self.lengths: list[int] = []
        """Tokens in the cache, for each row in use."""

    @property
    def free(self) -> int:
        """Rows that may still be added."""
        return self.count - len(self.lengths)

    def add(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read `prompts` into free slots; the last hidden state of each, [prompts, hidden]."""
        first = len(self.lengths)
        last: dict[int, Tensor] = {}
        for indices in budgeted(prompts, _PASS_TOKENS):
            packed = pack([prompts[index] for index in indices])
            rows = {
                first + index: row.to(self._device) for index, row in zip(indices, packed.rows, strict=True)
            }
            hidden_TD = read_packed(self._decoder, packed, keep=partial(self._fill, rows))
            last.update({index: hidden_TD[rows[first + index][-1]] for index in indices})
        self.lengths += [len(prompt) for prompt in prompts]
        return torch.stack([last[index] for index in range(len(prompts))])

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append one token to each row in use; the hidden states at it, [rows, hidden]."""
        positions_B = torch.tensor(self.lengths, device=self._device)
        longest = max(self.lengths) + 1
        mask_BL = torch.arange(longest, device=self._device)[None] <= positions_B[:, None]
        with attending(self._decoder, _attend_slots):
            found = self._decoder(
                input_ids=torch.tensor(tokens, device=self._device)[:, None],
                position_ids=positions_B[:, None],
                use_cache=False,
                slots=self,
                slot_positions_B=positions_B,
                slot_mask_BL=mask_BL,
            )
        self.lengths = [length + 1 for length in self.lengths]
        return found.last_hidden_state[:, 0]  # type: ignore[no-any-return]

    def drop(self, slot: int) -> None:
        """Free a slot; the last row in use takes its place."""
        last = len(self.lengths) - 1
        if slot != last:
            length = self.lengths[last]
            for buffer in (*self._keys.values(), *self._values.values()):
                buffer[slot, :, :length] = buffer[last, :, :length]
            self.lengths[slot] = length
        self.lengths.pop()

    def write(self, layer: int, key: Tensor, value: Tensor, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """Store one token's key and value [B, G, 1, D] for each row; all of the layer's, [B, G, L, D]."""
        keys, values = self._keys[layer], self._values[layer]
        rows = torch.arange(len(positions_B), device=self._device)
        keys[rows, :, positions_B] = key[:, :, 0]
        values[rows, :, positions_B] = value[:, :, 0]
        return keys[: len(rows)], values[: len(rows)]

    def _fill(self, rows: Mapping[int, Tensor], layer: int, keys_GTD: Tensor, values_GTD: Tensor) -> None:
        """Store what packed prompts gave; `rows` says where each slot's tokens are among the packed ones."""
        keys = self._buffer(self._keys, layer, keys_GTD)
        values = self._buffer(self._values, layer, values_GTD)
        for slot, where in rows.items():
            keys[slot, :, : len(where)] = keys_GTD[:, where]
            values[slot, :, : len(where)] = values_GTD[:, where]

    def _buffer(self, buffers: dict[int, Tensor], layer: int, like_GTD: Tensor) -> Tensor:
        if layer not in buffers:
            heads, _, size = like_GTD.shape
            # Zeros, not garbage: what the mask hides is still multiplied, and no number times zero is NaN.
            buffers[layer] = like_GTD.new_zeros(self.count, heads, self._length, size)
        return buffers[layer]


def _bytes_per_token(decoder: Any) -> int:
    """What the cache takes for a token of one row."""
    config = decoder.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers * heads * size * next(decoder.parameters()).element_size())


def _attend_slots(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    slots: Slots,
    slot_positions_B: Tensor,
    slot_mask_BL: Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token a row to its slot. query [B, H, 1, D]; key and value [B, G, 1, D]."""
    check_plain(kwargs)
    batch, heads, _, size = query.shape
    keys, values = slots.write(module.layer_idx, key, value, slot_positions_B)  # type: ignore[arg-type]
    longest = slot_mask_BL.shape[1]
    found = torch.nn.functional.scaled_dot_product_attention(
        # The heads that share a key stand where queries do, so that no key is copied for each of them.
        query.view(batch, key.shape[1], -1, size),
        keys[:, :, :longest],
        values[:, :, :longest],
        attn_mask=slot_mask_BL[:, None, None],
        scale=scaling,
    )
    return found.reshape(batch, 1, heads, value.shape[-1]), None
