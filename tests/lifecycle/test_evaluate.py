"""Running suites on versions, once for each suite and version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from adaptman.errors import ModelError, TrainingError, WorkspaceError
from adaptman.evaluation.suites import SuiteKind
from adaptman.learning import answerer, models
from adaptman.lifecycle.environment import environment
from adaptman.lifecycle.evaluate import Evaluation, evaluate
from adaptman.lifecycle.promote import promote
from adaptman.lifecycle.suites import register_suite
from policies.errors import PolicyError
from registry.errors import NotFoundError, StaleDecisionError
from tests.lifecycle.story import suite_lines
from tests.lifecycle.tiny_line import CANDIDATE, Recorder, TinyLine, tiny_lines

LENIENT = "name: lenient\nrules:\n  general: {margin: 1, missing: ignore}\n"


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[TinyLine]:
    """A line with one update, under a policy that lets everything pass."""
    (tmp_path / "policy.yaml").write_text(LENIENT)
    line = TinyLine.copy(tiny_lines().updated, tmp_path / "line", policy=str(tmp_path / "policy.yaml"))
    yield line
    line.workspace.close()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one adapter directory, or None, for each model that is loaded."""
    seen: list[object] = []
    load = models.load

    def counted(base: Path, adapter: Path | None = None, **options: object) -> models.LoadedModel:
        seen.append(adapter)
        return load(base, adapter, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(models, "load", counted)
    return seen


def names(done: Evaluation) -> list[str]:
    return [result.suite_name for result in done.results]


def test_what_stands_is_not_asked_again(updated: TinyLine, loads: list[object]) -> None:
    before = updated.events()
    done = evaluate(updated.workspace, CANDIDATE)
    assert done.decision is not None
    assert (done.version.state, names(done), loads) == ("refused", ["general", "new-tools"], [])
    assert updated.events() == before


def test_a_new_suite_is_asked_of_both_and_of_nobody_twice(updated: TinyLine, loads: list[object]) -> None:
    updated.suite("irrelevance", "irrelevance")
    progress = Recorder()
    evaluate(updated.workspace, CANDIDATE, progress=progress)
    assert progress.phases == ["v1 on irrelevance", "v2 on irrelevance"]
    assert len(loads) == 2
    assert loads[0] is None
    evaluate(updated.workspace, CANDIDATE)
    assert len(loads) == 2


def test_each_model_is_loaded_once_for_all_suites(updated: TinyLine, loads: list[object]) -> None:
    for name in ("irrelevance", "drift"):
        updated.suite(name, name)
    evaluate(updated.workspace, CANDIDATE)
    assert len(loads) == 2


def test_a_second_candidate_finds_the_champion_scored(updated: TinyLine) -> None:
    progress = Recorder()
    updated.update(steps="2", progress=progress)
    assert not [phase for phase in progress.phases if phase.startswith("v1 on")]


def test_the_champion_is_scored_and_not_judged(filled: TinyLine) -> None:
    done = evaluate(filled.workspace, 1)
    assert (done.version.state, done.champion, done.decision) == ("champion", None, None)
    assert names(done) == ["general", "new-tools"]
    assert "decision.recorded" not in filled.events()


def test_a_new_champion_means_a_new_decision(lenient: TinyLine) -> None:
    evaluate(lenient.workspace, CANDIDATE)
    lenient.update(steps="2")
    promote(lenient.workspace, CANDIDATE)
    with pytest.raises(StaleDecisionError):
        promote(lenient.workspace, 3)
    done = evaluate(lenient.workspace, 3)
    assert done.champion is not None
    assert (done.champion.number, done.version.state) == (CANDIDATE, "passed")
    assert promote(lenient.workspace, 3).version.number == 3


def test_another_policy_means_a_new_decision(lenient: TinyLine, loads: list[object]) -> None:
    assert lenient.version().state == "refused"
    done = evaluate(lenient.workspace, CANDIDATE)
    assert done.decision is not None
    assert (done.version.state, done.decision.policy_name, loads) == ("passed", "lenient", [])


def test_a_former_champion_is_scored_and_not_judged(lenient: TinyLine) -> None:
    evaluate(lenient.workspace, CANDIDATE)
    promote(lenient.workspace, CANDIDATE)
    done = evaluate(lenient.workspace, 1)
    assert (done.version.state, done.decision) == ("retired", None)


def test_a_version_is_asked_about_its_own_update(updated: TinyLine) -> None:
    updated.second_tools()
    updated.suite("changed-tools", "target", salt=" now")
    assert names(updated.update(2).evaluation or pytest.fail("not judged")) == ["changed-tools", "general"]
    assert names(evaluate(updated.workspace, CANDIDATE)) == ["general", "new-tools"]
    assert names(evaluate(updated.workspace, 1)) == ["changed-tools", "general", "new-tools"]


def test_a_stored_result_goes_by_the_name_the_suite_has_now(updated: TinyLine, loads: list[object]) -> None:
    data = suite_lines("general")
    register_suite(
        updated.workspace, data, name="knowledge", kind=SuiteKind.GENERAL, origin="knowledge.jsonl"
    )
    done = evaluate(updated.workspace, CANDIDATE)
    assert (names(done), loads) == (["general", "knowledge", "new-tools"], [])
    assert done.decision is not None
    assert {item.suite for item in done.decision.evidence} == {"general", "knowledge", "new-tools"}


def test_a_stored_result_that_is_damaged_is_made_again(updated: TinyLine) -> None:
    with updated.workspace.registry.read() as reader:
        runs = reader.suite_runs(updated.version().id)
    updated.workspace.store.path_of(runs[0].outputs_digest or "").unlink()
    progress = Recorder()
    evaluate(updated.workspace, CANDIDATE, progress=progress)
    assert progress.phases == ["v2 on general again"]
    with updated.workspace.registry.read() as reader:
        assert len(reader.suite_runs(updated.version().id)) == len(runs) + 1


def test_no_suite(tmp_path: Path) -> None:
    line = TinyLine.copy(tiny_lines().begun, tmp_path / "line")
    with pytest.raises(WorkspaceError, match="no suite is registered") as raised:
        evaluate(line.workspace, 1)
    line.workspace.close()
    assert "adaptman suite register" in raised.value.hint


def test_out_of_memory_is_told(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*inputs: object, **options: object) -> object:
        return torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(answerer, "decode", too_large)
    with pytest.raises(TrainingError, match=r"out of memory while suite `[a-z-]+` was asked"):
        evaluate(updated.workspace, CANDIDATE, again=True)
    assert updated.held_by() == []


def test_no_such_version(updated: TinyLine) -> None:
    with pytest.raises(NotFoundError, match="no version `9`"):
        evaluate(updated.workspace, 9)
    assert updated.held_by() == []


def test_a_version_that_failed(filled: TinyLine, loads: list[object]) -> None:
    with pytest.raises(TrainingError):
        filled.update(lr="1e30", replay__kind="none")
    loads.clear()
    with pytest.raises(ModelError, match="version 2 is `failed`: it has no weights"):
        evaluate(filled.workspace, CANDIDATE)
    assert loads == []


def test_a_policy_that_cannot_be_read_is_told_before_the_suites(
    filled: TinyLine, tmp_path: Path, loads: list[object]
) -> None:
    (tmp_path / "policy.yaml").write_text("name: [")
    line = TinyLine.at(filled.folder, filled.clock, policy=str(tmp_path / "policy.yaml"))
    with pytest.raises(PolicyError):
        evaluate(line.workspace, 1)
    line.workspace.close()
    assert loads == []


def test_what_a_figure_depends_on_is_on_record(updated: TinyLine) -> None:
    with updated.workspace.registry.read() as reader:
        run = reader.suite_runs(updated.version().id)[0]
    assert run.environment == {**environment(), "device": "cpu"}
    assert set(run.environment["packages"]) == {"adaptman", "torch", "transformers", "peft"}
