"""Can a model take anything in without overwriting what it knows? An experiment: a ladder of fine-tunes.

Each rung teaches so many random bindings of a key to a value, in the model's own tokens, beside replay that
the model generates itself, as an update would. What was taken in is counted in bits: a value of n tokens,
drawn evenly from S, holds n · log2 S, and a model that still asks for NLL bits to write it has taken in the
difference, where that is above zero (the measure of Morris et al., arXiv 2505.24832). By chance it hardly is.
What it cost is the drift: KL(before ‖ after) in nats per token, on samples of its own that were not
replayed. The frontier of the two says how many bits there is room for. A saturated model pays for each bit
with what it knew, replay or not (Marek et al., arXiv 2605.26097).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from adaptman.errors import ModelError
from adaptman.learning import models, trainer
from adaptman.learning.chat import ChatRenderer, Encoded
from adaptman.learning.drawing import generate
from adaptman.learning.kept import kept_replay, put
from adaptman.learning.likelihood import nll_of
from adaptman.learning.losses import TopK, top_k_kl
from adaptman.learning.models import LoadedModel
from adaptman.learning.packing import RowReader, predicting
from adaptman.learning.recipe import LoraRecipe, Recipe, ReplayRecipe
from adaptman.learning.replay import ReplaySample, ReplaySet

Verdict = Literal["room", "tight", "saturated"]

TOLERANCE = 0.1
"""Drift in nats per token that counts as nothing lost: what the default policy's suites of drift allow."""
_KEY_TOKENS, _VALUE_TOKENS, _ALPHABET = 4, 4, 1024
_RESAMPLES = 400
_PASS_TOKENS = 2048
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ladder:
    """How the probe is made."""

    loads: tuple[int, ...]
    """Bindings taught at each rung, rising; each is a fine-tune of its own from the same start."""
    presentations: int
    """How often each binding is seen."""
    steps: int
    """The same at each rung, so that one differs from another by its load alone."""
    lr: float = 1e-3
    """Peak learning rate."""
    rank: int = 16
    """Rank of the adapter where the model has none yet."""
    samples: int = 64
    """Samples that are replayed."""
    held_out: int = 48
    """Samples that only measure the drift."""
    sample_tokens: int = 48
    """Longest sample."""
    seed: int = 0


FULL = Ladder(loads=(16, 32, 64, 128), presentations=20, steps=48)
QUICK = Ladder(loads=(16, 48), presentations=20, steps=40, samples=32, held_out=24, sample_tokens=32)


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rung:
    """One probe fine-tune: what was offered and taken in, in bits, and the drift in nats per token."""

    bindings: int
    offered_bits: float
    bits: Estimate
    drift: Estimate


@dataclass(frozen=True)
class Frontier:
    """The audit's result: the rungs, the room that they show, and what that means.

    `room_bits` is what can be taken in before the drift is `TOLERANCE`: where the frontier crosses it, or
    where its last slope will; `beyond` says that it is the latter, so that the figure is no measurement.
    """

    rungs: tuple[Rung, ...]
    room_bits: Estimate
    beyond: bool
    bend: int
    """Bindings of the rung up to which a bit is still cheap: after it the price rises most."""
    verdict: Verdict
    trainable: int
    """Parameters that the probes trained."""


OnStep = Callable[[str, int, int], None]
"""Told of a rung's name, the steps done and all of them."""


def probe(
    base: Path,
    adapter: Path | None,
    renderer: ChatRenderer,
    ladder: Ladder,
    workdir: Path,
    *,
    on_step: OnStep = lambda name, step, steps: None,
) -> tuple[Frontier, tuple[ReplaySample, ...]]:
    """Climb the ladder from the checkpoint with its adapter; also the held-out samples, for other measures.

    What a probe of the same model and ladder that was killed has left in `workdir` is not made again.

    Raises:
        TrainingError: nothing usable could be drawn, a probe diverges, or memory runs out.
        ModelError: the model cannot be loaded.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    loaded = models.load(base, adapter)
    draw = partial(_samples, loaded, renderer, ladder, on_step)
    replayed, held_out = _split(kept_replay(workdir / "samples.safetensors", draw), ladder)
    alphabet = ordinary_tokens(loaded, ladder.seed)
    offered = math.log2(len(alphabet)) * _VALUE_TOKENS
    start = loaded.tokenizer.bos_token_id
    taught = bindings(alphabet, max(ladder.loads), ladder.seed, start=start)
    del loaded, draw
    climb = _Climb(base, adapter, ladder, replayed, held_out, workdir, on_step)
    reached = [climb.rung(taught[:load]) for load in ladder.loads]
    measured = [
        _Measured(load, (offered - one.nats / math.log(2)).clamp_min(0), one.drift)
        for load, one in zip(ladder.loads, reached, strict=True)
    ]
    weights = torch.tensor([len(one.positions) for one in held_out], dtype=torch.float64)
    return frontier(measured, offered, weights, reached[-1].trainable, ladder.seed), held_out


class _Reached(NamedTuple):
    """What a rung came to: nats of each value, float64 [bindings], nats of drift of each held-out sample,
    float64 [samples], and the parameters that were trained."""

    nats: Tensor
    drift: Tensor
    trainable: int

    @classmethod
    def read(cls, path: Path) -> _Reached:
        """What `write` wrote.

        Raises:
            OSError, LookupError, TypeError, ValueError: it is not there, or not whole.
        """
        found = json.loads(path.read_text(encoding="utf-8"))
        nats, drifted = (torch.tensor(found[name], dtype=torch.float64) for name in ("nats", "drift"))
        return cls(nats, drifted, int(found["trainable"]))

    def write(self, path: Path) -> None:
        told = {"nats": self.nats.tolist(), "drift": self.drift.tolist(), "trainable": self.trainable}
        put(path, json.dumps(told).encode())


@dataclass(frozen=True)
class _Climb:
    """What all rungs have in common."""

    base: Path
    adapter: Path | None
    ladder: Ladder
    replayed: ReplaySet
    held_out: tuple[ReplaySample, ...]
    workdir: Path
    on_step: OnStep

    def rung(self, rows: Sequence[Encoded]) -> _Reached:
        """Measured, or read where it was before."""
        path = self.workdir / f"{len(rows)}-bindings.json"
        with suppress(OSError, LookupError, TypeError, ValueError):
            return _Reached.read(path)
        reached = self._trained(rows)
        reached.write(path)
        return reached

    def _trained(self, rows: Sequence[Encoded]) -> _Reached:
        def told(metrics: trainer.StepMetrics) -> None:
            self.on_step(f"{len(rows)} bindings", metrics.step, metrics.steps)

        recipe, folder = _recipe(self.ladder, len(rows)), self.workdir / "training"
        shutil.rmtree(folder, ignore_errors=True)
        done = trainer.train(self.base, self.adapter, rows, self.replayed, recipe, folder, on_step=told)
        after = models.load(self.base, done.adapter)
        trainable = models.count_parameters(done.adapter)
        return _Reached(value_nats(after, rows), drift(after, self.held_out), trainable)


def _recipe(ladder: Ladder, load: int) -> Recipe:
    standard = Recipe()
    return replace(
        standard,
        steps=ladder.steps,
        batch_size=math.ceil(load * ladder.presentations / ladder.steps),
        lr=ladder.lr,
        seed=ladder.seed,
        checkpoint_every=ladder.steps,
        lora=LoraRecipe(rank=ladder.rank, alpha=2 * ladder.rank),
        replay=replace(standard.replay, kind="self", loss="kl", mix="add", teacher="cached"),
    )


def _samples(loaded: LoadedModel, renderer: ChatRenderer, ladder: Ladder, on_step: OnStep) -> ReplaySet:
    """Free samples and chats; of a checkpoint whose template shows no user's words, free ones alone."""
    count = ladder.samples + ladder.held_out
    done = 0

    def told(samples: int) -> None:
        nonlocal done
        done += samples
        on_step("samples of its own", done, count)

    recipe = ReplayRecipe(samples=count, max_tokens=ladder.sample_tokens, free=1.0, chat=2.0, tools=0.0)
    try:
        return generate(loaded, renderer, recipe, [], ladder.seed, on_done=told)
    except ModelError:
        return generate(loaded, renderer, replace(recipe, chat=0.0), [], ladder.seed, on_done=told)


def _split(drawn: ReplaySet, ladder: Ladder) -> tuple[ReplaySet, tuple[ReplaySample, ...]]:
    """What is replayed and what is held out, each with its share of every source."""
    order = torch.randperm(len(drawn.samples), generator=torch.Generator().manual_seed(ladder.seed)).tolist()
    out = set(order[: ladder.held_out])
    parts = [[one for at, one in enumerate(drawn.samples) if (at in out) is held] for held in (False, True)]
    return ReplaySet(tuple(parts[0]), drawn.report), tuple(parts[1])


def ordinary_tokens(loaded: LoadedModel, seed: int) -> list[int]:
    """Up to 1,024 token ids that are not special, drawn by the seed: what keys and values are made of."""
    tokenizer = loaded.tokenizer
    special, named = models.special_ids(tokenizer), set(tokenizer.all_special_ids)
    # Reserved ones leave only after the draw, so that audits draw what they drew before these were left out.
    ids = [index for index in range(len(tokenizer)) if index not in named]
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(islice((ids[at] for at in order if ids[at] not in special), _ALPHABET))


def bindings(alphabet: Sequence[int], count: int, seed: int, *, start: int | None) -> list[Encoded]:
    """So many rows of a random key and a random value, the key being the prompt."""
    generator = torch.Generator().manual_seed(seed + 1)
    drawn = torch.randint(len(alphabet), (count, _KEY_TOKENS + _VALUE_TOKENS), generator=generator).tolist()
    before = [] if start is None else [start]
    return [Encoded([*before, *(alphabet[at] for at in row)], len(before) + _KEY_TOKENS) for row in drawn]


def value_nats(loaded: LoadedModel, rows: Sequence[Encoded]) -> Tensor:
    """−log p of each row's value, in nats, float64 [rows]."""
    positions = [torch.arange(row.prompt_length, len(row.ids)) for row in rows]
    found = nll_of(loaded, [row.ids for row in rows], positions)
    return torch.stack([one.sum() for one in found]).double().cpu()


def drift(loaded: LoadedModel, samples: Sequence[ReplaySample]) -> Tensor:
    """KL(teacher ‖ model) of each sample, summed over its tokens, in nats, float64 [samples].

    A lower bound by the teacher's top k, as in training.
    """
    head_VD, found = models.head_weight(loaded.model), torch.zeros(len(samples), dtype=torch.float64)
    rows, positions = [one.ids for one in samples], [one.positions for one in samples]
    read = RowReader(loaded.model.base_model, longest=max(map(len, rows)))
    with torch.inference_mode():
        passes = predicting(read, rows, positions, budget=_PASS_TOKENS)
        for index, hidden_TD in chain.from_iterable(passes):
            kept, device = samples[index].teacher, hidden_TD.device
            teacher = TopK(kept.ids_TK.long().to(device), kept.log_probs_TK.to(device))
            found[index] = float(top_k_kl(hidden_TD, head_VD, teacher))
    return found


class _Measured(NamedTuple):
    """A rung as measured: bits of each binding, nats of drift of each held-out sample."""

    bindings: int
    bits: Tensor
    drift: Tensor


def frontier(
    measured: Sequence[_Measured], offered: float, tokens: Tensor, trainable: int, seed: int
) -> Frontier:
    """The frontier with its intervals, by resampling bindings and held-out samples together.

    `offered` are the bits of one binding, `tokens` the lengths of the held-out samples.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [_resampled(measured, tokens, generator) for _ in range(_RESAMPLES)]
    points = _points(measured, tokens)
    rungs = tuple(
        Rung(
            one.bindings,
            offered * one.bindings,
            _estimate(points[at][0], [again[at][0] for again in drawn]),
            _estimate(points[at][1], [again[at][1] for again in drawn]),
        )
        for at, one in enumerate(measured)
    )
    bits, beyond = room_of(points)
    room = _estimate(bits, [room_of(again)[0] for again in drawn])
    return Frontier(rungs, room, beyond, _bend(rungs), _verdict(rungs, room), trainable)


Points = list[tuple[float, float]]
"""Bits and drift of each rung."""


def _points(measured: Sequence[_Measured], tokens: Tensor) -> Points:
    return [(float(one.bits.sum()), float(one.drift.sum() / tokens.sum())) for one in measured]


def _resampled(measured: Sequence[_Measured], tokens: Tensor, generator: torch.Generator) -> Points:
    """One bootstrap draw; all rungs see the same held-out samples."""
    chosen = torch.randint(len(tokens), (len(tokens),), generator=generator)
    found = []
    for one in measured:
        bound = torch.randint(len(one.bits), (len(one.bits),), generator=generator)
        found.append((float(one.bits[bound].sum()), float(one.drift[chosen].sum() / tokens[chosen].sum())))
    return found


def _estimate(value: float, drawn: Sequence[float]) -> Estimate:
    """Percentile interval (Efron 1979)."""
    ordered = sorted(drawn)
    cut = int(len(ordered) * (1 - _CONFIDENCE) / 2)
    return Estimate(value, ordered[cut], ordered[-1 - cut])


def room_of(points: Sequence[tuple[float, float]], tolerance: float = TOLERANCE) -> tuple[float, bool]:
    """Bits at which the drift comes to `tolerance`, and whether that lies beyond the last rung.

    Between rungs the frontier is straight, from (0, 0) on; a rung that is both dearer and lower than an
    earlier one shows that nothing more is taken in, so that the room ends there.
    """
    at_bits, at_drift = 0.0, 0.0
    slope = 0.0
    for bits, moved in points:
        if moved >= tolerance:
            share = (tolerance - at_drift) / (moved - at_drift)
            return at_bits + share * max(0.0, bits - at_bits), False
        if bits > at_bits:
            slope = max(0.0, moved - at_drift) / (bits - at_bits)
            at_bits, at_drift = bits, moved
    # A last step that cost nothing would promise room without end: what all of it cost is the price then.
    price = max(slope, at_drift / at_bits if at_bits else 0.0)
    return (at_bits + (tolerance - at_drift) / price if price else at_bits), True


def _bend(rungs: Sequence[Rung]) -> int:
    """The rung after which the price of a bit rises most."""
    steps = [(0.0, 0.0), *((rung.bits.value, rung.drift.value) for rung in rungs)]
    prices = [(b[1] - a[1]) / max(b[0] - a[0], 1e-9) for a, b in pairwise(steps)]
    rises = [later - former for former, later in pairwise(prices)]
    return rungs[rises.index(max(rises))].bindings if rises else rungs[0].bindings


def _verdict(rungs: Sequence[Rung], room: Estimate) -> Verdict:
    """`saturated`: even the first rung costs more than is tolerated, or none takes anything in; `room`: the
    last one costs less; both with their intervals. What lies between, or is not certain, is `tight`."""
    nothing = all(rung.bits.low <= 0 for rung in rungs)
    if room.high <= rungs[0].bits.value or rungs[0].drift.low > TOLERANCE or nothing:
        return "saturated"
    if rungs[-1].drift.high <= TOLERANCE:
        return "room"
    return "tight"
