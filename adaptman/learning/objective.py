"""What a step of training minimises: the new examples, the replay, and the terms that combine with them.

    CE(new) + coeff · KL(old ‖ new model) on the replay + kl_new · KL(old ‖ new model) on the new examples

Means are per token that is learned or was drawn. The old model is what training starts from: it is asked
once before the first step, or, with `replay.teacher: live`, at each step beside the new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from adaptman.errors import TrainingError
from adaptman.learning.chat import Encoded
from adaptman.learning.losses import TopK, cross_entropy, live_kl, top_k_kl, top_k_of
from adaptman.learning.packing import RowReader, States, budgeted, predicting
from adaptman.learning.recipe import Recipe
from adaptman.learning.replay import ReplaySample

# Tokens that go through the model together; what a pass keeps for the way back grows with it.
PASS_TOKENS = 768
_ENTROPY_TOP = 20


class Losses(NamedTuple):
    """Mean losses of a step in nats per token; `replay` is 0 where nothing was replayed."""

    new: float
    replay: float
    learned: Mapping[int, bool]
    """Of each new example, by its number, whether every token of the answer that is to be learned has more
    than half of the probability, so that greedy decoding writes it."""


class Marks(NamedTuple):
    """What the old model says of an answer's tokens [n]: which are learned, and its own predictions."""

    learned_T: Tensor
    teacher: TopK


class Objective:
    """The loss of some rows under a recipe, with gradients for `parameters`."""

    def __init__(
        self,
        recipe: Recipe,
        read: RowReader,
        head_VD: Tensor,
        parameters: Mapping[str, torch.nn.Parameter],
        autocast: Callable[[], torch.autocast],
    ) -> None:
        self._recipe, self._read, self._head_VD, self._autocast = recipe, read, head_VD, autocast
        self._parameters = parameters
        self._marks: dict[int, Marks] = {}
        self._teacher: dict[str, Tensor] = {}

    def prepare(
        self, examples: Sequence[Encoded], replayed: Sequence[ReplaySample]
    ) -> tuple[ReplaySample, ...]:
        """Ask the old model what the recipe wants to know of it; the parameters must still be its own.

        The replay comes back with a teacher for each sample, where the recipe needs one.

        Raises:
            TrainingError: `mask_surprising` leaves nothing to learn.
        """
        recipe = self._recipe
        drift = recipe.replay.loss == "kl" and bool(replayed)
        if drift and recipe.replay.teacher == "live":
            self._teacher = {name: value.detach().clone() for name, value in self._parameters.items()}
        if recipe.kl_new or recipe.mask_surprising:
            answers = [torch.arange(item.prompt_length, len(item.ids)) for item in examples]
            marks = self._asked([item.ids for item in examples], answers)
            self._marks = dict(enumerate(marks))
            if not any(mark.learned_T.any() for mark in marks):
                raise TrainingError(
                    f"all tokens of the examples surprise the model more than {recipe.mask_surprising:g}: "
                    "none is left to learn",
                    hint="raise the limit with `--set mask_surprising=…`, or learn all tokens with 0",
                )
        untaught = [i for i, sample in enumerate(replayed) if not sample.teacher.ids_TK.shape[1]]
        if not drift or self._teacher or not untaught:
            return tuple(replayed)
        asked = self._asked([replayed[i].ids for i in untaught], [replayed[i].positions for i in untaught])
        taught = {
            i: replace(replayed[i], teacher=mark.teacher) for i, mark in zip(untaught, asked, strict=True)
        }
        return tuple(taught.get(i, sample) for i, sample in enumerate(replayed))

    @torch.no_grad()
    def _asked(self, rows: Sequence[Sequence[int]], positions: Sequence[Tensor]) -> list[Marks]:
        """What the old model says of each row's tokens at its positions."""

        def read(some: Sequence[Sequence[int]]) -> States:
            with self._autocast():
                return self._read(some)

        found: dict[int, Marks] = {}
        for index, hidden_TD in chain.from_iterable(predicting(read, rows, positions, budget=PASS_TOKENS)):
            found[index] = self._marks_of(hidden_TD.float(), torch.tensor(rows[index])[positions[index]])
        return [found[index] for index in range(len(rows))]

    def _marks_of(self, hidden_TD: Tensor, targets_T: Tensor) -> Marks:
        logits_TV = (hidden_TD @ self._head_VD.T).float()
        log_probs_T = logits_TV.log_softmax(-1).gather(1, targets_T.to(logits_TV.device)[:, None])[:, 0]
        limit = self._recipe.mask_surprising
        learned_T = (
            log_probs_T >= -math.log(limit) if limit else torch.ones_like(log_probs_T, dtype=torch.bool)
        )
        return Marks(learned_T, top_k_of(logits_TV, self._recipe.replay.top_k))

    def backward(self, new: Sequence[tuple[int, Encoded]], replayed: Sequence[ReplaySample]) -> Losses:
        """Gradients of a step's loss, a pass at a time; `new` are examples by their number."""
        recipe = self._recipe
        rows = [item.ids[:-1] for _, item in new] + [sample.ids[:-1] for sample in replayed]
        answered = sum(len(item.ids) - item.prompt_length for _, item in new)
        drawn = sum(len(sample.positions) for sample in replayed)
        new_sum, replay_sum, sure = 0.0, 0.0, dict[int, bool]()
        for indices in budgeted(rows, PASS_TOKENS):
            packed_rows = [rows[i] for i in indices]
            with self._autocast():
                states = self._read(packed_rows)
            learned = [(i, *new[row]) for i, row in enumerate(indices) if row < len(new)]
            kept = [(i, replayed[row - len(new)]) for i, row in enumerate(indices) if row >= len(new)]
            loss = states.hidden_TD.new_zeros(())
            if learned:
                total, nll_T = self._new_loss(states, learned)
                new_sum += float(total.detach())
                sure |= self._sure(nll_T, learned)
                loss = loss + total / answered
            if learned and recipe.kl_new:
                loss = loss + recipe.kl_new * self._new_drift(states, learned) / answered
            if kept:
                total = self._replay_loss(states, kept, packed_rows)
                replay_sum += float(total.detach())
                loss = loss + recipe.replay.coeff * total / drawn
            loss.backward()
        return Losses(new_sum / answered, replay_sum / max(1, drawn), sure)

    def _new_loss(self, states: States, items: Sequence[tuple[int, int, Encoded]]) -> tuple[Tensor, Tensor]:
        """Sum of −w · log p over the tokens of the answers, and −log p of each of them."""
        targets = torch.tensor([token for *_, item in items for token in item.ids[item.prompt_length :]])
        nll_T = torch.empty(len(targets), device=self._head_VD.device)
        weights_T = None
        if self._recipe.mask_surprising:
            weights_T = torch.cat([self._marks[index].learned_T for _, index, _ in items]).float()
        total = cross_entropy(
            self._answers(states, items),
            self._head_VD,
            targets.to(self._head_VD.device),
            weights_T=weights_T,
            entropy_top=_ENTROPY_TOP if self._recipe.entropy_weight else 0,
            nll_T=nll_T,
        )
        return total, nll_T

    def _sure(self, nll_T: Tensor, items: Sequence[tuple[int, int, Encoded]]) -> dict[int, bool]:
        """Of each example whether no token that it has to learn is less likely than all others together."""
        unsure_T = nll_T >= math.log(2)
        if self._recipe.mask_surprising:
            unsure_T &= torch.cat([self._marks[number].learned_T for _, number, _ in items])
        parts = unsure_T.split([len(item.ids) - item.prompt_length for *_, item in items])
        unsure = torch.stack([part.any() for part in parts]).tolist()
        return {number: not one for (_, number, _), one in zip(items, unsure, strict=True)}

    def _new_drift(self, states: States, items: Sequence[tuple[int, int, Encoded]]) -> Tensor:
        teachers = [self._marks[index].teacher for _, index, _ in items]
        return top_k_kl(self._answers(states, items), self._head_VD, _joined(teachers, self._head_VD.device))

    def _answers(self, states: States, items: Sequence[tuple[int, int, Encoded]]) -> Tensor:
        """The hidden states that predict the answers' tokens."""
        where = [states.rows[at][item.prompt_length - 1 :] for at, _, item in items]
        return self._at(states, torch.cat(where))

    def _replay_loss(
        self,
        states: States,
        items: Sequence[tuple[int, ReplaySample]],
        rows: Sequence[Sequence[int]],
    ) -> Tensor:
        """Sum over the tokens that are replayed, of the recipe's replay loss."""
        where = torch.cat([states.rows[i][sample.positions - 1] for i, sample in items])
        hidden_TD = self._at(states, where)
        if self._recipe.replay.loss == "ce":
            targets = torch.cat([torch.tensor(sample.ids)[sample.positions] for _, sample in items])
            return cross_entropy(hidden_TD, self._head_VD, targets.to(hidden_TD.device))
        if self._teacher:
            with torch.no_grad(), self._as_teacher(), self._autocast():
                taught = self._read(rows)
            return live_kl(hidden_TD, self._head_VD, self._at(taught, where), self._teachers_head)
        return top_k_kl(
            hidden_TD, self._head_VD, _joined([sample.teacher for _, sample in items], hidden_TD.device)
        )

    @property
    def _teachers_head(self) -> Tensor | None:
        """The old model's LM head, where the head is trained."""
        names = [name for name, value in self._parameters.items() if value is self._head_VD]
        return self._teacher[names[0]] if names else None

    @contextmanager
    def _as_teacher(self) -> Iterator[None]:
        """Within, the parameters are those that training started from."""
        current = {name: value.data for name, value in self._parameters.items()}
        for name, value in self._parameters.items():
            value.data = self._teacher[name]
        try:
            yield
        finally:
            for name, value in self._parameters.items():
                value.data = current[name]

    @staticmethod
    def _at(states: States, where: Tensor) -> Tensor:
        return states.hidden_TD[where.to(states.hidden_TD.device)].float()


def _joined(teachers: Sequence[TopK], device: torch.device) -> TopK:
    return TopK(
        torch.cat([teacher.ids_TK for teacher in teachers]).long().to(device),
        torch.cat([teacher.log_probs_TK for teacher in teachers]).to(device),
    )
