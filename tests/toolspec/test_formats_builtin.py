"""The text of each built-in format, what else its reader takes, and what it says of the rest."""

from __future__ import annotations

import pytest

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats import BUILTIN, Reply, ToolCall, output_format

OSLO = ToolCall("get_weather", {"city": "Oslo", "days": 2, "hourly": True, "unit": None})
CALLS = [OSLO, ToolCall("stop", {})]
WRITTEN = {
    "hermes": (
        '<tool_call>\n{"name": "get_weather", "arguments": '
        '{"city": "Oslo", "days": 2, "hourly": true, "unit": null}}\n</tool_call>\n'
        '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>'
    ),
    "llama3": (
        '{"name": "get_weather", "parameters": {"city": "Oslo", "days": 2, "hourly": true, "unit": null}}; '
        '{"name": "stop", "parameters": {}}'
    ),
    "mistral": (
        '[TOOL_CALLS][{"name": "get_weather", "arguments": '
        '{"city": "Oslo", "days": 2, "hourly": true, "unit": null}}, {"name": "stop", "arguments": {}}]'
    ),
    "mistral-v11": (
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo", "days": 2, "hourly": true, "unit": null}'
        "[TOOL_CALLS]stop[ARGS]{}"
    ),
    "pythonic": '[get_weather(city="Oslo", days=2, hourly=True, unit=None), stop()]',
    "gemma": (
        "<start_function_call>call:get_weather{city:<escape>Oslo<escape>,days:2,hourly:true,unit:null}"
        "<end_function_call><start_function_call>call:stop{}<end_function_call>"
    ),
}


def test_every_builtin_format_is_here() -> None:
    assert set(WRITTEN) == set(BUILTIN)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_text(name: str) -> None:
    assert output_format(name).render(CALLS) == WRITTEN[name]


TOLERATED = {
    "llama3": [
        '<|python_tag|>{"name": "f", "parameters": {"a": 1}}',
        'Let me see.\n  {"name": "f", "parameters": {"a": 1}}\nDone.',
        '{"parameters": {"a": 1}, "name": "f"};',
    ],
    "mistral": [
        '[TOOL_CALLS] [ {"arguments": {"a": 1}, "name": "f"} ] ',
        'Yes. [TOOL_CALLS][{"name":"f","arguments":{"a":1}}]',
    ],
    "mistral-v11": ['[TOOL_CALLS] f [ARGS] {"a": 1}', '[TOOL_CALLS]f[CALL_ID]x1Yz[ARGS]{"a": 1}'],
    "pythonic": [
        "[f(a=1,)]",
        "<|python_start|>[f(a=1)]<|python_end|>",
        "Yes:\n [ f( a = 1 ) , ]",
        '[f(**{"a": 1})]',
    ],
    "gemma": ["<start_function_call>\ncall:f{ a : 1 }\n<end_function_call>"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in TOLERATED for text in TOLERATED[name]])
def test_what_models_write_besides(name: str, text: str) -> None:
    reply = output_format(name).parse(text)
    assert (reply.calls, reply.problems) == ((ToolCall("f", {"a": 1}),), ())


def test_literals_that_python_reads_and_adaptman_does_not_write() -> None:
    reply = output_format("pythonic").parse(r"[f(a='it\'s', b=[true, null,], c='\x41\U0001F600', d=-1.5e3)]")
    assert reply == Reply(
        "", (ToolCall("f", {"a": "it's", "b": [True, None], "c": "A😀", "d": -1500.0}),), ()
    )


BROKEN = {
    "llama3": [
        ('{"name": "f", "parameters": {"a": 1}', "its JSON does not end"),
        ('{"name": "f", "arguments": {}}', "the call of `f` has no `parameters`"),
        ('{"type": "function", "name": "f", "parameters": {}}', "a key `type` too many"),
        ('{"name": "f", "parameters": {}}; {"name": "g"', "its JSON does not end"),
        ('{"name": "f", "parameters": {"a": 1, "a": 2}}', "`a` stands twice"),
    ],
    "mistral": [
        ("[TOOL_CALLS]", "its JSON does not end"),
        ('[TOOL_CALLS]{"name": "f", "arguments": {}}', "its JSON does not end"),
        ("[TOOL_CALLS][]", "holds no call"),
        ("[TOOL_CALLS][1]", "a call is not an object"),
        ('[TOOL_CALLS][{"name": "f", "parameters": {}}]', "has no `arguments`"),
    ],
    "mistral-v11": [
        ("[TOOL_CALLS][ARGS]{}", "it has no name"),
        ("[TOOL_CALLS]f{}", "no `[ARGS]` follows its name"),
        ("[TOOL_CALLS]f[ARGS]", "its JSON does not end"),
    ],
    "pythonic": [
        ("[f(a=1)", "the list is not closed"),
        ("[f(a=1", "a call is not closed"),
        ("[f(1)]", "a call is not closed"),
        ("[f(a)]", "an argument has no name"),
        ("[f(a=b)]", "no JSON value in Python's words"),
        ("[f(a=1+1)]", "a call is not closed"),
        ("[f(a=(1, 2))]", "no JSON value in Python's words"),
        ("[f(a=1, a=2)]", "the argument `a` stands twice"),
        ("[f(a={'b': 1, 'b': 2})]", "the key `b` stands twice"),
        ("[f(a={1: 2})]", "a key is not a text"),
        ("[f(a='x)]", "a text does not end"),
        (r"[f(a='\q')]", "is not an escape that is read"),
        ("[f(from=1)]", "`from` is no name of an argument"),
        ("[f(a=01)]", "no JSON value in Python's words"),
        ("[f(a=1e999)]", "too large"),
        ("[f(**[1])]", "is not a dict"),
        ("[f(), 1]", "is not a call"),
    ],
    "gemma": [
        ("<start_function_call>call:f{a:1}", "it is not closed"),
        ("<start_function_call>f{a:1}<end_function_call>", "no `call:` and name follow"),
        ("<start_function_call>call:f<end_function_call>", "no arguments follow its name"),
        ("<start_function_call>call:f{a:Oslo}<end_function_call>", "not between two `<escape>`"),
        ("<start_function_call>call:f{a:<escape>x}<end_function_call>", "a text does not end"),
        ("<start_function_call>call:f{a}<end_function_call>", "a name has no value"),
        ("<start_function_call>call:f{a:1,a:2}<end_function_call>", "`a` stands twice"),
        ("<start_function_call>call:f{a:1 b:2}<end_function_call>", "it is not closed"),
        ("f{}<end_function_call>", "closes a call that was never opened"),
    ],
}


@pytest.mark.parametrize(
    ("name", "text", "told"), [(name, *case) for name in BROKEN for case in BROKEN[name]]
)
def test_calls_that_are_not_as_they_should_be(name: str, text: str, told: str) -> None:
    (problem,) = output_format(name).parse(text).problems
    assert told in problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llama3", '{"name": "Ada", "born": 1815}'),
        ("llama3", 'The form is {"name": "f", "parameters": {}}, as JSON.'),
        ("llama3", "{ x }"),
        ("pythonic", "The list [f(a)] is a comprehension."),
        ("pythonic", "[1, 2]\n[see](http://lab/(a))\n[f]"),
        ("mistral", '[{"name": "f", "arguments": {}}]'),
        ("gemma", "call:f{}"),
    ],
)
def test_what_only_looks_like_a_call_is_content(name: str, text: str) -> None:
    assert output_format(name).parse(text) == Reply(text, (), ())


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("pythonic", "get-weather"),
        ("pythonic", "import"),
        ("pythonic", ""),
        ("pythonic", "a..b"),
        ("mistral-v11", "get weather"),
        ("mistral-v11", "f[ARGS]"),
        ("gemma", "f{"),
    ],
)
def test_a_name_that_a_format_cannot_hold(name: str, tool: str) -> None:
    with pytest.raises(ToolDocumentError, match=f"cannot be written in the output format `{name}`") as raised:
        output_format(name).render([ToolCall(tool, {})])
    assert raised.value.hint


def test_an_argument_that_is_no_name_in_python() -> None:
    call = ToolCall("f", {"a": 1, "my-key": 2, "from": 3, "b": 4})
    assert output_format("pythonic").render([call]) == '[f(a=1, **{"my-key": 2}, **{"from": 3}, b=4)]'


def test_texts_of_gemma_are_left_alone_but_for_its_markers() -> None:
    gemma = output_format("gemma")
    call = ToolCall("f", {"path": r"C:\temp", "my key": "a<b", "marker": "<escape>"})
    assert gemma.render([call]) == (
        r"<start_function_call>call:f{path:<escape>C:\temp<escape>,"
        r"<escape>my key<escape>:<escape>a<b<escape>,marker:<escape>\u003cescape><escape>}<end_function_call>"
    )


def test_half_a_character_is_refused_by_gemma() -> None:
    with pytest.raises(ToolDocumentError, match="half of a surrogate pair"):
        output_format("gemma").render([ToolCall("f", {"a": "\ud800"})])
