"""A format's grammar holds what the format writes and nothing that it cannot read; a model is held to it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from adaptman.errors import ModelError
from adaptman.learning.answerer import ModelAnswerer
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.models import LoadedModel
from adaptman.toolspec.formats import OutputFormat, ToolCall
from adaptman.toolspec.validate import validate_call
from tests.learning.test_answerer import Turns
from tests.toolspec.documents import closed, document, function
from tests.toolspec.format_strategies import FORMATS

BYTES = LLTokenizer("byte")
TOOLS = [
    function("get_weather", closed({"city": {"type": "string"}, "days": {"type": "integer"}}, "city")),
    function("math.gcd", closed({"a": {"type": "integer"}, "b": {"enum": [1, 2, "größe"]}}, "a", "b")),
    function("ping", closed({})),
]
GRAMMATICAL = [name for name, fmt in FORMATS.items() if fmt.layout is not None]

weather = st.fixed_dictionaries(
    {"city": st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]))},
    optional={"days": st.integers(-(10**6), 10**6)},
).map(lambda given: ToolCall("get_weather", {key: given[key] for key in ("city", "days") if key in given}))
gcd = st.builds(
    lambda a, b: ToolCall("math.gcd", {"a": a, "b": b}), st.integers(0, 99), st.sampled_from([1, 2, "größe"])
)
calls = st.lists(weather | gcd | st.just(ToolCall("ping", {})), min_size=1, max_size=3)


def grammar(fmt: OutputFormat, count: int) -> str:
    text = fmt.grammar(TOOLS, count, {})
    assert text is not None
    return text


def accepts(text: str, fmt: OutputFormat, count: int) -> bool:
    matcher = LLMatcher(BYTES, grammar(fmt, count), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


def test_these_have_a_grammar() -> None:
    assert GRAMMATICAL == ["hermes", "llama3", "mistral", "mistral-v11", "tagged"]


@pytest.mark.parametrize("name", GRAMMATICAL)
@given(calls)
def test_what_is_written_is_in_the_grammar(name: str, wanted: list[ToolCall]) -> None:
    fmt = FORMATS[name]
    assert accepts(fmt.render(wanted), fmt, len(wanted))
    assert not accepts(fmt.render(wanted), fmt, len(wanted) + 1)


@pytest.mark.parametrize("name", GRAMMATICAL)
@pytest.mark.parametrize(
    "call",
    [
        ToolCall("get_rain", {"city": "Oslo"}),
        ToolCall("get_weather", {"town": "Oslo"}),
        ToolCall("get_weather", {}),
        ToolCall("get_weather", {"city": 7}),
        ToolCall("math.gcd", {"a": 1, "b": 3}),
    ],
)
def test_another_call_is_not(name: str, call: ToolCall) -> None:
    assert not accepts(FORMATS[name].render([call]), FORMATS[name], 1)


@pytest.mark.parametrize("name", GRAMMATICAL)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_whatever_the_grammar_lets_through_is_read_and_fits(name: str, seed: int, count: int) -> None:
    text = walk(grammar(FORMATS[name], count), random.Random(seed))
    reply = FORMATS[name].parse(text)
    assert len(reply.calls) == count, text
    assert not reply.problems
    told = document(*TOOLS)
    assert [validate_call(told, call) for call in reply.calls] == [[]] * count


def walk(text: str, chance: random.Random) -> str:
    """A text of the grammar by chance; letters, quotes and digits, so that it ends."""
    matcher = LLMatcher(BYTES, text, log_level=0)
    said: list[int] = []
    while not matcher.is_stopped() and len(said) < 600:
        mask = matcher.compute_bitmask()
        allowed = [byte for byte in range(32, 256) if mask[byte // 8] >> byte % 8 & 1]
        allowed = allowed or [byte for byte in range(32) if mask[byte // 8] >> byte % 8 & 1]
        if not allowed or (matcher.is_accepting() and chance.random() < 0.5):
            break
        plain = [byte for byte in allowed if byte < 128 and chr(byte) in '"0123abc{}[]<:, \\nT_-.']
        closing = [byte for byte in plain if chr(byte) in '"}]']
        said.append(chance.choice(closing if closing and chance.random() < 0.4 else plain or allowed))
        matcher.consume_token(said[-1])
    return bytes(said).decode(errors="replace")


def test_a_marker_that_is_a_token_is_that_token() -> None:
    text = FORMATS["mistral-v11"].grammar(TOOLS[:1], 1, {"[TOOL_CALLS]": 9, "[ARGS]": 32})
    assert text is not None
    assert 'call_0: <[9]> "get_weather" <[32]> arguments_0' in text


@pytest.mark.parametrize("count", [1, 2])
def test_a_model_that_knows_nothing_writes_calls(
    loaded: LoadedModel, renderer: ChatRenderer, count: int
) -> None:
    asked = [Turns([{"role": "user", "content": word}], TOOLS[1:]) for word in ("one", "two", "three")]
    done: list[int] = []
    answerer = ModelAnswerer(loaded, renderer, batch_size=2)
    replies = answerer.answer_guided(asked, [count] * 3, max_new_tokens=400, on_done=done.append)
    for reply in replies:
        assert reply is not None
        read = renderer.output_format.parse(reply)
        assert (len(read.calls), read.problems) == (count, ())
        assert {call.name for call in read.calls} <= {"math.gcd", "ping"}
    assert sum(done) == 3


def test_no_reply_where_there_is_no_grammar_or_no_end(loaded: LoadedModel, renderer: ChatRenderer) -> None:
    said: list[dict[str, Any]] = [{"role": "user", "content": "one"}]
    asked = [Turns(said, TOOLS), Turns(said), Turns(said, TOOLS)]
    replies = ModelAnswerer(loaded, renderer).answer_guided(asked, [1, 1, 1], max_new_tokens=4)
    assert replies == [None, None, None]


def test_a_model_that_ends_no_reply_is_told(loaded: LoadedModel, renderer: ChatRenderer) -> None:
    endless = ModelAnswerer(replace(loaded, stop_ids=()), renderer)
    with pytest.raises(ModelError, match="a token that ends a reply") as told:
        endless.answer_guided([Turns([{"role": "user", "content": "one"}], TOOLS)], [1], max_new_tokens=4)
    assert "eos_token_id" in told.value.hint
