"""Replay that the model generates itself: samples of the version an update starts from, with their teacher.

The distribution is the model's own at temperature 1 without truncation (Marek et al., arXiv 2605.26097).
Nothing of earlier training sets is stored: a sample begins from the beginning-of-sequence token, from the
header of a user turn, or under the tools of an earlier document.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adaptman.errors import ModelError, TrainingError
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.decoding import Continuation, DecodeSettings, decode
from adaptman.learning.losses import TopK
from adaptman.learning.memory import memory_told
from adaptman.learning.models import LoadedModel
from adaptman.learning.recipe import ReplayRecipe

Source = Literal["free", "chat", "tools"]
SOURCES: tuple[Source, ...] = ("free", "chat", "tools")
_MARK = "\u2063adaptman\u2063"
# Attempts for each tool sample wanted: most requests that a small model makes up lead to no valid call.
_ATTEMPTS = 2


class ToolPrompt(NamedTuple):
    """Tools that a sample may be drawn under, and whether a reply to them is acceptable."""

    tools: Sequence[Mapping[str, Any]]
    accepts: Callable[[str], bool]


@dataclass(frozen=True)
class ReplaySample:
    """One sample; `positions` [n] are the indices of the generated tokens, `teacher` holds n rows."""

    source: Source
    ids: list[int]
    positions: Tensor
    teacher: TopK


@dataclass(frozen=True)
class ReplaySet:
    """The samples of an update with their quality report."""

    samples: tuple[ReplaySample, ...]
    report: dict[str, Any]

    @property
    def tokens(self) -> int:
        """Tokens that the model generated."""
        return sum(len(sample.positions) for sample in self.samples)

    def to_bytes(self) -> bytes:
        """The set as one safetensors file."""
        tensors = {
            "ids": torch.tensor(
                [token for sample in self.samples for token in sample.ids], dtype=torch.int32
            ),
            "lengths": torch.tensor([len(sample.ids) for sample in self.samples], dtype=torch.int32),
            "sources": torch.tensor(
                [SOURCES.index(sample.source) for sample in self.samples], dtype=torch.int32
            ),
            "counts": torch.tensor([len(sample.positions) for sample in self.samples], dtype=torch.int32),
            "positions": torch.cat([sample.positions for sample in self.samples]).to(torch.int32),
            "top_ids": torch.cat([sample.teacher.ids_TK for sample in self.samples]),
            "top_log_probs": torch.cat([sample.teacher.log_probs_TK for sample in self.samples]),
        }
        return save(tensors, metadata={"report": json.dumps(self.report)})

    @classmethod
    def from_file(cls, path: str) -> ReplaySet:
        """The set that `to_bytes` wrote.

        Raises:
            TrainingError: the file is not one.
        """
        try:
            with safe_open(path, framework="pt") as file:
                values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
                report = json.loads(file.metadata()["report"])
            return cls(_samples(values), report)
        except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise TrainingError(f"`{path}` is not a replay set: {error}") from error


def _samples(values: Mapping[str, Tensor]) -> tuple[ReplaySample, ...]:
    counts = values["counts"].tolist()
    rows = zip(
        values["ids"].split(values["lengths"].tolist()),
        values["sources"].tolist(),
        values["positions"].long().split(counts),
        values["top_ids"].split(counts),
        values["top_log_probs"].split(counts),
        strict=True,
    )
    samples = []
    for ids, source, positions, top_ids, log_probs in rows:
        if not all(0 < position < len(ids) for position in positions.tolist()):
            raise ValueError("a position lies outside of its sample")
        samples.append(ReplaySample(SOURCES[source], ids.tolist(), positions, TopK(top_ids, log_probs)))
    return tuple(samples)


def generate(
    loaded: LoadedModel,
    renderer: ChatRenderer,
    recipe: ReplayRecipe,
    tool_prompts: Sequence[ToolPrompt],
    seed: int,
    *,
    on_done: Callable[[int], None] = lambda samples: None,
) -> ReplaySet:
    """Draw the replay set of a recipe from `loaded`; what `on_done` is told sums to `recipe.samples`.

    Without `tool_prompts` (a first update, or a change of every tool) their share goes to the other sources.

    Raises:
        ModelError: the chat template does not show where a user's words stand.
        TrainingError: nothing usable could be drawn, or memory ran out.
    """
    generator = torch.Generator(device=loaded.model.device).manual_seed(seed)
    sampler = _Sampler(loaded, renderer, recipe, generator, on_done)
    wanted = quotas(recipe, has_tools=bool(tool_prompts))
    samples = sampler.free(wanted["free"]) + sampler.chat(wanted["chat"], ())
    attempted, valid = 0, 0
    if wanted["tools"]:
        order = torch.randperm(len(tool_prompts), generator=torch.Generator().manual_seed(seed)).tolist()
        prompts = [tool_prompts[order[i % len(order)]] for i in range(wanted["tools"] * _ATTEMPTS)]
        drawn = sampler.under_tools(prompts)
        attempted, valid = len(drawn), sum(accepted for accepted, _ in drawn)
        samples += [sample for accepted, sample in drawn if accepted][: wanted["tools"]]
    if not samples:
        raise TrainingError(
            "the model generated nothing that could be replayed", hint="raise `replay.samples`"
        )
    return ReplaySet(tuple(samples), report(samples, renderer, tools_attempted=attempted, tools_valid=valid))


def quotas(recipe: ReplayRecipe, *, has_tools: bool) -> dict[Source, int]:
    """How many samples each source gives: by weight, summing to `samples` (largest remainder)."""
    weights: dict[Source, float] = {
        "free": recipe.free,
        "chat": recipe.chat,
        "tools": recipe.tools * has_tools,
    }
    total = sum(weights.values())
    if total <= 0:
        weights, total = {"free": 0.0, "chat": 1.0, "tools": 0.0}, 1.0
    exact = {source: recipe.samples * weight / total for source, weight in weights.items()}
    counts: dict[Source, int] = {source: math.floor(share) for source, share in exact.items()}
    rest = recipe.samples - sum(counts.values())
    for source in sorted(exact, key=lambda source: counts[source] - exact[source])[:rest]:
        counts[source] += 1
    return counts


class _Turn(NamedTuple):
    """A question and its answer as one sample, and the answer's text."""

    sample: ReplaySample
    reply: str


class _Sampler:
    """Draws samples of each source with one model."""

    def __init__(
        self,
        loaded: LoadedModel,
        renderer: ChatRenderer,
        recipe: ReplayRecipe,
        generator: torch.Generator,
        on_done: Callable[[int], None],
    ) -> None:
        self._loaded, self._renderer, self._generator, self._on_done = loaded, renderer, generator, on_done
        self._settings = DecodeSettings(recipe.max_tokens, loaded.stop_ids, sample=True, top_k=recipe.top_k)

    def free(self, count: int) -> list[ReplaySample]:
        """Samples from the beginning-of-sequence token alone."""
        tokenizer = self._loaded.tokenizer
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if count and start is None:
            raise TrainingError(
                "the tokenizer has no token that begins a text",
                hint="draw no free samples: `--set replay.free=0`",
            )
        drawn = self._decode([[start]] * count, self._settings, self._on_done)
        return [_sample("free", [(start,)], [row]) for row in drawn]

    def chat(self, count: int, tools: Sequence[Mapping[str, Any]]) -> list[ReplaySample]:
        """Samples in which the model writes the user's turn, then answers it."""
        half = replace(self._settings, max_new_tokens=max(1, self._settings.max_new_tokens // 2))
        return [turn.sample for turn in self._turns([tools] * count, "chat", half, self._on_done)]

    def under_tools(self, prompts: Sequence[ToolPrompt]) -> list[tuple[bool, ReplaySample]]:
        """Samples under tools; each with whether the reply is acceptable."""
        shown = [prompt.tools for prompt in prompts]
        turns = self._turns(shown, "tools", self._settings, _every(_ATTEMPTS, self._on_done))
        return [
            (prompt.accepts(turn.reply), turn.sample) for prompt, turn in zip(prompts, turns, strict=True)
        ]

    def _turns(
        self,
        tools: Sequence[Sequence[Mapping[str, Any]]],
        source: Source,
        settings: DecodeSettings,
        on_done: Callable[[int], None],
    ) -> list[_Turn]:
        headers = [self._header(shown) for shown in tools]
        half = replace(self._settings, max_new_tokens=max(1, self._settings.max_new_tokens // 2))
        questions = self._decode([list(before) for before, _ in headers], half, lambda rows: None)
        # A question that does not end within its half is cut there: what there is remains the model's own.
        bridges = [
            tuple(self._bridge(after, row)) for (_, after), row in zip(headers, questions, strict=True)
        ]
        prompts = [
            [*before, *row.ids, *bridge]
            for (before, _), row, bridge in zip(headers, questions, bridges, strict=True)
        ]
        answers = self._decode(prompts, settings, on_done)
        return [
            _Turn(_sample(source, [before, bridge], [question, answer]), self._text(answer))
            for (before, _), bridge, question, answer in zip(
                headers, bridges, questions, answers, strict=True
            )
        ]

    def _header(self, tools: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, ...], str]:
        """Token ids up to where a user's words begin, and the template's text after them."""
        parts = self._renderer.prompt([{"role": "user", "content": _MARK}], tools).split(_MARK)
        if len(parts) != 2:
            raise ModelError(
                f"the chat template writes a user's words {len(parts) - 1} times, not once",
                hint="draw no samples from it: `--set replay.chat=0 --set replay.tools=0`",
            )
        before, after = parts
        return tuple(self._loaded.tokenizer(before, add_special_tokens=False)["input_ids"]), after

    def _bridge(self, after: str, question: Continuation) -> list[int]:
        """The template's tokens between question and answer, less the end that the model wrote itself."""
        ids: list[int] = list(self._loaded.tokenizer(after, add_special_tokens=False)["input_ids"])
        return ids[1:] if ids and question.ids and question.ids[-1] == ids[0] else ids

    def _text(self, answer: Continuation) -> str:
        return str(self._loaded.tokenizer.decode(answer.ids, skip_special_tokens=True))

    def _decode(
        self, prompts: list[list[int]], settings: DecodeSettings, on_done: Callable[[int], None]
    ) -> list[Continuation]:
        with memory_told("while drawing replay", "draw shorter samples: `--set replay.max_tokens=…`"):
            return decode(self._loaded.model, prompts, settings, generator=self._generator, on_done=on_done)


def _every(count: int, on_done: Callable[[int], None]) -> Callable[[int], None]:
    """Counts rows, and passes one on for each `count` of them."""
    seen = 0

    def counted(rows: int) -> None:
        nonlocal seen
        before, seen = seen // count, seen + rows
        on_done(seen // count - before)

    return counted


def _sample(source: Source, fixed: Sequence[Sequence[int]], drawn: Sequence[Continuation]) -> ReplaySample:
    """Fixed and generated stretches in turn, as one sample."""
    ids: list[int] = []
    positions: list[int] = []
    for template, row in zip(fixed, drawn, strict=True):
        ids += template
        positions += range(len(ids), len(ids) + len(row.ids))
        ids += row.ids
    teachers = [row.teacher for row in drawn if row.teacher is not None]
    teacher = TopK(
        torch.cat([one.ids_TK for one in teachers]), torch.cat([one.log_probs_TK for one in teachers])
    )
    return ReplaySample(source, ids, torch.tensor(positions), teacher)


def report(
    samples: Sequence[ReplaySample], renderer: ChatRenderer, *, tools_attempted: int, tools_valid: int
) -> dict[str, Any]:
    """Quality of the samples: size, diversity, degenerate loops, likelihood under the teacher, validity."""
    generated = [[sample.ids[i] for i in sample.positions.tolist()] for sample in samples]
    text = "\n".join(renderer.tokenizer.decode(ids) for ids in generated)  # type: ignore[misc]
    raw = text.encode()
    return {
        "samples": len(samples),
        "tokens": sum(map(len, generated)),
        "by_source": dict(Counter(sample.source for sample in samples)),
        "distinct_1": round(distinct(generated, 1), 4),
        "distinct_2": round(distinct(generated, 2), 4),
        "compression_ratio": round(len(zlib.compress(raw, 9)) / max(1, len(raw)), 4),
        "loops": sum(distinct([ids], 2) < 0.5 for ids in generated if len(ids) >= 16),
        "teacher_nll": round(_teacher_nll(samples), 4),
        "tools_attempted": tools_attempted,
        "tools_valid": tools_valid,
    }


def distinct(rows: Sequence[Sequence[int]], n: int) -> float:
    """distinct-n (Li et al., arXiv 1510.03055): different n-grams as a share of all, 0 if there are none."""
    grams = [tuple(ids[i : i + n]) for ids in rows for i in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def _teacher_nll(samples: Sequence[ReplaySample]) -> float:
    """Mean −log p of the generated tokens, in nats; a token outside the top K counts with the whole tail."""
    total, count = 0.0, 0
    for sample in samples:
        tokens = torch.tensor(sample.ids)[sample.positions]
        hit = sample.teacher.ids_TK == tokens[:, None]
        tail = (1 - sample.teacher.log_probs_TK.exp().sum(-1)).clamp_min(1e-9).log()
        inside = (sample.teacher.log_probs_TK * hit).sum(-1)
        total -= float(torch.where(hit.any(-1), inside, tail).sum())
        count += len(tokens)
    return total / max(1, count)
