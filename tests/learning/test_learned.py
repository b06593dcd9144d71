"""Of each step it is told what share of the new examples the model would write by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from adaptman.learning import models, trainer
from adaptman.learning.chat import ChatRenderer, Encoded
from adaptman.learning.losses import TopK
from adaptman.learning.replay import ReplaySample, ReplaySet
from tests.learning.test_objective import first_steps
from tests.learning.test_trainer import RECIPE, encode

LONG = replace(RECIPE, steps=60)
NOBODYS = TopK(torch.empty(0, 0, dtype=torch.int32), torch.empty(0, 0))


@pytest.fixture(scope="module")
def examples(renderer: ChatRenderer) -> list[Encoded]:
    return encode(renderer, ("a", "yes"), ("is it so", "no"), ("b", "perhaps not"))


def written(model: PreTrainedModel, example: Encoded) -> list[int]:
    """What greedy decoding makes of a request, in plain transformers, as long as the answer."""
    ids = list(example.ids[: example.prompt_length])
    with torch.inference_mode():
        while len(ids) < len(example.ids):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids


def test_what_is_learned_is_what_the_model_writes(
    base: Path, examples: list[Encoded], tmp_path: Path
) -> None:
    """A random model is sure of nothing; of three answers, one more or less is a third."""
    steps = first_steps(base, examples, None, LONG, tmp_path)
    assert (steps[0].learned, steps[-1].learned) == (0, 1)
    assert {round(3 * step.learned, 6) for step in steps} <= {0, 1, 2, 3}
    tuned = models.load(base, tmp_path / "adapter").model
    assert [written(tuned, one) for one in examples] == [list(one.ids) for one in examples]


def test_calls_that_are_written_anew_do_not_count(
    base: Path, renderer: ChatRenderer, examples: list[Encoded], tmp_path: Path
) -> None:
    """They are the model's own, and two may contradict each other."""
    rewritten = tuple(
        ReplaySample("rewritten", one.ids, torch.arange(one.prompt_length, len(one.ids)), NOBODYS)
        for one in encode(renderer, ("left or right", "left"), ("left or right", "right"))
    )
    assert first_steps(base, examples, ReplaySet(rewritten, {}), LONG, tmp_path)[-1].learned == 1


def test_tokens_that_are_not_to_be_learned_do_not_count(
    base: Path, examples: list[Encoded], tmp_path: Path
) -> None:
    """A model that knows one example is surprised by the others, of which it then has nothing to learn."""
    knowing = trainer.train(base, None, examples[:1], None, LONG, tmp_path / "knowing").adapter
    found = {}
    for limit in (0.0, 1.1):
        recipe = replace(RECIPE, steps=1, batch_size=len(examples), mask_surprising=limit)
        steps: list[trainer.StepMetrics] = []
        trainer.train(base, knowing, examples, None, recipe, tmp_path / f"{limit}", on_step=steps.append)
        found[limit] = steps[0].learned
    assert found == {0.0: pytest.approx(1 / len(examples)), 1.1: 1.0}
