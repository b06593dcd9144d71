"""A free-text answer is found as whole words, whatever its case, spacing and punctuation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.evaluation.matching import Match, matches, normalized


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("The capital of France is Paris.", "paris"),
        ("It is PARIS!", "Paris"),
        ("**Paris**", "Paris"),
        ("It has 1,000 metres", "1000"),
        ("about 3.14, I think", "3.14"),
        ("The answer is 12.", "12"),
        ("minus: −5 degrees", "-5"),
        ("the half-life", "half life"),
        ("It's Shakespeare’s play", "Shakespeares"),
        ("I use C++ daily", "C++"),
        ("首都是北京。", "北京"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
        ("नमस्ते दुनिया", "नमस्ते"),
        ("It costs $5.", "5"),
    ],
)
def test_contains(reply: str, answer: str) -> None:
    assert matches(reply, answer, "contains")


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Comparison", "Paris"),
        ("The answer is 120", "12"),
        ("12.5", "12"),
        ("12.5", "5"),
        ("-5", "5"),
        ("5,000", "5"),
        ("I use C++ daily", "C"),
        ("Par is", "Paris"),
        ("", "Paris"),
        ("anything", "!"),
    ],
)
def test_does_not_contain(reply: str, answer: str) -> None:
    assert not matches(reply, answer, "contains")


@pytest.mark.parametrize(
    ("reply", "answer", "match", "expected"),
    [
        (" Paris\n", "Paris", "exact", True),
        ("paris", "Paris", "exact", False),
        ("Paris.", "Paris", "exact", False),
        ("**paris.**", "Paris", "normalized", True),
        ("It is Paris", "Paris", "normalized", False),
    ],
)
def test_exact_and_normalized(reply: str, answer: str, match: Match, expected: bool) -> None:
    assert matches(reply, answer, match) == expected


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalized(text)
    assert normalized(once) == once
    assert once == " ".join(once.split())


@given(st.text(), st.text(), st.text())
def test_an_answer_between_blanks_is_found(before: str, answer: str, after: str) -> None:
    words = normalized(answer)
    assert not words or matches(f"{before} \n {words} \n {after}", words, "contains")
