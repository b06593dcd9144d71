"""Real documents through their versions; the texts are their authors' and lie outside of the project.

Where: the folder that the variable TOOL_HISTORY names, else `shared/data/tool-history` beside the checkout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.changes import ChangeClass
from adaptman.toolspec.document import Tool, ToolDocument
from adaptman.toolspec.formats import OutputFormat, ToolCall
from adaptman.toolspec.samples import Sampler
from benchmarks.tool_histories import LABELS, Step, steps, tallies, unconfirmed
from tests.toolspec.documents import closed, document, function
from tests.toolspec.format_strategies import FORMATS

FOLDER = Path(
    os.environ.get("TOOL_HISTORY") or Path(__file__).parents[3] / "shared" / "data" / "tool-history"
)
real = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no tool documents in {FOLDER}")


@pytest.fixture(scope="module")
def labels() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(LABELS.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def history(labels: dict[str, Any]) -> list[Step]:
    return list(steps(FOLDER, labels))


@real
@pytest.mark.parametrize("what", ["tool renames", "merges and splits", "parameter renames"])
def test_what_became_of_names_is_found(history: list[Step], labels: dict[str, Any], what: str) -> None:
    tally = tallies(history, labels)[what]
    assert tally.labelled
    assert tally.recall >= 0.9, tally.labelled - tally.found
    assert tally.precision >= 0.9, tally.found - tally.labelled


@real
def test_noise_is_noise(history: list[Step], labels: dict[str, Any]) -> None:
    quiet = {step.name: step for step in history if step.name in labels["noise"]}
    assert set(quiet) == set(labels["noise"])
    for name, step in quiet.items():
        classes = {change.change_class for tool in step.changes.tools for change in tool.changes}
        assert classes <= {ChangeClass.BYTES}, name


@real
def test_few_answers_are_unknown_and_every_witness_is_one(history: list[Step]) -> None:
    classes = [one.change_class for step in history for tool in step.changes.tools for one in tool.changes]
    assert classes.count(ChangeClass.UNKNOWN) <= 0.05 * len(classes)
    assert [wrong for step in history for wrong in unconfirmed(step)] == []


def documents() -> Iterator[ToolDocument]:
    """The real ones where they are, and one of our own anywhere."""
    schema = closed({"path": {"type": "string"}, "edits": {"type": "array", "items": {"type": "object"}}})
    yield document(function("edit_file", schema), function("math.gcd", closed({"a": {"type": "integer"}})))
    if FOLDER.is_dir():
        for step in steps(FOLDER, json.loads(LABELS.read_text(encoding="utf-8"))):
            yield step.new


@pytest.mark.parametrize("name", FORMATS)
def test_calls_of_every_tool_come_back_through_every_format(name: str) -> None:
    fmt = FORMATS[name]
    tools = [tool for one in documents() for tool in one.tools]
    held = [tool for tool in tools if _can_hold(fmt, tool)]
    assert len(held) >= 0.5 * len(tools)  # names with `-` are no identifiers, and Python's form has none
    for tool in held:
        calls = [ToolCall(tool.name, one) for one in Sampler(tool.contract).samples(tool.contract.schema, 3)]
        found = fmt.parse(fmt.render(calls))
        assert json.dumps(list(found.calls)) == json.dumps(calls), tool.name
        assert found.problems == ()


def _can_hold(fmt: OutputFormat, tool: Tool) -> bool:
    try:
        fmt.render([ToolCall(tool.name, {})])
    except ToolDocumentError:
        return False
    return True


@pytest.mark.parametrize("name", FORMATS)
def test_tools_are_shown_byte_for_byte_in_their_authors_order(name: str) -> None:
    for one in documents():
        told = FORMATS[name].system_prompt([tool["function"] for tool in one.as_openai()])
        for tool in one.tools:
            written = json.dumps(tool.parameters, ensure_ascii=False)
            assert written in told, tool.name
