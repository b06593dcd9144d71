"""Names and values as MLflow takes them, by MLflow's own checks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.entities import Metric, Param
from mlflow.utils.validation import _validate_metric, _validate_param

from adaptman.lineage import names

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
TREES = st.dictionaries(
    st.text(max_size=12),
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    ),
    max_size=5,
)


@given(TREES)
@example({"..0": None})
@example({"x" * 249 + "/y": None})
@example({"x" * 248 + "/.y": None})
def test_parameters_are_taken_whatever_a_recipe_holds(tree: dict[str, Any]) -> None:
    for name, value in names.parameters(tree).items():
        taken = _validate_param(name, value)
        assert (taken.key, taken.value) == (name, value) == (Param(name, value).key, value)


@given(TREES)
def test_every_value_is_a_number_or_a_word(tree: dict[str, Any]) -> None:
    figures, words = names.numbers(tree), names.words(tree)
    assert not figures.keys() & words.keys()
    assert figures.keys() | words.keys() == names.parameters(tree).keys()
    for name, value in figures.items():
        _validate_metric(name, Metric(name, value, 0, 0).value, 0, 0)


@given(st.text(max_size=400))
def test_any_text_becomes_a_key_and_a_file_name(text: str) -> None:
    _validate_param(names.key(text), "")
    file = names.file_name(text)
    assert "/" not in file
    assert file not in {"", ".", ".."}


@given(st.lists(st.integers()), st.integers(1, 9))
def test_batches_lose_nothing(items: list[int], size: int) -> None:
    batches = list(names.batches(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(0 < len(batch) <= size for batch in batches)


def test_nested_values_get_dotted_names() -> None:
    tree = {"lora": {"rank": 8, "targets": ["q", "v"]}, "seed": 7, "empty": {}, "on": True, "text": "é"}
    assert names.parameters(tree) == {
        "lora.rank": "8",
        "lora.targets": '["q", "v"]',
        "seed": "7",
        "empty": "{}",
        "on": "true",
        "text": "é",
    }
    assert names.numbers(tree, "recipe") == {"recipe.lora.rank": 8.0, "recipe.seed": 7.0}


@pytest.mark.parametrize(("text", "limit", "expected"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("", 1, "")])
def test_cut(text: str, limit: int, expected: str) -> None:
    assert names.cut(text, limit) == expected


def test_times_are_milliseconds() -> None:
    assert names.milliseconds("1970-01-01T00:00:01.500000Z") == 1_500
    assert names.milliseconds("1970-01-01T01:00:00+01:00") == 0
    assert names.milliseconds(None) == 0


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://me:secret@host:5432/mlflow", "postgresql://me:***@host:5432/mlflow"),
        ("https://:secret@host", "https://:***@host"),
    ],
)
def test_passwords_are_not_shown(uri: str, shown: str) -> None:
    assert names.public_uri(uri) == shown
