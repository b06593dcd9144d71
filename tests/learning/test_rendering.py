"""A rendering covers text and tokens, is kept and read back whole, and tells where two of them part."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from adaptman.errors import ArtifactError, ModelError
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.rendering import Rendering, first_difference, libraries, probe, render
from adaptman.toolspec.formats import OutputFormat
from adaptman.toolspec.readers import document_from_openai
from tests.learning.tiny import CHATML, tiny_tokenizer
from tests.toolspec.format_strategies import FORMATS

HERMES = FORMATS["hermes"]
RENDERER = ChatRenderer(tiny_tokenizer(), HERMES)
MESSAGES = [
    {"role": "user", "content": "the call in there"},
    {"role": "assistant", "content": "the inner cat"},
]


def tool(name: str, properties: dict[str, Any] | None = None) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties or {}}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


TOOLS = [tool("weather"), tool("mail"), tool("news")]


def refusing(what: str, template: str = CHATML) -> str:
    """A chat template that refuses messages of a role."""
    raised = f"{{{{ raise_exception('no {what}') }}}}"
    return f"{{% for m in messages if m['role'] == '{what}' %}}{raised}{{% endfor %}}{template}"


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS.keys())
def test_the_probe_holds_every_tool_two_calls_their_results_and_a_reply(fmt: OutputFormat) -> None:
    found = probe(ChatRenderer(tiny_tokenizer(), fmt), TOOLS)
    assert [message["role"] for message in found.messages] == [
        "system", "user", "assistant", "tool", "tool", "assistant"
    ]  # fmt: skip
    assert [found.text.count(name) >= 1 for name in ("weather", "mail", "news")] == [True] * 3
    assert found.answer.endswith("<|im_end|>")
    assert RENDERER.tokenizer.decode(found.ids) == found.text


def test_a_template_with_no_role_for_results_gets_a_poorer_probe() -> None:
    found = probe(ChatRenderer(tiny_tokenizer(refusing("tool")), HERMES), TOOLS)
    assert [message["role"] for message in found.messages] == ["system", "user", "assistant"]
    assert "weather" in found.answer


def test_a_template_that_refuses_everything_is_told() -> None:
    with pytest.raises(ModelError, match="no user"):
        probe(ChatRenderer(tiny_tokenizer(refusing("user")), HERMES), TOOLS)


def test_without_tools_there_are_no_calls() -> None:
    assert [message["role"] for message in probe(RENDERER, []).messages] == ["system", "user", "assistant"]


@given(st.lists(st.permutations(["b", "a", "type", "n"]), min_size=1, max_size=3))
def test_what_is_kept_is_read_back_whole(keys: list[list[str]]) -> None:
    """The order of keys, too: a call is rendered in it."""
    calls = [
        {"type": "function", "function": {"name": "mail", "arguments": dict.fromkeys(order, 'ö "1"')}}
        for order in keys
    ]
    messages = [MESSAGES[0], {"role": "assistant", "content": None, "tool_calls": calls}]
    found = render(RENDERER, messages, TOOLS)
    again = Rendering.from_json(found.to_json().encode())
    assert (again.text, again.ids, again.digest) == (found.text, found.ids, found.digest)
    assert render(RENDERER, again.messages, TOOLS).digest == found.digest


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"messages": 1}', b"\xff"])
def test_bytes_that_are_no_rendering(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="is none"):
        Rendering.from_json(data)


def test_the_same_is_no_difference() -> None:
    assert first_difference(probe(RENDERER, TOOLS), probe(RENDERER, TOOLS)) is None


def test_another_chat_template_is_found_where_it_begins() -> None:
    other = ChatRenderer(tiny_tokenizer(CHATML.replace("'<|im_end|>\\n'", "'<|im_end|>'")), HERMES)
    then, now = render(RENDERER, MESSAGES, []), render(other, MESSAGES, [])
    found = first_difference(then, now)
    assert found is not None
    assert (found.part, found.at) == ("text", then.text.index("\n", then.text.index("there")))
    assert (found.then, found.now) == (
        "… there<|im_end|>\\n<|im_start|>assistant\\nthe inner cat<|im…",
        "… there<|im_end|><|im_start|>assistant\\nthe inner cat<|im_…",
    )


def test_a_tokenizer_that_cuts_otherwise_is_found_though_the_text_is_the_same() -> None:
    other = tiny_tokenizer()
    state = json.loads(other.backend_tokenizer.to_str())
    state["model"]["merges"] = [pair for pair in state["model"]["merges"] if pair != ["th", "e"]]
    other._tokenizer = Tokenizer.from_str(json.dumps(state))
    then, now = render(RENDERER, MESSAGES, []), render(ChatRenderer(other, HERMES), MESSAGES, [])
    assert then.text == now.text
    found = first_difference(then, now)
    assert found is not None
    assert found.part == "tokens"
    assert then.ids[: found.at] == now.ids[: found.at]
    assert RENDERER.tokenizer.decode(then.ids[found.at]) == "the"
    assert found.then.startswith(f"{then.ids[found.at]} ")


def test_what_is_learned_is_part_of_it() -> None:
    then = render(RENDERER, MESSAGES, [])
    now = dataclasses.replace(then, prompt=then.prompt + "the", answer=then.answer[3:])
    found = first_difference(then, now)
    assert found is not None
    assert (found.part, found.at) == ("learned", len(then.prompt))


def test_the_libraries_are_named_with_their_versions() -> None:
    found = libraries()
    assert set(found) == {"adaptman", "jinja2", "tokenizers", "transformers"}
    assert all(found.values())


# Written as their author wrote them: key order, and nothing added or taken away

_keys = st.sampled_from(["type", "description", "title", "default", "examples"])
_leaf = st.fixed_dictionaries({"type": st.sampled_from(["string", "number"])}) | st.permutations(
    [("type", "string"), ("description", "Ö é"), ("title", "T"), ("default", "x")]
).map(dict)
_functions = st.tuples(
    st.permutations(["name", "description", "parameters"]),
    st.permutations(["type", "properties", "required", "title"]),
    st.dictionaries(st.sampled_from(["zulu", "alpha", "mike", "unit"]), _leaf, min_size=1),
)


def _written(at: int, drawn: Any) -> dict[str, Any]:
    outer, inner, properties = drawn
    schema = {"type": "object", "properties": properties, "required": sorted(properties)[:1], "title": "P"}
    whole = {
        "name": f"tool_{at}",
        "description": "Does it.",
        "parameters": {key: schema[key] for key in inner},
    }
    return {"type": "function", "function": {key: whole[key] for key in outer}}


@given(st.lists(_functions, min_size=1, max_size=4), st.sampled_from(sorted(FORMATS)))
def test_tools_are_shown_byte_for_byte_in_their_authors_order(drawn: list[Any], name: str) -> None:
    tools = [_written(at, one) for at, one in enumerate(drawn)]
    found = probe(ChatRenderer(tiny_tokenizer(), FORMATS[name]), document_from_openai(tools).as_openai())
    at = 0
    for one in tools:
        written = json.dumps(one["function"], ensure_ascii=False)
        assert written in found.prompt[at:]
        at = found.prompt.index(written, at) + len(written)
