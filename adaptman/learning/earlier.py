"""Replay that begins from what earlier updates were made of: examples, their requests, or a few seeds.

The rivals of replay that the model generates from nothing but tool documents. Each keeps a share of every
earlier update's examples, drawn by the seed, at least one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaptman.errors import TrainingError
from adaptman.learning.chat import ChatRenderer, Encoded
from adaptman.learning.decoding import Continuation, DecodeSettings, Row, decode
from adaptman.learning.limits import memory_told
from adaptman.learning.losses import TopK
from adaptman.learning.models import LoadedModel
from adaptman.learning.packing import RowReader, budgeted
from adaptman.learning.recipe import ReplayRecipe
from adaptman.learning.replay import ReplaySample, ReplaySet, Source, report

OnDone = Callable[[int], None]
# Requests written for each one that is kept: clusters need something to choose from.
_WRITTEN_PER_KEPT = 2
_SHOTS = 2
_PASS_TOKENS = 4096
_ROUNDS = 20


@dataclass(frozen=True)
class EarlierExample:
    """An example of an earlier update that still holds: its last message is the assistant's.

    `update` numbers the update; `accepts` tells whether a reply to its request is right, and `valid` whether
    one to another request under its tools may be.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    update: int
    accepts: Callable[[str], bool]
    valid: Callable[[str], bool]


def kept(earlier: Sequence[EarlierExample], share: float, seed: int) -> list[EarlierExample]:
    """That share of each update's examples, at least one of each, in their order."""
    found: list[EarlierExample] = []
    for update in sorted({one.update for one in earlier}):
        own = [one for one in earlier if one.update == update]
        count = max(1, round(share * len(own)))
        chosen = random.Random(f"{seed}/{update}").sample(range(len(own)), count)
        found += [own[index] for index in sorted(chosen)]
    return found


def exemplars(
    renderer: ChatRenderer, earlier: Sequence[EarlierExample], recipe: ReplayRecipe, seed: int
) -> ReplaySet:
    """The examples themselves, as they were taught.

    Raises:
        TrainingError: there are none.
    """
    encoded = [renderer.answered(one.messages, one.tools) for one in kept(earlier, recipe.share, seed)]
    samples = [_written(item) for item in encoded]
    return _as_set(samples, renderer, attempted=0)


def answered(
    loaded: LoadedModel,
    renderer: ChatRenderer,
    earlier: Sequence[EarlierExample],
    recipe: ReplayRecipe,
    seed: int,
    *,
    on_done: OnDone = lambda requests: None,
) -> ReplaySet:
    """On-policy replay (Chen et al., arXiv 2605.29495): the model's own answers, drawn at temperature 1, to
    the kept requests; those that are right are replayed.

    Raises:
        TrainingError: none is right, or memory ran out.
    """
    asked = kept(earlier, recipe.share, seed)
    generator = torch.Generator().manual_seed(seed)
    rows = [_asking(renderer, one, one.messages[:-1], recipe.max_tokens) for one in asked]
    settings = DecodeSettings(loaded.stop_ids, sample=True, top_k=recipe.top_k)
    written = _decoded(loaded, rows, settings, generator, on_done)
    samples = [
        _drawn("opr", row, reply)
        for one, row, reply in zip(asked, rows, written, strict=True)
        if one.accepts(renderer.reply_text(reply.ids))
    ]
    return _as_set(samples, renderer, attempted=len(asked))


def synthesized(
    base: LoadedModel,
    latest: LoadedModel,
    renderer: ChatRenderer,
    earlier: Sequence[EarlierExample],
    recipe: ReplayRecipe,
    seed: int,
    *,
    on_done: OnDone = lambda requests: None,
) -> ReplaySet:
    """Self-synthesized rehearsal (Huang et al., arXiv 2403.01244): the base writes requests in the manner of
    a few kept ones, the latest model answers them, and the one nearest to each cluster's middle is replayed.

    It differs from the paper in three ways: a request is written for the tools of the kept example, since a
    call without its tools means nothing; the answer must fit those tools, or the pair is dropped; and the
    clusters are those of the latest model's own mean hidden states, not of a sentence encoder.

    Raises:
        TrainingError: nothing usable was written, or memory ran out.
    """
    seeds = kept(earlier, recipe.share, seed)
    requests = _requests(base, seeds, recipe, seed)
    rows = [
        _asking(renderer, one, [*_before_request(one), {"role": "user", "content": text}], recipe.max_tokens)
        for one, text in requests
    ]
    settings = DecodeSettings(latest.stop_ids, top_k=recipe.top_k)
    written = _decoded(latest, rows, settings, None, on_done)
    samples = [
        _drawn("ssr", row, reply)
        for (one, _), row, reply in zip(requests, rows, written, strict=True)
        if one.valid(renderer.reply_text(reply.ids))
    ]
    chosen = nearest_to_middles(_embedded(latest, samples), recipe.samples, seed) if samples else []
    return _as_set([samples[index] for index in chosen], renderer, attempted=len(rows))


def _requests(
    base: LoadedModel, seeds: Sequence[EarlierExample], recipe: ReplayRecipe, seed: int
) -> list[tuple[EarlierExample, str]]:
    """What the base writes after a few requests with their tools, each for the tools of one of the seeds."""
    chance = random.Random(seed)
    asked: list[EarlierExample] = []
    rows: list[Row] = []
    while seeds and len(rows) < recipe.samples * _WRITTEN_PER_KEPT:
        one = chance.choice(seeds)
        shots = chance.sample(seeds, min(_SHOTS, len(seeds)))
        text = "\n\n".join([*(f"{_shown(shot)} {_request(shot)}" for shot in shots), _shown(one)])
        ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
        rows.append(Row(tuple(ids), (max(1, recipe.max_tokens // 2),)))
        asked.append(one)
    generator = torch.Generator().manual_seed(seed)
    ends = (*base.stop_ids, *_line_ends(base))
    written = _decoded(base, rows, DecodeSettings(ends, sample=True), generator, lambda rows: None)
    texts = [str(base.tokenizer.decode(reply.ids, skip_special_tokens=True)).strip() for reply in written]
    return [(one, text) for one, text in zip(asked, texts, strict=True) if text]


def _shown(one: EarlierExample) -> str:
    functions = [tool.get("function", tool) for tool in one.tools]
    return f"Functions: {json.dumps(functions, ensure_ascii=False)}\nRequest:"


def _request(one: EarlierExample) -> str:
    """The last thing that the user says, in one line."""
    said = [str(message.get("content") or "") for message in one.messages if message["role"] == "user"]
    return " ".join(said[-1].split()) if said else ""


def _before_request(one: EarlierExample) -> list[Mapping[str, Any]]:
    """System messages stay; the rest of an earlier conversation belongs to its own request."""
    return [message for message in one.messages if message["role"] == "system"]


def _line_ends(loaded: LoadedModel) -> list[int]:
    return [index for index in range(len(loaded.tokenizer)) if "\n" in str(loaded.tokenizer.decode([index]))]


def _asking(
    renderer: ChatRenderer, one: EarlierExample, messages: Sequence[Mapping[str, Any]], most: int
) -> Row:
    return Row(tuple(renderer.prompt_ids(messages, one.tools)), (most,))


def _decoded(
    loaded: LoadedModel,
    rows: Sequence[Row],
    settings: DecodeSettings,
    generator: torch.Generator | None,
    on_done: OnDone,
) -> list[Continuation]:
    with memory_told("while drawing replay", "draw shorter samples: `--set replay.max_tokens=…`"):
        found = decode(
            loaded.model, rows, settings, generator=generator, on_done=lambda ended: on_done(len(ended))
        )
    return [stretches[-1] for stretches in found]


def _drawn(source: Source, row: Row, reply: Continuation) -> ReplaySample:
    begin = len(row.prompt)
    assert reply.teacher is not None, "asked for in the settings"
    positions = torch.arange(begin, begin + len(reply.ids))
    return ReplaySample(source, [*row.prompt, *reply.ids], positions, reply.teacher)


def _written(item: Encoded) -> ReplaySample:
    """Somebody's words: the teacher has not read them yet."""
    positions = torch.arange(item.prompt_length, len(item.ids))
    nothing = TopK(torch.empty(len(positions), 0, dtype=torch.int32), torch.empty(len(positions), 0))
    return ReplaySample("exemplar", item.ids, positions, nothing)


def _as_set(samples: Sequence[ReplaySample], renderer: ChatRenderer, *, attempted: int) -> ReplaySet:
    if not samples:
        raise TrainingError(
            f"none of the model's {attempted} replies can be replayed"
            if attempted
            else "no earlier example is left to replay",
            hint="replay samples of the model itself with `--set replay.kind=self`",
        )
    told = report(samples, renderer, attempted=attempted, valid=len(samples) if attempted else 0)
    return ReplaySet(tuple(samples), told)


def _embedded(loaded: LoadedModel, samples: Sequence[ReplaySample]) -> Tensor:
    """The mean hidden state of each sample, of length 1: [samples, hidden]."""
    rows = [sample.ids for sample in samples]
    read = RowReader(loaded.model.base_model, longest=max(map(len, rows)))
    found: dict[int, Tensor] = {}
    with torch.inference_mode():
        for indices in budgeted(rows, _PASS_TOKENS):
            states = read([rows[index] for index in indices])
            for at, index in enumerate(indices):
                where = states.rows[at].to(states.hidden_TD.device)
                found[index] = states.hidden_TD[where].float().mean(0).cpu()
    return torch.nn.functional.normalize(torch.stack([found[i] for i in range(len(rows))]), dim=-1)


def nearest_to_middles(points_ND: Tensor, count: int, seed: int) -> list[int]:
    """k-means (Lloyd 1982) with `count` middles; the point nearest to each, in the points' order."""
    if count >= len(points_ND):
        return list(range(len(points_ND)))
    generator = torch.Generator().manual_seed(seed)
    middles_KD = points_ND[torch.randperm(len(points_ND), generator=generator)[:count]].clone()
    for _ in range(_ROUNDS):
        nearest_N = torch.cdist(points_ND, middles_KD).argmin(-1)
        sums_KD = torch.zeros_like(middles_KD).index_add_(0, nearest_N, points_ND)
        sizes_K = torch.bincount(nearest_N, minlength=count)
        filled_K = sizes_K > 0
        middles_KD[filled_K] = sums_KD[filled_K] / sizes_K[filled_K, None]
    distances_NK = torch.cdist(points_ND, middles_KD)
    chosen: set[int] = set()
    for middle in range(count):
        order = distances_NK[:, middle].argsort().tolist()
        chosen.add(next(index for index in order if index not in chosen))
    return sorted(chosen)
