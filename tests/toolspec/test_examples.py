"""Training examples: what is read, and that every bad line is told with file, line and field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import ExampleError
from adaptman.toolspec import examples
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.examples import Example, call_of, read_examples
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.readers import document_from_openai


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {
        "type": "function",
        "function": {"name": name, "description": "Does it", "parameters": parameters},
    }


WEATHER = tool("weather", city={"type": "string"}, days={"type": "integer", "maximum": 7})
ODD = tool("odd", **{"a b": {"type": "integer"}})
DOCUMENT = document_from_openai([WEATHER, ODD, tool("clock")])


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def asked(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A good line unless its calls or fields are not."""
    said = list(calls) or [call("weather", {"city": "Ulm"})]
    messages = [{"role": "user", "content": "rain?"}, {"role": "assistant", "tool_calls": said}]
    return {"id": "one", "messages": messages, "tools": [WEATHER]} | fields


def lines(*values: Any) -> bytes:
    return b"\n".join(value if isinstance(value, bytes) else json.dumps(value).encode() for value in values)


def refusal(data: bytes, document: ToolDocument | None = DOCUMENT) -> ExampleError:
    with pytest.raises(ExampleError) as refused:
        read_examples(data, "mine.jsonl", document)
    return refused.value


def test_good_examples_are_read_as_they_are() -> None:
    plain = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    first, second = read_examples(lines(asked(), b"", plain), "mine.jsonl", DOCUMENT)
    assert first == Example("one", tuple(asked()["messages"]), (WEATHER,))
    assert second == Example("line-3", tuple(plain["messages"]), ())


def test_a_whole_conversation_is_read() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "rain?", "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": [call("weather", '{"city": "Ulm", "days": 2}')]},
        {"role": "tool", "content": "no", "tool_call_id": "c1"},
        {"role": "assistant", "content": "No.", "tool_calls": None, "refusal": None},
    ]
    (found,) = read_examples(lines(asked(messages=messages)), "mine.jsonl", DOCUMENT)
    assert found.messages == tuple(messages)


def test_windows_line_ends_are_read() -> None:
    data = lines(asked()) + b"\r\n" + lines(asked(id="two")) + b"\r\n"
    assert [example.id for example in read_examples(data, "mine.jsonl", DOCUMENT)] == ["one", "two"]


def test_a_tool_may_be_shown_with_its_keys_in_another_order() -> None:
    function = WEATHER["function"]
    turned = {"function": {key: function[key] for key in reversed(function)}, "type": "function"}
    (found,) = read_examples(lines(asked(tools=[turned])), "mine.jsonl", DOCUMENT)
    assert found.tools == (turned,)


def test_without_a_document_only_the_form_is_checked() -> None:
    free = asked(call("weather", {"anything": 1}))
    assert read_examples(lines(free), "mine.jsonl", None)[0].messages == tuple(free["messages"])
    assert "called but not shown" in refusal(lines(asked(call("clock", {}))), None).message


USER, DONE = {"role": "user", "content": "rain?"}, {"role": "assistant", "content": "no"}
LAST_CALL = "messages[1].tool_calls[0]"
BAD: dict[str, tuple[Any, str, str]] = {
    "not JSON": (b'{"messages": [', "", "not JSON"),
    "a comma too many": (b'{"messages": [],}', "", "not JSON"),
    "not UTF-8": (b'{"id": "\xff"}', "", "not UTF-8 at byte 8"),
    "a key twice": (b'{"id": "a", "id": "b"}', "", "the key `id` stands twice"),
    "not a number": (b'{"id": NaN}', "", "`NaN` is not a JSON number"),
    "half a character": (b'{"id": "\\ud800"}', "", "half of a surrogate pair"),
    "nested too deep": (b"[" * 100_000, "", "not JSON"),
    "nested deep": (asked(extra=json.loads("[" * 200 + "]" * 200)), "", "nested deeper than 128 levels"),
    "not an object": ([1, 2], "", "must be a JSON object"),
    "unknown field": (asked(toolz=[]), "toolz", "no such field"),
    "no messages": ({"id": "a"}, "messages", "must be a list of at least one message"),
    "empty messages": (asked(messages=[]), "messages", "must be a list of at least one message"),
    "messages are text": (asked(messages="hi"), "messages", "must be a list of at least one message"),
    "message is text": (asked(messages=["hi"]), "messages[0]", "must be an object whose `role` is one of"),
    "wrong role": (
        asked(messages=[{"role": "bot", "content": "hi"}, DONE]),
        "messages[0]",
        "must be an object whose `role` is one of system, user, assistant, tool",
    ),
    "role is a list": (asked(messages=[{"role": [], "content": "hi"}]), "messages[0]", "must be an object"),
    "unknown field of a message": (
        asked(messages=[USER, DONE | {"function_call": {}}]),
        "messages[1].function_call",
        "no such field",
    ),
    "content is a list": (
        asked(messages=[{"role": "user", "content": [{"type": "text"}]}, DONE]),
        "messages[0].content",
        "must be a text",
    ),
    "user says nothing": (asked(messages=[{"role": "user"}, DONE]), "messages[0].content", "must be a text"),
    "last is the user's": (asked(messages=[USER]), "messages[0]", "the last message must be the assistant's"),
    "last is empty": (
        asked(messages=[USER, {"role": "assistant", "content": ""}]),
        "messages[1]",
        "the last message must be the assistant's, with content or calls",
    ),
    "user calls": (
        asked(messages=[USER | {"tool_calls": [call("weather", {})]}, DONE]),
        "messages[0].tool_calls",
        "must be a list, in a message of the assistant",
    ),
    "calls are an object": (
        asked(messages=[USER, DONE | {"tool_calls": call("weather", {})}]),
        "messages[1].tool_calls",
        "must be a list",
    ),
    "call is text": (asked("weather"), LAST_CALL, "a tool call must be"),  # type: ignore[arg-type]
    "call without function": (asked({"name": "weather"}), LAST_CALL, "a tool call must be"),
    "arguments are no JSON": (
        asked(call("weather", "{city")),
        LAST_CALL,
        "the arguments of `weather` are not JSON",
    ),
    "arguments are a list": (
        asked(call("weather", [])),
        LAST_CALL,
        "the arguments of `weather` must be an object",
    ),
    "unknown tool": (
        asked(call("wether", {})),
        LAST_CALL,
        "there is no tool `wether`; did you mean `weather`",
    ),
    "wrong type": (
        asked(call("weather", {"city": 3})),
        f"{LAST_CALL}.arguments.city",
        "the call of `weather` is not right: 3 is not of type string",
    ),
    "above the maximum": (
        asked(call("weather", {"city": "Ulm"}), call("weather", {"city": "Ulm", "days": 9})),
        "messages[1].tool_calls[1].arguments.days",
        "9 is above 7",
    ),
    "odd name": (
        asked(call("odd", {"a b": "x"}), tools=[ODD]),
        f'{LAST_CALL}.arguments["a b"]',
        '"x" is not of type integer',
    ),
    "missing parameter": (asked(call("weather", {})), f"{LAST_CALL}.arguments.city", "is required"),
    "earlier call is wrong": (
        asked(messages=[USER, {"role": "assistant", "tool_calls": [call("weather", {"city": 3})]}, DONE]),
        f"{LAST_CALL}.arguments.city",
        "3 is not of type string",
    ),
    "call not shown": (asked(call("clock", {})), LAST_CALL, "`clock` is called but not shown in `tools`"),
    "tools are an object": (asked(tools={}), "tools", "must be a list of tools in the OpenAI form"),
    "tool in another form": (
        asked(tools=[{"name": "weather", "input_schema": {"type": "object"}}]),
        "tools[0]",
        "must be a tool in the OpenAI form",
    ),
    "tool without a name": (asked(tools=[{"type": "function", "function": {}}]), "tools", ""),
    "shown tool is not registered": (
        asked(tools=[WEATHER, tool("mail")]),
        "tools[1]",
        "`mail` does not stand in the tool document",
    ),
    "shown with other parameters": (
        asked(tools=[tool("weather", town={"type": "string"})]),
        "tools[0]",
        "`weather` is shown with other parameters than the tool document has",
    ),
    "id is empty": (asked(id=""), "id", "must be a text that is not empty"),
    "id is a number": (asked(id=3), "id", "must be a text that is not empty"),
    "id twice": (asked(id="good"), "id", "`good` stands in line 1 already"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_told_with_file_line_and_field(name: str) -> None:
    """After a good line and an empty one."""
    line, path, message = BAD[name]
    where = f"`mine.jsonl`, line 3, `{path}`: " if path else "`mine.jsonl`, line 3: "
    error = refusal(lines(asked(id="good"), b"  ", line))
    assert error.message.startswith(where)
    assert message in error.message.removeprefix(where)
    assert not error.message.endswith(".")


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\r\n"])
def test_a_file_without_examples_is_told(data: bytes) -> None:
    error = refusal(data)
    assert error.message == "`mine.jsonl` holds no examples"
    assert "`messages`" in error.hint


def test_a_file_that_is_too_large_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MAX_BYTES", 10)
    assert refusal(b" " * 11).message == "`mine.jsonl` has 11 bytes, the limit is 10"


def test_a_call_is_read_from_text_and_object() -> None:
    wanted = ToolCall("weather", {"city": "Ulm"})
    assert call_of(call("weather", {"city": "Ulm"})) == call_of(call("weather", '{"city": "Ulm"}')) == wanted
    assert call_of({"function": {"name": "clock"}}) == ToolCall("clock", {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)


def survives(data: bytes, document: ToolDocument | None) -> None:
    found: tuple[Example, ...] = ()
    told = ""
    try:
        found = read_examples(data, "mine.jsonl", document)
    except ExampleError as error:
        told = error.message
    assert bool(found) != told.startswith("`mine.jsonl`")


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    survives(data, DOCUMENT)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything in a JSON value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, inner in steps for place in places(inner, (*path, step)))]


GOOD = asked(call("weather", {"city": "Ulm", "days": 2}), call("weather", '{"city": "Ulm"}'))


@given(st.sampled_from(places(GOOD)[1:]), JSON, st.booleans())
def test_any_value_in_any_place_is_read_or_refused(place: tuple[Any, ...], value: Any, checked: bool) -> None:
    spoilt = json.loads(json.dumps(GOOD))
    target = spoilt
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    survives(lines(spoilt), DOCUMENT if checked else None)
