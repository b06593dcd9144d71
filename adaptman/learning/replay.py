"""What is replayed beside an update: samples with their teacher, and a report of what they hold."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adaptman.errors import TrainingError
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.losses import TopK

Source = Literal["free", "chat", "tools", "opr", "ssr", "exemplar", "irrelevant", "rewritten"]
# The numbers in a stored set: a new source goes to the end.
SOURCES: tuple[Source, ...] = ("free", "chat", "tools", "opr", "ssr", "exemplar", "irrelevant", "rewritten")


@dataclass(frozen=True)
class ReplaySample:
    """One sample; `positions` [n] are the indices of the generated tokens, `teacher` holds n rows.

    A `rewritten` one is learned as a new example is: its teacher is certain of its tokens.
    """

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


def report(
    samples: Sequence[ReplaySample],
    renderer: ChatRenderer,
    *,
    attempted: int,
    valid: int,
    tools: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Any]:
    """Quality of the samples: size, diversity, degenerate loops, likelihood under the teacher, validity,
    coverage.

    `attempted` replies had to be acceptable, and `valid` ones were; `tools` counts the samples under each
    earlier tool that was asked for, and is left out where none was.
    """
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
        "near_duplicates": near_duplicates(generated),
        "teacher_nll": round(_teacher_nll(samples), 4),
        "attempted": attempted,
        "valid": valid,
        **({"tools": dict(tools)} if tools else {}),
    }


def distinct(rows: Sequence[Sequence[int]], n: int) -> float:
    """distinct-n (Li et al., arXiv 1510.03055): different n-grams as a share of all, 0 if there are none."""
    grams = [tuple(ids[i : i + n]) for ids in rows for i in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def near_duplicates(rows: Sequence[Sequence[int]], *, least: float = 0.8) -> int:
    """Rows that share at least that part of their token trigrams (Jaccard) with one before them."""
    grams = [{tuple(ids[i : i + 3]) for i in range(len(ids) - 2)} for ids in rows]
    often = Counter(chain.from_iterable(grams))
    holding: dict[tuple[int, ...], list[set[tuple[int, ...]]]] = {}
    found = 0
    for one in grams:
        # Two sets that have so much in common have one of their rarest in common, and few others have that
        # one (Chaudhuri et al., *A Primitive Operator for Similarity Joins*, ICDE 2006).
        count = int((1 - least) * len(one) + 1e-9) + 1
        rare = sorted(one, key=lambda gram: (often[gram], gram))[:count]
        near = chain.from_iterable(holding.get(gram, ()) for gram in rare)
        found += any(len(one & other) >= least * len(one | other) for other in near)
        for gram in rare:
            holding.setdefault(gram, []).append(one)
    return found


def _teacher_nll(samples: Sequence[ReplaySample]) -> float:
    """Mean −log p of the generated tokens, in nats; a token outside the top K counts with the whole tail."""
    total, count = 0.0, 0
    for sample in samples:
        # What somebody wrote, and what was rewritten, nobody has said the likelihood of.
        if sample.source == "rewritten" or not sample.teacher.ids_TK.shape[1]:
            continue
        tokens = torch.tensor(sample.ids)[sample.positions]
        hit = sample.teacher.ids_TK == tokens[:, None]
        tail = (1 - sample.teacher.log_probs_TK.exp().sum(-1)).clamp_min(1e-9).log()
        inside = (sample.teacher.log_probs_TK * hit).sum(-1)
        total -= float(torch.where(hit.any(-1), inside, tail).sum())
        count += len(tokens)
    return total / max(1, count)
