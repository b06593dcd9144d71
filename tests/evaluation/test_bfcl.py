"""BFCL's files are read as cases of suites; what a suite cannot hold is told with its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from adaptman.errors import SuiteError
from adaptman.evaluation import bfcl
from adaptman.evaluation.bfcl import BfclData, LeftOut, read_category, wheel_data
from adaptman.evaluation.suites import SuiteKind, read_suite

BFCL_TYPES = ["dict", "float", "tuple", "any", "string", "integer", "boolean", "array"]
JSON_TYPES = {"object", "number", "array", "string", "integer", "boolean"}

bfcl_schemas = st.recursive(
    st.builds(lambda name: {"type": name, "description": "text"}, st.sampled_from(BFCL_TYPES)),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "tuple", "items": items}, inner),
        st.builds(
            lambda properties: {"type": "dict", "properties": properties, "required": list(properties)},
            st.dictionaries(st.sampled_from(["type", "items", "optional", "size"]), inner),
        ),
    ),
)


def types_in(schema: dict[str, Any]) -> Iterator[str]:
    if "type" in schema:
        yield schema["type"]
    for part in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        yield from types_in(part)


def test_a_missing_wheel_is_named_with_the_way_to_install_it() -> None:
    with pytest.raises(SuiteError) as caught:
        wheel_data("adaptman-no-such-wheel")
    assert caught.value.message == "BFCL's data, the wheel `adaptman-no-such-wheel`, is not installed"
    assert "pip install --no-deps bfcl-eval" in caught.value.hint


def test_a_wheel_without_data_is_told() -> None:
    with pytest.raises(SuiteError) as caught:
        wheel_data("pytest")
    assert caught.value.message == f"`pytest {pytest.__version__}` has no folder `bfcl_eval/data`"
    assert "BFCL v4" in caught.value.hint


def test_a_folder_without_the_category_is_told(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"`mine` has no file `possible_answer/BFCL_v4_simple_python\.json`"):
        read_category(BfclData(tmp_path, "mine"), "simple_python")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"type": "dict", "properties": {}}, {"type": "object", "properties": {}}),
        ({"type": "float"}, {"type": "number"}),
        ({"type": "tuple", "items": {"type": "float"}}, {"type": "array", "items": {"type": "number"}}),
        ({"type": "any", "description": "text"}, {"description": "text"}),
        ({"type": "string", "optional": True, "default": "dict"}, {"type": "string", "default": "dict"}),
        ({"type": "string", "enum": ["float", "dict"]}, {"type": "string", "enum": ["float", "dict"]}),
    ],
)
def test_types_are_told_in_json_schema(written: dict[str, Any], told: dict[str, Any]) -> None:
    assert bfcl.json_schema(written) == told


@given(bfcl_schemas)
def test_every_schema_is_json_schema_with_its_parameters_kept(schema: dict[str, Any]) -> None:
    told = bfcl.json_schema(schema)
    Draft202012Validator.check_schema(told)
    assert set(types_in(told)) <= JSON_TYPES
    assert list(told.get("properties", {})) == list(schema.get("properties", {}))
    assert bfcl.json_schema(told) == told


@pytest.fixture(scope="module")
def data() -> BfclData:
    pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval")
    return wheel_data()


COUNTS = {
    "simple_python": 400,
    "simple_java": 100,
    "simple_javascript": 50,
    "multiple": 200,
    "parallel": 200,
    "parallel_multiple": 200,
    "irrelevance": 240,
    "live_simple": 258,
    "live_multiple": 1053,
    "live_parallel": 16,
    "live_parallel_multiple": 24,
    "live_irrelevance": 884,
    "live_relevance": 16,
}
NEVER_RIGHT = {
    "live_simple_106-63-0": "`accept[0].arguments.auto_loan_payment_start`: at least 1 needed",
    "live_simple_112-68-0": "`accept[0].arguments.acc_routing_start`: at least 1 needed",
    "live_multiple_862-181-3": (
        "no call is right: `journey_start_time` must be given, which the tool does not have"
    ),
    "live_multiple_964-207-0": "no call is right: `question` must be given, which the tool does not have",
}


@pytest.mark.parametrize("category", COUNTS)
def test_every_case_is_read_or_told_why_not(data: BfclData, category: str) -> None:
    found = read_category(data, category)
    told = {one.id: one.reason for one in found.left_out}
    assert told == {id_: reason for id_, reason in NEVER_RIGHT.items() if id_.startswith(f"{category}_")}
    assert len(found.records) == COUNTS[category] - len(told)
    assert found.kind is bfcl.CATEGORIES[category]


def test_the_categories_are_all_of_the_wheels_with_a_single_turn(data: BfclData) -> None:
    files = {path.stem.removeprefix("BFCL_v4_") for path in data.folder.glob("BFCL_v4_*.json")}
    several_turns = {"memory", "web_search", "format_sensitivity"}
    left = {name for name in files - several_turns if not name.startswith("multi_turn")}
    assert left == set(COUNTS) == set(bfcl.CATEGORIES)


FUNCTION = {
    "name": "sum.up",
    "description": "Adds",
    "parameters": {
        "type": "dict",
        "properties": {"a": {"type": "ArrayList", "items": {"type": "long"}}, "b": {"type": "HashMap"}},
        "required": ["a"],
    },
}


def folder(tmp_path: Path, *rows: dict[str, Any], answers: list[dict[str, Any]]) -> BfclData:
    def write(path: Path, lines: Sequence[dict[str, Any]]) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    write(tmp_path / "BFCL_v4_parallel.json", rows)
    write(tmp_path / "possible_answer" / "BFCL_v4_parallel.json", answers)
    return BfclData(tmp_path, "a folder")


def row(id_: str, *turns: list[dict[str, str]]) -> dict[str, Any]:
    return {"id": id_, "question": list(turns), "function": [FUNCTION]}


ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 and 2?"}]


def test_a_folder_is_read_like_the_wheel(tmp_path: Path) -> None:
    rows = [row("a", ASK), row("b", ASK, ASK), row("c", ASK), row("d", ASK)]
    call = {"sum.up": {"a": [[1, 2]], "b": [""]}}
    answers = [
        {"id": "a", "ground_truth": [call, call]},
        {"id": "b", "ground_truth": [call]},
        {"id": "d", "ground_truth": [{"other": {"a": [""]}}]},
    ]
    found = read_category(folder(tmp_path, *rows, answers=answers), "parallel")
    assert found.kind is SuiteKind.TOOLS
    assert found.left_out == (
        LeftOut("b", "2 turns, and a case is one reply"),
        LeftOut("c", "no accepted answer"),
        LeftOut("d", "`accept[0].name`: `other` is not among the case's tools"),
    )
    (case,) = found.records
    assert case["messages"] == ASK
    assert case["accept"] == [{"name": "sum.up", "arguments": {"a": [[1, 2]], "b": [""]}}] * 2
    properties = case["tools"][0]["function"]["parameters"]["properties"]
    assert properties == {"a": {"type": "array", "items": {"type": "integer"}}, "b": {"type": "object"}}
    read_suite(bfcl.jsonl(found.records), name="parallel", kind=found.kind, origin="parallel")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "line 1: a JSON object"),
        ('{"id": "a"}', "not in the form of BFCL v4"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "BFCL_v4_irrelevance.json").write_text(text)
    with pytest.raises(SuiteError, match=told) as caught:
        read_category(BfclData(tmp_path, "mine"), "irrelevance")
    assert "BFCL_v4_irrelevance.json" in caught.value.message


def test_an_unknown_category_is_told_with_the_known_ones() -> None:
    with pytest.raises(SuiteError, match="`memory` is not a category of BFCL with a single turn") as caught:
        read_category(BfclData(Path(), "mine"), "memory")
    assert "`simple_java`" in caught.value.hint


def test_the_leaderboards_package_is_not_imported(data: BfclData) -> None:
    code = (
        "import sys; from adaptman.evaluation import bfcl; "
        "bfcl.read_category(bfcl.wheel_data(), 'parallel'); print('bfcl_eval' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
