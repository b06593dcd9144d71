"""The evidence beside an audit of capacity is what it is called, and leaves the model as it was."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from adaptman.learning import sensitivity
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.drawing import generate
from adaptman.learning.models import LoadedModel
from adaptman.learning.recipe import ReplayRecipe
from adaptman.learning.replay import ReplaySample


@pytest.fixture(scope="module")
def samples(loaded: LoadedModel, renderer: ChatRenderer) -> tuple[ReplaySample, ...]:
    recipe = ReplayRecipe(samples=6, max_tokens=8, top_k=4, tools=0.0)
    return generate(loaded, renderer, recipe, [], 0).samples


def test_own_loss_is_that_of_transformers(loaded: LoadedModel, samples: tuple[ReplaySample, ...]) -> None:
    total, count = 0.0, 0
    for one in samples:
        logits = loaded.model(torch.tensor([one.ids])).logits[0]
        targets = torch.tensor(one.ids)[one.positions]
        total += float(cross_entropy(logits[one.positions - 1], targets, reduction="sum"))
        count += len(targets)
    assert sensitivity.own_loss(loaded, samples) == pytest.approx(total / count, abs=1e-4)


def test_the_model_is_as_before(loaded: LoadedModel, samples: tuple[ReplaySample, ...]) -> None:
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    found = sensitivity.evidence(loaded, samples)
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    assert found == sensitivity.evidence(loaded, samples)
    # Its own samples are what it finds likely: whatever is done to it makes them less so.
    assert found.noise_rise > 0
    assert found.rounding_rise > 0
    assert 0 < found.stable_rank < 1
    assert 0 <= found.idle_units <= 1
    assert not any(module._forward_pre_hooks for module in loaded.model.modules())


def test_rounding_leaves_fifteen_values_a_group(base: object, loaded: LoadedModel) -> None:
    from adaptman.learning import models

    other = models.load(base)  # type: ignore[arg-type]
    sensitivity.round_weights(other)
    for value, before in zip(models.matrices(other), models.matrices(loaded), strict=True):
        groups, old = value.detach().view(-1, 32), before.detach().view(-1, 32)
        assert all(len(torch.unique(row)) <= 15 for row in groups)
        step = old.abs().amax(-1, keepdim=True) / 7
        assert ((groups - old).abs() <= step / 2 + 1e-6).all()


@pytest.mark.parametrize("shape", [(7, 7), (12, 5), (5, 12)])
def test_stable_rank_is_that_of_the_singular_values(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    values = torch.linalg.svdvals(matrix)
    wanted = float(values.square().sum() / values[0] ** 2) / min(shape)
    assert sensitivity.stable_rank(matrix) == pytest.approx(wanted, rel=0.02)


def test_idle_units_are_counted() -> None:
    assert sensitivity.idle_share([torch.tensor([1.0, 1.0, 0.0, 1e-4])]) == 0.5
    assert sensitivity.idle_share([]) == 0.0
