"""Replay: how much of each source, which tokens count, and that its teacher is the model itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from adaptman.errors import ModelError, TrainingError
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.drawing import generate, quotas
from adaptman.learning.losses import top_k_of
from adaptman.learning.models import LoadedModel
from adaptman.learning.recipe import ReplayRecipe
from adaptman.learning.replay import ReplaySet
from tests.learning.callers import RECIPE, TOOLS, tool_prompts
from tests.learning.tiny import CHATML, END, START, tiny_model, tiny_tokenizer

WEIGHTS = st.floats(0, 100)


@pytest.fixture(scope="module")
def drawn(loaded: LoadedModel, renderer: ChatRenderer) -> ReplaySet:
    """A random model never writes a call as Hermes does, so there are none under earlier tools."""
    return generate(loaded, renderer, RECIPE, (), 7, shown=TOOLS)


@pytest.fixture(scope="module")
def called(loaded: LoadedModel, before: ChatRenderer) -> ReplaySet:
    """Of samples under earlier tools every other one is a call, and its request what the tool does."""
    return generate(loaded, before, replace(RECIPE, irrelevant=0), tool_prompts(), 7)


def same(one: ReplaySet, other: ReplaySet) -> bool:
    return one.to_bytes() == other.to_bytes()


@given(
    st.builds(
        ReplayRecipe,
        samples=st.integers(1, 500),
        free=st.floats(0.01, 100),
        chat=WEIGHTS,
        tools=WEIGHTS,
        irrelevant=WEIGHTS,
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_quotas_sum_and_keep_the_proportion(
    recipe: ReplayRecipe, has_tools: bool, has_shown: bool, rewrites: bool
) -> None:
    counts = quotas(recipe, has_tools=has_tools, has_shown=has_shown, rewrites=rewrites)
    weights = {
        "free": recipe.free,
        "chat": recipe.chat,
        "irrelevant": recipe.irrelevant if has_shown else 0.0,
        "rewritten" if rewrites else "tools": recipe.tools if has_tools else 0.0,
    }
    assert set(counts) == set(weights)
    assert sum(counts.values()) == recipe.samples
    for source, weight in weights.items():
        share = recipe.samples * weight / sum(weights.values())
        assert abs(counts[source] - share) < 1  # type: ignore[index]


def test_without_tools_their_share_goes_to_the_others() -> None:
    recipe = ReplayRecipe(samples=9, free=1, chat=2, tools=6)
    nothing = {"free": 0, "chat": 0, "irrelevant": 0, "tools": 0}
    assert quotas(recipe, has_tools=False) == nothing | {"free": 3, "chat": 6}
    assert quotas(replace(recipe, free=0, chat=0), has_tools=False) == nothing | {"chat": 9}


def test_the_sources_have_their_quotas(drawn: ReplaySet, called: ReplaySet) -> None:
    assert drawn.report["by_source"] == {"free": 3, "chat": 6, "irrelevant": 3}
    assert called.report["by_source"] == {"free": 3, "chat": 6, "tools": 3}


def test_what_is_not_generated_is_the_template(
    drawn: ReplaySet, called: ReplaySet, loaded: LoadedModel
) -> None:
    """All tokens outside of `positions` are the beginning, or the turns' headers and the tools shown."""
    bridges = {f"{END}\n{START}assistant\n", f"\n{START}assistant\n"}
    for sample in (*drawn.samples, *called.samples):
        positions = sample.positions.tolist()
        first = positions[0]
        gap = [i for i in range(first, len(sample.ids)) if i not in positions]
        before, bridge = (
            loaded.tokenizer.decode([sample.ids[i] for i in part]) for part in (range(first), gap)
        )
        if sample.source == "free":
            assert (before, bridge) == (START, "")
        elif sample.source == "chat":
            assert str(before).endswith(f"{START}user\n")
            assert bridge in bridges
            assert "<tools>" not in before
        else:
            assert "<tools>" in before
            assert (str(before)[-len(f"{START}assistant\n") :], bridge) == (f"{START}assistant\n", "")


def likely_to_end(tokenizer: PreTrainedTokenizerBase) -> LoadedModel:
    """A model that ends every other question at once; any token ends its turn."""
    model = tiny_model(tokenizer)
    header = torch.tensor([tokenizer(f"{START}user\n", add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        hidden_D = model.base_model(input_ids=header).last_hidden_state[0, -1]
        as_likely_as_all_others = model.lm_head(hidden_D).logsumexp(0)
        model.lm_head.weight[tokenizer.eos_token_id] = (
            hidden_D * as_likely_as_all_others / hidden_D.square().sum()
        )
    return LoadedModel(model, tokenizer, tuple(range(len(tokenizer))))


def test_a_question_keeps_the_end_that_the_model_wrote(renderer: ChatRenderer) -> None:
    """The bridge writes ChatML's end after all questions but those that have it."""
    ending = likely_to_end(renderer.tokenizer)
    recipe = replace(RECIPE, samples=30, free=0, tools=0)
    seen = set()
    for sample in generate(ending, renderer, recipe, (), 0).samples:
        question, answer = sample.positions.tolist()
        ended = sample.ids[question] == renderer.tokenizer.eos_token_id
        seen.add(ended)
        assert str(renderer.tokenizer.decode(sample.ids[question + 1 : answer])) == (
            f"\n{START}assistant\n" if ended else f"{END}\n{START}assistant\n"
        )
    assert seen == {True, False}


def test_the_teacher_is_a_fresh_pass_of_the_model(drawn: ReplaySet, loaded: LoadedModel) -> None:
    for sample in drawn.samples:
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([sample.ids])).logits[0]
        fresh = top_k_of(logits[sample.positions - 1], RECIPE.top_k)
        assert sample.teacher.ids_TK.tolist() == fresh.ids_TK.tolist()
        torch.testing.assert_close(sample.teacher.log_probs_TK, fresh.log_probs_TK, rtol=1e-5, atol=1e-5)


def test_samples_are_no_longer_than_asked_for(drawn: ReplaySet, called: ReplaySet) -> None:
    for sample in (*drawn.samples, *called.samples):
        limit = RECIPE.max_tokens * (2 if sample.source == "tools" else 1)
        assert 1 <= len(sample.positions) <= limit


def test_the_seed_decides(loaded: LoadedModel, renderer: ChatRenderer, drawn: ReplaySet) -> None:
    assert same(generate(loaded, renderer, RECIPE, (), 7, shown=TOOLS), drawn)
    assert not same(generate(loaded, renderer, RECIPE, (), 8, shown=TOOLS), drawn)


def test_a_set_survives_its_file(drawn: ReplaySet, tmp_path: Path) -> None:
    path = tmp_path / "replay.safetensors"
    path.write_bytes(drawn.to_bytes())
    found = ReplaySet.from_file(str(path))
    assert same(found, drawn)
    assert (found.report, found.tokens) == (drawn.report, drawn.tokens)
    for one, other in zip(found.samples, drawn.samples, strict=True):
        assert (one.source, one.ids) == (other.source, other.ids)
        assert torch.equal(one.positions, other.positions)
        assert torch.equal(one.teacher.ids_TK, other.teacher.ids_TK)
        assert torch.equal(one.teacher.log_probs_TK, other.teacher.log_probs_TK)


def _tensors(**changes: Any) -> bytes:
    """A small set with some of its tensors replaced."""
    from safetensors.torch import save

    values = {
        "ids": torch.tensor([1, 2, 3]),
        "lengths": torch.tensor([3]),
        "sources": torch.tensor([0]),
        "counts": torch.tensor([2]),
        "positions": torch.tensor([1, 2]),
        "top_ids": torch.zeros(2, 1),
        "top_log_probs": torch.zeros(2, 1),
    }
    kept = {name: value for name, value in (values | changes).items() if value is not None}
    return save(kept, metadata={"report": "{}"})


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: b"no tensors at all", id="another file"),
        pytest.param(lambda whole: whole[:-9], id="cut"),
        pytest.param(lambda whole: _tensors(counts=None), id="a tensor is missing"),
        pytest.param(lambda whole: _tensors(lengths=torch.tensor([2])), id="lengths do not add up"),
        pytest.param(lambda whole: _tensors(sources=torch.tensor([9])), id="unknown source"),
        pytest.param(lambda whole: _tensors(sources=torch.tensor([0, 0])), id="a source too many"),
        pytest.param(lambda whole: _tensors(positions=torch.tensor([1, 7])), id="a position outside"),
    ],
)
def test_a_damaged_file_is_told(drawn: ReplaySet, tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "replay.safetensors"
    path.write_bytes(damage(drawn.to_bytes()))
    with pytest.raises(TrainingError, match="is not a replay set"):
        ReplaySet.from_file(str(path))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is not a replay set"):
        ReplaySet.from_file(str(tmp_path / "none"))


def test_the_undamaged_small_set_is_read(tmp_path: Path) -> None:
    path = tmp_path / "replay.safetensors"
    path.write_bytes(_tensors())
    assert ReplaySet.from_file(str(path)).tokens == 2


def test_nothing_usable_is_an_error(loaded: LoadedModel, renderer: ChatRenderer) -> None:
    with pytest.raises(TrainingError, match="nothing that could be replayed"):
        generate(loaded, renderer, replace(RECIPE, free=0, chat=0), tool_prompts(accepted=False), 0)


@pytest.mark.parametrize("accepted", [True, False])
def test_on_done_comes_to_the_number_of_samples(
    loaded: LoadedModel, renderer: ChatRenderer, accepted: bool
) -> None:
    told: list[int] = []
    generate(loaded, renderer, RECIPE, tool_prompts(accepted), 7, shown=TOOLS, on_done=told.append)
    assert sum(told) == RECIPE.samples


def test_requests_that_no_tool_fits_are_made_without_tools(
    loaded: LoadedModel, renderer: ChatRenderer
) -> None:
    """Each is one that the model asks by itself; the tools take turns."""
    recipe = replace(RECIPE, samples=6, free=0, chat=0)
    asked = generate(loaded, renderer, recipe, (), 0, shown=TOOLS).samples
    texts = [str(loaded.tokenizer.decode(sample.ids)) for sample in asked]
    questions = [text.split(f"{START}user\n")[1].split(f"{START}assistant")[0] for text in texts]
    assert len(set(questions)) == 6
    assert [sum(f'"name": "{name}"' in text for text in texts) for name in "abc"] == [2, 2, 2]
    assert all(START not in question for question in questions)


def test_a_call_where_no_tool_fits_is_dropped_and_counted(
    loaded: LoadedModel, renderer: ChatRenderer, before: ChatRenderer
) -> None:
    recipe = replace(RECIPE, free=0)
    found = generate(loaded, before, recipe, (), 0, shown=TOOLS)
    assert set(found.report["by_source"]) == {"chat"}
    assert (found.report["attempted"], found.report["valid"]) == (4, 0)
    # Nor is one kept that is written as the model has done until now.
    assert generate(loaded, renderer, recipe, (), 0, shown=TOOLS, before=before).report["valid"] == 0


def test_a_tokenizer_without_a_beginning_draws_no_free_samples(
    loaded: LoadedModel, renderer: ChatRenderer
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token = None
    bare = replace(loaded, tokenizer=tokenizer)
    with pytest.raises(TrainingError, match="no token that begins a text"):
        generate(bare, renderer, RECIPE, (), 0)
    assert len(generate(bare, renderer, replace(RECIPE, free=0), (), 0).samples) == 12


def test_a_template_that_writes_a_question_twice_is_told(loaded: LoadedModel, renderer: ChatRenderer) -> None:
    twice = CHATML.replace("+ message['content'] +", "+ message['content'] + message['content'] +")
    with pytest.raises(ModelError, match="writes a user's words 2 times, not once"):
        generate(loaded, replace(renderer, tokenizer=tiny_tokenizer(twice)), RECIPE, (), 0)


def test_a_template_that_begins_with_a_question_is_told(loaded: LoadedModel, renderer: ChatRenderer) -> None:
    bare = tiny_tokenizer("{% for message in messages %}{{ message['content'] }}\n{% endfor %}")
    with pytest.raises(ModelError, match="nothing before a user's words") as told:
        generate(loaded, replace(renderer, tokenizer=bare), RECIPE, (), 0)
    assert "replay.chat=0" in told.value.hint
