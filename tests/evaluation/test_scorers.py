"""What each kind of suite counts as right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import SuiteError
from adaptman.evaluation.bfcl_rules import check_call, check_calls
from adaptman.evaluation.scorers import Score, score_reply
from adaptman.evaluation.suites import Case, ExpectedCall, SuiteKind
from adaptman.toolspec.formats import ToolCall, output_format

HERMES = output_format("hermes")
PROPERTIES: dict[str, Any] = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "height": {"type": "number"},
    "detailed": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "sizes": {"type": "array", "items": {"type": "number"}},
    "place": {"type": "object", "properties": {"lat": {"type": "number"}, "name": {"type": "string"}}},
    "stops": {"type": "array", "items": {"type": "object"}},
    "unit": {"type": ["string", "null"]},
    "any": {},
}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["city"]}


def tool(name: str, schema: dict[str, Any] = SCHEMA) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}


def case(**fields: Any) -> Case:
    return Case(id="a", messages=({"role": "user", "content": "?"},), **fields)


def score(kind: SuiteKind, one: Case, reply: str) -> Score:
    return score_reply(kind, one, reply, HERMES)


def said(*calls: ToolCall) -> str:
    return HERMES.render(calls)


def problem(arguments: dict[str, Any], accepted: dict[str, list[Any]], *, exact: bool = False) -> str:
    return check_call(ToolCall("weather", arguments), ExpectedCall("weather", accepted), SCHEMA, exact=exact)


OSLO: dict[str, list[Any]] = {"city": ["Oslo", "Oslo, Norway"]}


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        pytest.param({"city": "Oslo"}, OSLO, id="the value"),
        pytest.param({"city": "oslo norway"}, OSLO, id="case, comma and space"),
        pytest.param({"city": "O'Hare"}, {"city": ['o"hare']}, id="quotes"),
        pytest.param({"city": "a-b_c.d/e*f^g"}, {"city": ["abcdefg"]}, id="punctuation"),
        pytest.param({"city": "Oslo"}, {**OSLO, "days": ["", 1]}, id="left out"),
        pytest.param({"city": "Oslo", "days": 1}, {**OSLO, "days": ["", 1]}, id="given though optional"),
        pytest.param({"city": "Oslo", "height": 5}, {**OSLO, "height": [5.0]}, id="int for a number"),
        pytest.param({"city": "Oslo", "detailed": True}, {**OSLO, "detailed": [True]}, id="boolean"),
        pytest.param(
            {"city": "Oslo", "tags": ["A b", "c"]}, {**OSLO, "tags": [["x"], ["ab", "C"]]}, id="list"
        ),
        pytest.param(
            {"city": "Oslo", "sizes": [1, 2.5]}, {**OSLO, "sizes": [[1.0, 2.5]]}, id="list of numbers"
        ),
        pytest.param({"city": "Oslo", "tags": []}, {**OSLO, "tags": [[]]}, id="empty list"),
        pytest.param(
            {"city": "Oslo", "place": {"lat": 1}},
            {**OSLO, "place": [{"lat": [1.0, 2.0], "name": ["Oslo", ""]}]},
            id="object",
        ),
        pytest.param(
            {"city": "Oslo", "stops": [{"name": "A"}, {"name": "b"}]},
            {**OSLO, "stops": [[{"name": ["a"]}, {"name": ["B", "c"]}]]},
            id="list of objects",
        ),
        pytest.param({"city": "Oslo", "days": "n_days"}, {**OSLO, "days": ["n_days"]}, id="a variable"),
        pytest.param({"city": "Oslo", "unit": None}, {**OSLO, "unit": [None, "C"]}, id="null of a union"),
        pytest.param({"city": "Oslo", "any": [1]}, {**OSLO, "any": [[1]]}, id="no declared type"),
    ],
)
def test_a_right_call(arguments: dict[str, Any], accepted: dict[str, list[Any]]) -> None:
    assert problem(arguments, accepted) == ""


@pytest.mark.parametrize(
    ("arguments", "accepted", "told"),
    [
        pytest.param(
            {"city": "Bergen"}, OSLO, "`city`: `Bergen` is not an accepted value", id="another value"
        ),
        pytest.param({}, OSLO, "`city` is left out", id="required"),
        pytest.param(
            {}, {"city": ["", "Oslo"]}, "`city` is left out", id="required though accepted as left out"
        ),
        pytest.param(
            {"city": "Oslo"}, {**OSLO, "days": [1]}, "`days` is left out", id="optional but expected"
        ),
        pytest.param({"city": "Oslo", "days": 1}, OSLO, "unexpected parameter `days`", id="unexpected"),
        pytest.param(
            {"city": "Oslo", "days": 1.0},
            {**OSLO, "days": [1]},
            "`days`: number where integer",
            id="float for an int",
        ),
        pytest.param(
            {"city": "Oslo", "days": True},
            {**OSLO, "days": [1]},
            "`days`: boolean where integer",
            id="bool for an int",
        ),
        pytest.param(
            {"city": "Oslo", "height": True},
            {**OSLO, "height": [1.0]},
            "`height`: boolean where",
            id="bool for a number",
        ),
        pytest.param(
            {"city": "Oslo", "days": "1"},
            {**OSLO, "days": [1]},
            "`days`: string where integer",
            id="text for an int",
        ),
        pytest.param(
            {"city": "Oslo", "tags": "ab"},
            {**OSLO, "tags": [["ab"]]},
            "`tags`: string where array",
            id="text for a list",
        ),
        pytest.param(
            {"city": "Oslo", "tags": ["c", "ab"]},
            {**OSLO, "tags": [["ab", "c"]]},
            "`tags`: ",
            id="order in a list",
        ),
        pytest.param(
            {"city": "Oslo", "tags": [1]}, {**OSLO, "tags": [["1"]]}, "`tags`: an element", id="element type"
        ),
        pytest.param(
            {"city": "Oslo", "sizes": [True]},
            {**OSLO, "sizes": [[1]]},
            "`sizes`: an element",
            id="bool in a list",
        ),
        pytest.param(
            {"city": "Oslo", "place": {"lat": 1, "x": 2}},
            {**OSLO, "place": [{"lat": [1]}]},
            "`place`: ",
            id="strange key",
        ),
        pytest.param(
            {"city": "Oslo", "place": {}}, {**OSLO, "place": [{"lat": [1]}]}, "`place`: ", id="key left out"
        ),
        pytest.param({"city": "Oslo", "any": True}, {**OSLO, "any": [1]}, "`any`: ", id="bool is not 1"),
        pytest.param(
            {"city": "Oslo", "days": "N days"},
            {**OSLO, "days": ["n_days"]},
            "`days`: ",
            id="a variable is exact",
        ),
    ],
)
def test_a_wrong_call(arguments: dict[str, Any], accepted: dict[str, list[Any]], told: str) -> None:
    assert problem(arguments, accepted).startswith(told)


def test_names_are_exact() -> None:
    found = check_call(ToolCall("Weather", {"city": "Oslo"}), ExpectedCall("weather", OSLO), SCHEMA)
    assert found == "called `Weather`, expected `weather`"


def test_exact_comparison_strips_nothing() -> None:
    assert problem({"city": "oslo"}, OSLO, exact=True)
    assert not problem({"city": "Oslo"}, OSLO, exact=True)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(min_size=1), values, max_size=4), st.booleans())
def test_a_call_is_right_where_its_own_values_are_accepted(arguments: dict[str, Any], exact: bool) -> None:
    schema = {"type": "object", "properties": {}}
    wanted = ExpectedCall("f", {name: [value] for name, value in arguments.items()})
    assert check_call(ToolCall("f", arguments), wanted, schema, exact=exact) == ""


@given(values, values, st.sampled_from([SCHEMA, {}, {"properties": {"city": {"type": "string"}}}]))
def test_any_value_is_judged(value: Any, accepted: Any, schema: dict[str, Any]) -> None:
    calls, wanted = [ToolCall("weather", {"city": value})], [ExpectedCall("weather", {"city": [accepted]})]
    assert isinstance(check_calls(calls, wanted, [tool("weather", schema)]), str)


def test_parallel_calls_come_in_any_order() -> None:
    tools = [tool("weather")]
    wide, narrow = (
        ExpectedCall("weather", {"city": ["Oslo", "Rome"]}),
        ExpectedCall("weather", {"city": ["Oslo"]}),
    )
    rome, oslo = ToolCall("weather", {"city": "Rome"}), ToolCall("weather", {"city": "Oslo"})
    for accept in ([wide, narrow], [narrow, wide]):
        assert check_calls([rome, oslo], accept, tools) == ""
        assert check_calls([oslo, rome], accept, tools) == ""
    assert check_calls([rome, rome], [wide, narrow], tools) == "no call fits the expected `weather`"
    assert check_calls([oslo], [wide, narrow], tools) == "1 call where 2 calls were expected"


TARGET = case(tools=(tool("weather"), tool("news")), accept=(ExpectedCall("weather", OSLO),))
RIGHT = ToolCall("weather", {"city": "Oslo"})


@pytest.mark.parametrize("kind", [SuiteKind.TARGET, SuiteKind.TOOLS])
def test_target_and_tools(kind: SuiteKind) -> None:
    assert score(kind, TARGET, said(RIGHT)) == Score(1.0, "")
    assert score(kind, TARGET, "Let me see.\n" + said(RIGHT)).value == 1.0
    assert score(kind, TARGET, "Oslo is cold.") == Score(0.0, "no call where 1 call was expected")
    assert score(kind, TARGET, said(RIGHT, RIGHT)).value == 0.0
    assert score(kind, TARGET, said(ToolCall("news", {"city": "Oslo"}))).value == 0.0
    assert score(kind, TARGET, said(RIGHT) + "\n<tool_call>\n{").detail.startswith("malformed call: ")


def test_irrelevance() -> None:
    one = case(tools=(tool("weather"),))
    assert score(SuiteKind.IRRELEVANCE, one, "I cannot help with that.").value == 1.0
    assert score(SuiteKind.IRRELEVANCE, one, said(RIGHT)) == Score(
        0.0, "called `weather`, which does not fit"
    )
    removed = score(SuiteKind.IRRELEVANCE, one, said(ToolCall("old_weather", {})))
    assert removed == Score(0.0, "called `old_weather`, which is not in the document")
    assert score(SuiteKind.IRRELEVANCE, one, "<tool_call>\n{broken").value == 0.0


def test_irrelevance_where_a_shown_tool_may_be_called() -> None:
    one = case(tools=(tool("weather"),), calls="shown")
    assert score(SuiteKind.IRRELEVANCE, one, "That is gone.").value == 1.0
    assert score(SuiteKind.IRRELEVANCE, one, said(RIGHT, RIGHT)).value == 1.0
    removed = score(SuiteKind.IRRELEVANCE, one, said(RIGHT, ToolCall("old_weather", {})))
    assert removed == Score(0.0, "called `old_weather`, which is not in the document")
    assert score(SuiteKind.IRRELEVANCE, one, said(RIGHT) + "<tool_call>\n{broken").value == 0.0


def test_a_parameter_that_the_tool_lacks_is_never_right() -> None:
    accepted: dict[str, list[Any]] = {"city": ["Oslo"], "mood": ["good", ""]}
    assert problem({"city": "Oslo"}, accepted) == ""
    assert problem({"city": "Oslo", "mood": "good"}, accepted) == "unexpected parameter `mood`"
    open_ended = {**SCHEMA, "additionalProperties": {"type": "string"}}
    call, wanted = ToolCall("weather", {"city": "Oslo", "mood": "good"}), ExpectedCall("weather", accepted)
    assert check_call(call, wanted, open_ended) == ""


def test_format() -> None:
    one = case(tools=(tool("weather"),))
    assert score(SuiteKind.FORMAT, one, said(ToolCall("weather", {"city": "anywhere"}))).value == 1.0
    assert score(SuiteKind.FORMAT, one, "no call at all") == Score(0.0, "no call")
    assert score(SuiteKind.FORMAT, one, said(ToolCall("weather", {"days": 1}))).value == 0.0
    assert score(SuiteKind.FORMAT, one, said(ToolCall("weather", {"city": 1}))).detail.startswith(
        "`weather`, `city`"
    )
    assert score(SuiteKind.FORMAT, one, said(ToolCall("news", {}))).value == 0.0
    assert score(SuiteKind.FORMAT, one, said(RIGHT) + "\n<tool_call>\n{").value == 0.0


def test_format_with_accepted_calls_compares_to_the_letter() -> None:
    one = case(tools=(tool("weather"),), accept=(ExpectedCall("weather", {"city": ["2024-05-01"]}),))
    assert score(SuiteKind.FORMAT, one, said(ToolCall("weather", {"city": "2024-05-01"}))).value == 1.0
    assert score(SuiteKind.FORMAT, one, said(ToolCall("weather", {"city": "2024/05/01"}))).value == 0.0
    assert score(SuiteKind.TARGET, one, said(ToolCall("weather", {"city": "2024/05/01"}))).value == 1.0


def test_general() -> None:
    one = case(answers=("Paris", "the French capital"))
    assert score(SuiteKind.GENERAL, one, "It is Paris.").value == 1.0
    assert score(SuiteKind.GENERAL, one, "The French capital!").value == 1.0
    assert score(SuiteKind.GENERAL, one, "It is Rome.") == Score(
        0.0, "expected `Paris` or `the French capital`"
    )
    called = score(SuiteKind.GENERAL, one, "It is Paris.\n" + said(RIGHT))
    assert called == Score(0.0, "called `weather` where an answer was expected")
    assert score(SuiteKind.GENERAL, one, "It is Paris. <tool_call>\n{").value == 0.0


def test_drift_is_not_scored_by_a_reply() -> None:
    with pytest.raises(SuiteError, match="`drift` is not scored by a reply"):
        score(SuiteKind.DRIFT, case(), "text")


@given(st.text(), st.sampled_from([kind for kind in SuiteKind if kind is not SuiteKind.DRIFT]))
def test_any_reply_is_scored(reply: str, kind: SuiteKind) -> None:
    one = case(tools=(tool("weather"),), accept=(ExpectedCall("weather", OSLO),), answers=("Paris",))
    found = score(kind, one, f"<tool_call>\n{reply}\n</tool_call>" if len(reply) % 2 else reply)
    assert (found.value == 1.0) == (found.detail == "")


@given(st.dictionaries(st.sampled_from([*PROPERTIES, "other"]), values, max_size=4))
def test_any_call_is_scored(arguments: dict[str, Any]) -> None:
    line = json.dumps({"name": "weather", "arguments": arguments})
    reply = f"<tool_call>\n{line}\n</tool_call>"
    assert score(SuiteKind.TARGET, TARGET, reply).value in (0.0, 1.0)
    assert score(SuiteKind.FORMAT, TARGET, reply).value in (0.0, 1.0)
