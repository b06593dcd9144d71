"""Whole change sets: what counts as a change, how it is kept, and how it is told in a terminal."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt

from adaptman.toolspec.changes import ChangeClass, ChangeSet
from adaptman.toolspec.describe import Documents, describe, markdown
from adaptman.toolspec.diff import diff
from tests.toolspec.documents import by_name, closed, document, function, one, opened, read, schema_pairs

TEXT = {"type": "string"}
WEATHER = closed({"city": TEXT, "unit": {"enum": ["celsius", "kelvin"]}}, "city")
NARROWED = closed({"city": TEXT, "unit": {"enum": ["celsius"]}, "lang": TEXT}, "city")

BEFORE = document(
    function("get_weather", WEATHER, "Weather"),
    function("old_name", closed({"order": TEXT}, "order"), "Cancels one order"),
    function("remove_me", closed({"zip": TEXT}), "Looks up a postal code"),
    function("same", {}, "Nothing"),
)
AFTER = document(
    function("get_weather", NARROWED, "Weather"),
    function("new_name", closed({"order": TEXT}, "order"), "Cancels one order"),
    function("add_me", opened({"x": {"type": "integer"}}), "Plots a curve"),
    function("same", {}, "Nothing"),
)


def test_the_whole_story_in_lines() -> None:
    assert describe(diff(BEFORE, AFTER)) == [
        "3 breaking, 1 habit; 1 unchanged",
        '~ get_weather   breaking: `unit` enum narrowed: "kelvin" no longer accepted',
        "                habit:    `lang` is new, optional",
        "→ old_name → new_name   breaking: renamed (0.99 likely)",
        "- remove_me     breaking: the tool is gone",
        "+ add_me",
    ]


def test_breaking_changes_are_shown_by_calls() -> None:
    lines = describe(diff(BEFORE, AFTER), documents=Documents(BEFORE, AFTER))
    assert [line for line in lines if line.startswith(("    was", "    now", "    refused"))] == [
        '    was right  get_weather(city="text", unit="kelvin")',
        '    refused    `unit` "kelvin" is not one of ["celsius"]',
        '    was right  old_name(order="text")',
        '    now        new_name(order="text")',
    ]


def test_a_long_call_is_cut_and_a_long_value_too() -> None:
    many = {f"parameter_{number}": TEXT for number in range(30)}
    old = document(function("f", closed(many, *many)))
    new = document(function("f", closed({**many, "more": {"const": "x" * 90}}, *many, "more")))
    lines = describe(diff(old, new), documents=Documents(old, new))
    assert all(len(line) <= 100 for line in lines)
    assert any(line.endswith("…)") for line in lines)


def test_a_confirmed_rename_is_told_as_such() -> None:
    lines = describe(diff(BEFORE, AFTER, renamed={"old_name": "new_name"}))
    assert "→ old_name → new_name   breaking: renamed (confirmed)" in lines


def test_lines_can_be_limited() -> None:
    changes = diff(BEFORE, AFTER)
    assert describe(changes, limit=3)[-1] == "… 4 more lines"
    assert len(describe(changes, limit=3)) == 3
    assert describe(changes, limit=100) == describe(changes)


def test_nothing_to_tell() -> None:
    assert describe(diff(BEFORE, BEFORE)) == ["no change"]


def test_the_first_document_adds_all_its_tools() -> None:
    changes = diff(None, BEFORE)
    assert changes.names("added") == BEFORE.names
    assert not changes.breaking
    assert describe(changes) == ["+ get_weather", "+ old_name", "+ remove_me", "+ same"]


def test_counts_and_names() -> None:
    changes = diff(BEFORE, AFTER)
    assert changes.counts == {"added": 1, "removed": 1, "renamed": 1, "changed": 1, "unchanged": 1}
    assert changes.unchanged_names == ("same",)
    assert [tool.name for tool in changes.tools] == [*AFTER.names, "remove_me"]
    assert changes.breaking
    assert not diff(BEFORE, BEFORE).breaking


def test_a_change_set_survives_json() -> None:
    changes = diff(BEFORE, AFTER)
    assert ChangeSet.from_dict(changes.to_dict()) == changes
    assert changes.to_dict()["breaking"] is True


def test_a_removed_tool_is_shown_by_a_call() -> None:
    (change,) = by_name(diff(BEFORE, AFTER), "remove_me").changes
    assert (change.kind, change.change_class, change.witness) == ("tool-removed", ChangeClass.BREAKING, {})


def test_a_tool_that_nobody_could_call_is_unknown_when_it_goes() -> None:
    never = closed({"p": {"allOf": [TEXT, {"type": "integer"}]}}, "p")
    (tool,) = diff(
        document(function("never", never), function("same", {})), document(function("same", {}))
    ).tools[1:]
    assert tool.changes[0].change_class is ChangeClass.UNKNOWN
    assert tool.breaking


def _mcp(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tools": [{"name": "act", "description": "Acts", "inputSchema": schema, **more}]}


NOISE: dict[str, tuple[Any, Any]] = {
    "$schema": (
        _mcp({"$schema": "http://json-schema.org/draft-07/schema#", **WEATHER}),
        _mcp({**WEATHER, "$schema": "https://json-schema.org/draft/2020-12/schema"}),
    ),
    "key order": (_mcp(WEATHER), _mcp(dict(reversed(WEATHER.items())))),
    "titles": (_mcp(WEATHER), _mcp({**WEATHER, "title": "Weather"}, title="Weather")),
    "empty required": (_mcp(opened({"a": TEXT})), _mcp({**opened({"a": TEXT}), "required": []})),
    "execution": (_mcp(WEATHER), _mcp(WEATHER, execution={"taskSupport": "forbidden"}, outputSchema={})),
    "hints told for the first time": (_mcp(WEATHER), _mcp(WEATHER, annotations={"readOnlyHint": True})),
    "opened": (_mcp(WEATHER), _mcp({k: v for k, v in WEATHER.items() if k != "additionalProperties"})),
    "another vendor's form": (
        _mcp(WEATHER),
        [{"type": "function", "name": "act", "description": "Acts", "parameters": WEATHER}],
    ),
}


@pytest.mark.parametrize("case", NOISE)
def test_noise_is_no_change(case: str) -> None:
    old, new = (read(value) for value in NOISE[case])
    (tool,) = diff(old, new).tools
    assert tool.status == "unchanged"
    assert all(change.change_class is ChangeClass.BYTES for change in tool.changes)
    assert describe(diff(old, new)) in (
        ["no change"],
        ["no change of any call; one tool is written otherwise"],
    )


def test_another_text_for_the_same_contract_is_kept_in_mind() -> None:
    old, new = (read(value) for value in NOISE["key order"])
    (change,) = diff(old, new).tools[0].changes
    assert (change.kind, change.change_class) == ("rendering", ChangeClass.BYTES)


def test_a_hint_that_flips_changes_the_meaning() -> None:
    old = read(_mcp(WEATHER, annotations={"destructiveHint": False, "title": "A"}))
    new = read(_mcp(WEATHER, annotations={"destructiveHint": True, "title": "B"}))
    (change,) = diff(old, new).tools[0].changes
    assert (change.kind, change.change_class) == ("annotations-changed", ChangeClass.MEANING)
    assert change.reason == "the hint `destructiveHint` was false and is true now"


def test_a_description_that_is_reworded_changes_the_meaning() -> None:
    (tool,) = diff(document(function("f", {}, "a")), document(function("f", {}, "b"))).tools
    (change,) = tool.changes
    assert (tool.status, change.kind, change.path) == ("changed", "description-changed", "")
    assert not tool.breaking


SCHEMA = json.loads((files("adaptman.toolspec") / "changes.schema.json").read_text(encoding="utf-8"))
KINDS = Path(__file__).parents[2] / "docs" / "concepts" / "tool-documents.md"


@given(schema_pairs())
def test_the_json_of_a_change_set_is_what_its_schema_says(
    pair: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    changes = diff(one(pair[0]), one(pair[1])).to_dict()
    Draft202012Validator(SCHEMA).validate(changes)
    for tool in changes["tools"]:
        for change in tool["changes"]:
            assert f"`{change['kind']}`" in KINDS.read_text(encoding="utf-8"), change["kind"]


def test_the_json_of_added_removed_and_renamed_tools_too() -> None:
    for before in (BEFORE, None):
        Draft202012Validator(SCHEMA).validate(diff(before, AFTER).to_dict())


def test_markdown_for_a_pull_request() -> None:
    told = markdown(diff(BEFORE, AFTER), title="Tool schema 1 → 2", documents=Documents(BEFORE, AFTER))
    assert told.startswith(
        "### Tool schema 1 → 2\n\n3 breaking, 1 habit; 1 unchanged\n\n- **changed** `get_weather`\n"
    )
    assert '  - breaking: `unit` enum narrowed: "kelvin" no longer accepted\n' in told
    assert '  ```diff\n  - old_name(order="text")\n  + new_name(order="text")\n  ```' in told


NASTY = "a|b <script>alert(1)</script> ![x](http://evil.invalid) @team #1 **bold** `code` \x1b[31m\nline"


@pytest.mark.parametrize(
    "value", ["```<img src=x>`", "`<img src=x>``", "a```` <img src=x> ` b", "``<img src=x>``"]
)
def test_backquotes_in_a_value_open_no_way_for_html(value: str) -> None:
    old = document(function("f", closed({"p": {"enum": [value, "z"]}})))
    new = document(function("f", closed({"p": {"enum": ["z"]}})))
    told = markdown(diff(old, new), title="t", documents=Documents(old, new))
    assert "<img" not in MarkdownIt("commonmark").render(told)


def test_a_value_makes_no_line_of_its_own() -> None:
    old = document(function("f", closed({"p": {"enum": ["x\n~ other  breaking: nothing", "z"]}})))
    new = document(function("f", closed({"p": {"enum": ["z"]}})))
    lines = describe(diff(old, new), documents=Documents(old, new))
    assert not any("\n" in line or line.startswith("~ other") for line in lines)


def test_markdown_is_harmless_whatever_a_document_says() -> None:
    old = document(function("to`ol", closed({"p|<b>": {"enum": [NASTY, "a"]}}), "Words"))
    new = document(function("to`ol", closed({"p|<b>": {"enum": ["a"]}}), NASTY))
    told = markdown(diff(old, new), title=NASTY, documents=Documents(old, new))
    outside = re.sub(r"```.*?```", "", told, flags=re.DOTALL)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", outside)
    assert "<script>" not in outside.replace("\\<", "")
    assert "![" not in outside.replace("\\!", "").replace("\\[", "")
    assert "\x1b" not in told
    assert "@team" not in outside.replace("\\@", "")
    assert "``to`ol``" in told
