"""A call's problems: the field, and what is wrong with it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.validate import CallProblem, field_path, validate_call
from tests.toolspec.documents import closed, document, function, one

TEXT = {"type": "string"}
WEATHER = closed(
    {
        "city": {**TEXT, "minLength": 2},
        "unit": {"enum": ["celsius", "kelvin"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7, "multipleOf": 1},
        "on": {**TEXT, "format": "date"},
        "code": {**TEXT, "pattern": "^[A-Z]{3}$"},
        "tags": {"type": "array", "items": TEXT, "maxItems": 3},
        "at": closed({"lat": {"type": "number"}, "lon": {"type": "number"}}, "lat", "lon"),
        "target": {"anyOf": [closed({"id": {"type": "integer"}}, "id"), closed({"name": TEXT}, "name")]},
        "odd.name": TEXT,
    },
    "city",
)


def problems(**arguments: Any) -> list[tuple[str, str]]:
    """What is wrong with a call of `act` with a city and these arguments."""
    return [
        (p.path, p.message)
        for p in validate_call(one(WEATHER), ToolCall("act", {"city": "Rom", **arguments}))
    ]


def test_a_right_call_has_no_problems() -> None:
    right = {"unit": "kelvin", "days": 7, "on": "2024-02-29", "code": "ABC", "tags": ["a"]}
    assert problems(**right, at={"lat": 1, "lon": 2.5}, target={"name": "x"}) == []


@pytest.mark.parametrize(
    ("arguments", "path", "message"),
    [
        ({"city": "R"}, "city", '"R" is shorter than 2 characters'),
        ({"city": 3}, "city", "3 is not of type string"),
        ({"unit": "kelvins"}, "unit", '"kelvins" is not one of ["celsius","kelvin"]'),
        ({"days": 0}, "days", "0 is below 1"),
        ({"days": 8}, "days", "8 is above 7"),
        ({"days": True}, "days", "true is not of type integer"),
        ({"days": 1.5}, "days", "1.5 is not of type integer"),
        ({"on": "tomorrow"}, "on", '"tomorrow" is not in the format "date"'),
        ({"on": "2023-02-29"}, "on", '"2023-02-29" is not in the format "date"'),
        ({"code": "abc"}, "code", '"abc" does not match the pattern "^[A-Z]{3}$"'),
        ({"tags": ["a", 1]}, "tags[1]", "1 is not of type string"),
        ({"tags": ["a"] * 4}, "tags", '["a","a","a","a"] has more than 3 items'),
        ({"at": {"lat": 1}}, "at.lon", "is required"),
        ({"at": {"lat": 1, "lon": 2, "alt": 3}}, "at.alt", "is not a property here"),
        ({"target": {"id": "x"}}, "target.id", '"x" is not of type integer'),
        ({"odd.name": 1}, '["odd.name"]', "1 is not of type string"),
        ({"country": "IT"}, "country", "is not a parameter of the tool"),
    ],
)
def test_the_field_is_named(arguments: dict[str, Any], path: str, message: str) -> None:
    assert (path, message) in problems(**arguments)


def test_what_is_missing_is_named() -> None:
    assert validate_call(one(WEATHER), ToolCall("act", {})) == [CallProblem("city", "is required")]


def test_an_unknown_tool_and_its_neighbour() -> None:
    tools = document(function("get_weather", {}), function("send_mail", {}))
    assert validate_call(tools, ToolCall("get_wether", {})) == [
        CallProblem("", "there is no tool `get_wether`; did you mean `get_weather`")
    ]
    assert validate_call(tools, ToolCall("zzz", {})) == [CallProblem("", "there is no tool `zzz`")]


def test_all_problems_are_told_up_to_a_bound() -> None:
    found = problems(days=9, unit="x")
    assert [path for path, _ in found] == ["unit", "days"] or [path for path, _ in found] == ["days", "unit"]
    assert len(problems(**{f"x{number}": 1 for number in range(500)})) == 50


def test_long_values_are_cut_short() -> None:
    ((_, message),) = problems(unit="x" * 10_000)
    assert len(message) < 200


def test_recursive_values_are_checked_to_the_bottom() -> None:
    node = closed({"value": TEXT, "next": {"$ref": "#/$defs/node"}})
    tools = one({**closed({"head": {"$ref": "#/$defs/node"}}), "$defs": {"node": node}})
    call = ToolCall("act", {"head": {"next": {"next": {"value": 1}}}})
    assert validate_call(tools, call) == [CallProblem("head.next.next.value", "1 is not of type string")]


def _deep(levels: int, key: str = "next") -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {key: value}
    return value


@pytest.mark.parametrize("levels", [120, 10_000])
def test_a_value_without_a_bottom_is_a_problem(levels: int) -> None:
    node = closed({"next": {"$ref": "#"}, "value": TEXT}, "next")
    assert validate_call(one(node), ToolCall("act", _deep(levels))) != []


def test_a_pattern_that_blows_up_does_not() -> None:
    started = time.perf_counter()
    tools = one(closed({"p": {**TEXT, "pattern": "^(a+)+$"}}))
    assert len(validate_call(tools, ToolCall("act", {"p": "a" * 50_000 + "!"}))) == 1
    assert validate_call(tools, ToolCall("act", {"p": "aaa"})) == []
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "propertyNames"])
def test_a_pattern_that_cannot_be_checked_is_a_problem(keyword: str) -> None:
    rule: Any = {"pattern": "(?=a)b"}
    rule = {"propertyNames": rule} if keyword == "propertyNames" else rule
    rule = {"patternProperties": {"(?=a)b": TEXT}} if keyword == "patternProperties" else rule
    value = "b" if keyword == "pattern" else {"b": "b"}
    (problem,) = validate_call(one(closed({"p": rule})), ToolCall("act", {"p": value}))
    assert "cannot be checked: look-around and flags are not supported" in problem.message


def test_alternatives_within_alternatives_end() -> None:
    branch = {"type": "object", "properties": {"n": {"$ref": "#/$defs/a"}}, "required": ["missing"]}
    other = {**branch, "required": ["absent"]}
    tools = one({**closed({"n": {"$ref": "#/$defs/a"}}), "$defs": {"a": {"anyOf": [branch, other]}}})
    started = time.perf_counter()
    assert "takes more than" in validate_call(tools, ToolCall("act", _deep(60, "n")))[0].message
    assert time.perf_counter() - started < 20


def test_nothing_is_fetched() -> None:
    """A `$ref` in what is only data is data."""
    tools = one(closed({"p": {"const": {"$ref": "http://127.0.0.1:9/x"}}}))
    assert validate_call(tools, ToolCall("act", {"p": {"$ref": "http://127.0.0.1:9/x"}})) == []


@pytest.mark.parametrize(
    ("format_name", "right", "wrong"),
    [
        ("date-time", "2024-05-17T09:30:00+02:00", "2024-05-17 09:30"),
        ("date-time", "2024-12-31T23:59:60Z", "2024-05-17T09:30:00"),
        ("time", "09:30:00.5Z", "9:30"),
        ("email", "a@b.c", "a b@c"),
        ("hostname", "a-b.example", "-a.b"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        ("ipv6", "::1", ":::"),
        ("uri", "urn:x:y", "no scheme"),
        ("uuid", "3F2B8C1E-0d4a-4e6f-9b7c-5a1d2e3f4a5b", "3f2b8c1e"),
    ],
)
def test_formats_that_are_asserted(format_name: str, right: str, wrong: str) -> None:
    tools = one(closed({"p": {**TEXT, "format": format_name}}))
    assert validate_call(tools, ToolCall("act", {"p": right})) == []
    assert len(validate_call(tools, ToolCall("act", {"p": wrong}))) == 1


def test_formats_that_are_not_known_are_not_asserted() -> None:
    tools = one(closed({"p": {**TEXT, "format": "iban"}}))
    assert validate_call(tools, ToolCall("act", {"p": "x"})) == []


def test_paths() -> None:
    assert field_path(["a", 0, "b-c", "d e", ""]) == 'a[0].b-c["d e"][""]'
