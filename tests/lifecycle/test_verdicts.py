"""Recorded decisions, asked again: in words, and under another policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptman.errors import WorkspaceError
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.verdicts import explain_decision, retry_decisions
from policies.decide import Verdict
from policies.policy import Policy, load_policy
from tests.cli.tiny import LENIENT
from tests.lifecycle.tiny_line import CANDIDATE, TinyLine, tiny_lines


@pytest.fixture
def updated(tmp_path: Path) -> Iterator[TinyLine]:
    line = TinyLine.copy(tiny_lines().updated, tmp_path / "line")
    yield line
    line.workspace.close()


def lenient() -> Policy:
    return load_policy(LENIENT, "lenient.yaml")


def test_the_policy_in_force_says_what_is_recorded(updated: TinyLine) -> None:
    [one] = retry_decisions(updated.workspace, updated.workspace.policy())
    assert (one.number, one.champion, one.changed, one.because) == (CANDIDATE, 1, False, ())
    assert one.retried == one.recorded


def test_another_policy_says_something_else_and_nothing_is_recorded(updated: TinyLine) -> None:
    before = updated.events()
    [one] = retry_decisions(updated.workspace, lenient())
    assert (one.recorded.verdict, one.retried.verdict, one.changed) == (Verdict.REFUSE, Verdict.PASS, True)
    assert one.because
    assert all("general: " in reason for reason in one.because)
    assert updated.events() == before


def test_a_decision_is_retried_on_the_results_of_its_time(updated: TinyLine) -> None:
    """A suite that was changed since, and what was scored on it, belong to the later decision only."""
    updated.suite("general", "general", salt="another ")
    evaluate(updated.workspace, CANDIDATE)
    first, second = retry_decisions(updated.workspace, updated.workspace.policy())
    assert first.retried == first.recorded
    assert second.retried == second.recorded
    assert first.recorded.evidence[0].suite_digest != second.recorded.evidence[0].suite_digest


def test_a_decision_is_explained(updated: TinyLine) -> None:
    found = explain_decision(updated.workspace, CANDIDATE)
    assert (found.number, found.champion, found.decision.verdict) == (CANDIDATE, 1, Verdict.REFUSE)
    assert not found.paragraphs[0].passed


def test_a_version_that_was_not_judged_has_nothing_to_explain(updated: TinyLine) -> None:
    with pytest.raises(WorkspaceError, match="version 1 has no decision to explain") as caught:
        explain_decision(updated.workspace, 1)
    assert caught.value.hint == "run `adaptman evaluate 1`"
