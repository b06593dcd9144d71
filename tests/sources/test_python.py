"""Python functions as tools: what signatures and docstrings say, in a process that disturbs nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptman.errors import SourceError
from adaptman.sources.python import read_functions
from adaptman.toolspec.readers import read_document

MODULE = '''
import enum
from typing import Annotated, Literal
from pydantic import BaseModel, Field

print("loading, on standard output")


class Place(BaseModel):
    """Where."""
    city: str
    country: str | None = None


Days = Annotated[int, Field(ge=1, description="How many")]


def weather(place: Place, unit: Literal["C", "F"] = "C", days: Days = 1):
    """Tell the weather.

    In a few words.

    Args:
        place: Where to look,
            and nowhere else.
        days (int): Not this text.

    Returns:
        str: The weather.
    """


def anything(x):
    pass


def many(*values):
    pass


def lost(x: "Nowhere"):
    pass


both = [weather, anything]
named = {"look": weather}
number = 3
empty = []


class Holder:
    inner = staticmethod(anything)
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_tools.py").write_text(MODULE)
    (tmp_path / "loud.py").write_text("raise ValueError('no licence')")
    (tmp_path / "leaves.py").write_text("import sys; sys.exit(7)")
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    monkeypatch.chdir(tmp_path)


def test_a_function_is_a_tool() -> None:
    (tool,) = read_document(read_functions("shop_tools:weather"), "shop_tools:weather").tools
    assert (tool.name, tool.description) == ("weather", "Tell the weather. In a few words.")
    schema = tool.contract.schema
    assert list(tool.parameters["properties"]) == ["place", "unit", "days"]
    assert schema["required"] == ["place"]
    assert schema["properties"]["unit"] == {"default": "C", "enum": ["C", "F"], "type": "string"}
    assert schema["properties"]["days"]["description"] == "How many"
    assert schema["properties"]["days"]["minimum"] == 1
    assert schema["properties"]["place"]["properties"]["city"] == {"type": "string"}
    assert tool.parameters["properties"]["place"]["description"] == "Where to look, and nowhere else."
    assert "title" not in json.dumps(tool.parameters)


@pytest.mark.parametrize(
    ("name", "names"),
    [("both", ("weather", "anything")), ("named", ("look",)), ("Holder.inner", ("anything",))],
)
def test_a_list_a_dict_and_an_attribute(name: str, names: tuple[str, ...]) -> None:
    assert read_document(read_functions(f"shop_tools:{name}"), "x").names == names


def test_the_same_again() -> None:
    assert read_functions("shop_tools:both") == read_functions("shop_tools:both")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("shop_tools", "names no function"),
        ("nowhere:f", "cannot be imported: No module named 'nowhere'"),
        ("shop_tools:nothing", "`shop_tools` has no `nothing`"),
        ("shop_tools:number", "`number` is no function but a int"),
        ("shop_tools:empty", "no function in `empty`"),
        ("shop_tools:many", "takes `*values`"),
        ("shop_tools:lost", "its annotations cannot be read"),
        ("loud:f", "it raises ValueError when it is imported: no licence"),
        ("leaves:f", "ended with code 7"),
    ],
)
def test_what_is_no_tool(target: str, told: str) -> None:
    with pytest.raises(SourceError) as found:
        read_functions(target)
    assert told in found.value.message
    assert found.value.hint


def test_a_module_that_hangs() -> None:
    with pytest.raises(SourceError, match="has not been loaded within 1 s"):
        read_functions("hangs:f", seconds=1)
