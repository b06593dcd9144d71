"""Our parsers and transformers' own `parse_response` read the same calls, where a response template exists.

The templates are those of the formats' public chat templates, in the form of transformers 5
(`transformers.utils.chat_parsing`); calls in bare JSON, in Python and in Gemma's dialect have none.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.toolspec.formats import ToolCall, output_format
from tests.learning.tiny import tiny_tokenizer
from tests.toolspec.format_strategies import calls_for

CALL = {"type": "function", "function": {"name": "{name}", "arguments": "{arguments}"}}
WHOLE = {"type": "function", "function": {"name": "{content.name}", "arguments": "{content.arguments}"}}
NAMED = {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}


def template(tool_calls: dict[str, Any]) -> dict[str, Any]:
    anchor = "<|im_start|>assistant\n"
    return {"start_anchor": anchor, "fields": {"content": {}, "tool_calls": tool_calls}}


TEMPLATES = {
    "hermes": template(
        {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "content": "json",
            "repeats": True,
            "transform": WHOLE,
        }
    ),
    "mistral": template(
        {"open": "[TOOL_CALLS]", "content": "json", "transform": CALL, "transform_each": True}
    ),
    "mistral-v11": template(
        {
            "open_pattern": r"\[TOOL_CALLS\](?P<name>[^\[]+)\[ARGS\]",
            "close_pattern": r"(?=\[TOOL_CALLS\])|$",
            "content": "json",
            "repeats": True,
            "transform": NAMED,
        }
    ),
}


def theirs(name: str, text: str) -> list[ToolCall]:
    tokenizer = tiny_tokenizer()
    tokenizer.response_template = TEMPLATES[name]
    found = tokenizer.parse_response(text, prefix="")
    calls = found.get("tool_calls") or []
    return [ToolCall(call["function"]["name"], call["function"]["arguments"]) for call in calls]


@pytest.mark.parametrize("name", TEMPLATES)
@given(data=st.data())
def test_both_read_the_same_calls(name: str, data: st.DataObject) -> None:
    fmt = output_format(name)
    calls = data.draw(calls_for(fmt))
    text = fmt.render(calls)
    if any(mark in json.dumps([list(call) for call in calls]) for mark in ("[TOOL_CALLS]", "tool_call>")):
        return  # inside of an argument: theirs cuts there, ours does not
    assert json.dumps(theirs(name, text)) == json.dumps(list(fmt.parse(text).calls))


@pytest.mark.parametrize("name", TEMPLATES)
def test_words_before_a_call_are_content_for_both(name: str) -> None:
    fmt = output_format(name)
    text = "I look.\n" + fmt.render([ToolCall("look", {"city": "Oslo"})])
    assert theirs(name, text) == list(fmt.parse(text).calls)
    assert fmt.parse(text).content == "I look."


def test_where_they_differ_theirs_gives_up_and_ours_says_why() -> None:
    broken = '<tool_call>\n{"name": "look", "arguments": {"city": \n</tool_call>'
    assert output_format("hermes").parse(broken).problems
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        theirs("hermes", broken)
