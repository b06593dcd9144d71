"""Own formats: which files are taken, which are refused and with what words."""

from __future__ import annotations

import pytest

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats import ToolCall, own_from_text
from tests.toolspec.format_strategies import CODE, TAGGED

CALLS = [ToolCall("f", {"a": "</call>"}), ToolCall("g.h", {})]


def test_the_text_with_tags() -> None:
    fmt = own_from_text(TAGGED, "tagged.yaml")
    text = (
        '<call>\n{"tool": "f", "input": {"a": "\\u003c/call>"}}\n</call>\n'
        '<call>\n{"tool": "g.h", "input": {}}\n</call>'
    )
    assert fmt.render(CALLS) == text
    assert fmt.parse("I look. " + text.replace("\n", "")).calls == tuple(CALLS)
    assert fmt.system_prompt([{"name": "f"}]) == (
        'Write <call>, the call as JSON, </call>. Tools:\n{"name": "f"}\n'
    )


def test_the_text_with_pythonic_arguments() -> None:
    fmt = own_from_text(CODE, "code.yaml")
    assert fmt.render(CALLS) == '```tool\nf(a="</call>")\ng.h()\n```'
    assert fmt.parse("```tool\nf(a=1)\n```\nand\n```python\nf()\n```").calls == (ToolCall("f", {"a": 1}),)


BROKEN = {
    "<call>": "it is not closed",
    '<call>{"tool": "f", "input": {}}': "it is not closed",
    '<call>{"tool": "f", "input": {}} or so</call>': "text follows a call",
    '<call>{"tool": "f", "arguments": {}}</call>': '`", "input":` is missing',
    '<call>{"tool": "f", "input": {"a": x}}</call>': "expecting value",
    '<call>{"tool": "", "input": {}}</call>': "it has no name",
    "</call>": "closes a call that was never opened",
}


@pytest.mark.parametrize("text", BROKEN)
def test_blocks_that_are_not_as_they_should_be(text: str) -> None:
    reply = own_from_text(TAGGED, "tagged.yaml").parse(text)
    assert reply.calls == ()
    assert BROKEN[text] in reply.problems[0]


def test_a_name_that_it_cannot_hold() -> None:
    with pytest.raises(
        ToolDocumentError, match=r"`get weather` cannot be written in the output format `tagged`"
    ):
        own_from_text(TAGGED, "tagged.yaml").render([ToolCall("get weather", {})])
    with pytest.raises(
        ToolDocumentError, match=r"`get-weather` cannot be written in the output format `code`"
    ):
        own_from_text(CODE, "code.yaml").render([ToolCall("get-weather", {})])


REFUSED = {
    "name: [": "is not valid YAML",
    "- a": "a mapping was expected",
    "": "a mapping was expected",
    "name: a\nname: b": "`name` stands twice",
    "? [a]\n: b": "is not valid YAML",
    "name: a": "`version`: field required",
    "a: " + "x" * 70_000: "at most 65536 are read",
}


@pytest.mark.parametrize("text", REFUSED)
def test_files_that_are_refused(text: str) -> None:
    with pytest.raises(ToolDocumentError) as raised:
        own_from_text(text, "own.yaml")
    assert REFUSED[text] in raised.value.message
    assert "own.yaml" in raised.value.message
    assert raised.value.hint


FIELDS = {
    "name": [("hermes", "is the name of a built-in"), ("Two Words", "should match pattern")],
    "version": [(0, "greater than"), ("'1'", "valid integer"), (1.5, "valid integer")],
    "begin": [
        ("''", "at least 1 character"),
        ("' '", "white space only"),
        ("'{'", "may stand in a name or in the text of arguments"),
        ("'true'", "may stand in a name or in the text of arguments"),
        ("'TOOL'", "may stand in a name or in the text of arguments"),
        ("'</call>'", "it is the same as `begin`"),
    ],
    "end": [("''", "at least 1 character"), ("'}'", "may stand in a name"), ("'\"]'", "may stand in a name")],
    "separator": [("''", "at least 1 character"), ("'</'", "the last call would seem to go on")],
    "call": [
        ("'{name}'", "`{arguments}` must stand in it once"),
        ("'{name} {name} {arguments}'", "`{name}` must stand in it once"),
        ("'{name}x{arguments}'", "follows `{name}`"),
        ("'</call>{name} {arguments}'", "the next call would seem to be the end"),
    ],
    "arguments": [("xml", "'json' or 'pythonic'"), ("pythonic", "stand between brackets")],
    "system_prompt": [("hello", "`{tools}` must stand in it once")],
    "colour": [("red", "extra inputs are not permitted")],
}
PLAIN = {
    "name": "plain",
    "version": "1",
    "begin": "'<call>'",
    "end": "'</call>'",
    "separator": "'\\n'",
    "call": "'{name} {arguments}'",
    "arguments": "json",
    "system_prompt": "'{tools}'",
}


def plain(**changes: object) -> str:
    fields = PLAIN | {name: str(value) for name, value in changes.items()}
    fields["separator"] = fields["separator"].replace("'\\n'", '"\\n"')
    return "\n".join(f"{name}: {value}" for name, value in fields.items())


def test_the_plain_one_is_taken() -> None:
    fmt = own_from_text(plain(), "own.yaml")
    assert fmt.parse(fmt.render(CALLS)).calls == tuple(CALLS)


@pytest.mark.parametrize(
    ("field", "value", "told"), [(field, *case) for field in FIELDS for case in FIELDS[field]]
)
def test_fields_that_are_refused(field: str, value: object, told: str) -> None:
    with pytest.raises(ToolDocumentError) as raised:
        own_from_text(plain(**{field: value}), "own.yaml")
    assert told in raised.value.message
    assert field in raised.value.message or "same as" in told
    assert raised.value.hint


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("separator", {"call": "'{arguments} {name}'", "separator": "'x'"}),
        ("end", {"call": "'{arguments} {name}'", "end": "'x>'"}),
        ("end", {"end": "'f('"}),
        ("end", {"call": "'{arguments} {name}'", "end": "'{<'"}),
        ("end", {"call": "'{name}({arguments})'", "arguments": "pythonic", "end": "'END_'"}),
    ],
)
def test_ends_that_could_be_part_of_a_call(field: str, changes: dict[str, object]) -> None:
    with pytest.raises(ToolDocumentError, match=f"`{field}`: "):
        own_from_text(plain(**changes), "own.yaml")
