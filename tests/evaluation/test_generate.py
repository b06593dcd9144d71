"""Suites out of changes: what they ask, what is right in them, and which wrong answers are stale."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.evaluation.generate import Asked, Generated, generate
from adaptman.evaluation.requests import arguments_for, request_for
from adaptman.evaluation.runner import CaseOutcome, SuiteResult, summarize
from adaptman.evaluation.scorers import is_stale, score_reply
from adaptman.evaluation.suites import ExpectedCall, Suite, SuiteKind, read_suite
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.formats import ToolCall, output_format
from adaptman.toolspec.migration import CallMigration, read_mappings
from adaptman.toolspec.validate import validate_arguments, validate_call
from tests.toolspec.documents import closed, document, function

HERMES = output_format("hermes")
TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
GCD = closed({"a": NUMBER, "b": NUMBER}, "a", "b")
CITY = {**TEXT, "description": "The city to look at"}


def tools(*, old: bool) -> ToolDocument:
    """Renamed, with a renamed parameter, with a value gone, with one more required; and two that stay."""
    return document(
        function("math.gcd" if old else "arithmetic.gcd", GCD, "Greatest common divisor of two numbers."),
        function("weather", closed({"town": CITY} if old else {"town_name": CITY}), "Weather of a city."),
        function(
            "measure", closed({"unit": {"enum": ["C", "F"] if old else ["C"]}}, "unit"), "Measures heat."
        ),
        function(
            "draw", closed({"side": NUMBER, "colour": TEXT}, *(("side",) if old else ("side", "colour")))
        ),
        function("news", closed({"topic": TEXT}, "topic"), "The news about a topic."),
        function("mail", closed({"to": TEXT, "days": NUMBER}, "to"), "Sends a mail."),
    )


OLD, NEW = tools(old=True), tools(old=False)
MAPPINGS = read_mappings(["measure.unit:F=C"], ["draw.colour=red"], {}, NEW)


def asked(name: str, text: str, call: str, **arguments: list[Any]) -> Asked:
    return Asked(name, ({"role": "user", "content": text},), ExpectedCall(call, arguments), "suite s")


ASKED = [
    asked("asked", "GCD of 4 and 6?", "math.gcd", a=[4], b=[6]),
    asked("heat", "Heat in F?", "measure", unit=["F"]),
    asked("square", "A square of 3.", "draw", side=[3, 3.0], colour=["", "blue"]),
]


def made(asked: list[Asked] | None = None, *, seed: int = 0, per_tool: int = 3) -> Generated:
    changes = diff(OLD, NEW)
    migration = CallMigration(changes, NEW, MAPPINGS)
    return generate(
        OLD,
        NEW,
        changes,
        migration,
        ASKED if asked is None else asked,
        suffix="2",
        per_tool=per_tool,
        seed=seed,
    )


def suite(found: Generated, name: str) -> Suite:
    one = next(suite for suite in found.suites if suite.name == name)
    data = b"".join(json.dumps(record).encode() + b"\n" for record in one.records)
    return read_suite(data, name=name, kind=one.kind, origin=name)


def replied(*calls: ToolCall) -> str:
    return HERMES.render(calls)


def first(accept: ExpectedCall) -> ToolCall:
    """The accepted values that come first; what may be left out is."""
    return ToolCall(
        accept.name, {name: values[0] for name, values in accept.arguments.items() if "" not in values}
    )


def test_three_suites_of_their_kinds() -> None:
    found = made()
    assert [(one.name, one.kind.value) for one in found.suites] == [
        ("changes-2", "target"),
        ("siblings-2", "tools"),
        ("context-2", "context"),
    ]
    assert found.left_out == ()
    assert {case.rule for case in suite(found, "changes-2").cases} == {
        "tool-renamed",
        "parameter-renamed",
        "enum-narrowed",
        "now-required",
    }
    assert {case.accept[0].name for case in suite(found, "siblings-2").cases} == {"news", "mail"}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_accepted_is_right_under_the_document_that_is_shown(seed: int) -> None:
    found = made(seed=seed)
    for name, shown in (("changes-2", NEW), ("siblings-2", NEW), ("context-2", OLD)):
        for case in suite(found, name).cases:
            call = first(case.accept[0])
            assert not validate_call(shown, call)
            assert [tool["function"] for tool in case.tools] == [
                shown.get(tool["function"]["name"]).as_function()
                for tool in case.tools  # type: ignore[union-attr]
            ]
            text = replied(call)
            assert score_reply(SuiteKind.TARGET, case, text, HERMES).value == 1.0
            assert not is_stale(case, text, HERMES)


def test_the_answer_of_before_is_wrong_and_stale() -> None:
    found = made()
    before = {case.id: first(case.accept[0]) for case in suite(found, "context-2").cases}
    for case in suite(found, "changes-2").cases:
        text = replied(before[case.id])
        if score_reply(SuiteKind.TARGET, case, text, HERMES).value == 1.0:
            assert case.rule in ("enum-narrowed", "now-required")  # a value that stays was asked for
            continue
        assert is_stale(case, text, HERMES), case.id


@pytest.mark.parametrize(
    ("case_id", "call", "stale"),
    [
        ("asked", ToolCall("math.gcd", {"a": 4, "b": 7}), True),
        ("asked", ToolCall("arithmetic.gcd", {"a": 4, "b": 7}), False),
        ("heat", ToolCall("measure", {"unit": "F"}), True),
        ("heat", ToolCall("measure", {"unit": "K"}), False),
        ("square", ToolCall("draw", {"side": 3}), True),
        ("square", ToolCall("draw", {"side": 3, "colour": "green"}), False),
    ],
)
def test_stale_is_the_form_of_before_and_no_other_mistake(case_id: str, call: ToolCall, stale: bool) -> None:
    (case,) = [case for case in suite(made(), "changes-2").cases if case.id == case_id]
    assert is_stale(case, replied(call), HERMES) is stale
    assert not is_stale(case, "I cannot do that.", HERMES)


def test_accepted_values_are_carried_one_by_one() -> None:
    (case,) = [case for case in suite(made(), "changes-2").cases if case.id == "square"]
    assert case.accept == (ExpectedCall("draw", {"side": [3, 3.0], "colour": ["blue"]}),)
    (heat,) = [case for case in suite(made(), "changes-2").cases if case.id == "heat"]
    assert heat.accept == (ExpectedCall("measure", {"unit": ["C"]}),)


def test_a_request_that_cannot_be_carried_is_told() -> None:
    changes = diff(OLD, NEW)
    found = generate(OLD, NEW, changes, CallMigration(changes, NEW), ASKED, suffix="2", per_tool=2, seed=0)
    assert [(one.id, "is not one of" in one.reason) for one in found.left_out] == [("heat", True)]


def test_the_same_is_made_of_the_same() -> None:
    assert made() == made()
    assert made(seed=1) != made()
    assert len(suite(made(per_tool=2), "changes-2").cases) == 8


def test_no_change_makes_no_suite() -> None:
    changes = diff(NEW, NEW)
    found = generate(NEW, NEW, changes, CallMigration(changes, NEW), [], suffix="2", per_tool=2, seed=0)
    assert found.suites == ()


def test_stale_replies_are_counted_by_rule() -> None:
    cases = suite(made(), "changes-2")
    outcomes = [
        CaseOutcome(case.id, 0.0, "", "", case.rule, stale=case.rule == "tool-renamed")
        for case in cases.cases
    ]
    found = summarize(cases, outcomes, duration_s=1.0)
    assert found.stale == {
        "enum-narrowed": [0, 3],
        "now-required": [0, 3],
        "parameter-renamed": [0, 3],
        "tool-renamed": [3, 3],
    }
    assert SuiteResult.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_an_outcome_of_no_change_says_nothing_of_it() -> None:
    sibling = suite(made(), "siblings-2")
    found = summarize(sibling, [CaseOutcome(case.id, 1.0, "x", "") for case in sibling.cases], duration_s=1.0)
    assert found.stale == {}
    assert set(found.to_dict()["outcomes"][0]) == {"case_id", "score", "output", "detail"}


SCHEMAS = st.sampled_from(
    [
        TEXT,
        NUMBER,
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "boolean"},
        {"enum": ["a", "b"]},
        {"type": "array", "items": TEXT, "minItems": 1},
        {"type": "string", "format": "date"},
        {"type": "string", "pattern": "^[a-z]{3}$"},
        closed({"x": NUMBER}, "x"),
        {**TEXT, "description": "Default is 'cm'"},
    ]
)


@given(
    st.dictionaries(st.sampled_from(["city", "path", "unit", "n", "list_of"]), SCHEMAS, min_size=1), st.data()
)
def test_arguments_made_by_chance_are_right_and_are_said(
    schemas: dict[str, Any], data: st.DataObject
) -> None:
    needed = data.draw(st.sets(st.sampled_from(sorted(schemas))))
    (tool,) = document(function("some_tool", closed(schemas, *sorted(needed)), "Does a thing.")).tools
    give = data.draw(st.sets(st.sampled_from(sorted(schemas))))
    arguments = arguments_for(tool, random.Random(data.draw(st.integers(0, 99))), give=sorted(give))
    assert arguments is not None
    assert not validate_arguments(tool, arguments)
    assert needed | give <= set(arguments)
    text = request_for(tool, arguments, random.Random(0))
    assert "some_tool" not in text
    for value in arguments.values():
        assert not isinstance(value, str) or value in text
