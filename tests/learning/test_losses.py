"""The chunked losses are the textbook's, in value and in gradient."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from adaptman.learning import losses
from adaptman.learning.losses import TopK, cross_entropy, token_nll, top_k_kl, top_k_of

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Case(NamedTuple):
    """Random hidden states, a head, a teacher's logits and targets."""

    hidden_TD: Tensor
    head_VD: Tensor
    teacher_TV: Tensor
    targets_T: Tensor


def make_case(tokens: int, hidden: int, vocabulary: int, seed: int) -> Case:
    generator = torch.Generator().manual_seed(seed)
    return Case(
        torch.randn(tokens, hidden, generator=generator),
        torch.randn(vocabulary, hidden, generator=generator),
        torch.randn(tokens, vocabulary, generator=generator) * 2,
        torch.randint(vocabulary, (tokens,), generator=generator),
    )


def value_and_gradient(loss: Callable[[Tensor], Tensor], hidden_TD: Tensor) -> tuple[Tensor, Tensor]:
    hidden = hidden_TD.clone().requires_grad_()
    value = loss(hidden)
    value.backward()
    assert hidden.grad is not None
    return value.detach().double(), hidden.grad.double()


def assert_same(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def plain_kl(hidden_TD: Tensor, head_VD: Tensor, teacher_TV: Tensor, k: int) -> Tensor:
    """KL over the top k and the tail, in float64, class by class."""
    log_q = (hidden_TD @ head_VD.double().T).log_softmax(-1)
    p = teacher_TV.double().softmax(-1)
    ids = p.topk(k).indices
    rest = torch.ones_like(p, dtype=torch.bool).scatter(1, ids, False)
    total = (p.gather(1, ids) * (p.gather(1, ids).log() - log_q.gather(1, ids))).sum()
    if k < p.shape[1]:
        p_tail = (p * rest).sum(-1)
        log_q_tail = log_q.masked_fill(~rest, -torch.inf).logsumexp(-1)
        total = total + (p_tail * (p_tail.log() - log_q_tail)).sum()
    return total


sizes = st.builds(
    make_case,
    tokens=st.integers(1, 12),
    hidden=st.integers(1, 8),
    vocabulary=st.integers(2, 20),
    seed=st.integers(0, 1000),
)


@pytest.fixture(autouse=True, scope="module")
def _small_chunks() -> Iterator[None]:
    """More tokens than a chunk holds, and a last chunk that is not full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "CHUNK", 5)
        yield


@given(sizes)
def test_cross_entropy_is_the_plain_one(case: Case) -> None:
    hidden_TD, head_VD, _, targets_T = case
    nll_T = torch.empty(len(targets_T))
    found = value_and_gradient(
        lambda hidden: cross_entropy(hidden, head_VD, targets_T, nll_T=nll_T), hidden_TD
    )
    wanted = value_and_gradient(
        lambda hidden: functional.cross_entropy(hidden @ head_VD.double().T, targets_T, reduction="sum"),
        hidden_TD.double(),
    )
    assert_same(found, wanted)
    torch.testing.assert_close(nll_T, token_nll(hidden_TD, head_VD, targets_T))


@given(sizes, st.integers(1, 20))
def test_kl_over_the_top_k_and_the_tail_is_the_plain_one(case: Case, k: int) -> None:
    hidden_TD, head_VD, teacher_TV, _ = case
    k = min(k, head_VD.shape[0])
    teacher = top_k_of(teacher_TV, k)
    found = value_and_gradient(lambda hidden: top_k_kl(hidden, head_VD, teacher), hidden_TD)
    wanted = value_and_gradient(lambda hidden: plain_kl(hidden, head_VD, teacher_TV, k), hidden_TD.double())
    assert_same(found, wanted)


@given(sizes)
def test_kl_over_the_whole_vocabulary_is_the_full_one(case: Case) -> None:
    hidden_TD, head_VD, teacher_TV, _ = case
    found = top_k_kl(hidden_TD, head_VD, top_k_of(teacher_TV, head_VD.shape[0]))
    full = functional.kl_div(
        (hidden_TD @ head_VD.T).log_softmax(-1), teacher_TV.log_softmax(-1), reduction="sum", log_target=True
    )
    torch.testing.assert_close(found, full, **CLOSE)


@given(sizes)
def test_kl_grows_with_k_up_to_the_full_one(case: Case) -> None:
    hidden_TD, head_VD, teacher_TV, _ = case
    values = [
        float(top_k_kl(hidden_TD, head_VD, top_k_of(teacher_TV, k))) for k in range(1, head_VD.shape[0] + 1)
    ]
    assert all(less <= more + 1e-4 for less, more in itertools.pairwise(values))
    assert values[0] >= -1e-5


@given(sizes, st.integers(1, 20))
def test_nothing_to_learn_from_oneself(case: Case, k: int) -> None:
    hidden_TD, head_VD, _, _ = case
    teacher = top_k_of(hidden_TD @ head_VD.T, k)
    value, gradient = value_and_gradient(lambda hidden: top_k_kl(hidden, head_VD, teacher), hidden_TD)
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=2e-5)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=2e-5)


def test_a_confident_student_is_pulled_back_to_the_teachers_tail() -> None:
    """The student leaves e⁻³⁰ to the tail where the teacher leaves a half."""
    head_VD, hidden_TD = torch.eye(3), torch.tensor([[30.0, 0.0, 0.0]])
    teacher = TopK(torch.tensor([[0]]), torch.tensor([[0.5]]).log())
    value, gradient = value_and_gradient(lambda hidden: top_k_kl(hidden, head_VD, teacher), hidden_TD)
    assert float(value) == pytest.approx(15 - 1.5 * math.log(2), abs=1e-4)
    torch.testing.assert_close(gradient, torch.tensor([[0.5, -0.25, -0.25]]).double(), **CLOSE)


def test_top_k_is_sorted_and_never_more_than_the_vocabulary() -> None:
    teacher = top_k_of(torch.tensor([[0.0, 2.0, 1.0]]), 8)
    assert teacher.ids_TK.tolist() == [[1, 2, 0]]
    torch.testing.assert_close(teacher.log_probs_TK.exp().sum(), torch.tensor(1.0))


@given(sizes, st.booleans())
def test_a_head_that_is_trained_has_its_gradient_and_another_none(case: Case, trained: bool) -> None:
    hidden_TD, head_VD, teacher_TV, targets_T = case
    heads = [head_VD.clone().requires_grad_(trained), head_VD.double().clone().requires_grad_()]
    hidden = hidden_TD.clone().requires_grad_()
    teacher = top_k_of(teacher_TV, head_VD.shape[0])
    (cross_entropy(hidden, heads[0], targets_T) + 3 * top_k_kl(hidden, heads[0], teacher)).backward()
    if not trained:
        assert heads[0].grad is None
        return
    logits_TV = hidden_TD.double() @ heads[1].T
    drift = functional.kl_div(
        logits_TV.log_softmax(-1), teacher_TV.double().log_softmax(-1), reduction="sum", log_target=True
    )
    (functional.cross_entropy(logits_TV, targets_T, reduction="sum") + 3 * drift).backward()
    assert heads[0].grad is not None
    assert heads[1].grad is not None
    torch.testing.assert_close(heads[0].grad.double(), heads[1].grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 3, 512])
def test_the_likelihood_of_each_token(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(losses, "CHUNK", chunk)
    case = make_case(7, 5, 11, seed=0)
    wanted = functional.cross_entropy(case.hidden_TD @ case.head_VD.T, case.targets_T, reduction="none")
    torch.testing.assert_close(token_nll(case.hidden_TD, case.head_VD, case.targets_T), wanted, **CLOSE)
