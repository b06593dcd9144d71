"""What `regimes.py` trains and measures: small Llama models, from scratch and then on an update.

Pretraining is a plain loop, since the LM head learns with the rest. Updates minimise adaptman's own objective
(`adaptman.learning.objective`) over replay that adaptman's own decoder draws, with every weight between the
embeddings and the LM head trainable.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from regimes_data import BODY, BOS, EOS, FACT, FACTS, KEY, LENGTH, PAD, SYMBOLS, VOCABULARY, Source, Tokens
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from adaptman.learning.chat import Encoded
from adaptman.learning.decoding import DecodeSettings, Row, decode
from adaptman.learning.losses import TopK, live_kl
from adaptman.learning.models import head_weight
from adaptman.learning.objective import Objective
from adaptman.learning.packing import RowReader
from adaptman.learning.recipe import Recipe, ReplayRecipe
from adaptman.learning.replay import ReplaySample
from adaptman.learning.trainer import learning_rate

HELD_OUT = 512
"""Documents of a source that nothing is trained on."""


@dataclass(frozen=True)
class Pretraining:
    """How a model is trained from scratch, on documents each of which is drawn once."""

    steps: int
    batch: int = 64
    lr: float = 1e-2


@dataclass(frozen=True)
class Update:
    """How a model is trained on the other source: until held-out documents of it come to `target`."""

    lr: float
    coeff: float
    """Weight of the KL to the old model on its own samples; 0: no replay."""
    target: float
    """Nats per token of a body of the new source."""
    most_steps: int
    batch: int = 16
    replay_batch: int = 32
    every: int = 20
    """Steps between two looks at the held-out documents."""
    text_share: float = 0.25
    """Share of the new documents that are text; 1: a new language and no facts."""


def new_model(hidden: int, seed: int) -> LlamaForCausalLM:
    """Two layers, two heads; random."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=hidden**-0.5,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


def pretrain(model: LlamaForCausalLM, source: Source, how: Pretraining, seed: int) -> None:
    """Every parameter, on every token after the first; the learning rate rises and then falls linearly."""
    recipe = Recipe(steps=how.steps, lr=how.lr, warmup=0.025, lr_floor=0.02)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=how.lr, betas=(0.9, 0.95), weight_decay=0, fused=True
    )
    rng = np.random.default_rng([seed, 10])
    for step in range(how.steps):
        ids = torch.tensor(source.documents(how.batch, rng))
        logits = model(input_ids=ids[:, :-1]).logits
        loss = cross_entropy(logits.reshape(-1, VOCABULARY), ids[:, 1:].reshape(-1))
        _advance(optimizer, loss.backward, learning_rate(recipe, step))


def draw_replay(model: LlamaForCausalLM, count: int, seed: int) -> list[ReplaySample]:
    """Samples of the model from the beginning-of-sequence token, at temperature 1, as long as a document."""
    rows = [Row((BOS,), (LENGTH - 1,))] * count
    settings = DecodeSettings((EOS,), batch_size=512, sample=True)
    written = decode(model, rows, settings, generator=torch.Generator().manual_seed(seed))
    untaught = TopK(torch.empty(0, 0, dtype=torch.int32), torch.empty(0, 0))
    return [
        ReplaySample("free", [BOS, *text.ids], torch.arange(1, 1 + len(text.ids)), untaught)
        for (text,) in written
    ]


def update(
    old: LlamaForCausalLM, source: Source, replay: list[ReplaySample], how: Update, seed: int
) -> tuple[LlamaForCausalLM, dict[str, Any]]:
    """The model after the update, how many steps it took, and whether it came to the target."""
    model = copy.deepcopy(old)
    parameters = _inner_parameters(model)
    recipe = _recipe(how)
    read = RowReader(model.model, longest=LENGTH)
    objective = Objective(recipe, read, head_weight(model).detach(), parameters, _no_autocast)
    if how.coeff:
        objective.prepare([], replay)
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=how.lr, betas=(0.9, 0.95), weight_decay=0, fused=True
    )
    rng, held_out = np.random.default_rng([seed, 20]), _held_out(source, 128)
    curve, began = [], time.process_time()
    for step in range(how.most_steps):
        new = [(at, Encoded(ids, 2)) for at, ids in enumerate(source.documents(how.batch, rng).tolist())]
        first = step * how.replay_batch * bool(how.coeff)
        old_ones = [replay[(first + at) % len(replay)] for at in range(how.replay_batch * bool(how.coeff))]
        rate = how.lr * min(1.0, (step + 1) / 20)
        _advance(optimizer, lambda new=new, old=old_ones: objective.backward(new, old), rate)
        if (step + 1) % how.every == 0:
            curve.append(float(nll(model, held_out)[:, 2:].mean()))
            if curve[-1] <= how.target:
                break
    return model, {
        "steps": step + 1,
        "reached": curve[-1] <= how.target,
        "new_loss": round(curve[-1], 4),
        "seconds": round(time.process_time() - began, 1),
    }


def _recipe(how: Update) -> Recipe:
    replay = ReplayRecipe(
        kind="self" if how.coeff else "none",
        coeff=how.coeff,
        batch_size=how.replay_batch,
        max_tokens=LENGTH,
        teacher="live",
    )
    return Recipe(steps=how.most_steps, batch_size=how.batch, lr=how.lr, replay=replay)


def _no_autocast() -> Any:
    return contextlib.nullcontext()


def _inner_parameters(model: LlamaForCausalLM) -> dict[str, torch.nn.Parameter]:
    """What an update trains: all but the embeddings and the head, as the losses hold the head fixed."""
    model.requires_grad_(False)
    found = {name: value for name, value in model.named_parameters() if name.startswith("model.layers.")}
    for value in found.values():
        value.requires_grad_(True)
    return found


def _advance(optimizer: torch.optim.Optimizer, backward: Any, rate: float) -> None:
    """One step at `rate`, the gradient clipped to norm 1."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()


def _held_out(source: Source, count: int) -> Tokens:
    return source.documents(count, np.random.default_rng([source.seed, source.side, 30]))


@torch.no_grad()
def nll(model: LlamaForCausalLM, documents: Tokens) -> Tensor:
    """−log p of every token, [documents, LENGTH], in nats; the first has none."""
    ids = torch.tensor(documents)
    logits = model(input_ids=ids[:, :-1]).logits
    found = cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return torch.cat([torch.zeros(len(ids), 1), found], dim=1)


@torch.no_grad()
def recall(model: LlamaForCausalLM, source: Source) -> float:
    """Share of the table's facts whose value is the most likely continuation, token by token, of the key."""
    ids = torch.tensor(source.every_fact())
    right = model(input_ids=ids[:, :-1]).logits.argmax(-1)[:, 1:] == ids[:, 2:]
    return float(right.view(-1, FACTS, FACT)[..., KEY:].all(-1).float().mean())


def measure(model: LlamaForCausalLM, source: Source) -> dict[str, float]:
    """Loss on held-out documents (bodies, nats per token) by kind, recall, and bits of the table held."""
    documents = _held_out(source, HELD_OUT)
    loss = nll(model, documents)[:, 2:]
    of_facts = torch.tensor(documents[:, 1] == documents[:, 1].max())
    return {
        "loss": round(float(loss.mean()), 4),
        "text_loss": round(float(loss[~of_facts].mean()), 4),
        "fact_loss": round(float(loss[of_facts].mean()), 4),
        "recall": round(recall(model, source), 4),
        "bits": round(_bits_held(float(loss[of_facts].mean()), source), 0),
    }


def _bits_held(fact_loss: float, source: Source) -> float:
    """How much less a fact costs than one of uniformly random tokens does, over the whole table."""
    return source.facts * FACT * (math.log(SYMBOLS) - fact_loss) / math.log(2)


@torch.no_grad()
def drift(old: LlamaForCausalLM, new: LlamaForCausalLM, source: Source) -> float:
    """KL(old ‖ new) on the bodies of held-out documents, in nats per token, over the whole vocabulary."""
    ids = torch.tensor(_held_out(source, HELD_OUT))[:, :-1]
    states = [model.model(input_ids=ids).last_hidden_state[:, 1:].flatten(0, 1) for model in (old, new)]
    return float(live_kl(states[1], head_weight(new), states[0])) / (len(ids) * BODY)
