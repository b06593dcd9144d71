"""Replay from what earlier updates were made of: what is kept, asked, right and chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adaptman.errors import TrainingError
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.earlier import (
    EarlierExample,
    answered,
    exemplars,
    kept,
    nearest_to_middles,
    synthesized,
)
from adaptman.learning.models import LoadedModel
from adaptman.learning.recipe import ReplayRecipe
from adaptman.learning.replay import ReplaySet
from adaptman.learning.trainer import train
from tests.learning.test_trainer import RECIPE, encode

REPLAY = ReplayRecipe(kind="exemplar", share=0.5, samples=3, batch_size=2, max_tokens=6, top_k=267)


def yes(reply: str) -> bool:
    return True


def example(
    number: int, update: int = 0, accepts: Callable[[str], bool] = yes, valid: Callable[[str], bool] = yes
) -> EarlierExample:
    messages = [
        {"role": "user", "content": f"call number {number}"},
        {"role": "assistant", "content": f"the call {number}"},
    ]
    tools = [{"type": "function", "function": {"name": f"tool{number}", "parameters": {"type": "object"}}}]
    return EarlierExample(messages, tools, update, accepts, valid)


def test_each_update_keeps_its_share_and_at_least_one() -> None:
    earlier = [*(example(i) for i in range(40)), *(example(i, update=1) for i in range(40, 43))]
    assert Counter(one.update for one in kept(earlier, 0.1, 0)) == {0: 4, 1: 1}
    assert kept(earlier, 1.0, 0) == earlier
    assert kept(earlier, 0.1, 0) == kept(earlier, 0.1, 0) != kept(earlier, 0.1, 1)


def test_exemplars_are_the_examples_as_they_were_taught(renderer: ChatRenderer) -> None:
    earlier = [example(i) for i in range(4)]
    found = exemplars(renderer, earlier, replace(REPLAY, share=1.0), 0)
    for one, sample in zip(earlier, found.samples, strict=True):
        ids, prompt = renderer.answered(one.messages, one.tools)
        assert sample.ids == ids
        assert sample.positions.tolist() == list(range(prompt, len(ids)))
        assert sample.source == "exemplar"
    assert found.report["by_source"] == {"exemplar": 4}


def test_a_set_of_exemplars_survives_a_file(renderer: ChatRenderer, tmp_path: Path) -> None:
    found = exemplars(renderer, [example(i) for i in range(4)], REPLAY, 0)
    (tmp_path / "set").write_bytes(found.to_bytes())
    again = ReplaySet.from_file(str(tmp_path / "set"))
    assert [sample.ids for sample in again.samples] == [sample.ids for sample in found.samples]
    assert again.report == found.report


@pytest.mark.parametrize("loss", ["ce", "kl"])
def test_exemplars_are_trained_on(base: Path, renderer: ChatRenderer, tmp_path: Path, loss: str) -> None:
    """Cross-entropy learns them; the divergence from the old model, which reads them first, starts at 0."""
    replay = exemplars(renderer, [example(i) for i in range(2)], replace(REPLAY, share=1.0), 0)
    recipe = replace(RECIPE, steps=30, replay=replace(REPLAY, loss=loss, coeff=1.0))
    losses = [
        value
        for _, value in train(base, None, encode(renderer, ("a", "yes")), replay, recipe, tmp_path).curves[
            "train/replay_loss"
        ]
    ]
    if loss == "ce":
        assert losses[-1] < 0.3 * losses[0]
    else:
        assert losses[0] == pytest.approx(0.0, abs=1e-6)
        assert max(losses) > 1e-4


def test_right_answers_of_its_own_are_replayed(loaded: LoadedModel, renderer: ChatRenderer) -> None:
    asked: list[str] = []

    def long(reply: str) -> bool:
        asked.append(reply)
        return len(asked) % 2 == 0

    earlier = [example(i, accepts=long) for i in range(6)]
    told: list[int] = []
    found = answered(loaded, renderer, earlier, replace(REPLAY, share=1.0), 3, on_done=told.append)
    assert sum(told) == 6
    assert (found.report["attempted"], found.report["valid"]) == (6, 3)
    for one, sample in zip(earlier[1::2], found.samples, strict=True):
        prompt = renderer.prompt_ids(one.messages[:-1], one.tools)
        assert sample.ids[: len(prompt)] == prompt
        assert sample.teacher.ids_TK.shape == (len(sample.positions), 267)
    again = answered(loaded, renderer, earlier, replace(REPLAY, share=1.0), 3)
    assert {tuple(sample.ids) for sample in again.samples} & {tuple(sample.ids) for sample in found.samples}


def test_no_right_answer_is_an_error(loaded: LoadedModel, renderer: ChatRenderer) -> None:
    with pytest.raises(TrainingError, match="none of the model's 1 replies can be replayed") as told:
        answered(loaded, renderer, [example(0, accepts=lambda reply: False)], REPLAY, 0)
    assert "replay.kind=self" in told.value.hint


def test_the_base_writes_requests_and_the_latest_model_answers(
    loaded: LoadedModel, renderer: ChatRenderer
) -> None:
    earlier = [example(i) for i in range(4)]
    found = synthesized(loaded, loaded, renderer, earlier, replace(REPLAY, share=1.0), 0)
    assert len(found.samples) == 3
    for sample in found.samples:
        text = renderer.tokenizer.decode(sample.ids[: int(sample.positions[0])])
        assert any(
            f'"tool{i}"' in text for i in range(4)
        )  # the tools of one of the seeds, and no seed's request
        assert not any(f"call number {i}<" in text for i in range(4))
    assert found.report["attempted"] > len(found.samples)
    again = synthesized(loaded, loaded, renderer, earlier, replace(REPLAY, share=1.0), 0)
    assert [sample.ids for sample in again.samples] == [sample.ids for sample in found.samples]


def test_answers_that_do_not_fit_the_tools_are_dropped(loaded: LoadedModel, renderer: ChatRenderer) -> None:
    earlier = [example(i, valid=lambda reply: False) for i in range(4)]
    with pytest.raises(TrainingError, match=r"none of the model's \d+ replies can be replayed"):
        synthesized(loaded, loaded, renderer, earlier, REPLAY, 0)


def test_one_of_each_cluster_is_chosen() -> None:
    torch.manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (middles[:, None] + 0.1 * torch.randn(3, 9, 2)).flatten(0, 1)
    found = [nearest_to_middles(points, 3, seed) for seed in range(8)]
    assert all(len(set(chosen)) == 3 for chosen in found)
    # Lloyd's rounds end where they begin well: not from every seed, but from most.
    assert sum([index // 9 for index in chosen] == [0, 1, 2] for chosen in found) >= 4
    assert nearest_to_middles(points, 99, 0) == list(range(27))
