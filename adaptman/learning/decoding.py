"""Batched decoding: greedy answers, and samples with the teacher's log-probabilities.

A row that ends makes room for the next one, so that the batch stays full; prompts are read packed, what they
share at their beginning once (`packing`). A model that cannot be read so is decoded in padded batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from adaptman.learning.losses import TopK
from adaptman.learning.models import head_weight
from adaptman.learning.packing import can_pack
from adaptman.learning.slots import Slots

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from adaptman.learning.guided import Guide

OnDone = Callable[[Sequence[int]], None]


@dataclass(frozen=True)
class DecodeSettings:
    """How tokens are chosen."""

    stop_ids: tuple[int, ...]
    """Tokens that end an answer."""
    batch_size: int = 128
    """Rows decoded together."""
    sample: bool = False
    """False: the most likely token; True: drawn from the whole distribution, at the row's temperature."""
    top_k: int = 0
    """Teacher entries kept for each new token, at temperature 1; 0 keeps none."""


class Row(NamedTuple):
    """What is to be continued: first a stretch of at most `limits[0]` tokens, and so on for each limit.

    Between stretches the tokens of `bridge` are put in, without the first of them where the model wrote that
    one itself at the end of its stretch. `temperature` is for rows that are sampled.
    """

    prompt: Sequence[int]
    limits: tuple[int, ...]
    bridge: tuple[int, ...] = ()
    temperature: float = 1.0

    @property
    def longest(self) -> int:
        """Tokens that the row may come to."""
        return len(self.prompt) + sum(self.limits) + len(self.bridge) * (len(self.limits) - 1)

    def put_in(self, stretch: Sequence[int]) -> tuple[int, ...]:
        """The tokens that follow `stretch`."""
        return self.bridge[1:] if self.bridge[:1] == tuple(stretch[-1:]) else self.bridge


class Continuation(NamedTuple):
    """What the model wrote: token ids [n], a final stop token included, and the teacher's top k for each."""

    ids: list[int]
    teacher: TopK | None


def decode(
    model: PreTrainedModel,
    rows: Sequence[Row],
    settings: DecodeSettings,
    *,
    generator: torch.Generator | None = None,
    guide: Guide | None = None,
    on_done: OnDone = lambda rows: None,
) -> list[list[Continuation]]:
    """The stretches of each row, in the order of the rows.

    A sample depends on its row, the row's place among the others and the generator's state, and not on
    which rows are decoded beside it. With a `guide` only tokens are chosen that it lets follow, and each row
    has one stretch. `on_done` is told which rows have ended.
    """
    if not rows:
        return []
    with torch.inference_mode():
        writer = _Writer(model, rows, settings, generator, guide, on_done)
        longest = max(row.longest for row in rows)
        if can_pack(model.base_model, longest=longest):
            _decode_in_slots(model, rows, settings, writer, longest)
        else:
            _decode_padded(model, rows, settings, writer)
        return writer.results()


class _Writer:
    """Chooses tokens and keeps what is wanted of them."""

    def __init__(
        self,
        model: PreTrainedModel,
        rows: Sequence[Row],
        settings: DecodeSettings,
        generator: torch.Generator | None,
        guide: Guide | None,
        on_done: OnDone,
    ) -> None:
        self._rows, self._settings, self._guide, self._on_done = rows, settings, guide, on_done
        self._stretches: list[list[list[int]]] = [[[]] for _ in rows]
        self._forced: list[deque[int]] = [deque() for _ in rows]
        self._ended = [False] * len(rows)
        most, k = max(sum(row.limits) for row in rows), min(settings.top_k, head_weight(model).shape[0])
        self._teachers = TopK(
            torch.empty(len(rows), most, k, dtype=torch.int32), torch.empty(len(rows), most, k)
        )
        # One number for each token to come, so that chance does not depend on who is decoded together.
        self._chance = None
        self._temperature_N = torch.tensor([row.temperature for row in rows])
        if settings.sample:
            self._chance = torch.rand((len(rows), most), generator=generator, dtype=torch.float64)

    def write(self, rows: Sequence[int], logits_BV: Tensor) -> list[int]:
        """The next token of each of `rows`."""
        if self._guide is not None:
            logits_BV = self._guide.narrow(rows, logits_BV)
        if self._settings.top_k or self._chance is not None:
            logits_BV = logits_BV.float().log_softmax(-1)
        chosen = self._choose(rows, logits_BV).tolist()
        if self._settings.top_k:
            self._teach(rows, logits_BV)
        tokens = [self._take(row, token) for row, token in zip(rows, chosen, strict=True)]
        ended = [row for row in rows if self._ended[row]]
        if ended:
            self._on_done(ended)
        return tokens

    def has_ended(self, row: int) -> bool:
        """Whether the row is complete: its last stretch ended by a stop token, or at its longest."""
        return self._ended[row]

    def results(self) -> list[list[Continuation]]:
        """What was written, row by row."""
        return [self._continuations(row) for row in range(len(self._rows))]

    def _take(self, row: int, chosen: int) -> int:
        """The token that follows in the row: one that is put in, or the one that was chosen."""
        if self._forced[row]:
            return self._forced[row].popleft()
        stretches, limits = self._stretches[row], self._rows[row].limits
        stretches[-1].append(chosen)
        if self._guide is not None:
            self._guide.take(row, chosen)
        if chosen in self._settings.stop_ids or len(stretches[-1]) == limits[len(stretches) - 1]:
            if len(stretches) == len(limits):
                self._ended[row] = True
            else:
                self._forced[row].extend(self._rows[row].put_in(stretches[-1]))
                stretches.append([])
        return chosen

    def _written(self, row: int) -> int:
        return sum(map(len, self._stretches[row]))

    def _choose(self, rows: Sequence[int], scores_BV: Tensor) -> Tensor:
        if self._chance is None:
            return scores_BV.argmax(-1)
        chance_B = torch.stack([self._chance[row, self._written(row)] for row in rows])
        scores_BV = _tempered(scores_BV, self._temperature_N[list(rows)])
        summed_BV = scores_BV.exp().cumsum(-1, dtype=torch.float64)
        wanted_B1 = chance_B.to(summed_BV.device)[:, None] * summed_BV[:, -1:]
        found_B = torch.searchsorted(summed_BV, wanted_B1, right=True)[:, 0]
        return found_B.clamp_max(summed_BV.shape[1] - 1)

    def _teach(self, rows: Sequence[int], log_probs_BV: Tensor) -> None:
        values, ids = log_probs_BV.topk(self._teachers.ids_TK.shape[-1], dim=-1)
        for row, top_ids, top_values in zip(rows, ids.cpu(), values.cpu(), strict=True):
            if not self._forced[row]:
                at = self._written(row)
                self._teachers.ids_TK[row, at], self._teachers.log_probs_TK[row, at] = top_ids, top_values

    def _continuations(self, row: int) -> list[Continuation]:
        found, at = [], 0
        for ids in self._stretches[row]:
            found.append(Continuation(ids, self._teacher(row, slice(at, at + len(ids)))))
            at += len(ids)
        return found

    def _teacher(self, row: int, part: slice) -> TopK | None:
        if not self._settings.top_k:
            return None
        teachers = self._teachers
        return TopK(teachers.ids_TK[row, part].clone(), teachers.log_probs_TK[row, part].clone())


def _tempered(log_probs_BV: Tensor, temperature_B: Tensor) -> Tensor:
    """Log-probabilities at each row's temperature, but for a constant; at 1 they are as they were."""
    if (temperature_B == 1).all():  # told without asking the device
        return log_probs_BV
    temperature_B1 = temperature_B[:, None].to(log_probs_BV.device)
    most_B1 = log_probs_BV.amax(-1, keepdim=True) * (temperature_B1 != 1)
    return (log_probs_BV - most_B1) / temperature_B1


def _decode_in_slots(
    model: PreTrainedModel, rows: Sequence[Row], settings: DecodeSettings, writer: _Writer, longest: int
) -> None:
    head_VD = head_weight(model)
    waiting = sorted(range(len(rows)), key=lambda row: rows[row].longest)  # the longest is taken first
    slots = Slots(model.base_model, min(settings.batch_size, len(rows)), longest)
    held: list[int] = []
    tokens: list[int] = []
    while held or waiting:
        if waiting and slots.free >= min(len(waiting), -(-slots.count // 4)):
            taken = [waiting.pop() for _ in range(min(slots.free, len(waiting)))]
            tokens += writer.write(taken, slots.add([rows[row].prompt for row in taken]) @ head_VD.T)
            held += taken
        else:
            tokens = writer.write(held, slots.step(tokens) @ head_VD.T)
        for slot in reversed(range(len(held))):
            if writer.has_ended(held[slot]):
                slots.drop(slot)
                held[slot], tokens[slot] = held[-1], tokens[-1]
                held.pop(), tokens.pop()


def _decode_padded(
    model: PreTrainedModel, rows: Sequence[Row], settings: DecodeSettings, writer: _Writer
) -> None:
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].prompt))
    for start in range(0, len(order), settings.batch_size):
        batch = order[start : start + settings.batch_size]
        _decode_padded_batch(model, batch, [rows[row].prompt for row in batch], writer)


def _decode_padded_batch(
    model: PreTrainedModel, rows: list[int], prompts: Sequence[Sequence[int]], writer: _Writer
) -> None:
    """Padded on the left, with transformers' own cache and attention; a row that ends leaves the batch."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    ids, mask = _left_padded(prompts, model.device)
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
