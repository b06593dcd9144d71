"""Near texts: all of them are found, and no others; which examples ask the same question."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.toolspec.examples import Example, read_examples
from adaptman.toolspec.nearness import NEAR, NearPair, groups, likeness_of, near_pairs, question_text
from adaptman.toolspec.questions import duplicates, hold_out, suite_cases
from tests.lifecycle.tiny_line import example
from tests.toolspec.documents import closed, document, function

WORDS = st.lists(st.sampled_from("abcdefgh"), max_size=9).map(" ".join)


def near(one: str, other: str) -> bool:
    """By the definition, without any index."""
    a, b = one.split(), other.split()
    left = list(b)
    same = sum(word in left and not left.remove(word) for word in a)  # type: ignore[func-returns-value]
    alike = bool(same) and same / (len(a) + len(b) - same) >= NEAR
    return alike or (min(len(a), len(b)) >= 3 and same >= max(len(a), len(b)) - 1)


@given(st.lists(WORDS, max_size=12))
def test_every_near_pair_is_found_and_no_other(texts: list[str]) -> None:
    found = {(pair.left, pair.right) for pair in near_pairs(texts)}
    wanted = {(i, j) for i in range(len(texts)) for j in range(i + 1, len(texts)) if near(texts[i], texts[j])}
    assert found == wanted


@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=8))
def test_between_two_lists_it_is_the_same(left: list[str], right: list[str]) -> None:
    within = {(pair.left, pair.right - len(left)) for pair in near_pairs([*left, *right])}
    between = {(pair.left, pair.right) for pair in near_pairs(left, right)}
    assert between == {(i, j) for i, j in within if i < len(left) and j >= 0}


@pytest.mark.parametrize(
    ("one", "other", "likeness"),
    [
        ("Weather in Oslo?", "weather  in OSLO", 1.0),
        ("a b c d", "d c b a", 1.0),
        ("a a b", "a b b", 0.5),
        ("the weather in Oslo today", "the weather in Rome today", 4 / 6),
        ("What is 3 + 4?", "What is 5 + 9?", 2 / 6),
        ("北京天气", "北京的天气", 4 / 5),
        ("", "", 0.0),
    ],
)
def test_likeness(one: str, other: str, likeness: float) -> None:
    assert likeness_of(one, other) == pytest.approx(likeness)


def test_what_is_asked_is_all_that_is_said_before_the_answer() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "cold"},
        {"role": "assistant", "content": "It is cold."},
    ]
    text = question_text(messages)
    assert "Be brief." in text
    assert '"f"' in text
    assert "cold" in text
    assert "It is cold" not in text
    assert question_text(messages[:2]) == "Be brief.\nOslo?"


def test_groups_are_chains_of_pairs() -> None:
    pairs = [NearPair(0, 2, 1.0), NearPair(2, 4, 1.0), NearPair(3, 5, 1.0)]
    assert groups(6, pairs) == [[0, 2, 4], [1], [3, 5]]


TOOLS = [function(name, closed({"city": {"type": "string"}})) for name in ("weather", "news")]


def read(*examples: dict[str, Any]) -> tuple[Example, ...]:
    return read_examples("".join(json.dumps(one) + "\n" for one in examples).encode(), "e.jsonl", None)


def test_the_same_words_for_another_value_are_another_question() -> None:
    found = read(
        example("a", TOOLS, "weather", {"city": "Oslo"}, "Tell me the weather in the city of Oslo now"),
        example("b", TOOLS, "weather", {"city": "Rome"}, "Tell me the weather in the city of Rome now"),
        example("c", TOOLS, "weather", {"city": "Oslo"}, "Tell me weather in the city of Oslo now please"),
        example("d", TOOLS, "news", {"city": "Oslo"}, "Tell me the weather in the city of Oslo now"),
    )
    assert [(pair.left, pair.right) for pair in duplicates(found)] == [(0, 2)]


def many(seed: int, count: int = 60) -> list[dict[str, Any]]:
    """Of three tools, a third of them near duplicates of others."""
    chance = random.Random(seed)
    words = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
    ]
    found = []
    for number in range(count):
        city = f"city{number - number % 3}" if number % 3 else f"city{number}"
        base = random.Random(f"{seed}/{number // 3}").sample(words, 7)
        if number % 3 == 1:
            base[chance.randrange(7)] = "other"
        elif number % 3 == 2:
            base = chance.sample(words, 7)
            city = f"own{number}"
        tool = TOOLS[number % 2]["function"]["name"] if number % 3 == 2 else "weather"
        found.append(example(f"e{number}", TOOLS, tool, {"city": city}, " ".join(base)))
    return found


@given(st.integers(0, 50), st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 3))
def test_no_near_duplicate_lies_on_both_sides(seed: int, share: float, lot: int) -> None:
    examples = read(*many(seed))
    parts = hold_out(examples, share, seed=lot)
    assert sorted([*parts.training, *parts.held_out]) == list(range(len(examples)))
    held = set(parts.held_out)
    assert not [pair for pair in duplicates(examples) if (pair.left in held) != (pair.right in held)]
    assert abs(len(held) - share * len(examples)) <= 4


def test_the_split_is_one_of_content_and_seed_not_of_order() -> None:
    examples = read(*many(1))
    turned = examples[::-1]
    chosen = {examples[index].id for index in hold_out(examples, 0.2, seed=0).held_out}
    assert {turned[index].id for index in hold_out(turned, 0.2, seed=0).held_out} == chosen
    assert {examples[index].id for index in hold_out(examples, 0.2, seed=1).held_out} != chosen


def test_a_held_out_example_becomes_a_case() -> None:
    schema = closed({"city": {"type": "string"}, "days": {"type": "integer", "default": 1}}, "city")
    tools = [function("weather", schema)]
    examples = read(example("a", tools, "weather", {"city": "Oslo"}, "Oslo?"))
    (case,) = suite_cases(examples, document(*tools))
    assert case["accept"] == [{"name": "weather", "arguments": {"city": ["Oslo"], "days": [1, ""]}}]
    assert case["messages"] == [{"role": "user", "content": "Oslo?"}]
