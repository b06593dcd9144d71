"""A suite is audited: the champion answers it more than once, and where it disagrees is on record."""

from __future__ import annotations

import json

import pytest

from adaptman.errors import WorkspaceError
from adaptman.lifecycle import audit
from adaptman.lifecycle.audit import AuditedCase, audit_suite
from adaptman.lifecycle.evaluate import evaluate
from tests.lifecycle.story import CASES
from tests.lifecycle.tiny_line import CANDIDATE, Recorder, TinyLine


def test_a_champion_that_agrees_with_itself(updated: TinyLine) -> None:
    progress = Recorder()
    done = audit_suite(updated.workspace, "general", runs=3, progress=progress)
    assert progress.phases == ["v1 on general, run 2", "v1 on general, run 3"]  # the first one stood
    assert (done.version, len(done.cases), done.flaky) == (1, CASES, ())
    assert {len(case.scores) for case in done.cases} == {3}
    assert (done.row.runs, done.row.cases, done.row.flaky) == (3, CASES, [])
    assert updated.events()[-1] == "suite.audited"
    assert updated.held_by() == []
    done = evaluate(updated.workspace, CANDIDATE)
    assert done.decision is not None
    assert not [text for text in done.decision.warnings if "flaky" in text]


def test_flaky_cases_are_named_in_decisions_from_then_on(updated: TinyLine) -> None:
    """With noise as large as the weights the likelihoods differ, whatever the machine."""
    updated.suite("drift", "drift")
    evaluate(updated.workspace, CANDIDATE)
    decisions = updated.events().count("decision.recorded")
    done = audit_suite(updated.workspace, "drift", noise=1.0)
    names = [f"drift-{at}" for at in range(CASES)]
    assert [case.case_id for case in done.flaky] == names
    assert done.row.flaky == names
    report = json.loads(updated.workspace.store.get_bytes(done.row.report_digest or ""))
    assert (report["suite"], report["version"], report["noise"]) == ("drift", 1, 1.0)
    assert [len(case["scores"]) for case in report["cases"]] == [2] * CASES
    judged = evaluate(updated.workspace, CANDIDATE).decision
    assert judged is not None
    assert judged.warnings[0] == (
        "drift: 4 of 4 cases are flaky (`drift-0`, `drift-1`, `drift-2`, `drift-3`): version 1 disagrees "
        "with itself in an audit; a difference of that size is noise"
    )
    assert updated.events().count("decision.recorded") == decisions + 1
    audit_suite(updated.workspace, "drift")  # without noise: the newest audit counts
    judged = evaluate(updated.workspace, CANDIDATE).decision
    assert judged is not None
    assert not [text for text in judged.warnings if "flaky" in text]


def test_the_same_audit_again_finds_the_same(updated: TinyLine) -> None:
    updated.suite("drift", "drift")
    first, second = (audit_suite(updated.workspace, "drift", noise=0.02) for _ in range(2))
    assert first.row.report_digest == second.row.report_digest
    assert first.row.id != second.row.id


def test_the_order_and_the_batches_are_others(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    run_suite = audit.run_suite

    def seen(suite, *arguments, **options):  # type: ignore[no-untyped-def]
        asked.append([case.id for case in suite.cases])
        return run_suite(suite, *arguments, **options)

    monkeypatch.setattr(audit, "run_suite", seen)
    audit_suite(updated.workspace, "general", runs=3)
    assert len({tuple(order) for order in asked}) == len(asked) == 2
    assert {tuple(sorted(order)) for order in asked} == {tuple(f"general-{at}" for at in range(CASES))}


@pytest.mark.parametrize(
    ("scores", "outputs", "flaky", "reworded"),
    [
        ((1.0, 1.0), ("a", "a"), False, False),
        ((1.0, 1.0), ("a", "b"), False, True),
        ((1.0, 0.0), ("a", "b"), True, False),
        ((1.0, 1.0, 0.0), ("a", "a", "b"), True, False),
        ((1.2300, 1.2301), ("", ""), False, False),
        ((1.23, 1.24), ("", ""), True, False),
    ],
)
def test_what_disagrees(
    scores: tuple[float, ...], outputs: tuple[str, ...], flaky: bool, reworded: bool
) -> None:
    case = AuditedCase("a", scores, outputs)
    assert (case.is_flaky, case.is_reworded) == (flaky, reworded)


def test_one_run_is_no_audit(updated: TinyLine) -> None:
    with pytest.raises(WorkspaceError, match="`1` run cannot disagree with itself"):
        audit_suite(updated.workspace, "general", runs=1)
