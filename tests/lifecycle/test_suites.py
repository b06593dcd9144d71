"""Suites of every sort, run on a small model: choices, checks, scorers of others, figures tool by tool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptman.errors import SuiteError
from adaptman.evaluation.bfcl import wheel_data
from adaptman.evaluation.runner import SuiteResult
from adaptman.evaluation.suites import SuiteKind
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.suites import import_bfcl, register_suite, registered_suite
from adaptman.lifecycle.versions import version_details
from tests.evaluation.scorer_plugin import MODULE, forget, install
from tests.lifecycle.story import Story
from tests.lifecycle.tiny_line import CANDIDATE, Recorder, TinyLine


def add(line: TinyLine | Story, name: str, kind: SuiteKind, *cases: dict[str, Any]) -> None:
    ask = [{"role": "user", "content": "Say something."}]
    data = "\n".join(json.dumps({"id": f"c{at}", "messages": ask, **case}) for at, case in enumerate(cases))
    register_suite(line.workspace, data.encode(), name=name, kind=kind, origin=name)


def result(line: TinyLine, name: str) -> SuiteResult:
    done = evaluate(line.workspace, CANDIDATE)
    return next(one for one in done.results if one.suite_name == name)


def test_choices_are_scored_by_the_models_own_likelihood(updated: TinyLine) -> None:
    texts = ["a", "b", "zebra crossing"]
    add(updated, "choice", SuiteKind.GENERAL, *({"choices": texts, "answer": answer} for answer in texts))
    progress = Recorder()
    done = evaluate(updated.workspace, CANDIDATE, progress=progress)
    found = next(one for one in done.results if one.suite_name == "choice")
    # Each text is the answer once, and the same one is chosen every time.
    assert (found.value, found.metric) == (pytest.approx(1 / 3), "accuracy")
    assert {outcome.output for outcome in found.outcomes} == {""}
    assert "log-likelihoods -" in found.outcomes[0].detail


@pytest.fixture
def scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with a scorer `half` in version 1."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text("def half(case, reply, calls): return 0.5\n")
    install(folder, "zz-plugin", "1", ["half"])
    monkeypatch.syspath_prepend(folder)
    forget()
    yield folder
    forget()


def runs(line: TinyLine, name: str) -> list[dict[str, Any]]:
    with line.workspace.registry.read() as reader:
        found = reader.suite_runs(line.version().id)
        return [run.environment for run in found if reader.suite_by_id(run.suite_id).name == name]


def test_a_run_names_the_scorer_that_it_was_made_with(updated: TinyLine, scorer: Path) -> None:
    add(updated, "team", SuiteKind.CUSTOM, {"check": {"scorer": "half"}}, {"check": {"contains": "never so"}})
    found = result(updated, "team")
    assert (found.value, found.metric, found.binary) == (0.25, "mean_score", False)
    assert [one["scorers"] for one in runs(updated, "team")] == [{"half": "zz-plugin 1"}]
    evaluate(updated.workspace, CANDIDATE)
    assert len(runs(updated, "team")) == 1
    assert "scorers" not in runs(updated, "general")[0]


def test_another_version_of_a_scorer_scores_anew(updated: TinyLine, scorer: Path) -> None:
    add(updated, "team", SuiteKind.CUSTOM, {"check": {"scorer": "half"}}, {"check": {"scorer": "half"}})
    evaluate(updated.workspace, CANDIDATE)
    (scorer / "zz_plugin-1.dist-info").rename(scorer / "zz_plugin-2.dist-info")
    text = (scorer / "zz_plugin-2.dist-info" / "METADATA").read_text()
    (scorer / "zz_plugin-2.dist-info" / "METADATA").write_text(text.replace("Version: 1", "Version: 2"))
    evaluate(updated.workspace, CANDIDATE)
    versions = [one["scorers"]["half"] for one in runs(updated, "team")]
    assert versions == ["zz-plugin 1", "zz-plugin 2"]


def test_a_suite_whose_scorer_is_not_installed_is_not_registered(begun: Story) -> None:
    with pytest.raises(SuiteError, match="the scorer `nobody` is not installed"):
        add(begun, "team", SuiteKind.CUSTOM, {"check": {"scorer": "nobody"}})


def test_figures_tool_by_tool_come_with_the_evaluation_and_the_version(updated: TinyLine) -> None:
    done = evaluate(updated.workspace, CANDIDATE)
    (figure,) = done.by_tool["new-tools"]
    assert (figure.tool, figure.n, list(done.by_tool)) == ("get_weather", 4, ["new-tools"])
    details = version_details(updated.workspace, CANDIDATE, by_tool=True)
    assert {named.suite: named.by_tool for named in details.runs} == {"general": (), "new-tools": (figure,)}
    assert all(named.by_tool == () for named in version_details(updated.workspace, CANDIDATE).runs)


def test_a_suite_that_cannot_be_read_does_not_hide_its_version(updated: TinyLine) -> None:
    row = registered_suite(updated.workspace, "new-tools").row
    updated.workspace.store.path_of(row.object_digest).unlink()
    details = version_details(updated.workspace, CANDIDATE, by_tool=True)
    assert {named.suite: named.by_tool for named in details.runs} == {"general": (), "new-tools": ()}


def test_a_suite_is_shown_with_the_champions_figures(updated: TinyLine) -> None:
    found = registered_suite(updated.workspace, "new-tools")
    assert (found.champion, [one.value for one in found.by_tool]) == (1, [0.0])
    updated.suite("later", "tools", salt=" later")
    found = registered_suite(updated.workspace, "later")
    assert (found.champion, [(one.n, one.value) for one in found.by_tool]) == (None, [(4, None)])


def test_cases_are_drawn_by_the_seed(begun: Story) -> None:
    pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval")

    def drawn(seed: int) -> list[str]:
        (done,) = import_bfcl(begun.workspace, ["parallel"], limit=7, seed=seed)
        assert done.registration.row.note == (
            f"BFCL v4 `parallel`, {wheel_data().origin}, Apache-2.0; 7 of 200 cases, seed {seed}"
        )
        return [case.id for case in done.registration.suite.cases]

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert first == again != other
    assert len(set(first)) == 7
    assert first == sorted(first, key=lambda name: int(name.rpartition("_")[2]))


def test_one_name_for_several_categories_is_refused(begun: Story) -> None:
    with pytest.raises(SuiteError, match="one name for several categories"):
        import_bfcl(begun.workspace, ["parallel", "multiple"], name="mine")
