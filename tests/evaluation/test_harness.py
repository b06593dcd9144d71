"""Tasks of lm-evaluation-harness become cases; run where the extra `lm-eval` is installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from adaptman.errors import SuiteError
from adaptman.evaluation.bfcl import LeftOut, jsonl
from adaptman.evaluation.harness import read_task
from adaptman.evaluation.suites import SuiteKind, read_suite

installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="pip install 'adaptman[lm-eval]'"
)
DOCUMENTS = [
    {"question": "Norway?", "options": ["Oslo", "Bergen"], "gold": 0, "all": ["Oslo", "Oslo city"]},
    {"question": "France?", "options": ["Lyon", "Paris", "Nice"], "gold": 1, "all": ["Paris"]},
    {"question": "Nowhere?", "options": ["x", "x"], "gold": 1, "all": ["y"]},
]
CHOICE = {
    "output_type": "multiple_choice",
    "description": "Capitals.\n",
    "doc_to_text": "Q: {{question}}\nA:",
    "doc_to_choice": "{{options}}",
    "doc_to_target": "gold",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
EXACT = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
GENERATED = {
    **CHOICE,
    "output_type": "generate_until",
    "doc_to_target": "{{options[gold]}}",
    "metric_list": [EXACT],
    "generation_kwargs": {"until": ["\n"]},
}
del GENERATED["doc_to_choice"]


def task(folder: Path, **changes: Any) -> Path:
    """A folder with one task `capitals` and its data."""
    (folder / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in DOCUMENTS))
    written = {
        "task": "capitals",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(folder / "docs.jsonl")},
            "cache_dir": str(folder / "cache"),
        },
        "test_split": "test",
        "metadata": {"version": 2.0},
        **CHOICE,
        **changes,
    }
    (folder / "capitals.yaml").write_text(yaml.safe_dump({k: v for k, v in written.items() if v is not None}))
    return folder


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.slow
@installed
def test_a_task_of_multiple_choice_becomes_choices(tmp_path: Path) -> None:
    found = read_task("capitals", folder=task(tmp_path))
    assert found.origin.startswith("lm-eval ")
    assert found.origin.endswith("task version 2.0, data `json`")
    assert found.cases.left_out == (LeftOut("capitals-2", "`choices[1]`: `x` stands there twice"),)
    assert found.cases.records[0] == {
        "id": "capitals-0",
        "messages": [{"role": "user", "content": "Capitals.\nQ: Norway?\nA:"}],
        "choices": ["Oslo", "Bergen"],
        "answer": "Oslo",
    }
    assert [record["answer"] for record in found.cases.records] == ["Oslo", "Paris"]
    read_suite(jsonl(found.cases.records), name="x", kind=SuiteKind.GENERAL, origin="x")


@pytest.mark.slow
@installed
@pytest.mark.parametrize(("relaxed", "match"), [(False, "exact"), (True, "normalized")])
def test_a_task_that_generates_becomes_answers(tmp_path: Path, relaxed: bool, match: str) -> None:
    metric = {**EXACT, "ignore_case": True} if relaxed else EXACT
    changes = {**GENERATED, "metric_list": [metric], "doc_to_choice": None}
    folder = task(tmp_path, **changes)
    records = read_task("capitals", folder=folder).cases.records
    assert [(record["answers"], record["match"]) for record in records] == [
        (["Oslo"], match),
        (["Paris"], match),
        (["x"], match),
    ]


@pytest.mark.slow
@installed
def test_several_answers_are_all_right(tmp_path: Path) -> None:
    folder = task(tmp_path, **{**GENERATED, "doc_to_target": "all", "doc_to_choice": None})
    records = read_task("capitals", folder=folder).cases.records
    assert [record["answers"] for record in records] == [["Oslo", "Oslo city"], ["Paris"], ["y"]]


REFUSED: list[Any] = [
    ({**GENERATED, "metric_list": [{**EXACT, "metric": "bleu"}]}, "is scored by `bleu`"),
    (
        {
            **GENERATED,
            "filter_list": [
                {
                    "name": "found",
                    "filter": [{"function": "regex", "regex_pattern": "(\\d+)"}, {"function": "take_first"}],
                }
            ],
        },
        "by filters (regex, take_first)",
    ),
    ({**CHOICE, "output_type": "loglikelihood"}, "is of the type `loglikelihood`"),
    ({**CHOICE, "dataset_path": "nobody/no-such-data", "dataset_kwargs": None}, "cannot be loaded: "),
]


@pytest.mark.slow
@installed
@pytest.mark.parametrize(("changes", "told"), REFUSED, ids=["metric", "filter", "type", "data"])
def test_what_a_suite_has_no_counterpart_for_is_told(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SuiteError) as caught:
        read_task("capitals", folder=task(tmp_path, **changes))
    assert told in caught.value.message
    assert caught.value.hint


@pytest.mark.slow
@installed
def test_an_unknown_task_is_told(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="there is no task `nothing` in"):
        read_task("nothing", folder=task(tmp_path))


def test_without_the_harness_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(SuiteError, match="lm-evaluation-harness cannot be loaded") as caught:
        read_task("hellaswag")
    assert caught.value.hint == "`pip install 'adaptman[lm-eval]'` installs it"
