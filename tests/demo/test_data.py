from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaptman.demo.bfcl import BfclCase, simple_python
from adaptman.demo.data import NEAR_DUPLICATE, DemoFiles, arguments, choose, likeness, prepare
from adaptman.demo.second_update import ToolUpdate, migration_words, tool_updates
from adaptman.evaluation.suites import SuiteKind, read_suite
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.migration import CallMigration, read_mappings
from adaptman.toolspec.readers import document_from_openai, read_document
from adaptman.toolspec.rewriting import rewrite
from adaptman.toolspec.validate import validate_call


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def document(path: Path) -> ToolDocument:
    return read_document(path.read_bytes(), path.name)


def tool_names(rows: list[dict[str, Any]]) -> set[str]:
    return {tool["function"]["name"] for row in rows for tool in row["tools"]}


def questions(path: Path) -> list[str]:
    return [row["messages"][0]["content"] for row in lines(path)]


def calls(row: dict[str, Any]) -> list[ToolCall]:
    functions = [call["function"] for call in row["messages"][-1].get("tool_calls", [])]
    return [ToolCall(function["name"], json.loads(function["arguments"])) for function in functions]


def test_counts_are_those_of_the_files(demo_files: DemoFiles) -> None:
    assert demo_files.counts == {
        "tools-1.json": 200,
        "examples-1.jsonl": 104,
        "target-1.jsonl": 48,
        "general.jsonl": 128,
        "tools-2.json": 200,
        "requests-1.jsonl": 77,
        "held-out-1.jsonl": 144,
    }
    for name, count in demo_files.counts.items():
        path = demo_files.folder / name
        found = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else lines(path)
        assert len(found) == count, name


def test_the_source_is_named_with_its_version(demo_files: DemoFiles, bfcl_wheel: str) -> None:
    assert demo_files.source == f"bfcl-eval {bfcl_wheel}, BFCL v4"


def test_the_same_seed_makes_the_same_bytes(demo_files: DemoFiles, tmp_path: Path) -> None:
    again = prepare(tmp_path)
    for name in demo_files.counts:
        assert (again.folder / name).read_bytes() == (demo_files.folder / name).read_bytes(), name


def test_another_seed_splits_otherwise(demo_files: DemoFiles, tmp_path: Path) -> None:
    other = prepare(tmp_path, seed=1)
    assert questions(other.target_1) != questions(demo_files.target_1)
    assert questions(other.held_out) != questions(demo_files.held_out)


@pytest.mark.parametrize("name", ["examples-1", "requests-1"])
def test_every_example_is_valid_against_its_document(demo_files: DemoFiles, name: str) -> None:
    tools = document(demo_files.tools_1)
    for row in lines(demo_files.folder / f"{name}.jsonl"):
        assert all(tools.get(tool.name) == tool for tool in document_from_openai(row["tools"]).tools)
        assert [problem for call in calls(row) for problem in validate_call(tools, call)] == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("target-1", SuiteKind.TARGET),
        ("held-out-1", SuiteKind.TOOLS),
        ("general", SuiteKind.GENERAL),
    ],
)
def test_every_suite_can_be_read(demo_files: DemoFiles, name: str, kind: SuiteKind) -> None:
    path = demo_files.folder / f"{name}.jsonl"
    suite = read_suite(path.read_bytes(), name=name, kind=kind, origin=path.name)
    assert len(suite.cases) == demo_files.counts[path.name]


@pytest.mark.parametrize("suite", ["target-1", "held-out-1"])
def test_an_accepted_call_is_valid_against_its_document(demo_files: DemoFiles, suite: str) -> None:
    tools = document(demo_files.tools_1)
    for row in lines(demo_files.folder / f"{suite}.jsonl"):
        for expected in row["accept"]:
            first = {name: values[0] for name, values in expected["arguments"].items() if values[0] != ""}
            assert validate_call(tools, ToolCall(expected["name"], first)) == []


def test_held_out_tools_and_questions_are_not_in_training(demo_files: DemoFiles) -> None:
    examples, held_out = lines(demo_files.examples_1), kept(demo_files)
    assert tool_names(examples) & tool_names(held_out) == set()
    learned = questions(demo_files.examples_1)
    alike = [likeness(one["messages"][0]["content"], other) for one in held_out for other in learned]
    assert max(alike) <= NEAR_DUPLICATE


def kept(files: DemoFiles) -> list[dict[str, Any]]:
    """The held-out requests for tools that no update trains on."""
    return lines(files.held_out)[48:]


def test_held_out_requests_of_the_second_update_repeat_none_to_learn_from(demo_files: DemoFiles) -> None:
    learned = questions(demo_files.requests)
    held_out = [row["messages"][0]["content"] for row in lines(demo_files.held_out)[:48]]
    assert len(set(learned)) == len(learned)
    assert len(set(held_out)) == len(held_out)
    assert max(likeness(one, other) for one in held_out for other in learned) <= 0.75


def test_the_requests_are_carried_into_the_new_form(demo_files: DemoFiles) -> None:
    """All of them, each by the change of its tool, and right under the new document."""
    old, new = document(demo_files.tools_1), document(demo_files.tools_2)
    words = migration_words(tool_updates())
    values = [word for flag, word in zip(words[::2], words[1::2], strict=True) if flag == "--map"]
    fills = [word for flag, word in zip(words[::2], words[1::2], strict=True) if flag == "--fill"]
    migration = CallMigration(diff(old, new), new, read_mappings(values, fills, {}, new))
    done = rewrite(demo_files.requests.read_bytes(), "requests-1.jsonl", migration, new)
    assert done.needs == ()
    assert len(done.lines) == demo_files.counts["requests-1.jsonl"]
    wanted = {update.tool: _carried(update) for update in tool_updates()}
    for before, after in zip(lines(demo_files.requests), done.data.splitlines(), strict=True):
        (old_call,), (new_call,) = calls(before), calls(json.loads(after))
        assert new_call == wanted[old_call.name](old_call)


def _carried(update: ToolUpdate) -> Callable[[ToolCall], ToolCall]:
    """The change of a tool, written once more by hand."""

    def carried(call: ToolCall) -> ToolCall:
        arguments = dict(call.arguments)
        first = update.cases[0]["accept"]
        if update.narrow and arguments[update.narrow["parameter"]] in update.narrow["removed"]:
            arguments[update.narrow["parameter"]] = first[update.narrow["parameter"]][0]
        if update.require and update.require not in arguments:
            arguments[update.require] = first[update.require][0]
        return ToolCall(update.rename or call.name, arguments)

    return carried


def test_the_second_document_changes_twelve_tools_in_three_ways(demo_files: DemoFiles) -> None:
    changes = diff(document(demo_files.tools_1), document(demo_files.tools_2))
    assert changes.counts == {"added": 0, "removed": 0, "renamed": 4, "changed": 8, "unchanged": 188}
    found = [change.kind for tool in changes.tools if tool.status == "changed" for change in tool.changes]
    assert sorted(found) == ["enum-narrowed"] * 4 + ["now-required"] * 4
    assert {tool.old_name: tool.name for tool in changes.tools if tool.status == "renamed"} == {
        f"math.{name}": f"arithmetic.{name}" for name in ("factorial", "gcd", "hcf", "power")
    }


def test_the_second_update_exercises_the_changed_tools_and_asks_about_the_others(
    demo_files: DemoFiles,
) -> None:
    changes = diff(document(demo_files.tools_1), document(demo_files.tools_2))
    touched = {tool.old_name or tool.name for tool in changes.tools if tool.status in ("renamed", "changed")}
    assert tool_names(lines(demo_files.requests)) == touched
    assert tool_names(lines(demo_files.held_out)[:48]) == touched
    assert tool_names(kept(demo_files)) <= set(changes.unchanged_names)
    assert {row["id"] for row in lines(demo_files.target_1)} < {row["id"] for row in kept(demo_files)}


@pytest.mark.parametrize("seed", range(6))
def test_every_seed_gives_the_same_counts(bfcl_wheel: str, seed: int) -> None:
    split = choose(simple_python(), seed=seed)
    assert (len(split.training), len(split.held_out)) == (104, 96)
    assert {update.tool for update in tool_updates()} <= {case.name for case in split.training}


@pytest.mark.parametrize(
    ("accepted", "taught"),
    [([5.0], 5), ([0.05], 0.05), ([[12.0, 1.5]], [12, 1.5]), ([[[10.0]]], [[10]]), ([True], True)],
)
def test_whole_numbers_are_taught_without_a_decimal_point(accepted: list[Any], taught: Any) -> None:
    parameters = {"type": "object", "properties": {"x": {}}, "required": ["x"]}
    tool = {"type": "function", "function": {"name": "f", "description": "", "parameters": parameters}}
    found = arguments(BfclCase("case_0", "", tool, {"x": accepted}))
    assert json.dumps(found) == json.dumps({"x": taught})


def test_what_may_be_left_out_is_left_out_unless_it_is_required() -> None:
    parameters = {"type": "object", "properties": {"x": {}, "y": {}}, "required": ["x"]}
    tool = {"type": "function", "function": {"name": "f", "description": "", "parameters": parameters}}
    assert arguments(BfclCase("case_0", "", tool, {"x": ["", 1], "y": [2, ""]})) == {"x": 1}
