"""Batched decoding: greedy answers, and samples with the teacher's log-probabilities.

A row that ends makes room for the next one, so that the batch stays full; prompts are read packed, what they
share at their beginning once (`packing`). A model that cannot be read so is decoded in padded batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adaptman.learning.losses import TopK
from adaptman.learning.models import head_weight
from adaptman.learning.packing import can_pack
from adaptman.learning.slots import Slots

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OnDone = Callable[[int], None]


@dataclass(frozen=True)
class DecodeSettings:
    """How tokens are chosen."""

    max_new_tokens: int
    """Longest answer."""
    stop_ids: tuple[int, ...]
    """Tokens that end an answer."""
    batch_size: int = 128
    """Rows decoded together."""
    sample: bool = False
    """False: the most likely token; True: drawn at temperature 1 from the whole distribution."""
    top_k: int = 0
    """Teacher entries kept for each new token; 0 keeps none."""


@dataclass(frozen=True)
class Continuation:
    """What continues a row: token ids [n], a final stop token included, and the teacher's top k for each."""

    ids: list[int]
    teacher: TopK | None


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    settings: DecodeSettings,
    *,
    generator: torch.Generator | None = None,
    on_done: OnDone = lambda rows: None,
) -> list[Continuation]:
    """Continue each prompt (token ids); the result is in the order of the prompts.

    A sample depends on the prompt, its place among the prompts and the generator's state, and not on the rows
    that are decoded beside it.
    """
    if not prompts:
        return []
    with torch.inference_mode():
        writer = _Writer(model, len(prompts), settings, generator, on_done)
        longest = max(map(len, prompts)) + settings.max_new_tokens
        if can_pack(model.base_model, longest=longest):
            _decode_in_slots(model, prompts, settings, writer, longest)
        else:
            _decode_padded(model, prompts, settings, writer)
        return writer.results()


class _Writer:
    """Chooses tokens and keeps what is wanted of them."""

    def __init__(
        self,
        model: PreTrainedModel,
        rows: int,
        settings: DecodeSettings,
        generator: torch.Generator | None,
        on_done: OnDone,
    ) -> None:
        self._settings, self._on_done = settings, on_done
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        most, k = settings.max_new_tokens, min(settings.top_k, head_weight(model).shape[0])
        self._teachers = TopK(torch.empty(rows, most, k, dtype=torch.int32), torch.empty(rows, most, k))
        # One number for each token to come, so that chance does not depend on who is decoded together.
        self._chance = None
        if settings.sample:
            device = generator.device if generator else None
            self._chance = torch.rand(
                rows, most, generator=generator, device=device, dtype=torch.float64
            ).cpu()

    def write(self, rows: Sequence[int], logits_BV: Tensor) -> list[int]:
        """The next token of each of `rows`."""
        if self._settings.top_k or self._chance is not None:
            logits_BV = logits_BV.float().log_softmax(-1)
        chosen = self._choose(rows, logits_BV).tolist()
        if self._settings.top_k:
            values, ids = logits_BV.topk(self._teachers.ids_TK.shape[-1], dim=-1)
            for row, top_ids, top_values in zip(rows, ids.cpu(), values.cpu(), strict=True):
                at = len(self._ids[row])
                self._teachers.ids_TK[row, at], self._teachers.log_probs_TK[row, at] = top_ids, top_values
        for row, token in zip(rows, chosen, strict=True):
            self._ids[row].append(token)
        ended = sum(map(self.has_ended, rows))
        if ended:
            self._on_done(ended)
        return list(chosen)

    def has_ended(self, row: int) -> bool:
        """Whether the row is complete: by a stop token, or at its longest."""
        ids = self._ids[row]
        return ids[-1] in self._settings.stop_ids or len(ids) == self._settings.max_new_tokens

    def results(self) -> list[Continuation]:
        """What was written, row by row."""
        return [Continuation(ids, self._teacher(row, len(ids))) for row, ids in enumerate(self._ids)]

    def _choose(self, rows: Sequence[int], scores_BV: Tensor) -> Tensor:
        if self._chance is None:
            return scores_BV.argmax(-1)
        chance_B = torch.stack([self._chance[row, len(self._ids[row])] for row in rows])
        summed_BV = scores_BV.exp().cumsum(-1, dtype=torch.float64)
        wanted_B1 = chance_B.to(summed_BV.device)[:, None] * summed_BV[:, -1:]
        found_B = torch.searchsorted(summed_BV, wanted_B1, right=True)[:, 0]
        return found_B.clamp_max(summed_BV.shape[1] - 1)

    def _teacher(self, row: int, length: int) -> TopK | None:
        if not self._settings.top_k:
            return None
        return TopK(
            self._teachers.ids_TK[row, :length].clone(), self._teachers.log_probs_TK[row, :length].clone()
        )


def _decode_in_slots(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    settings: DecodeSettings,
    writer: _Writer,
    longest: int,
) -> None:
    head_VD = head_weight(model)
    waiting = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))  # the longest is taken first
    slots = Slots(model.base_model, min(settings.batch_size, len(prompts)), longest)
    rows: list[int] = []
    tokens: list[int] = []
    while rows or waiting:
        if waiting and slots.free >= min(len(waiting), -(-settings.batch_size // 4)):
            taken = [waiting.pop() for _ in range(min(slots.free, len(waiting)))]
            tokens += writer.write(taken, slots.add([prompts[row] for row in taken]) @ head_VD.T)
            rows += taken
        else:
            tokens = writer.write(rows, slots.step(tokens) @ head_VD.T)
        for slot in reversed(range(len(rows))):
            if writer.has_ended(rows[slot]):
                slots.drop(slot)
                rows[slot], tokens[slot] = rows[-1], tokens[-1]
                rows.pop(), tokens.pop()


def _decode_padded(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: DecodeSettings, writer: _Writer
) -> None:
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    for start in range(0, len(order), settings.batch_size):
        _decode_padded_batch(model, prompts, order[start : start + settings.batch_size], writer)


def _decode_padded_batch(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], rows: list[int], writer: _Writer
) -> None:
    """Padded on the left, with transformers' own cache and attention; a row that ends leaves the batch."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    ids, mask = _left_padded([prompts[row] for row in rows], model.device)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    while rows:
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
        chosen = torch.tensor(writer.write(rows, logits), device=model.device)
        kept = [index for index, row in enumerate(rows) if not writer.has_ended(row)]
        if len(kept) < len(rows):
            rows = [rows[index] for index in kept]
            where = torch.tensor(kept, dtype=torch.long, device=model.device)
            cache.batch_select_indices(where)
            mask, chosen, positions = mask[where], chosen[where], positions[where]
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)


def _left_padded(prompts: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, each of at most `budget` padded tokens or of a single row."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and lengths[index] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
