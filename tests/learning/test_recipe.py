"""Recipes: what they are called by, how settings change them, what is refused."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import TrainingError
from adaptman.learning.recipe import LoraRecipe, Recipe, ReplayRecipe

POSITIVE = st.floats(min_value=1e-6, max_value=1e6)
RECIPES = st.builds(
    Recipe,
    steps=st.integers(1, 1000),
    lr=POSITIVE,
    precision=st.sampled_from(["fp32", "bf16"]),
    seed=st.integers(0, 2**32 - 1),
    lora=st.builds(
        LoraRecipe, rank=st.integers(1, 64), targets=st.lists(st.text(), min_size=1, max_size=3).map(tuple)
    ),
    replay=st.builds(ReplayRecipe, kind=st.sampled_from(["self", "none"]), coeff=POSITIVE, chat=POSITIVE),
)


@given(RECIPES)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    found = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert found == recipe
    assert found.digest == recipe.digest


@given(RECIPES)
def test_the_digest_does_not_depend_on_the_order_of_keys(recipe: Recipe) -> None:
    values = recipe.to_dict()
    backwards = {key: values[key] for key in reversed(values)}
    backwards["replay"] = {key: values["replay"][key] for key in reversed(values["replay"])}
    assert Recipe.from_dict(backwards).digest == recipe.digest


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": "1"},
        {"lr": "0.5"},
        {"lora.rank": "8"},
        {"replay.coeff": "0.5"},
        {"replay.kind": "none"},
        {"lora.targets": '["q_proj"]'},
    ],
)
def test_every_setting_is_part_of_the_digest(changed: dict[str, str]) -> None:
    assert Recipe().with_settings(changed).digest != Recipe().digest


def test_settings_are_read_by_type() -> None:
    recipe = Recipe().with_settings(
        {
            "steps": "7",
            "lr": "1",
            "replay.kind": "none",
            "replay.loss": '"ce"',
            "lora.targets": '["q_proj", "v_proj"]',
        }
    )
    assert (recipe.steps, recipe.lr, recipe.replay.kind, recipe.replay.loss) == (7, 1.0, "none", "ce")
    assert isinstance(recipe.lr, float)
    assert recipe.lora.targets == ("q_proj", "v_proj")


def test_settings_leave_the_rest_as_it_is() -> None:
    recipe = Recipe(seed=5, replay=ReplayRecipe(samples=3))
    assert recipe.with_settings({}) == recipe
    assert recipe.with_settings({"lr": "0.1"}) == dataclasses.replace(recipe, lr=0.1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("stepz", "1", "no setting is called `stepz`"),
        ("replay.stepz", "1", "no setting is called `replay.stepz`"),
        ("replay", "{}", "no setting is called `replay`"),
        ("lr.x", "1", "no setting is called `lr.x`"),
        ("", "1", "no setting is called ``"),
        ("steps", "many", "recipe.steps: int was expected, found 'many'"),
        ("steps", "1.5", "recipe.steps: int was expected, found 1.5"),
        ("steps", "true", "recipe.steps: int was expected, found True"),
        ("lr", "fast", "recipe.lr: float was expected, found 'fast'"),
        ("lr", "1" + "0" * 400, "recipe.lr: the number is too large"),
        ("replay.loss", "mse", "recipe.replay.loss is 'mse', must be one of kl, ce"),
        ("lora.targets", "q_proj", "recipe.lora.targets: a list of names was expected, found 'q_proj'"),
        ("steps", "0", "recipe: `steps` is 0, must be at least 1"),
        ("lr", "0", "recipe: `lr` and `max_grad_norm` must be above 0"),
        ("lr", "-1", "recipe: `lr` is -1.0, must be at least 0"),
        ("lr", "NaN", "recipe: `lr` is nan, must be finite"),
        ("lr", "Infinity", "recipe: `lr` is inf, must be finite"),
        ("warmup", "2", "recipe: `warmup` is 2.0, must be at most 1"),
        ("seed", "-1", "recipe: `seed` is -1, must be at least 0"),
        ("lora.rank", "0", "recipe: `lora.rank` is 0, must be at least 1"),
        ("lora.rank", "1" + 30 * "0", "must be at most 65536"),
        ("mask_surprising", "1", "`mask_surprising` is 1.0, and no token's perplexity is below 1"),
        (
            "replay.samples",
            "0",
            "`replay.samples`, `batch_size` and `max_tokens` must be at least 1",
        ),
        ("lora.targets", "[]", "recipe: `lora.targets` names no layer"),
        ("gradient_checkpointing", "on", "true or false was expected, found 'on'"),
        ("replay.top_k", "0", "recipe: `replay.top_k` is 0, must be at least 1"),
        ("replay.free", "-1", "recipe: `replay.free` is -1.0, must be at least 0"),
        ("replay.tools_temperature", "0", "`replay.tools_temperature` is 0.0, must be at least 0.01"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(message)):
        Recipe().with_settings({name: value})


def test_the_hint_names_the_settings() -> None:
    with pytest.raises(TrainingError) as refused:
        Recipe().with_settings({"replay.weight": "1"})
    assert "`replay.coeff`" in refused.value.hint


def test_a_recipe_on_record_replays_what_it_did() -> None:
    told = Recipe().to_dict()
    assert Recipe.recorded(told) == Recipe()
    del told["replay"]["irrelevant"], told["replay"]["tools_temperature"]
    then = dataclasses.replace(Recipe().replay, irrelevant=0.0, tools_temperature=1.0)
    assert Recipe.recorded(told) == dataclasses.replace(Recipe(), replay=then)


def test_replay_of_no_share_is_refused() -> None:
    for kind in ("opr", "ssr", "exemplar"):
        with pytest.raises(TrainingError, match=r"`replay\.share` is 0"):
            Recipe().with_settings({"replay.kind": kind, "replay.share": "0"})
    assert Recipe().with_settings({"replay.share": "0"}).replay.kind == "self"  # which does not read it


def test_replay_from_nowhere_is_refused() -> None:
    nothing = {f"replay.{source}": "0" for source in ("free", "chat", "tools", "irrelevant")}
    with pytest.raises(TrainingError, match="are all 0"):
        Recipe().with_settings(nothing)
    assert Recipe().with_settings(nothing | {"replay.kind": "none"}).replay.kind == "none"


def test_samples_of_one_model_have_no_other_as_their_teacher() -> None:
    live = {"replay.teacher": "live", "adapter": "fresh"}
    for kind in ("self", "opr", "ssr", "exemplar"):
        with pytest.raises(TrainingError, match="the version whose answers are replayed") as refused:
            Recipe().with_settings(live | {"replay.kind": kind})
        assert "replay.teacher=cached" in refused.value.hint
    assert Recipe().with_settings(live | {"replay.kind": "none"}).adapter == "fresh"


def test_a_checkpoint_is_no_teacher_of_examples_that_it_has_not_learned() -> None:
    fresh = {"replay.kind": "exemplar", "adapter": "fresh"}
    with pytest.raises(TrainingError, match="is no teacher of them") as refused:
        Recipe().with_settings(fresh)
    assert "replay.loss=ce" in refused.value.hint
    assert Recipe().with_settings(fresh | {"replay.loss": "ce"}).adapter == "fresh"
    assert Recipe().with_settings(fresh | {"replay.kind": "opr"}).adapter == "fresh"


@pytest.mark.parametrize(("declined", "weight"), [(0.0, 2.0), (0.25, 1.5), (1.0, 0.0)])
def test_what_the_examples_decline_is_replayed_the_less(declined: float, weight: float) -> None:
    recipe = Recipe()
    assert recipe.drawn(declined) == dataclasses.replace(recipe.replay, irrelevant=weight)


def test_no_more_is_drawn_than_training_sees() -> None:
    assert Recipe(steps=2, replay=ReplayRecipe(samples=100, batch_size=3)).drawn().samples == 6


@pytest.mark.parametrize("values", [{"lora": 3}, {"extra": 1}, {"lora": {"extra": 1}}])
def test_values_of_another_shape_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(TrainingError):
        Recipe.from_dict(values)
