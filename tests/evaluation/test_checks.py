"""What a check asks of a reply, and scorers that other packages bring."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import SuiteError
from adaptman.evaluation.checks import check_problem, scorer_versions
from adaptman.evaluation.scorers import score_reply
from adaptman.evaluation.suites import Case, Suite, SuiteKind, is_binary, read_suite
from adaptman.toolspec.formats import ToolCall, output_format
from tests.evaluation.scorer_plugin import MODULE, forget, install

HERMES = output_format("hermes")
PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


@pytest.mark.parametrize(
    ("check", "reply"),
    [
        ({"contains": "C++"}, "Use C++."),
        ({"regex": r"^\d{3}-\d{4}$"}, "555-1234"),
        ({"regex": "colou?r"}, "the color red"),
        ({"json_schema": PERSON}, ' {"age": 5} '),
        ({"json_schema": True}, "null"),
        ({"equals": "Oslo"}, " Oslo\n"),
        ({"equals": {"a": [1, 2.0]}}, '{"a": [1.0, 2]}'),
        ({"equals": 0}, "0"),
        ({"contains": "a", "regex": "b$"}, "ab"),
    ],
)
def test_a_reply_that_holds(check: dict[str, Any], reply: str) -> None:
    assert check_problem(check, reply) == ""


@pytest.mark.parametrize(
    ("check", "reply", "told"),
    [
        ({"contains": "C++"}, "c++", "`C++` is not in it"),
        ({"regex": "^a$"}, "b", "`^a$` does not fit"),
        ({"regex": "a{900}"}, "a" * 6000, "cannot be checked: the text of 6000 characters is too long"),
        ({"json_schema": PERSON}, "five", "not JSON"),
        ({"json_schema": PERSON}, '{"age": 1, "age": 2}', "not JSON"),
        ({"json_schema": PERSON}, '{"age": "5"}', "does not fit the schema: '5' is not of type 'integer'"),
        ({"json_schema": PERSON}, "[" * 5000, "not JSON"),
        ({"equals": "Oslo"}, "oslo", "expected `Oslo`"),
        ({"equals": 1}, "true", "expected `1`"),
        ({"equals": [1, 2]}, "[2, 1]", "expected `[1, 2]`"),
        ({"equals": {"a": None}}, "{}", 'expected `{"a": null}`'),
        ({"contains": "a", "regex": "b$"}, "ac", "`b$` does not fit"),
    ],
)
def test_a_reply_that_does_not_hold(check: dict[str, Any], reply: str, told: str) -> None:
    assert told in check_problem(check, reply)


@given(
    st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), st.lists, max_leaves=5)
)
def test_a_json_value_equals_itself_as_it_is_written(value: Any) -> None:
    if not isinstance(value, str):
        assert check_problem({"equals": value}, json.dumps(value, indent=1)) == ""


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|aa)+$", "^(a|a?)+$"])
def test_no_pattern_runs_away(pattern: str) -> None:
    began = time.perf_counter()
    assert check_problem({"regex": pattern}, "a" * 3000 + "!") != ""
    assert check_problem({"json_schema": {"pattern": pattern}}, json.dumps("a" * 3000 + "!")) != ""
    assert time.perf_counter() - began < 2


def suite(*conditions: dict[str, Any]) -> Suite:
    lines = [
        {"id": f"c{at}", "messages": [{"role": "user", "content": "?"}], "check": condition}
        for at, condition in enumerate(conditions)
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    return read_suite(data, name="mine", kind=SuiteKind.CUSTOM, origin="mine.jsonl")


def score(check: dict[str, Any], reply: str) -> float:
    return score_reply(SuiteKind.CUSTOM, suite(check).cases[0], reply, HERMES).value


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with an installed distribution that brings scorers."""
    (tmp_path / f"{MODULE}.py").write_text(
        "def brief(case, reply, calls):\n"
        "    most = case.check['expected']['words']\n"
        "    return min(1.0, most / max(1, len(reply.split())))\n"
        "def calls(case, reply, calls): return len(calls) / 2\n"
        "def broken(case, reply, calls): raise KeyError('words')\n"
        "def beyond(case, reply, calls): return 1.5\n"
        "def text(case, reply, calls): return 'good'\n"
        "number = 5\n"
    )
    install(tmp_path, "zz-plugin", "1.2", ["brief", "calls", "broken", "beyond", "text", "number", "missing"])
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield tmp_path
    forget()


def test_an_installed_scorer_gives_graded_scores(plugins: Path) -> None:
    check = {"scorer": "brief", "expected": {"words": 2}}
    assert [score(check, reply) for reply in ("Oslo", "in the North", "a b c d")] == [1.0, 2 / 3, 0.5]
    assert score({"scorer": "calls"}, HERMES.render([ToolCall("weather", {})])) == 0.5


def test_its_distribution_and_version_are_named(plugins: Path) -> None:
    found = scorer_versions(
        suite({"scorer": "brief", "expected": {}}, {"scorer": "calls"}, {"contains": "x"})
    )
    assert found == {"brief": "zz-plugin 1.2", "calls": "zz-plugin 1.2"}
    assert scorer_versions(suite({"contains": "x"})) == {}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("broken", "case `c0`: the scorer `broken` failed: KeyError: 'words'"),
        ("beyond", "case `c0`: the scorer `beyond` gave 1.5, a score is from 0 to 1"),
        ("text", "case `c0`: the scorer `text` failed: ValueError"),
        ("number", "the scorer `number` (`zz_plugin:number`) cannot be called"),
        ("missing", "the scorer `missing` (`zz_plugin:missing`) cannot be loaded"),
        ("nobody", "the scorer `nobody` is not installed"),
    ],
)
def test_a_scorer_that_does_not_do_is_named(plugins: Path, name: str, told: str) -> None:
    with pytest.raises(SuiteError) as caught:
        score({"scorer": name}, "x")
    assert caught.value.message.startswith(told)


def test_a_missing_scorer_is_told_with_those_that_are_there(plugins: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        scorer_versions(suite({"scorer": "nobody"}))
    assert "`brief`, `broken`" in caught.value.hint


def test_two_scorers_of_one_name_are_refused(plugins: Path) -> None:
    install(plugins, "zz-other", "3", ["brief"])
    with pytest.raises(SuiteError, match="more than one scorer `brief`: "):
        scorer_versions(suite({"scorer": "brief", "expected": {}}))


def test_a_case_of_choices_is_not_scored_by_a_reply() -> None:
    one = Case(id="a", messages=({"role": "user", "content": "?"},), choices=("a", "b"), answer="a")
    with pytest.raises(SuiteError, match="by the likelihood of its choices"):
        score_reply(SuiteKind.GENERAL, one, "a", HERMES)


def test_a_graded_metric_is_compared_by_a_bootstrap() -> None:
    assert not is_binary("mean_score")
    assert not is_binary("nats_per_token")
    assert is_binary("pass_rate")
