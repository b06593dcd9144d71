"""Suites are read strictly: what is wrong is named by file, line and field."""

from __future__ import annotations

import json
import random
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import SuiteError
from adaptman.evaluation.suites import (
    MAX_BYTES,
    MAX_CASES,
    Case,
    ExpectedCall,
    Suite,
    SuiteKind,
    is_binary,
    read_suite,
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
ASK = [{"role": "user", "content": "How is the weather in Oslo?"}]
SAMPLE = [*ASK, {"role": "assistant", "content": "Cold."}]
ACCEPT = [{"name": "weather", "arguments": {"city": ["Oslo"], "days": ["", 1]}}]

GOOD: dict[SuiteKind, dict[str, Any]] = {
    SuiteKind.TARGET: {"id": "a", "messages": ASK, "tools": [WEATHER], "accept": ACCEPT},
    SuiteKind.TOOLS: {"id": "a", "messages": ASK, "tools": [WEATHER], "accept": ACCEPT},
    SuiteKind.IRRELEVANCE: {"id": "a", "messages": ASK, "tools": [WEATHER]},
    SuiteKind.FORMAT: {"id": "a", "messages": ASK, "tools": [WEATHER]},
    SuiteKind.GENERAL: {"id": "a", "messages": ASK, "answers": ["cold"], "match": "contains"},
    SuiteKind.DRIFT: {"id": "a", "messages": SAMPLE},
    SuiteKind.CUSTOM: {"id": "a", "messages": ASK, "check": {"contains": "cold"}},
    SuiteKind.CONTEXT: {"id": "a", "messages": ASK, "tools": [WEATHER], "accept": ACCEPT},
}
CHOICE = {"id": "a", "messages": ASK, "choices": ["cold", "warm"], "answer": "cold"}
kinds = pytest.mark.parametrize("kind", list(SuiteKind))


def read(*cases: dict[str, Any], kind: SuiteKind = SuiteKind.GENERAL) -> Suite:
    return read_bytes("\n".join(json.dumps(case) for case in cases).encode(), kind)


def read_bytes(data: bytes, kind: SuiteKind = SuiteKind.GENERAL) -> Suite:
    return read_suite(data, name="mine", kind=kind, origin="mine.jsonl")


@kinds
def test_a_case_of_each_kind_is_read(kind: SuiteKind) -> None:
    suite = read(GOOD[kind], {**GOOD[kind], "id": "b", "known_wrong": True}, kind=kind)
    assert (suite.name, suite.kind, [case.id for case in suite.cases]) == ("mine", kind, ["a", "b"])
    assert [case.known_wrong for case in suite.cases] == [False, True]
    assert suite.higher_is_better == (kind is not SuiteKind.DRIFT)
    assert suite.metric


def test_a_case_holds_what_the_line_says() -> None:
    case = read(GOOD[SuiteKind.TARGET], kind=SuiteKind.TARGET).cases[0]
    expected = ExpectedCall("weather", {"city": ["Oslo"], "days": ["", 1]})
    assert case == Case(id="a", messages=tuple(ASK), tools=(WEATHER,), accept=(expected,))


def test_choices_stand_beside_answers_in_one_suite() -> None:
    cases = read(GOOD[SuiteKind.GENERAL], {**CHOICE, "id": "b"}).cases
    assert [(case.answers, case.choices, case.answer) for case in cases] == [
        (("cold",), (), ""),
        ((), ("cold", "warm"), "cold"),
    ]


HEADER = {"suite": {"check": {"contains": "cold"}}}


def test_the_first_line_of_a_custom_suite_is_for_all_cases_without_a_check() -> None:
    bare = {key: value for key, value in GOOD[SuiteKind.CUSTOM].items() if key != "check"}
    own = {**bare, "id": "b", "check": {"equals": 5}}
    suite = read(HEADER, bare, own, kind=SuiteKind.CUSTOM)
    assert [case.check for case in suite.cases] == [{"contains": "cold"}, {"equals": 5}]
    assert suite.digest == read(GOOD[SuiteKind.CUSTOM], own, kind=SuiteKind.CUSTOM).digest


def test_a_scorer_makes_a_suite_graded() -> None:
    scored = {**GOOD[SuiteKind.CUSTOM], "id": "b", "check": {"scorer": "length", "expected": {"most": 3}}}
    suites = [
        read(GOOD[SuiteKind.CUSTOM], kind=SuiteKind.CUSTOM),
        read(GOOD[SuiteKind.CUSTOM], scored, kind=SuiteKind.CUSTOM),
    ]
    assert [suite.metric for suite in suites] == ["pass_rate", "mean_score"]
    assert [is_binary(suite.metric) for suite in suites] == [True, False]


@kinds
def test_the_schema_file_describes_every_kind(kind: SuiteKind) -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads((files("adaptman.evaluation") / "suite.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(GOOD[kind])
    assert Draft202012Validator(schema).is_valid(HEADER)
    assert kind.value in schema["$defs"]


WITHOUT_TOOL = [{"name": "news", "arguments": {}}]
BAD: list[Any] = [
    pytest.param(
        "general", {"accept": ACCEPT}, "`accept`: has no meaning in a case of kind `general`", id="accept"
    ),
    pytest.param("general", {"colour": 1}, "`colour`: not a known key", id="unknown key"),
    pytest.param("general", {"answers": []}, "`answers`: at least 1 needed", id="no answers"),
    pytest.param(
        "general", {"answers": ["?!"]}, "`answers[0]`: `?!` has no letter or digit", id="punctuation"
    ),
    pytest.param("general", {"answers": "x"}, "`answers`: a list was expected", id="not a list"),
    pytest.param(
        "general", {"match": "like"}, "`match`: one of `contains`, `normalized`, `exact`", id="match"
    ),
    pytest.param(
        "general", {"known_wrong": 1}, "`known_wrong`: `true` or `false` was expected", id="not a bool"
    ),
    pytest.param("general", {"id": ""}, "`id`: is empty", id="empty id"),
    pytest.param("general", {"id": 3}, "`id`: text was expected", id="numeric id"),
    pytest.param("general", {"messages": []}, "`messages`: at least 1 needed", id="no messages"),
    pytest.param(
        "general", {"messages": SAMPLE}, "`messages[1].role`: `assistant`: the last message", id="answered"
    ),
    pytest.param(
        "general", {"messages": [{"role": "user"}]}, "`messages[0].content`: missing", id="no content"
    ),
    pytest.param(
        "general", {"messages": [{**ASK[0], "name": 1}]}, "`messages[0].name`: not a known", id="name"
    ),
    pytest.param(
        "general", {"messages": [{"role": "human", "content": "x"}]}, "`messages[0].role`: one of", id="role"
    ),
    pytest.param("target", {"accept": None}, "`accept`: a list was expected", id="null"),
    pytest.param(
        "target", {"accept": WITHOUT_TOOL}, "`accept[0].name`: `news` is not among", id="strange call"
    ),
    pytest.param(
        "target", {"accept": [{"name": "weather"}]}, "`accept[0].arguments`: missing", id="no arguments"
    ),
    pytest.param(
        "target",
        {"accept": [{"name": "weather", "arguments": {"city": "Oslo"}}]},
        "`accept[0].arguments.city`: a list was expected",
        id="one value",
    ),
    pytest.param("target", {"tools": [WEATHER, WEATHER]}, "`tools`: ", id="two tools of one name"),
    pytest.param(
        "target", {"tools": [{"name": "weather"}]}, "`tools[0].type`: missing", id="not the OpenAI form"
    ),
    pytest.param("irrelevance", {"accept": ACCEPT}, "`accept`: has no meaning", id="accepted irrelevance"),
    pytest.param("irrelevance", {"calls": "any"}, "`calls`: one of `none`, `shown`", id="calls"),
    pytest.param("general", {"calls": "none"}, "`calls`: has no meaning", id="calls elsewhere"),
    pytest.param(
        "general", {"choices": ["a", "b"], "answer": "a"}, "`answers`: has no meaning", id="both forms"
    ),
    pytest.param("general", {"choices": ["a", "b"]}, "`answer`: missing", id="no answer"),
    pytest.param("custom", {"check": {}}, "`check`: at least 1 needed", id="empty check"),
    pytest.param("custom", {"check": {"like": "x"}}, "`check.like`: not a known key", id="unknown check"),
    pytest.param("custom", {"check": {"regex": "("}}, "`check.regex`: cannot be used", id="broken regex"),
    pytest.param("custom", {"check": {"regex": "(?=a)"}}, "`check.regex`: cannot be used", id="look-ahead"),
    pytest.param(
        "custom",
        {"check": {"json_schema": {"type": "text"}}},
        "`check.json_schema`: not a JSON Schema",
        id="schema",
    ),
    pytest.param(
        "custom",
        {"check": {"json_schema": {"properties": {"a": {"pattern": "(?<!a)"}}}}},
        "`check.json_schema`: a pattern cannot be used",
        id="schema's pattern",
    ),
    pytest.param(
        "custom",
        {"check": {"json_schema": {"$ref": "https://example.org/x.json"}}},
        "`check.json_schema`: cannot be used: a reference leads nowhere",
        id="schema elsewhere",
    ),
    pytest.param(
        "custom",
        {"check": {"scorer": "x", "regex": "y"}},
        "`check.regex`: cannot stand beside",
        id="scorer and check",
    ),
    pytest.param(
        "custom",
        {"check": {"contains": "x", "expected": 1}},
        "`check.expected`: has a meaning only",
        id="expected",
    ),
    pytest.param("target", {"check": {"contains": "x"}}, "`check`: has no meaning", id="check elsewhere"),
    pytest.param("drift", {"messages": ASK}, "`messages`: at least 2 needed", id="nothing to score"),
    pytest.param(
        "drift", {"messages": [*ASK, *ASK]}, "`messages[1].role`: `user`: the last message", id="unanswered"
    ),
    pytest.param(
        "drift",
        {"messages": [*ASK, {"role": "assistant", "content": " "}]},
        "`messages[1].content`: is empty",
        id="blank sample",
    ),
]


@pytest.mark.parametrize(("kind", "change", "told"), BAD)
def test_a_wrong_field_is_named(kind: str, change: dict[str, Any], told: str) -> None:
    good = GOOD[SuiteKind(kind)]
    with pytest.raises(SuiteError) as caught:
        read({**good, "id": "first"}, {**good, **change}, kind=SuiteKind(kind))
    assert caught.value.message.startswith(f"`mine.jsonl`, line 2, {told}")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"answer": "hot"}, "`answer`: `hot` is not one of the choices"),
        ({"choices": ["cold", "cold"]}, "`choices[1]`: `cold` stands there twice"),
        ({"choices": ["cold", " "]}, "`choices[1]`: is empty"),
        ({"choices": ["cold"]}, "`choices`: at least 2 needed"),
        ({"match": "exact"}, "`match`: has no meaning"),
    ],
)
def test_a_wrong_choice_is_named(change: dict[str, Any], told: str) -> None:
    with pytest.raises(SuiteError) as caught:
        read({**CHOICE, **change})
    assert caught.value.message.startswith(f"`mine.jsonl`, line 1, {told}")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"suite": {}}, "`suite.check`: missing"),
        ({"suite": {"check": {"contains": 1}}}, "`suite.check.contains`: text was expected"),
        ({"suite": {"check": {}, "name": "x"}}, "`suite."),
    ],
)
def test_a_wrong_first_line_is_named(header: dict[str, Any], told: str) -> None:
    with pytest.raises(SuiteError) as caught:
        read(header, GOOD[SuiteKind.CUSTOM], kind=SuiteKind.CUSTOM)
    assert caught.value.message.startswith(f"`mine.jsonl`, line 1, {told}")


def test_only_a_custom_suite_has_such_a_line() -> None:
    with pytest.raises(SuiteError, match=r"line 1, `(suite`: not a known key|id`: missing)"):
        read(HEADER, GOOD[SuiteKind.GENERAL])
    with pytest.raises(SuiteError, match="holds no cases"):
        read(HEADER, kind=SuiteKind.CUSTOM)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (kind, key)
        for kind, case in GOOD.items()
        for key in case
        if key != "match" and (kind, key) != ("irrelevance", "tools")
    ],
)
def test_a_missing_field_is_named(kind: SuiteKind, key: str) -> None:
    case = {name: value for name, value in GOOD[kind].items() if name != key}
    with pytest.raises(SuiteError, match=rf"line 1, `{key}`: missing, a case of kind `{kind}` needs it"):
        read(case, kind=kind)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "not JSON"),
        (b"[]", "an object was expected"),
        (b"\xff", "not UTF-8"),
        (b'{"id": NaN}', "NaN"),
        (b'{"id": "a", "id": "b"}', "the key `id` stands twice"),
        (b'{"id": "\\ud800"}', "surrogate"),
        (b'{"id": ' + b"[" * 200 + b"]" * 200 + b"}", "nested"),
        (b'{"id": ' + b"[" * 100_000, "nested"),
        (b'{"id": ' + b"9" * 5000 + b"}", "too large"),
    ],
    ids=[
        "cut off",
        "a list",
        "not UTF-8",
        "NaN",
        "key twice",
        "half a pair",
        "deep",
        "very deep",
        "huge number",
    ],
)
def test_a_line_that_is_not_a_case_is_named(line: bytes, told: str) -> None:
    with pytest.raises(SuiteError, match=told) as caught:
        read_bytes(json.dumps(GOOD[SuiteKind.GENERAL]).encode() + b"\n\n" + line)
    assert caught.value.message.startswith("`mine.jsonl`, line 3")


def test_an_id_twice_is_named_with_its_first_line() -> None:
    case = GOOD[SuiteKind.GENERAL]
    with pytest.raises(SuiteError, match=r"line 2, `id`: `a` stands in line 1 already"):
        read(case, case)


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_no_suite(data: bytes) -> None:
    with pytest.raises(SuiteError, match=r"`mine.jsonl` holds no cases"):
        read_bytes(data)


def test_sizes_are_bounded() -> None:
    with pytest.raises(SuiteError, match="at most 8388608 are read"):
        read_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(SuiteError, match=f"more than {MAX_CASES} cases"):
        read_bytes(b"{}\n" * (MAX_CASES + 1))


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same value with its keys in another order, but for `tools`, which the model reads as written."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: value[key] if key == "tools" else shuffled(value[key], rng) for key in keys}
    return [shuffled(part, rng) for part in value] if isinstance(value, list) else value


@given(st.sampled_from(list(SuiteKind)), st.randoms(use_true_random=False), st.booleans())
def test_key_order_blank_lines_and_line_ends_do_not_change_the_digest(
    kind: SuiteKind, rng: random.Random, windows: bool
) -> None:
    cases = [{**GOOD[kind], "id": name} for name in ("a", "b", "ç")]
    end = "\r\n" if windows else "\n"
    lines = [
        json.dumps(shuffled(case, rng), ensure_ascii=rng.random() < 0.5) + end * rng.randint(1, 3)
        for case in cases
    ]
    again = read_bytes((end * rng.randint(0, 2) + "".join(lines)).encode(), kind)
    assert again.digest == read(*cases, kind=kind).digest


def test_what_is_asked_changes_the_digest() -> None:
    case = GOOD[SuiteKind.TARGET]
    function = WEATHER["function"]
    turned = {"function": function, "type": "function"}
    other = [{**ASK[0], "content": "?"}]
    digests = [
        read(case, kind=SuiteKind.TARGET).digest,
        read(case, kind=SuiteKind.TOOLS).digest,
        read({**case, "id": "b"}, kind=SuiteKind.TARGET).digest,
        read({**case, "messages": other}, kind=SuiteKind.TARGET).digest,
        read({**case, "tools": [turned]}, kind=SuiteKind.TARGET).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert len(digests[0]) == 64
