"""Rows that are packed give what they give alone: states, gradients, and continuations."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from adaptman.errors import ModelError
from adaptman.learning import packing
from adaptman.learning.decoding import DecodeSettings, Row, decode
from adaptman.learning.models import LoadedModel
from adaptman.learning.packing import RowReader, budgeted, can_pack, pack

SMALL = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.4,
    "pad_token_id": 0,
}


@st.composite
def rows_that_share(draw: st.DrawFn) -> list[list[int]]:
    """Rows made of a few beginnings, so that they share some, long and short, and one may begin another."""
    tokens = st.lists(st.integers(0, 3), min_size=1, max_size=24)
    beginnings = draw(st.lists(tokens, min_size=1, max_size=3))
    rows = st.tuples(st.sampled_from(beginnings), st.sampled_from([[], *beginnings]), st.just([]) | tokens)
    return [[*a, *b, *c] for a, b, c in draw(st.lists(rows, min_size=1, max_size=8))]


@given(rows_that_share())
def test_every_row_finds_its_tokens(rows: list[list[int]]) -> None:
    packed = pack(rows)
    for row, index in zip(rows, packed.rows, strict=True):
        assert packed.ids_T[index].tolist() == row
        assert packed.positions_T[index].tolist() == list(range(len(row)))
    assert len(packed.ids_T) == sum(segment.length for segment in packed.segments) <= sum(map(len, rows))
    assert set(torch.cat(packed.rows).tolist()) == set(range(len(packed.ids_T)))


def test_what_is_shared_is_laid_down_once() -> None:
    beginning = list(range(20))
    packed = pack([[*beginning, 1, 2], [*beginning, 3], beginning, [7, 8], [*beginning, 1, 2]])
    assert sorted(segment.length for segment in packed.segments) == [1, 2, 2, 20]


def test_a_short_beginning_is_not_worth_sharing() -> None:
    packed = pack([[1, 2, 3], [1, 2, 4]])
    assert [segment.length for segment in packed.segments] == [3, 3]


@given(rows_that_share(), st.integers(1, 60))
@example([[0] * 30, [0] * 16 + [1], [0]], 1)  # the row that ends first parts the others from what they share
def test_packs_keep_to_their_budget(rows: list[list[int]], budget: int) -> None:
    packs = budgeted(rows, budget)
    assert sorted(index for indices in packs for index in indices) == list(range(len(rows)))
    for indices in packs:
        taken = [rows[index] for index in indices]
        assert len(pack(taken).ids_T) <= max(budget, max(map(len, taken)) * 3 // 2)


def test_long_rows_share_their_beginning_whatever_the_budget() -> None:
    beginning = [3] * 200
    rows = [[*beginning, number] for number in range(10)]
    assert len(budgeted(rows, 20)) == 1


ROWS = [
    [*range(1, 31), 40, 41],
    [*range(1, 31), 50],
    [5, 6, 7],
    [*range(1, 31), 40, 42, 43],
    list(range(1, 31)),
    [9],
    [*range(1, 21), *range(60, 80)],
]


def gradients(model: PreTrainedModel, states: Sequence[Tensor]) -> list[Tensor]:
    parameters = [value for value in model.base_model.parameters() if value.requires_grad]
    weights = torch.linspace(-1, 1, states[0].shape[1])
    return list(
        torch.autograd.grad(sum(((row * weights).sum() for row in states), torch.zeros(())), parameters)
    )


@pytest.mark.parametrize("large", [packing._LARGE_MASK, 0])
def test_states_and_gradients_are_those_of_each_row_alone(
    loaded: LoadedModel, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_LARGE_MASK", large)
    assert any(segment.above and segment.takes_along for segment in pack(ROWS).segments) is (large == 0)
    model = loaded.model.train(False)
    model.requires_grad_(True)
    try:
        found = RowReader(model.base_model, longest=40)(ROWS)
        together = [found.hidden_TD[index] for index in found.rows]
        alone = [model.base_model(torch.tensor([row])).last_hidden_state[0] for row in ROWS]
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradients(model, together), gradients(model, alone), rtol=1e-3, atol=1e-3)
    finally:
        model.requires_grad_(False)


@pytest.mark.parametrize("ends", [(3000, 100), (3000, 3000), (100, 100, 3000)])
def test_a_shared_beginning_takes_hardly_more_memory_than_rows_alone(
    loaded: LoadedModel, ends: Sequence[int]
) -> None:
    """What is kept for the way back: a mask over a long row, in every layer, would be most of it."""
    model = loaded.model.train(False)
    rows = [[5] * 16 + [first] * length for first, length in enumerate(ends, start=1)]
    read = RowReader(model.base_model, longest=4096)
    model.requires_grad_(True)
    try:
        alone = sum(kept_for_the_way_back(read, [row]) for row in rows)
        assert kept_for_the_way_back(read, rows) < 1.2 * alone
    finally:
        model.requires_grad_(False)


def kept_for_the_way_back(read: RowReader, rows: Sequence[Sequence[int]]) -> int:
    """Bytes."""
    kept: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        read(rows)
    return sum(value.untyped_storage().nbytes() for value in kept.values())


def test_a_model_is_as_it_was_after_reading(loaded: LoadedModel) -> None:
    before = loaded.model.config._attn_implementation
    RowReader(loaded.model.base_model, longest=40)(ROWS)
    assert loaded.model.config._attn_implementation == before


def build(name: str, *, layers: int = 2) -> PreTrainedModel:
    """A random model of an architecture of today; those with `!` cannot be packed for rows of 40 tokens."""
    small = {**SMALL, "num_hidden_layers": layers}
    made = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**small)),
        "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**small)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**small, sliding_window=64)),
        "mistral, narrow window!": lambda: MistralForCausalLM(MistralConfig(**small, sliding_window=8)),
        "gemma2, capped scores!": lambda: Gemma2ForCausalLM(Gemma2Config(**small, sliding_window=4096)),
        "gpt2, learned positions": lambda: GPT2LMHeadModel(
            GPT2Config(
                vocab_size=SMALL["vocab_size"],
                n_positions=64,
                n_embd=32,
                n_layer=layers,
                n_head=4,
                bos_token_id=1,
                eos_token_id=1,
            )
        ),
        "falcon h1, recurrent!": lambda: FalconH1ForCausalLM(
            FalconH1Config(**small, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8)
        ),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return made[name]().eval()


def test_a_row_that_is_longer_than_the_positions_of_a_model_is_refused() -> None:
    model = build("gpt2, learned positions")
    settings = DecodeSettings(())
    assert len(decode(model, [Row([5] * 40, (24,))], settings)[0][0].ids) == 24
    with pytest.raises(ModelError, match="up to 65 tokens, `gpt2` has positions for 64") as caught:
        decode(model, [Row([5] * 40, (24,)), Row([5] * 40, (25,))], settings)
    assert caught.value.hint
    with pytest.raises(ModelError, match="70 tokens"):
        RowReader(model.base_model, longest=70)


@pytest.mark.parametrize(
    "name",
    [
        "qwen3",
        "mistral",
        "mistral, narrow window!",
        "gemma2, capped scores!",
        "gpt2, learned positions",
        "falcon h1, recurrent!",
    ],
)
def test_architectures_are_packed_where_they_can_be_and_right_where_not(name: str) -> None:
    model = build(name)
    assert can_pack(model.base_model, longest=40) is not name.endswith("!")
    with torch.inference_mode():
        found = RowReader(model.base_model, longest=40)(ROWS)
        for row, index in zip(ROWS, found.rows, strict=True):
            alone = model.base_model(torch.tensor([row])).last_hidden_state[0]
            torch.testing.assert_close(found.hidden_TD[index], alone, rtol=1e-3, atol=1e-4)
        rows = decode(model, [Row(row, (6,)) for row in ROWS], DecodeSettings((), batch_size=4))
        for row, (made,) in zip(ROWS, rows, strict=True):
            assert made.ids[0] == int(model(torch.tensor([row])).logits[0, -1].argmax())
            whole = torch.tensor([row + made.ids])
            assert made.ids == model(whole).logits[0, len(row) - 1 : -1].argmax(-1).tolist()
