"""Batched decoding gives each row what it would get alone, and samples what the model's distribution says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from adaptman.learning import slots
from adaptman.learning.decoding import Continuation, DecodeSettings, Row, decode
from adaptman.learning.losses import top_k_of
from adaptman.learning.models import LoadedModel


def random_prompts(count: int, seed: int = 0) -> list[list[int]]:
    """Of 1 to 23 tokens, in no order of length."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 24, (count,), generator=generator).tolist()
    return [torch.randint(0, 256, (length,), generator=generator).tolist() for length in lengths]


def continued(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], most: int, settings: DecodeSettings, **more: Any
) -> list[Continuation]:
    """One stretch for each prompt."""
    rows = [Row(prompt, (most,)) for prompt in prompts]
    return [stretch for (stretch,) in decode(loaded.model, rows, settings, **more)]


def ids_of(rows: Sequence[Continuation]) -> list[list[int]]:
    return [row.ids for row in rows]


def alone(loaded: LoadedModel, prompt: Sequence[int], most: int, stop_ids: tuple[int, ...]) -> list[int]:
    """What transformers continues one prompt with."""
    made: Any = loaded.model.generate(  # type: ignore[operator]
        torch.tensor([list(prompt)]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=most,
        eos_token_id=list(stop_ids),
        pad_token_id=0,
    )
    return list(made[0, len(prompt) :].tolist())


def common_stops(loaded: LoadedModel, prompts: list[list[int]]) -> tuple[int, ...]:
    """Tokens that end some of the rows early and others not."""
    rows = ids_of(continued(loaded, prompts, 12, DecodeSettings(())))
    return tuple({row[3] for row in rows[::3]})


@pytest.mark.parametrize("batch_size", [1, 3, 48])
def test_greedy_rows_are_those_of_transformers(loaded: LoadedModel, batch_size: int) -> None:
    prompts = random_prompts(10)
    stops = common_stops(loaded, prompts)
    rows = ids_of(continued(loaded, prompts, 12, DecodeSettings(stops, batch_size=batch_size)))
    assert rows == [alone(loaded, prompt, 12, stops) for prompt in prompts]
    assert len({len(row) for row in rows}) > 2, "the rows must end at different steps to show anything"


@pytest.mark.parametrize("room", [1, 3, 20])
def test_rows_too_long_to_be_held_all_at_once_take_turns(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """With less room than the quarter of a batch that is waited for where there is enough."""
    prompts = random_prompts(40)
    settings = DecodeSettings(common_stops(loaded, prompts))
    wanted = ids_of(continued(loaded, prompts, 12, settings))
    row = (max(map(len, prompts)) + 12) * slots._bytes_per_token(loaded.model.base_model)
    monkeypatch.setattr(slots, "_CACHE_BYTES", room * row)
    assert ids_of(continued(loaded, prompts, 12, settings)) == wanted


def test_a_row_ends_with_its_stop_token_or_at_the_limit(loaded: LoadedModel) -> None:
    prompts = random_prompts(8, seed=1)
    stops = common_stops(loaded, prompts)
    for row in continued(loaded, prompts, 12, DecodeSettings(stops)):
        assert len(row.ids) == 12 or row.ids[-1] in stops
        assert not set(row.ids[:-1]) & set(stops)


def test_on_done_counts_every_row_once(loaded: LoadedModel) -> None:
    prompts = random_prompts(10)
    settings = DecodeSettings(common_stops(loaded, prompts), batch_size=4)
    told: list[Sequence[int]] = []
    continued(loaded, prompts, 12, settings, on_done=told.append)
    assert sorted(row for rows in told for row in rows) == list(range(10))
    assert all(told)
    assert len(told) > 3, "rows that end early are told of before their batch ends"


def test_no_prompts_no_rows(loaded: LoadedModel) -> None:
    assert decode(loaded.model, [], DecodeSettings(())) == []


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_samples_follow_the_models_distribution(loaded: LoadedModel, temperature: float) -> None:
    """Pearson's chi-square of 6,000 tokens after one prompt; those expected < 20 times are one class."""
    prompt, draws = [84, 82], 6000
    settings = DecodeSettings((), batch_size=draws, sample=True)
    rows = [Row(prompt, (1,), temperature=temperature)] * draws
    found = decode(loaded.model, rows, settings, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits_V = loaded.model(torch.tensor([prompt])).logits[0, -1]
    expected_V = (logits_V / temperature).softmax(-1) * draws
    observed_V = torch.bincount(
        torch.tensor([stretch.ids for (stretch,) in found])[:, 0], minlength=len(expected_V)
    )
    often = expected_V >= 20
    expected = torch.cat([expected_V[often], expected_V[~often].sum()[None]])
    observed = torch.cat([observed_V[often], observed_V[~often].sum()[None]])
    statistic = float(((observed - expected) ** 2 / expected).sum())
    freedom = len(expected) - 1
    assert freedom > 30
    # Mean and standard deviation of chi-square are n and √(2n).
    assert abs(statistic - freedom) < 4 * (2 * freedom) ** 0.5


def test_the_colder_the_likelier_and_the_teacher_stays_warm(loaded: LoadedModel) -> None:
    """Near 0 the most likely token is chosen, beside rows that are drawn as they would be without it; the
    teacher's log-probabilities are those at 1."""
    prompts = random_prompts(6)
    settings = DecodeSettings((), sample=True, top_k=5)

    def drawn(temperatures: Sequence[float]) -> list[Continuation]:
        rows = [Row(one, (8,), temperature=two) for one, two in zip(prompts, temperatures, strict=True)]
        found = decode(loaded.model, rows, settings, generator=torch.Generator().manual_seed(0))
        return [stretch for (stretch,) in found]

    warm, mixed = drawn([1.0] * 6), drawn([1.0, 1e-4] * 3)
    assert [one.ids for one in mixed[::2]] == [one.ids for one in warm[::2]]
    greedy = decode(loaded.model, [Row(one, (8,)) for one in prompts], DecodeSettings((), top_k=5))
    for (one,), other in zip(greedy[1::2], mixed[1::2], strict=True):
        assert one.ids == other.ids
        assert one.teacher is not None
        assert other.teacher is not None
        torch.testing.assert_close(one.teacher.log_probs_TK, other.teacher.log_probs_TK)


def test_samples_repeat_with_their_seed(loaded: LoadedModel) -> None:
    def drawn(seed: int) -> list[list[int]]:
        settings = DecodeSettings((), sample=True)
        generator = torch.Generator().manual_seed(seed)
        return ids_of(continued(loaded, random_prompts(4), 8, settings, generator=generator))

    assert drawn(1) == drawn(1) != drawn(2)


def test_samples_do_not_depend_on_who_is_decoded_beside_them(loaded: LoadedModel) -> None:
    def drawn(batch_size: int) -> list[list[int]]:
        settings = DecodeSettings((), sample=True, batch_size=batch_size)
        generator = torch.Generator().manual_seed(0)
        return ids_of(continued(loaded, random_prompts(9), 8, settings, generator=generator))

    assert drawn(2) == drawn(5) == drawn(9)


def test_stretches_go_on_after_their_bridge(loaded: LoadedModel) -> None:
    """A row of two stretches is the same as its second one alone, after prompt, first stretch and bridge."""
    prompts, bridge = random_prompts(8, seed=2), (7, 11, 13)
    stops = common_stops(loaded, prompts)
    bridge = (stops[0], *bridge)
    rows = [Row(prompt, (4, 6), bridge) for prompt in prompts]
    settings = DecodeSettings(stops, batch_size=3)
    endings = set()
    for row, (first, second) in zip(rows, decode(loaded.model, rows, settings), strict=True):
        assert first.ids == alone(loaded, row.prompt, 4, stops)
        wrote_it = first.ids[-1] == bridge[0]
        endings.add(wrote_it)
        between = bridge[1:] if wrote_it else bridge
        assert second.ids == alone(loaded, [*row.prompt, *first.ids, *between], 6, stops)
    assert endings == {True, False}


@pytest.mark.parametrize("sample", [False, True])
def test_the_teacher_is_that_of_a_pass_over_the_whole_sequence(loaded: LoadedModel, sample: bool) -> None:
    prompts = random_prompts(6)
    settings = DecodeSettings(common_stops(loaded, prompts), sample=sample, top_k=5)
    rows = continued(loaded, prompts, 8, settings, generator=torch.Generator().manual_seed(3))
    for prompt, row in zip(prompts, rows, strict=True):
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([prompt + row.ids])).logits[0, len(prompt) - 1 : -1]
        whole = top_k_of(logits, 5)
        assert row.teacher is not None
        torch.testing.assert_close(row.teacher.log_probs_TK, whole.log_probs_TK, rtol=1e-5, atol=1e-5)
        assert row.teacher.ids_TK.tolist() == whole.ids_TK.tolist()


def test_no_teacher_is_kept_unless_asked_for(loaded: LoadedModel) -> None:
    assert continued(loaded, [[1, 2]], 3, DecodeSettings(()))[0].teacher is None
