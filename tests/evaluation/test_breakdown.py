"""Figures tool by tool, told from a suite and the scores of its cases."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adaptman.evaluation.breakdown import ToolFigure, by_tool
from adaptman.evaluation.statistics import wilson
from adaptman.evaluation.suites import Suite, SuiteKind, read_suite

NAMES = ("weather", "mail", "news")
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in NAMES]


def suite(*expected: tuple[str, ...], kind: SuiteKind = SuiteKind.TOOLS) -> Suite:
    lines: list[dict[str, Any]] = [
        {
            "id": f"c{at}",
            "messages": [{"role": "user", "content": "?"}],
            "tools": TOOLS,
            "accept": [{"name": name, "arguments": {}} for name in names],
        }
        for at, names in enumerate(expected)
    ]
    return read_suite("\n".join(map(json.dumps, lines)).encode(), name="mine", kind=kind, origin="mine.jsonl")


def test_the_worst_tool_comes_first() -> None:
    one = suite(("weather",), ("mail",), ("mail",), ("weather", "weather", "mail"), ("news",))
    found = by_tool(one, {"c0": 1.0, "c1": 0.0, "c2": 1.0, "c3": 0.0, "c4": 1.0})
    assert [(figure.tool, figure.n, figure.value) for figure in found] == [
        ("mail", 3, 1 / 3),
        ("weather", 2, 0.5),
        ("news", 1, 1.0),
    ]
    assert (found[0].low, found[0].high) == wilson(1, 3)


def test_without_a_run_there_are_only_cases() -> None:
    assert by_tool(suite(("news",), ("mail",)), None) == (
        ToolFigure("mail", 1, None, None, None),
        ToolFigure("news", 1, None, None, None),
    )


def test_a_case_that_was_not_asked_does_not_count() -> None:
    assert [(one.tool, one.n) for one in by_tool(suite(("news",), ("mail",)), {"c1": 1.0})] == [("mail", 1)]


def test_other_kinds_expect_no_tools() -> None:
    assert by_tool(suite(("news",), kind=SuiteKind.FORMAT), {"c0": 1.0}) == ()


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), min_size=1, max_size=30))
def test_the_figures_add_up_to_the_suites(cases: list[tuple[str, bool]]) -> None:
    scores = {f"c{at}": float(right) for at, (_, right) in enumerate(cases)}
    found = by_tool(suite(*((name,) for name, _ in cases)), scores)
    assert sum(figure.n for figure in found) == len(cases)
    assert round(sum((figure.value or 0) * figure.n for figure in found)) == sum(scores.values())
