"""Two versions case by case, from what is stored."""

from __future__ import annotations

import pytest

from adaptman.errors import WorkspaceError
from adaptman.lifecycle.compare import compare_versions
from registry.errors import NotFoundError
from tests.lifecycle.story import Story


def test_what_broke_and_what_was_mended(told: Story) -> None:
    told.answer(3, "general", {0: 1.0, 1: 1.0, 2: 0.0, 3: 0.0})
    told.answer(4, "general", {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0})
    (diff,) = compare_versions(told.workspace, 3, 4, suite="general").suites
    assert ([case.case_id for case in diff.broke], [case.case_id for case in diff.mended]) == (
        ["general-1"],
        ["general-2"],
    )
    assert (diff.same, diff.unanswered, diff.unreadable, diff.before, diff.after) == (2, 0, "", 0.5, 0.5)
    (case,) = diff.broke
    assert (case.before.output, case.before.detail) == ("v3 on 1", "")
    assert (case.after.output, case.after.detail) == ("v4 on 1", "not 1")
    assert compare_versions(told.workspace, 4, 3, suite="general").suites[0].broke[0].case_id == "general-2"


def test_the_way_up_depends_on_the_suite(told: Story) -> None:
    for number, value in ((3, 1.0), (4, 2.0)):
        told.answer(number, "drift", {0: value, 1: 1.5 - value / 10})
    (diff,) = compare_versions(told.workspace, 3, 4, suite="drift").suites
    assert [case.case_id for case in diff.broke] == ["drift-0"]
    assert [case.case_id for case in diff.mended] == ["drift-1"]


def test_an_evaluation_that_ended_early_is_compared_as_far_as_it_went(told: Story) -> None:
    told.answer(3, "general", {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0})
    told.answer(4, "general", {0: 0.0, 1: 1.0})
    (diff,) = compare_versions(told.workspace, 3, 4, suite="general").suites
    assert ([case.case_id for case in diff.broke], diff.same, diff.unanswered) == (["general-0"], 1, 2)


def test_suites_that_cannot_be_compared_say_why(told: Story) -> None:
    told.suite("general", "general", salt=" changed")
    told.score(4, {"general": (0.5, 0.4, 0.6)})
    told.suite("mail", "general", salt=" mail")
    told.score(3, {"mail": (0.5, 0.4, 0.6)})
    found = compare_versions(told.workspace, 3, 4)
    assert found.not_compared == (
        ("irrelevance", "version 4 was not run on it"),
        ("mail", "version 4 was not run on it"),
    )
    # Version 4 answered the older cases too, and there the two do compare.
    assert "general" in [one.suite for one in found.suites]


def test_a_changed_suite_is_not_compared(told: Story) -> None:
    told.suite("mail", "general", salt=" mail")
    told.score(3, {"mail": (0.5, 0.4, 0.6)})
    told.suite("mail", "general", salt=" more mail")
    told.score(4, {"mail": (0.5, 0.4, 0.6)})
    (left_out,) = compare_versions(told.workspace, 3, 4, suite="mail").not_compared
    assert left_out.reason == "the suite was changed between the two: they answered different cases"


def test_scores_are_shown_where_the_outputs_are_gone(told: Story) -> None:
    told.answer(3, "general", {0: 1.0})
    digest = told.answer(4, "general", {0: 0.0})
    told.workspace.store.path_of(digest).unlink()
    (diff,) = compare_versions(told.workspace, 3, 4, suite="general").suites
    (case,) = diff.broke
    assert (case.after.score, case.after.output, digest in diff.unreadable) == (0.0, None, True)


def test_what_is_not_there(told: Story) -> None:
    with pytest.raises(NotFoundError, match="no version `9`"):
        compare_versions(told.workspace, 1, 9)
    with pytest.raises(WorkspaceError, match="neither version has a result on suite `mail`"):
        compare_versions(told.workspace, 3, 4, suite="mail")
