from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from adaptman.demo import bfcl
from adaptman.errors import AdaptmanError

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
    with pytest.raises(AdaptmanError) as caught:
        bfcl.simple_python(wheel="adaptman-no-such-wheel")
    assert caught.value.message == "the demo's data, the wheel `adaptman-no-such-wheel`, is not installed"
    assert "pip install --no-deps bfcl-eval" in caught.value.hint


def test_a_wheel_without_the_category_is_told() -> None:
    with pytest.raises(AdaptmanError) as caught:
        bfcl.simple_python(wheel="pytest")
    assert caught.value.message == (
        f"`pytest` {pytest.__version__} has no file "
        "`bfcl_eval/data/possible_answer/BFCL_v4_simple_python.json`"
    )
    assert "BFCL v4" in caught.value.hint


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


def test_simple_python_is_read_whole(bfcl_wheel: str) -> None:
    cases = bfcl.simple_python()
    assert len(cases) == 400
    triangle = cases[0]
    assert triangle.question == "Find the area of a triangle with a base of 10 units and height of 5 units."
    assert triangle.name == "calculate_triangle_area"
    assert triangle.parameters["type"] == "object"
    assert triangle.accept == {"base": [10], "height": [5], "unit": ["units", ""]}


def test_the_leaderboards_package_is_not_imported(bfcl_wheel: str) -> None:
    code = (
        "import sys; from adaptman.demo import bfcl; bfcl.simple_python(); print('bfcl_eval' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
