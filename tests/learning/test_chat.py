"""Conversations as tokens: what the model reads is its own template's, what it learns is the answer alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import ExampleError, ModelError
from adaptman.learning.chat import ChatRenderer
from adaptman.toolspec.formats import ToolCall, output_format
from tests.learning.tiny import CHATML, tiny_tokenizer

HERMES = output_format("hermes")
RENDERER = ChatRenderer(tiny_tokenizer(), HERMES)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it", "parameters": {"type": "object"}},
}
ASK = {"role": "user", "content": "rain?"}
# Without what the tokenizer reads as its special tokens.
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<|"), max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def completion(renderer: ChatRenderer, messages: list[dict[str, Any]], tools: Any = ()) -> str:
    encoded = renderer.answered(messages, tools)
    return str(renderer.tokenizer.decode(encoded.ids[encoded.prompt_length :]))


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), WORDS), min_size=1, max_size=4))
def test_without_tools_the_prompt_is_the_tokenizers_own(turns: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": words} for role, words in turns]
    own = RENDERER.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert RENDERER.prompt_ids(messages, ()) == own


@given(WORDS)
def test_the_completion_is_the_answer_and_its_end(words: str) -> None:
    messages = [ASK, {"role": "assistant", "content": words}]
    encoded = RENDERER.answered(messages, ())
    assert encoded.ids[: encoded.prompt_length] == RENDERER.prompt_ids([ASK], ())
    assert RENDERER.tokenizer.decode(encoded.ids[encoded.prompt_length :]) == f"{words}<|im_end|>"


def test_an_earlier_answer_belongs_to_the_prompt() -> None:
    messages = [ASK, {"role": "assistant", "content": "no"}, ASK, {"role": "assistant", "content": "yes"}]
    assert completion(RENDERER, messages) == "yes<|im_end|>"


def test_tools_stand_in_a_system_message_of_their_own() -> None:
    assert RENDERER.prompt([ASK], [TOOL]) == (
        f"<|im_start|>system\n{HERMES.system_prompt([TOOL])}<|im_end|>\n"
        "<|im_start|>user\nrain?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tools_follow_the_words_of_a_system_message() -> None:
    system = {"role": "system", "content": "Be brief."}
    prompt = RENDERER.prompt([system, ASK], [TOOL])
    assert prompt.startswith(f"<|im_start|>system\nBe brief.\n\n{HERMES.system_prompt([TOOL])}<|im_end|>\n")
    assert prompt.count("<|im_start|>system") == 1
    assert system == {"role": "system", "content": "Be brief."}, "the caller's message was changed"


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=8), st.dictionaries(st.text(max_size=5), JSON, max_size=3)),
        min_size=1,
        max_size=3,
    )
)
def test_calls_are_read_back_from_the_tokens_that_are_learned(
    calls: list[tuple[str, dict[str, Any]]],
) -> None:
    answer = {"role": "assistant", "tool_calls": [call(name, arguments) for name, arguments in calls]}
    encoded = RENDERER.answered([ASK, answer], [TOOL])
    text = RENDERER.tokenizer.decode(encoded.ids[encoded.prompt_length :], skip_special_tokens=True)
    reply = HERMES.parse(str(text))
    assert reply.calls == tuple(ToolCall(name, arguments) for name, arguments in calls)
    assert (reply.content, reply.problems) == ("", ())


def test_arguments_may_be_json_text() -> None:
    as_text = [
        ASK,
        {"role": "assistant", "content": None, "tool_calls": [call("weather", '{"city": "Ulm"}')]},
    ]
    as_object = [ASK, {"role": "assistant", "tool_calls": [call("weather", {"city": "Ulm"})]}]
    assert RENDERER.answered(as_text, ()) == RENDERER.answered(as_object, ())


def test_words_stand_before_calls() -> None:
    answer = {"role": "assistant", "content": "Let me see.", "tool_calls": [call("weather", {})]}
    rendered = HERMES.render([ToolCall("weather", {})])
    assert completion(RENDERER, [ASK, answer]) == f"Let me see.\n{rendered}<|im_end|>"


@pytest.mark.parametrize("messages", [[], [ASK]])
def test_there_must_be_an_answer(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(ExampleError, match="the last message must be the assistant's"):
        RENDERER.answered(messages, ())


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{{ messages | length }}" + CHATML, id="counts the messages"),
        pytest.param(CHATML.replace("assistant\\n", "assistant\\n<think>"), id="thinks in the prompt alone"),
    ],
)
def test_a_template_that_rewrites_the_prompt_is_refused(template: str) -> None:
    renderer = ChatRenderer(tiny_tokenizer(template), HERMES)
    with pytest.raises(ModelError, match="does not keep the text before the assistant's answer"):
        renderer.answered([ASK, {"role": "assistant", "content": "no"}], ())


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('only users, please') }}", "only users, please"),
        ("{{ messages[0].content.nothing.at_all }}", "no attribute"),
        ("{% for %}", "refuses the conversation"),
    ],
)
def test_a_template_that_raises_is_told(template: str, words: str) -> None:
    renderer = ChatRenderer(tiny_tokenizer(template), HERMES)
    with pytest.raises(ModelError, match=re.escape(words)):
        renderer.prompt([ASK], ())


def test_an_answer_keeps_the_special_tokens_that_its_format_writes() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["[TOOL_CALLS]"], special_tokens=True)
    fmt = output_format("mistral")
    text = fmt.render([ToolCall("f", {"a": 1})])
    ids = tokenizer(f"{text}<|im_end|>", add_special_tokens=False)["input_ids"]
    assert ChatRenderer(tokenizer, fmt).reply_text(ids) == text
    assert ChatRenderer(tokenizer, HERMES).reply_text(ids) == text.removeprefix("[TOOL_CALLS]")


@given(WORDS)
def test_an_answer_is_what_the_tokenizer_reads_without_special_tokens(words: str) -> None:
    ids = RENDERER.tokenizer(f"<|im_start|>{words}<|im_end|>", add_special_tokens=False)["input_ids"]
    assert RENDERER.reply_text(ids) == RENDERER.tokenizer.decode(ids, skip_special_tokens=True) == words
