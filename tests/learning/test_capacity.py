"""The audit of capacity: what is counted is right, and the frontier says what its points say."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AddedToken

from adaptman.learning import capacity, models
from adaptman.learning.capacity import QUICK, Estimate, Frontier, room_of
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.models import LoadedModel
from tests.learning.test_trainer import KilledError

SMALL = replace(QUICK, loads=(2, 4), presentations=2, steps=3, rank=2, samples=6, held_out=4, sample_tokens=6)


@pytest.fixture(scope="module")
def probed(base: Path, renderer: ChatRenderer, tmp_path_factory: pytest.TempPathFactory) -> Frontier:
    return capacity.probe(base, None, renderer, SMALL, tmp_path_factory.mktemp("probe"))[0]


def test_bindings_are_random_keys_and_values_of_ordinary_tokens(loaded: LoadedModel) -> None:
    alphabet = capacity.ordinary_tokens(loaded, seed=0)
    assert not set(alphabet) & set(loaded.tokenizer.all_special_ids)
    rows = capacity.bindings(alphabet, 50, 0, start=7)
    assert rows == capacity.bindings(alphabet, 50, 0, start=7)
    assert rows[:20] == capacity.bindings(alphabet, 20, 0, start=7)
    assert all(row.ids[0] == 7 and len(row.ids) == 9 and row.prompt_length == 5 for row in rows)
    assert {token for row in rows for token in row.ids[1:]} <= set(alphabet)
    assert rows != capacity.bindings(alphabet, 50, 1, start=7)


def test_tokens_that_are_only_reserved_are_not_ordinary(loaded: LoadedModel) -> None:
    tokenizer = copy.deepcopy(loaded.tokenizer)
    reserved = [AddedToken(f"<|reserved_{index}|>", special=True) for index in range(200)]
    tokenizer.add_tokens([*reserved, AddedToken("get_weather", special=False)])
    ids = set(tokenizer.convert_tokens_to_ids([one.content for one in reserved]))
    assert not ids & set(tokenizer.all_special_ids)
    alphabet = capacity.ordinary_tokens(replace(loaded, tokenizer=tokenizer), seed=0)
    assert not ids & set(alphabet)
    assert len(alphabet) == min(1024, len(tokenizer) - len(ids | set(tokenizer.all_special_ids)))


def test_the_cost_of_a_value_is_that_of_transformers(loaded: LoadedModel) -> None:
    rows = capacity.bindings(capacity.ordinary_tokens(loaded, 0), 5, 0, start=None)
    found = capacity.value_nats(loaded, rows)
    for row, nats in zip(rows, found.tolist(), strict=True):
        logits = loaded.model(torch.tensor([row.ids])).logits[0].detach().log_softmax(-1)
        wanted = -sum(float(logits[at - 1, row.ids[at]]) for at in range(row.prompt_length, len(row.ids)))
        assert nats == pytest.approx(wanted, abs=1e-4)


def test_a_model_has_not_drifted_from_itself(base: Path, renderer: ChatRenderer, loaded: LoadedModel) -> None:
    drawn = capacity._samples(loaded, renderer, SMALL, lambda name, step, steps: None)
    still = capacity.drift(loaded, drawn.samples)
    assert still.abs().max() < 1e-3
    other = models.load(base)
    models.disturb(other, 0, 0.5)
    assert (capacity.drift(other, drawn.samples) > 0.01).all()


def test_the_held_out_samples_are_not_replayed(loaded: LoadedModel, renderer: ChatRenderer) -> None:
    drawn = capacity._samples(loaded, renderer, SMALL, lambda name, step, steps: None)
    kept, held_out = capacity._split(drawn, SMALL)
    assert (len(kept.samples), len(held_out)) == (6, 4)
    assert {id(one) for one in (*kept.samples, *held_out)} == {id(one) for one in drawn.samples}


def test_a_probe_is_the_same_each_time(
    probed: Frontier, base: Path, renderer: ChatRenderer, tmp_path: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    again, _ = capacity.probe(
        base, None, renderer, SMALL, tmp_path / "again", on_step=lambda *told: steps.append(told)
    )
    assert again == probed
    assert steps[-1] == ("4 bindings", 3, 3)
    assert [done for name, done, _ in steps if name == "2 bindings"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("killed_in", "left"),
    [
        ("samples of its own", ["samples of its own", "2 bindings", "4 bindings"]),
        ("2 bindings", ["2 bindings", "4 bindings"]),
        ("4 bindings", ["4 bindings"]),
    ],
)
def test_a_probe_that_was_killed_goes_on_with_the_rungs_that_it_lacks(
    probed: Frontier, base: Path, renderer: ChatRenderer, tmp_path: Path, killed_in: str, left: list[str]
) -> None:
    def kill(name: str, step: int, steps: int) -> None:
        if name == killed_in:
            raise KilledError

    with pytest.raises(KilledError):
        capacity.probe(base, None, renderer, SMALL, tmp_path, on_step=kill)
    told: list[str] = []
    found, _ = capacity.probe(
        base, None, renderer, SMALL, tmp_path, on_step=lambda name, *steps: told.append(name)
    )
    assert found == probed
    assert list(dict.fromkeys(told)) == left


@pytest.mark.parametrize("name", ["samples.safetensors", "2-bindings.json"])
def test_what_the_power_cut_in_two_is_made_again(
    probed: Frontier, base: Path, renderer: ChatRenderer, tmp_path: Path, name: str
) -> None:
    capacity.probe(base, None, renderer, SMALL, tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert capacity.probe(base, None, renderer, SMALL, tmp_path)[0] == probed
    assert (tmp_path / name).read_bytes() == whole


def test_a_probe_goes_on_from_the_adapter(
    probed: Frontier, base: Path, renderer: ChatRenderer, tmp_path: Path
) -> None:
    """The adapter's own rank is what is probed, since an update would train that one."""
    from adaptman.learning import trainer
    from adaptman.learning.chat import Encoded
    from adaptman.learning.recipe import Recipe

    recipe = Recipe.from_dict({"steps": 1, "lora": {"rank": 1}, "replay": {"kind": "none"}})
    parent = trainer.train(base, None, [Encoded([1, 2, 3], 1)], None, recipe, tmp_path / "parent").adapter
    found, _ = capacity.probe(base, parent, renderer, SMALL, tmp_path / "probe")
    assert found.trainable * 2 == probed.trainable


def test_what_is_taught_in_earnest_is_counted(base: Path, renderer: ChatRenderer, tmp_path: Path) -> None:
    """Two bindings, seen often and at a high rate, are remembered."""
    ladder = replace(SMALL, loads=(2,), presentations=80, steps=80, lr=2e-2, rank=8)
    (rung,) = capacity.probe(base, None, renderer, ladder, tmp_path / "probe")[0].rungs
    assert rung.offered_bits == pytest.approx(2 * 4 * math.log2(264 - 3), rel=0.02)
    assert rung.bits.value > 0.5 * rung.offered_bits
    assert rung.bits.low <= rung.bits.value <= rung.bits.high


def test_what_was_never_taught_counts_hardly(loaded: LoadedModel) -> None:
    alphabet = capacity.ordinary_tokens(loaded, 0)
    rows = capacity.bindings(alphabet, 256, 0, start=loaded.tokenizer.bos_token_id)
    offered = 4 * math.log2(len(alphabet))
    bits = (offered - capacity.value_nats(loaded, rows) / math.log(2)).clamp_min(0)
    assert float(bits.mean()) < 0.01 * offered


points = st.lists(
    st.tuples(st.floats(1, 1e4), st.floats(1e-4, 1)), min_size=1, max_size=6, unique_by=lambda one: one[0]
).map(sorted)


@given(points, st.floats(0.01, 0.5))
def test_room_rises_with_what_is_tolerated(found: list[tuple[float, float]], tolerance: float) -> None:
    assert room_of(found, tolerance)[0] <= room_of(found, 2 * tolerance)[0] + 1e-6


@given(points)
def test_room_scales_with_the_bits(found: list[tuple[float, float]]) -> None:
    doubled = [(2 * bits, moved) for bits, moved in found]
    assert room_of(doubled)[0] == pytest.approx(2 * room_of(found)[0])
    assert room_of(doubled)[1] == room_of(found)[1]


@pytest.mark.parametrize(
    ("found", "room", "beyond"),
    [
        ([(100, 0.05), (200, 0.15)], 150, False),
        ([(100, 0.2)], 50, False),
        ([(100, 0.02), (200, 0.06)], 300, True),
        ([(100, 0.02), (50, 0.3)], 100, False),
        ([(0, 0.05)], 0, True),
    ],
)
def test_where_the_frontier_crosses(found: list[tuple[float, float]], room: float, beyond: bool) -> None:
    assert room_of(found) == (pytest.approx(room), beyond)


def measured(bindings: int, bits: float, moved: float) -> capacity._Measured:
    """Every binding the same, every held-out sample of ten tokens the same."""
    return capacity._Measured(
        bindings, torch.full((bindings,), bits / bindings), torch.full((8,), 10 * moved)
    )


@pytest.mark.parametrize(
    ("rungs", "verdict", "bend"),
    [
        ([(16, 600, 0.01), (32, 1200, 0.02), (64, 2400, 0.06)], "room", 32),
        ([(16, 600, 0.02), (32, 1200, 0.30), (64, 2400, 0.40)], "tight", 16),
        ([(16, 100, 0.50), (32, 200, 0.90), (64, 300, 1.60)], "saturated", 32),
        ([(16, 0, 0.01), (32, 0, 0.02)], "saturated", 16),
    ],
)
def test_verdicts(rungs: list[tuple[int, float, float]], verdict: str, bend: int) -> None:
    found = capacity.frontier([measured(*one) for one in rungs], 40.0, torch.full((8,), 10.0), 1000, 0)
    assert found.verdict == verdict
    if verdict != "saturated":
        assert found.bend == bend
    for rung, (bindings, bits, moved) in zip(found.rungs, rungs, strict=True):
        assert rung.offered_bits == 40 * bindings
        assert rung.bits == Estimate(*[pytest.approx(bits)] * 3)
        assert rung.drift == Estimate(*[pytest.approx(moved, abs=1e-6)] * 3)


def test_what_is_taken_in_but_not_at_the_first_rung_is_not_nothing() -> None:
    """Few bindings say little: most of those of the first rung may be unlearned by chance."""
    first = capacity._Measured(2, torch.tensor([0.0, 37.0]), torch.full((8,), 0.5))
    second = measured(16, 300, 0.06)
    found = capacity.frontier([first, second], 40.0, torch.full((8,), 10.0), 1000, 0)
    assert found.rungs[0].bits.low == 0
    assert found.verdict == "room"


def test_more_scatter_makes_a_wider_interval() -> None:
    generator = torch.Generator().manual_seed(0)
    widths = []
    for scatter in (0.1, 2.0):
        moved = (0.05 + 0.05 * scatter * torch.rand(12, generator=generator)) * 10
        one = capacity._Measured(16, torch.full((16,), 40.0), moved)
        room = capacity.frontier([one], 40.0, torch.full((12,), 10.0), 1, 0).room_bits
        widths.append((room.high - room.low) / room.value)
    assert widths[0] < widths[1]
