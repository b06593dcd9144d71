"""Suites that ask what was trained on: found exactly and nearly, refused, named in a decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptman.errors import ExampleError
from adaptman.evaluation.suites import Suite, SuiteKind, read_suite
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.leaks import leaks
from adaptman.lifecycle.suites import register_suite
from adaptman.toolspec.examples import Example, read_examples
from tests.lifecycle.story import FIRST_TOOLS
from tests.lifecycle.tiny_line import CANDIDATE, TinyLine, example, lines, tiny_lines

WEATHER = FIRST_TOOLS[:1]
ASKED = "Please tell me what the weather is like in Rome"


def examples(*made: dict[str, Any]) -> tuple[Example, ...]:
    return read_examples(lines(made).encode(), "e.jsonl", None)


ROME = examples(example("rome", WEATHER, "get_weather", {"city": "Rome"}, ASKED))


def suite(question: str, *, kind: str = "tools", **fields: Any) -> Suite:
    case = {"id": "c", "messages": [{"role": "user", "content": question}], **fields}
    return read_suite(json.dumps(case).encode(), name="s", kind=SuiteKind(kind), origin="s")


def accept(city: str) -> dict[str, Any]:
    arguments = {"city": [city], "unit": ["celsius", ""]}
    return {"tools": WEATHER, "accept": [{"name": "get_weather", "arguments": arguments}]}


@pytest.mark.parametrize(
    ("question", "city", "leaked"),
    [
        (ASKED, "Rome", True),
        (ASKED.upper() + "!", "Rome", True),
        ("Please tell me what the weather looks like in Rome", "Rome", True),
        ("Please tell me how the weather is in Rome", "Rome", True),
        ("Please tell me what the weather is like in Oslo", "Oslo", False),
        ("Is it raining in the eternal city?", "Rome", False),
    ],
)
def test_nearly_the_same_words_and_the_same_call(question: str, city: str, leaked: bool) -> None:
    assert bool(leaks(suite(question, **accept(city)), ROME)) is leaked


def test_the_same_words_with_the_same_tools_whatever_is_accepted() -> None:
    assert leaks(suite(ASKED, **accept("Oslo")), ROME)


def test_questions_answered_in_words() -> None:
    value = {
        "id": "capital",
        "messages": [
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "Paris."},
        ],
    }
    taught = examples(value)
    asked = suite("What's the capital of France?", kind="general", answers=["Paris"])
    assert leaks(asked, taught)
    assert not leaks(suite("What is the capital of France?", **accept("Paris")), taught)
    assert not leaks(suite("What is the capital of Frisia?", kind="general", answers=["Leeuwarden"]), taught)
    chosen = suite("What is the capital of Paris?", kind="general", choices=["Paris", "Lyon"], answer="Paris")
    assert leaks(chosen, taught)
    assert not leaks(suite("Who painted this?", kind="general", answers=["x"]), taught)


def register(line: TinyLine, question: str) -> None:
    arguments = {"city": ["Rome"], "unit": ["celsius", ""]}
    case = {
        "id": "c1",
        "messages": [{"role": "user", "content": question}],
        "tools": WEATHER,
        "accept": [{"name": "get_weather", "arguments": arguments}],
    }
    cases = b"".join(json.dumps({**case, "id": f"c{number}"}).encode() + b"\n" for number in (1, 2))
    register_suite(line.workspace, cases, name="leaky", kind=SuiteKind.TOOLS, origin="leaky.jsonl")


def test_an_update_counts_them_and_names_the_first(tmp_path: Path) -> None:
    line = TinyLine.copy(tiny_lines().filled, tmp_path)
    register(line, "Weather in Rome?")
    with pytest.raises(ExampleError, match="an example that suites also ask: `rome` is case `c1`") as told:
        line.plan()
    assert "examples split" in told.value.hint


def test_a_suite_that_comes_later_is_named_in_the_decision(tmp_path: Path) -> None:
    line = TinyLine.copy(tiny_lines().updated, tmp_path)
    register(line, "Weather in Rome?")
    decision = evaluate(line.workspace, CANDIDATE).decision
    assert decision is not None
    (warning,) = [one for one in decision.warnings if "trained on" in one]
    assert warning == "leaky: 2 of 2 cases were trained on (`c1`, `c2`): they measure memory"


def test_what_an_ancestor_was_trained_on_counts_too(tmp_path: Path) -> None:
    line = TinyLine.copy(tiny_lines().updated, tmp_path)
    line.second_tools()
    line.update(2)
    register(line, "Weather in Rome?")
    decision = evaluate(line.workspace, 3).decision
    assert decision is not None
    assert any(one.startswith("leaky: 2 of 2") for one in decision.warnings)
