"""Every output format, built in and own: what is written is read back, and no text makes a reader stumble."""

from __future__ import annotations

import ast
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats import OutputFormat, Reply, ToolCall, recorded_format
from adaptman.toolspec.formats.reading import Block, Blocks, UnreadableError
from tests.toolspec.documents import closed, function
from tests.toolspec.format_strategies import FORMATS, MARKERS, calls_for, own_formats, scraps

few = settings(
    max_examples=settings().max_examples // 3,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
every = pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)


def same(one: object, other: object) -> bool:
    """Equal as JSON: 1 and 1.0 and true are three things, and keys have an order."""
    return json.dumps(one) == json.dumps(other)


@every
@few
@given(data=st.data())
def test_what_was_written_is_read_back(fmt: OutputFormat, data: st.DataObject) -> None:
    calls = data.draw(calls_for(fmt))
    assert same(fmt.parse(fmt.render(calls)), Reply("", tuple(calls), ()))
    text = "I look.\n" + fmt.render(calls)
    assert same(fmt.parse(text), Reply("I look.", tuple(calls), ()))


@few
@given(data=st.data())
def test_what_an_own_format_writes_is_read_back(data: st.DataObject) -> None:
    fmt = data.draw(own_formats)
    calls = data.draw(calls_for(fmt))
    assert same(fmt.parse(fmt.render(calls)), Reply("", tuple(calls), ()))


@few
@given(data=st.data())
def test_an_own_formats_markers_stand_in_no_argument(data: st.DataObject) -> None:
    fmt = data.draw(own_formats)
    text = data.draw(st.text(st.sampled_from(fmt.description.begin + fmt.description.end), max_size=20))
    hidden = fmt._hidden(json.dumps({"a": text}, ensure_ascii=False))
    assert fmt.description.begin.strip() not in hidden
    assert fmt.description.end.strip() not in hidden
    assert json.loads(hidden) == {"a": text}


@every
@few
@given(text=scraps)
def test_no_text_makes_the_reader_stumble(fmt: OutputFormat, text: str) -> None:
    reply = fmt.parse(text)
    if not reply.calls and not reply.problems:
        assert reply.content == text.strip()


@few
@given(data=st.data())
def test_no_text_makes_an_own_reader_stumble(data: st.DataObject) -> None:
    fmt = data.draw(own_formats)
    told = fmt.description
    parts = [told.begin, told.end, told.separator, told.call, "f", "{}", "a=1", '{"a": 1}', "\n"]
    fmt.parse("".join(data.draw(st.lists(st.sampled_from(parts), max_size=12))))


@every
@few
@given(data=st.data())
def test_one_formats_text_read_by_another(fmt: OutputFormat, data: st.DataObject) -> None:
    other = FORMATS[data.draw(st.sampled_from(sorted(FORMATS)))]
    text = other.render(data.draw(calls_for(other)))
    reply = fmt.parse(text)
    assert reply.calls or reply.problems or reply.content == text.strip()


def deep(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = {"k": value} if level % 2 else [value]
    return value


@every
def test_nesting_up_to_the_limit(fmt: OutputFormat) -> None:
    deepest = ToolCall("f", {"a": deep(127)})
    assert fmt.parse(fmt.render([deepest])).calls == (deepest,)
    with pytest.raises(ToolDocumentError, match="nested deeper than 128 levels"):
        fmt.render([ToolCall("f", {"a": deep(128)})])
    with pytest.raises(ToolDocumentError, match="nested deeper than 128 levels"):
        fmt.render([ToolCall("f", {"a": deep(10_000)})])


@every
@pytest.mark.parametrize("arguments", [{"a": float("nan")}, {"a": float("inf")}, {"a": object()}])
def test_arguments_that_are_not_json_are_refused(fmt: OutputFormat, arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolDocumentError, match="the call of `f` cannot be written as JSON"):
        fmt.render([ToolCall("f", arguments)])


@every
def test_no_calls_are_no_text(fmt: OutputFormat) -> None:
    assert fmt.render([]) == ""
    assert fmt.system_prompt([]) == ""
    assert fmt.parse("") == Reply("", (), ())


@every
def test_the_prompt_shows_the_tools_as_they_were_written(fmt: OutputFormat) -> None:
    told = "für " + " ".join(MARKERS)
    tool = {"parameters": closed({"b": {}, "a": {}}), "name": "f", "description": told}
    prompt = fmt.system_prompt([{"type": "function", "function": tool}, function("g", {})])
    shown = [json.loads(line) for line in prompt.split("\n") if '"description": ' in line]
    assert shown == [tool, function("g", {})["function"]]
    assert prompt.count(OPENED[fmt.name]) <= 2
    assert "für" in prompt


@every
def test_a_recorded_format_is_the_same(fmt: OutputFormat) -> None:
    spec = json.loads(json.dumps(fmt.spec()))
    made = recorded_format(fmt.name, fmt.version, spec, fmt.digest)
    assert made.spec() == fmt.spec()
    call = ToolCall("f", {"a": ["<"]})
    assert made.parse(fmt.render([call])).calls == (call,)


@every
def test_a_recorded_format_that_is_another_now_is_refused(fmt: OutputFormat) -> None:
    with pytest.raises(ToolDocumentError, match="on record with digest `000000000000`") as raised:
        recorded_format(fmt.name, fmt.version, fmt.spec(), "0" * 64)
    assert raised.value.hint


# Who changes how calls are written, or the prompt, counts `version` up: models were trained on it.
DIGESTS = {
    "hermes": "eedb0cb540227fd4",
    "llama3": "3043d5e80aec",
    "mistral": "c0897c385102",
    "mistral-v11": "98bb2ae1904a",
    "pythonic": "b5c18e111305",
    "gemma": "9cab78ea3889",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_digests_stand(name: str) -> None:
    fmt = FORMATS[name]
    assert (fmt.spec()["name"], fmt.spec()["version"]) == (fmt.name, fmt.version)
    assert fmt.digest.startswith(DIGESTS[name])


@pytest.mark.parametrize("name", ["pythonic", "code"])
@few
@given(data=st.data())
def test_python_agrees(name: str, data: st.DataObject) -> None:
    """The text of pythonic calls is Python, and means the same there."""
    fmt = FORMATS[name]
    calls = data.draw(calls_for(fmt))
    text = fmt.render(calls)
    if name == "code":
        text = "[" + text.removeprefix("```tool\n").removesuffix("\n```").replace("\n", ", ") + "]"
    (tree,) = ast.parse(text).body
    assert isinstance(tree, ast.Expr)
    assert isinstance(tree.value, ast.List)
    assert same([_called(node) for node in tree.value.elts], [[call.name, call.arguments] for call in calls])


def _called(node: ast.expr) -> list[Any]:
    assert isinstance(node, ast.Call)
    assert not node.args
    arguments: dict[str, Any] = {}
    for one in node.keywords:
        value = ast.literal_eval(one.value)
        arguments |= value if one.arg is None else {one.arg: value}
    return [ast.unparse(node.func), arguments]


OPENED = {
    "hermes": "<tool_call>",
    "llama3": '{"name"',
    "mistral": "[TOOL_CALLS]",
    "mistral-v11": "[TOOL_CALLS]f[ARGS]",
    "pythonic": "[f(",
    "gemma": "<start_function_call>call:f",
    "tagged": "<call>",
    "code": "```tool\n",
}
TAILS = ["", "{", "[", '{"', '{\\"', '{"a":"\\', "a='", "[[[[", '["', "{a:<escape>", "\n", " ", '{"a":1}']


@every
@pytest.mark.parametrize("tail", TAILS)
def test_what_is_read_grows_like_the_text(
    fmt: OutputFormat, tail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is left open, nothing is read anew for each opening; benchmarks/parse_formats.py has times."""
    characters = 0
    read = Blocks.read

    def counted(blocks: Blocks, text: str) -> Reply:
        def read_at(text: str, at: int) -> Block:
            nonlocal characters
            try:
                block = blocks.read_at(text, at)
            except UnreadableError as error:
                characters += error.at - at
                raise
            characters += block.end - at
            return block

        return read(dataclasses.replace(blocks, read_at=read_at), text)

    monkeypatch.setattr(Blocks, "read", counted)
    scrap = OPENED[fmt.name] + tail
    for end in ("", "\n"):
        text = (scrap + end) * (20_000 // len(scrap))
        characters = 0
        fmt.parse(text)
        assert characters <= 10 * len(text)
