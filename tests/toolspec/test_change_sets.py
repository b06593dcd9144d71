"""Whole change sets: what counts as a change, how it is kept, and how it is told in a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from adaptman.toolspec.changes import ChangeClass, ChangeSet
from adaptman.toolspec.describe import describe
from adaptman.toolspec.diff import diff
from tests.toolspec.documents import by_name, closed, document, function, opened, read

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
        '~ get_weather   breaking: `unit` enum narrowed: "kelvin" no longer accepted',
        "                habit:    `lang` is new, optional",
        "→ old_name → new_name   breaking: renamed (0.99 likely)",
        "+ add_me",
        "- remove_me     breaking: the tool is gone",
        "  1 unchanged",
    ]


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
    assert describe(diff(old, new)) == ["no change"]


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
