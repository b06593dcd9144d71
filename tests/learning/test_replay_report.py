"""What the report of a replay set tells: diversity, likelihood, near duplicates."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptman.learning.chat import ChatRenderer
from adaptman.learning.losses import TopK
from adaptman.learning.replay import (
    ReplaySample,
    distinct,
    near_duplicates,
    report,
)


def sample_of(tokens: Sequence[int], log_prob: float = -1.0) -> ReplaySample:
    """A prompt token and `tokens`, each the teacher's only entry."""
    teacher = TopK(torch.tensor(tokens)[:, None], torch.full((len(tokens), 1), log_prob))
    return ReplaySample("free", [264, *tokens], torch.arange(1, len(tokens) + 1), teacher)


def test_the_report_tells_loops_from_text(renderer: ChatRenderer) -> None:
    found = report(
        [sample_of([5] * 20, -0.5), sample_of(range(30, 50), -1.5)],
        renderer,
        attempted=4,
        valid=1,
        tools={"a": 1, "b": 0},
    )
    text = (
        renderer.tokenizer.decode([5] * 20) + "\n" + renderer.tokenizer.decode(list(range(30, 50)))
    ).encode()
    assert found == {
        "samples": 2,
        "tokens": 40,
        "by_source": {"free": 2},
        "distinct_1": round(21 / 40, 4),
        "distinct_2": round(20 / 38, 4),
        "compression_ratio": round(len(zlib.compress(text, 9)) / len(text), 4),
        "loops": 1,
        "near_duplicates": 0,
        "teacher_nll": 1.0,
        "attempted": 4,
        "valid": 1,
        "tools": {"a": 1, "b": 0},
    }


def test_a_token_outside_of_the_top_k_counts_with_the_tail(renderer: ChatRenderer) -> None:
    sample = sample_of([5, 6])
    outside = replace(sample, teacher=TopK(torch.tensor([[5], [7]]), torch.tensor([[0.5], [0.75]]).log()))
    expected = -(torch.tensor(0.5).log() + torch.tensor(0.25).log()) / 2
    found = report([outside], renderer, attempted=0, valid=0)
    assert found["teacher_nll"] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(
    ("rows", "n", "share"),
    [([], 1, 0.0), ([[1]], 2, 0.0), ([[1, 2, 1, 2]], 2, 2 / 3), ([[1, 2], [1, 2]], 2, 0.5)],
)
def test_distinct(rows: list[list[int]], n: int, share: float) -> None:
    assert distinct(rows, n) == share


def test_near_duplicates_are_counted_once_each() -> None:
    text = list(range(40))
    changed = [*text[:20], 99, *text[21:]]
    assert near_duplicates([text, changed, text[::-1], text]) == 2
    assert near_duplicates([[1, 2], [1, 2]]) == 0  # too short to have a trigram


@given(st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=12), st.sampled_from([0.5, 0.8, 1.0]))
def test_near_duplicates_are_those_of_all_pairs(rows: list[list[int]], least: float) -> None:
    grams = [{tuple(ids[i : i + 3]) for i in range(len(ids) - 2)} for ids in rows]
    expected = sum(
        any(other and len(one & other) / len(one | other) >= least for other in grams[:at])
        for at, one in enumerate(grams)
    )
    assert near_duplicates(rows, least=least) == expected
