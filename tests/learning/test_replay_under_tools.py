"""Replay under earlier tools: how requests begin, which calls are kept, and how they are rewritten."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean

import pytest
import torch

from adaptman.errors import ToolDocumentError, TrainingError
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.drawing import ToolPrompt, generate, in_turns
from adaptman.learning.models import LoadedModel
from adaptman.learning.replay import ReplaySample, ReplaySet
from adaptman.toolspec.formats import Reply, ToolCall
from tests.learning.callers import RECIPE, TOOLS, AnyText, LongText, tool_prompts
from tests.learning.tiny import END, START

ASKS = "(?:Can you|I need to|Please|Could you|I want to|Help me|How do I)"
TELLS = "(?:What is|Tell me|Which is|How much is|I want to know)"
UNDER_TOOLS = replace(RECIPE, free=0, chat=0, irrelevant=0)


def request_of(loaded: LoadedModel, sample: ReplaySample) -> str:
    text = str(loaded.tokenizer.decode(sample.ids))
    return text.split(f"{START}user\n")[1].split(f"{END}\n{START}assistant")[0]


def test_replies_that_are_not_accepted_are_dropped_and_counted(
    loaded: LoadedModel, before: ChatRenderer
) -> None:
    asked: list[str] = []

    def accepts(call: ToolCall) -> bool:
        asked.append(call.arguments["text"])
        return len(asked) % 2 == 0

    recipe = replace(RECIPE, samples=6, free=0, chat=1, tools=2)
    found = generate(loaded, before, recipe, [ToolPrompt(TOOLS[:1], accepts)], 0)
    assert len(asked) == 4, "of two attempts for each of four wanted, every other one is a request"
    assert found.report["attempted"] == 8
    assert found.report["valid"] == 2
    assert found.report["by_source"] == {"chat": 2, "tools": 2}


def test_the_report_tells_of_which_tools_calls_are_replayed(
    loaded: LoadedModel, renderer: ChatRenderer, before: ChatRenderer
) -> None:
    """Those that are among the samples: of a call too many nothing is replayed."""
    prompts = [ToolPrompt(TOOLS[at:] + TOOLS[:at], lambda call, at=at: at != 1, at) for at in range(3)]
    recipe = replace(UNDER_TOOLS, samples=3)
    for format_before in (None, before):
        writer = renderer if format_before else before
        found = generate(loaded, writer, recipe, prompts, 0, before=format_before)
        shown = Counter(re.search("do ([abc])", request_of(loaded, one)).group(1) for one in found.samples)
        assert found.report["tools"] == {"a": shown["a"], "b": 0, "c": shown["c"]}
        assert found.report["valid"] >= len(found.samples) == shown["a"] + shown["c"] > 0
    for other, asked in ((RECIPE, ()), (replace(RECIPE, tools=0), prompts)):
        assert "tools" not in generate(loaded, before, other, asked, 0).report


def test_what_is_under_tools_has_a_temperature_of_its_own(loaded: LoadedModel, before: ChatRenderer) -> None:
    """Near 0 tokens are the likeliest, and the teacher that of a pass at 1; all else is as it was."""
    described = {"type": "function", "function": {"name": "a", "description": "Find the sum"}}
    prompts = [ToolPrompt((described,), lambda call: True)]
    recipe = replace(RECIPE, samples=80, free=1, chat=1, tools=6, irrelevant=0)
    cold, warm = (
        generate(loaded, before, replace(recipe, tools_temperature=temperature), prompts, 0)
        for temperature in (0.01, 1.0)
    )
    for one, other in zip(cold.samples[:20], warm.samples[:20], strict=True):
        assert (one.source, one.ids) == (other.source, other.ids)
    likeliest = [
        [
            sample.ids[at] == int(first)
            for sample in found.samples[20:]
            for at, first in zip(sample.positions.tolist(), sample.teacher.ids_TK[:, 0], strict=True)
        ]
        for found in (cold, warm)
    ]
    assert fmean(likeliest[0]) > 0.95 > 0.5 > fmean(likeliest[1])
    sample = cold.samples[-1]
    with torch.inference_mode():
        logits_TV = loaded.model(torch.tensor([sample.ids])).logits[0, sample.positions - 1]
    expected = logits_TV.float().log_softmax(-1).topk(recipe.top_k).values
    torch.testing.assert_close(sample.teacher.log_probs_TK, expected, atol=1e-4, rtol=1e-4)


def test_a_reply_is_judged_without_its_question(loaded: LoadedModel, before: ChatRenderer) -> None:
    replies: list[str] = []
    prompts = [ToolPrompt(TOOLS[:1], lambda call: bool(replies.append(call.arguments["text"])) or True)]
    recipe = replace(RECIPE, samples=2, free=0, chat=0)
    for sample in generate(loaded, before, recipe, prompts, 0).samples:
        text = str(loaded.tokenizer.decode(sample.ids))
        answer = text.rpartition(f"{START}assistant\n")[2].removesuffix(END)
        assert answer in replies


def test_more_valid_replies_than_wanted_are_counted_and_not_kept(
    loaded: LoadedModel, renderer: ChatRenderer
) -> None:
    recipe = replace(UNDER_TOOLS, samples=4)
    found = generate(loaded, replace(renderer, output_format=LongText()), recipe, tool_prompts(), 0)
    assert found.report["attempted"] == 8
    assert found.report["valid"] > 4
    assert found.report["by_source"] == {"tools": 4}


@pytest.mark.parametrize("updates", [1, 2])
def test_every_other_request_is_what_the_tool_does_alone(
    loaded: LoadedModel, before: ChatRenderer, updates: int
) -> None:
    """Of each update's, however many updates take turns."""
    writer = replace(before, output_format=LongText())
    prompts = [
        ToolPrompt(TOOLS[at:] + TOOLS[:at], lambda call: True, at if updates > 1 else 0) for at in range(2)
    ]
    recipe = replace(UNDER_TOOLS, samples=12, max_tokens=6)
    found = [request_of(loaded, one) for one in generate(loaded, writer, recipe, prompts, 0).samples]
    assert all(re.match(f"{ASKS} do [ab]", request) for request in found)
    for tool in "ab":
        of_it = [request for request in found if re.match(f"{ASKS} do {tool}", request)]
        assert {bool(re.fullmatch(f"{ASKS} do {tool}[.?]", request)) for request in of_it} == {True, False}


def test_a_tool_is_not_always_asked_for_in_the_same_words(loaded: LoadedModel, before: ChatRenderer) -> None:
    """However many tools there are: the words and the tools do not take turns at one pace."""
    described = {"type": "function", "function": {"name": "a", "description": "Find the sum"}}
    prompts = [ToolPrompt((described,), lambda call: True)] * 7
    recipe = replace(UNDER_TOOLS, samples=70)
    found = [request_of(loaded, one) for one in generate(loaded, before, recipe, prompts, 0).samples]
    asked = {request for request in found if re.fullmatch(f"(?:{ASKS} find|{TELLS}) the sum[.?]", request)}
    assert len(asked) == 12
    questions = {request for request in asked if request.endswith("?")}
    assert questions == {one for one in asked if one.startswith(("Can", "Could", "How", "What", "Which"))}


def test_a_call_of_a_tool_that_is_not_shown_is_dropped(loaded: LoadedModel, before: ChatRenderer) -> None:
    with pytest.raises(TrainingError, match="nothing that could be replayed"):
        generate(loaded, before, UNDER_TOOLS, [ToolPrompt(TOOLS[1:], lambda call: True)], 0)


def test_a_tool_that_says_nothing_of_itself_is_asked_for_in_any_words(
    loaded: LoadedModel, before: ChatRenderer
) -> None:
    bare = {"type": "function", "function": {"name": "a"}}
    recipe = replace(RECIPE, irrelevant=0)
    found = generate(loaded, before, recipe, [ToolPrompt((bare,), lambda call: True)], 0)
    assert (found.report["attempted"], found.report["valid"]) == (6, 0), "each request looks like a call"


def test_calls_are_rewritten_where_the_format_changes(
    loaded: LoadedModel, renderer: ChatRenderer, before: ChatRenderer
) -> None:
    recipe = replace(UNDER_TOOLS, samples=4)
    said: list[str] = []
    prompts = [ToolPrompt(TOOLS[:1], lambda call: bool(said.append(call.arguments["text"])) or True)]
    found = generate(loaded, renderer, recipe, prompts, 0, before=before)
    assert found.report["by_source"] == {"rewritten": 4}
    assert found.report["teacher_nll"] == 0, "nobody has said how likely they are"
    shown = renderer.output_format.system_prompt(TOOLS[:1])
    for sample, reply in zip(found.samples, said[:4], strict=True):
        begin = int(sample.positions[0])
        before_it, answer = (
            str(loaded.tokenizer.decode(part)) for part in (sample.ids[:begin], sample.ids[begin:])
        )
        assert shown in before_it
        assert re.search(rf"{re.escape(START)}user\n{ASKS} do a[.?]{re.escape(END)}\n", before_it)
        assert before_it.endswith(f"{END}\n{START}assistant\n")
        assert "old tool" not in before_it
        assert sample.positions.tolist() == list(range(begin, len(sample.ids)))
        assert answer == renderer.output_format.render([ToolCall("a", {"text": reply})]) + END
        assert sample.teacher.ids_TK[:, 0].tolist() == sample.ids[begin:]
        assert sample.teacher.log_probs_TK[:, 0].exp().tolist() == [1.0] * (len(sample.ids) - begin)


def test_a_reply_that_makes_the_same_call_twice_is_dropped(
    loaded: LoadedModel, renderer: ChatRenderer
) -> None:
    class Twice(AnyText):
        def parse(self, text: str) -> Reply:
            return Reply("", super().parse(text).calls * 2, ())

    twice = replace(renderer, output_format=Twice())
    for now, before in ((twice, None), (renderer, twice)):
        with pytest.raises(TrainingError, match="nothing that could be replayed"):
            generate(loaded, now, UNDER_TOOLS, tool_prompts(), 0, before=before)


def test_words_are_not_rewritten(loaded: LoadedModel, renderer: ChatRenderer, before: ChatRenderer) -> None:
    """They may have been cut."""
    recipe = replace(RECIPE, irrelevant=0)
    found = generate(loaded, before, recipe, tool_prompts(), 0, before=renderer)
    assert set(found.report["by_source"]) == {"free", "chat"}
    assert (found.report["attempted"], found.report["valid"]) == (6, 0)


def test_a_call_that_the_new_format_cannot_hold_is_dropped(
    loaded: LoadedModel, renderer: ChatRenderer, before: ChatRenderer
) -> None:
    class Refusing(AnyText):
        def _written(self, calls: Sequence[ToolCall]) -> str:
            raise ToolDocumentError("no call of this kind")

    new = replace(renderer, output_format=Refusing())
    found = generate(loaded, new, replace(RECIPE, irrelevant=0), tool_prompts(), 0, before=before)
    assert (found.report["attempted"], found.report["valid"]) == (6, 0)


def test_a_set_with_rewritten_calls_is_stored(
    loaded: LoadedModel, renderer: ChatRenderer, before: ChatRenderer, tmp_path: Path
) -> None:
    found = generate(loaded, renderer, RECIPE, tool_prompts(), 0, shown=TOOLS, before=before)
    assert "rewritten" in found.report["by_source"]
    path = tmp_path / "replay.safetensors"
    path.write_bytes(found.to_bytes())
    assert ReplaySet.from_file(str(path)).to_bytes() == found.to_bytes()


def test_each_update_has_its_share_of_the_prompts() -> None:
    """Three tools of an old update are asked as often as the thirty of a new one."""
    prompts = [ToolPrompt(({"n": i},), lambda call: True, update=int(i >= 3)) for i in range(33)]
    asked = list(islice(in_turns(prompts, 0), 24))
    assert [prompt.update for prompt in asked] == [0, 1] * 12
    assert {id(prompt) for prompt in asked if not prompt.update} == {id(prompt) for prompt in prompts[:3]}
    assert list(islice(in_turns(prompts, 0), 24)) == asked
    assert list(in_turns((), 0)) == []
