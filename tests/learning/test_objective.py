"""The terms that combine with any strategy, each against a few lines of plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from adaptman.errors import TrainingError
from adaptman.learning.chat import ChatRenderer, Encoded
from adaptman.learning.drawing import generate
from adaptman.learning.losses import cross_entropy, live_kl, token_nll, top_entropy
from adaptman.learning.models import LoadedModel
from adaptman.learning.recipe import Recipe
from adaptman.learning.replay import ReplaySet
from adaptman.learning.trainer import StepMetrics, train
from tests.learning.test_trainer import RECIPE, encode, padded_logits, plain_model, plain_replay_loss

Logits = Callable[[int], Tensor]


@pytest.fixture(scope="module")
def examples(renderer: ChatRenderer) -> list[Encoded]:
    return encode(renderer, ("a", "yes"), ("is it so", "no"), ("b", "perhaps not"))


@pytest.fixture(scope="module")
def replay(loaded: LoadedModel, renderer: ChatRenderer) -> ReplaySet:
    return generate(loaded, renderer, RECIPE.replay, (), 0)


def answers(model: object, examples: list[Encoded]) -> list[tuple[Tensor, Tensor]]:
    """Logits and targets of each answer."""
    logits = padded_logits(model, [list(one.ids) for one in examples])  # type: ignore[arg-type]
    return [
        (logits[row, prompt - 1 : len(ids) - 1], torch.tensor(ids[prompt:]))
        for row, (ids, prompt) in enumerate(examples)
    ]


def mean_loss(found: list[tuple[Tensor, Tensor]], weight: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Weighted cross-entropy per token that is answered."""
    total, count = torch.zeros(()), 0
    for logits, targets in found:
        nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        total = total + (weight(logits.detach(), targets) * nll).sum()
        count += len(targets)
    return total / count


def first_steps(
    base: Path, examples: list[Encoded], replay: ReplaySet | None, recipe: Recipe, folder: Path
) -> list[StepMetrics]:
    steps: list[StepMetrics] = []
    train(base, None, examples, replay, recipe, folder, on_step=steps.append)
    return steps


def grad_norm(loss: Tensor, model: torch.nn.Module) -> float:
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]
    return float(torch.linalg.vector_norm(torch.cat([grad.flatten() for grad in grads])))


def without_replay(examples: list[Encoded], **terms: float) -> Recipe:
    replayed = replace(RECIPE.replay, kind="none", top_k=267)
    return replace(RECIPE, steps=2, batch_size=len(examples), replay=replayed, **terms)


def test_entropy_weighs_each_token(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    recipe = without_replay(examples, entropy_weight=True)
    found = first_steps(base, examples, None, recipe, tmp_path)[0]
    model = plain_model(base, recipe)

    def weight(logits: Tensor, targets: Tensor) -> Tensor:
        top = logits.topk(20, dim=-1).values.softmax(-1)
        return torch.distributions.Categorical(probs=top).entropy() / math.log(20)

    wanted = mean_loss(answers(model, examples), weight)
    assert found.new_loss == pytest.approx(float(wanted.detach()), abs=1e-5)
    assert found.grad_norm == pytest.approx(grad_norm(wanted, model), rel=1e-4)


def test_the_entropy_is_a_share_of_the_largest() -> None:
    flat, peaked = torch.zeros(1, 50), torch.zeros(1, 50)
    peaked[0, 3] = 100.0
    assert float(top_entropy(flat, 20)) == pytest.approx(1.0)
    assert float(top_entropy(peaked, 20)) == pytest.approx(0.0, abs=1e-6)


def test_surprising_tokens_are_not_learned(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    model = plain_model(base, RECIPE)
    found = answers(model, examples)
    surprises = [
        torch.nn.functional.cross_entropy(logits, targets, reduction="none").exp()
        for logits, targets in found
    ]
    limit = float(torch.cat(surprises).median()) + 1e-3
    recipe = without_replay(examples, mask_surprising=limit)
    steps = first_steps(base, examples, None, recipe, tmp_path)

    def learned(logits: Tensor, targets: Tensor) -> Tensor:
        nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return (nll <= math.log(limit)).float()

    wanted = mean_loss(found, learned)
    assert 0 < float(wanted.detach()) < float(mean_loss(found, lambda *_: torch.ones(())).detach())
    assert steps[0].new_loss == pytest.approx(float(wanted.detach()), abs=1e-5)
    assert steps[0].grad_norm == pytest.approx(grad_norm(wanted, model), rel=1e-4)


def test_where_everything_surprises_nothing_is_trained(
    base: Path, examples: list[Encoded], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="surprise the model more than") as told:
        first_steps(base, examples, None, without_replay(examples, mask_surprising=1.001), tmp_path)
    assert "mask_surprising" in told.value.hint


def test_what_is_surprising_is_asked_of_the_old_model(
    base: Path, examples: list[Encoded], tmp_path: Path
) -> None:
    """A killed run goes on from weights that find other tokens surprising; it ends as one that was not."""
    recipe = replace(without_replay(examples, mask_surprising=200.0, kl_new=1.0), steps=6, checkpoint_every=2)

    def kill(metrics: StepMetrics) -> None:
        if metrics.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(base, None, examples, None, recipe, tmp_path / "killed", on_step=kill)
    killed = train(base, None, examples, None, recipe, tmp_path / "killed")
    whole = train(base, None, examples, None, recipe, tmp_path / "whole")
    assert killed.curves["train/new_loss"] == whole.curves["train/new_loss"]
    assert killed.curves["train/grad_norm"] == whole.curves["train/grad_norm"]


def test_drift_on_the_new_examples_is_held_down(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    """The loss that is told is that of the new examples; the term shows in the gradient of the second step,
    where the model is not the old one any more."""
    recipe = without_replay(examples, kl_new=3.0)
    steps = first_steps(base, examples, None, recipe, tmp_path)
    model, old = plain_model(base, recipe), AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.0)
    with torch.no_grad():
        taught = [logits.log_softmax(-1) for logits, _ in answers(old, examples)]
    for step, found in enumerate(steps):
        optimizer.zero_grad()
        now = answers(model, examples)
        plain = mean_loss(now, lambda *_: torch.ones(()))
        drift = sum(
            (log_p.exp() * (log_p - logits.log_softmax(-1))).sum()
            for log_p, (logits, _) in zip(taught, now, strict=True)
        ) / sum(len(targets) for _, targets in now)
        norm = grad_norm(plain + 3.0 * drift, model)
        torch.nn.utils.clip_grad_norm_(trainable, recipe.max_grad_norm)
        optimizer.step()
        assert found.new_loss == pytest.approx(float(plain.detach()), abs=1e-4)
        assert found.grad_norm == pytest.approx(norm, rel=1e-3)
        assert (float(drift) > 1e-6) == (step > 0)


def test_the_live_teacher_is_the_old_model(
    base: Path, examples: list[Encoded], replay: ReplaySet, tmp_path: Path
) -> None:
    """Exact over the whole vocabulary, whatever the cache has kept; the cached one comes close with few."""
    few = replace(RECIPE.replay, batch_size=len(replay.samples), top_k=8)
    recipe = replace(RECIPE, steps=4, batch_size=len(examples), replay=replace(few, teacher="live"))
    live = first_steps(base, examples, replay, recipe, tmp_path / "live")
    whole = first_steps(
        base, examples, replay, replace(recipe, replay=replace(few, teacher="cached")), tmp_path / "cached"
    )
    assert live[0].replay_loss == pytest.approx(0.0, abs=1e-6)
    for one, other in zip(live, whole, strict=True):  # the set was drawn with the whole vocabulary kept
        assert one.replay_loss == pytest.approx(other.replay_loss, abs=1e-5)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)


def test_the_live_divergence_is_torchs() -> None:
    torch.manual_seed(0)
    head, teacher = torch.randn(30, 6), torch.randn(9, 6)
    hidden = torch.randn(9, 6, requires_grad=True)
    live_kl(hidden, head, teacher).backward()
    other = hidden.detach().clone().requires_grad_()
    log_p, log_q = (teacher @ head.T).log_softmax(-1), (other @ head.T).log_softmax(-1)
    wanted = torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum")
    wanted.backward()
    torch.testing.assert_close(live_kl(hidden.detach(), head, teacher), wanted.detach())
    torch.testing.assert_close(hidden.grad, other.grad)


def test_weights_and_entropy_multiply() -> None:
    torch.manual_seed(0)
    head, hidden, targets = torch.randn(30, 6), torch.randn(9, 6), torch.randint(0, 30, (9,))
    weights = torch.rand(9)
    nll = torch.empty(len(targets))
    found = cross_entropy(hidden, head, targets, weights_T=weights, entropy_top=5, nll_T=nll)
    torch.testing.assert_close(nll, token_nll(hidden.detach(), head, targets))
    logits = hidden @ head.T
    nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(found, (nll * weights * top_entropy(logits, 5)).sum())


def test_replay_that_replaces_takes_places_of_new_examples(
    base: Path, examples: list[Encoded], replay: ReplaySet, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, batch_size=3, replay=replace(RECIPE.replay, mix="replace", batch_size=2))
    assert recipe.new_batch_size == 1
    trained = train(base, None, examples[:1], replay, recipe, tmp_path)
    assert trained.new_tokens == recipe.steps * len(examples[0].ids)


def test_replay_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(TrainingError, match="no room"):
        replace(RECIPE, batch_size=2, replay=replace(RECIPE.replay, mix="replace", batch_size=2))


def test_the_replayed_loss_is_plain(base: Path, replay: ReplaySet) -> None:
    """What the tests above lean on."""
    old = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert float(plain_replay_loss(old, old, replay, "kl").detach()) == pytest.approx(0.0, abs=1e-6)
