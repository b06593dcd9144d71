"""The model as a suite sees it: its answers' text, and the likelihood of given answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
import torch

from adaptman.errors import ExampleError
from adaptman.learning import likelihood, models
from adaptman.learning.answerer import ModelAnswerer
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.models import LoadedModel

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class Turns(NamedTuple):
    """A conversation and the tools shown."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()


def turns(*words: str, tools: Sequence[Mapping[str, Any]] = ()) -> Turns:
    roles = ["user", "assistant"] * len(words)
    return Turns([{"role": role, "content": said} for role, said in zip(roles, words, strict=False)], tools)


@pytest.fixture
def model_answerer(loaded: LoadedModel, renderer: ChatRenderer) -> ModelAnswerer:
    return ModelAnswerer(loaded, renderer)


def test_answers_are_in_the_order_asked(model_answerer: ModelAnswerer) -> None:
    asked = [turns("the other one"), turns("a"), turns("is it", tools=[TOOL])]
    together = model_answerer.answer(asked, max_new_tokens=6)
    alone = [model_answerer.answer([one], max_new_tokens=6)[0] for one in asked]
    assert together == alone
    assert len(set(together)) == 3


def test_answers_hold_no_special_tokens(model_answerer: ModelAnswerer, loaded: LoadedModel) -> None:
    for text in model_answerer.answer([turns(word) for word in "abcdefgh"], max_new_tokens=8):
        assert not any(token in text for token in loaded.tokenizer.all_special_tokens)


@pytest.mark.parametrize("budget", [1, 60, 4096])
def test_the_likelihood_is_that_of_a_plain_pass(
    model_answerer: ModelAnswerer,
    loaded: LoadedModel,
    renderer: ChatRenderer,
    monkeypatch: pytest.MonkeyPatch,
    budget: int,
) -> None:
    monkeypatch.setattr(likelihood, "_PASS_TOKENS", budget)
    asked = [
        turns("a", "the call"),
        turns("is it", "no", "b", "yes"),
        turns("c", "", tools=[TOOL]),
        turns("d", "é"),
    ]
    told: list[int] = []
    found = model_answerer.nll(asked, on_done=told.append)
    assert sum(told) == 4
    for one, value in zip(asked, found, strict=True):
        ids, prompt = renderer.answered(one.messages, one.tools)
        with torch.inference_mode():
            log_p = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        wanted = -sum(float(log_p[i - 1, ids[i]]) for i in range(prompt, len(ids)))
        assert value.total == pytest.approx(wanted, rel=1e-5, abs=1e-5)
        assert value.tokens == len(ids) - prompt


def test_bf16_scores_nearly_the_same(
    model_answerer: ModelAnswerer, base: Any, renderer: ChatRenderer
) -> None:
    half = ModelAnswerer(models.load(base, precision="bf16"), renderer)
    asked = [turns("a", "the call"), turns("b", "in the other")]
    for one, other in zip(model_answerer.nll(asked), half.nll(asked), strict=True):
        assert other.total == pytest.approx(one.total, rel=0.05)


def test_only_answers_have_a_likelihood(model_answerer: ModelAnswerer) -> None:
    with pytest.raises(ExampleError, match="the last message must be the assistant's"):
        model_answerer.nll([turns("a")])
