"""Hermes: what its reader makes of blocks that are not as they should be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats import ToolCall, output_format
from tests.toolspec.documents import closed, function, json_objects, json_values

HERMES = output_format("hermes")
calls = st.builds(ToolCall, st.text(min_size=1), json_objects)


def same(one: object, other: object) -> bool:
    """Equal as JSON: 1 and 1.0 and true are three things."""
    return json.dumps(one) == json.dumps(other)


@given(st.text(st.sampled_from('ab <>/{}\n"')), st.lists(calls, min_size=1, max_size=3), st.text("xyz "))
def test_text_around_the_calls_is_content(before: str, written: list[ToolCall], after: str) -> None:
    reply = HERMES.parse(f"{before}\n{HERMES.render(written)}\n{after}")
    assert same(reply.calls, written)
    assert reply.content.startswith(before.strip())


@given(st.lists(calls, max_size=3))
def test_only_tags_that_are_tags_stand_in_the_text(written: list[ToolCall]) -> None:
    text = HERMES.render(written)
    assert text.count("<tool_call>") == text.count("</tool_call>") == len(written)
    text.encode("utf-8")


@given(json_values)
def test_json_in_a_block_is_a_call_or_a_problem(value: object) -> None:
    text = "<tool_call>" + json.dumps(value) + "</tool_call>"
    reply = HERMES.parse(text)
    assert len(reply.calls) + bool(reply.problems) >= 1


BROKEN = {
    "bare json": ('{"name": "f", "arguments": {}}', 0, None),
    "empty": ("<tool_call></tool_call>", 0, "its JSON does not end"),
    "not closed": ('<tool_call>\n{"name": "f", "arguments": {}}', 0, "it is not closed"),
    "cut off": ('<tool_call>\n{"name": "f", "argum', 0, "its JSON does not end"),
    "not json": ("<tool_call>\n{name: f}\n</tool_call>", 0, "expecting property name"),
    "single quotes": ("<tool_call>\n{'name': 'f'}\n</tool_call>", 0, "expecting property name"),
    "a list": ("<tool_call>[1]</tool_call>", 0, "its JSON does not end"),
    "no name": ('<tool_call>{"arguments": {}}</tool_call>', 0, "a call block has no `name`"),
    "an empty name": ('<tool_call>{"name": "", "arguments": {}}</tool_call>', 0, "has no `name`"),
    "no arguments": ('<tool_call>{"name": "f"}</tool_call>', 0, "the call of `f` has no `arguments`"),
    "arguments in a text": (
        '<tool_call>{"name": "f", "arguments": "{}"}</tool_call>',
        0,
        "has `arguments` that are not an object",
    ),
    "another key": (
        '<tool_call>{"name": "f", "arguments": {}, "id": 1}</tool_call>',
        1,
        "has a key `id` too many",
    ),
    "a key twice": (
        '<tool_call>{"name": "f", "name": "g", "arguments": {}}</tool_call>',
        0,
        "`name` stands twice",
    ),
    "nan": ('<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>', 0, "`NaN` is not a JSON number"),
    "two in one block": (
        '<tool_call>{"name": "f", "arguments": {}}{"name": "g", "arguments": {}}</tool_call>',
        0,
        "text follows its JSON",
    ),
    "a closing tag alone": ("hello </tool_call>", 0, "closes a call that was never opened"),
    "nested too deep": ("<tool_call>" + '{"a":' * 10_000, 0, "its JSON does not end"),
    "the second is whole": (
        '<tool_call>{"name": \n<tool_call>{"name": "g", "arguments": {}}</tool_call>',
        1,
        "a call block cannot be read",
    ),
    "a tag in a string": (
        '<tool_call>{"name": "f", "arguments": {"a": "</tool_call>"}}</tool_call>',
        1,
        None,
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_blocks_that_are_not_as_they_should_be(case: str) -> None:
    text, count, problem = BROKEN[case]
    reply = HERMES.parse(text)
    assert len(reply.calls) == count
    assert bool(reply.problems) == (problem is not None)
    assert problem is None or problem in reply.problems[0]


def test_the_prompt_is_short_and_shows_the_tools_as_they_were_written() -> None:
    tool = {"parameters": closed({"b": {}, "a": {}}), "name": "f", "description": "für <tool_call>"}
    prompt = HERMES.system_prompt([{"type": "function", "function": tool}, function("g", {})])
    lines = prompt.splitlines()
    assert lines[:4] == [
        "To call a tool, write <tool_call>",
        '{"name": NAME, "arguments": {...}}',
        "</tool_call>",
        "<tools>",
    ]
    assert lines[-1] == "</tools>"
    assert [json.loads(line) for line in lines[4:-1]] == [tool, function("g", {})["function"]]
    assert list(json.loads(lines[4])) == ["parameters", "name", "description"]
    assert "für" in lines[4]
    assert prompt.count("<tool_call>") == 1


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ToolDocumentError, match="there is no output format `llama`") as caught:
        output_format("llama")
    assert "`hermes`" in caught.value.hint
